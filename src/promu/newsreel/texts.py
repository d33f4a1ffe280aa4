"""What is written about scenes: names, captions, posts.

A post is written to be decided by its text, or to be ambiguous, so that its image decides. What in truth decides it is
found by `promu.newsreel.upper_bounds`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from promu.newsreel.lexicon import World, generator, long_tail, pick, shuffled, weighted_pick
from promu.newsreel.scenes import Scene, SceneMaker
from promu.schema import NO_RELATION, Entity

ONSETS = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "dr", "kr", "st")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ei")
CODAS = ("", "", "", "n", "l", "r", "s", "k", "m")

POOL_WORDS = {"train": 2400, "dev": 700, "test": 1600}
"""Name words of each split; the captions and the training posts share the pool "train"."""

TWO_WORDS = 0.4  # share of names of two words, the same for every type, so that their length says nothing about it

NAMED = 0.5  # share of mentions in captions that carry a proper name

CLUTTER_MENTIONED = 0.4  # share of captions that mention the small thing in the corner

SETTING_MENTIONED = 0.85  # share of captions that name the setting

JOINTS = (" and ", " with ", " , ")

NONE_WEIGHT = 4.0  # how much more often than one relation the posts for relation extraction have none

SEARCHES = 60  # random tries to find a similar image whose caption is false, before all are looked through

SOLO_POSTS = 0.5  # share of posts for named entity recognition with one name; the others have two

SAME_TYPE = 0.6
"""Share of two-name posts whose names have one type, so that the place of a name does not give its type away."""


def name_pools(seed: int, taken: frozenset[str] = frozenset()) -> dict[str, tuple[str, ...]]:
    """Name words for training, dev and test, no word in two pools.

    Args:
        seed: The corpus seed; nothing else changes the pools.
        taken: Lower-case words of the language, which are no names.
    """
    rng = generator(seed, "names")
    used = set(taken)
    pools = {}
    for split, count in POOL_WORDS.items():
        words: list[str] = []
        while len(words) < count:
            word = "".join(pick(rng, ONSETS) + pick(rng, VOWELS) for _ in range(2)) + pick(rng, CODAS)
            if word not in used:
                used.add(word)
                words.append(word.capitalize())
        pools[split] = tuple(words)
    return pools


def draw_names(rng: np.random.Generator, pool: tuple[str, ...], count: int) -> list[str]:
    """`count` names of one or two words, no word twice."""
    words = [pool[index] for index in rng.choice(len(pool), size=2 * count, replace=False, shuffle=True)]
    return [
        f"{words[2 * index]} {words[2 * index + 1]}" if rng.random() < TWO_WORDS else words[2 * index]
        for index in range(count)
    ]


@dataclass(frozen=True)
class Caption:
    """A caption, the kinds of things it mentions (a name alone says no kind), and what it states of two of them."""

    text: str
    kinds: tuple[str, ...]
    relation: str | None = None
    arrangement: str | None = None


def write_caption(
    scene: Scene,
    world: World,
    rng: np.random.Generator,
    pool: tuple[str, ...],
    dropped: float = 0.12,
    relation_phrase: float = 0.35,
    arrangement_phrase: float = 0.9,
) -> Caption:
    """Writes a caption of a scene.

    Args:
        scene: What the image shows.
        world: The words.
        rng: Random numbers.
        pool: Name words.
        dropped: Probability that a thing is mentioned without its kind.
        relation_phrase: Probability that a relation the image shows is stated.
        arrangement_phrase: Probability that otherwise it is stated how two things stand.
    """
    mentioned = [kind for kind in scene.main if rng.random() >= dropped]
    missing = Counter(scene.main) - Counter(mentioned)
    names = draw_names(rng, pool, len(scene.main))
    mentions = []
    for kind, name in zip(scene.main, names, strict=True):
        if missing[kind]:
            missing[kind] -= 1
            mentions.append(name)
        else:
            mentions.append(_mention(kind, name, world, rng))
    relation = arrangement = None
    if scene.relation != NO_RELATION and rng.random() < relation_phrase:
        relation = scene.relation
        happening = f"{mentions[0]} {pick(rng, world.relation[relation].phrases)} {mentions[1]}"
    elif scene.arrangement is not None and rng.random() < arrangement_phrase:
        arrangement = scene.arrangement
        happening = f"{mentions[0]} {pick(rng, world.arrangement[arrangement].phrases)} {mentions[1]}"
    else:
        happening = pick(rng, JOINTS).join(shuffled(rng, mentions))
    if scene.clutter is not None and rng.random() < CLUTTER_MENTIONED:
        happening += f" and {with_article(pick(rng, world.kind[scene.clutter].nouns))}"
        mentioned.append(scene.clutter)
    place = pick(rng, world.setting[scene.setting].phrases) if rng.random() < SETTING_MENTIONED else ""
    text = pick(rng, world.caption_frames).format(S=happening, P=place, X=pick(rng, world.extras))
    return Caption(tidy(text), tuple(mentioned), relation, arrangement)


def with_article(noun: str) -> str:
    """The noun after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def tidy(text: str) -> str:
    """`text` without doubled blanks, doubled commas and commas at its ends."""
    words: list[str] = []
    for word in text.split():
        if word in {",", ":", "."} and (not words or words[-1] in {",", ":"}):
            if word == "." and words:
                words[-1] = "."
            continue
        words.append(word)
    while words and words[-1] in {",", ":"}:
        words.pop()
    return " ".join(words)


def _mention(kind: str, name: str, world: World, rng: np.random.Generator) -> str:
    noun = pick(rng, world.kind[kind].nouns)
    if rng.random() >= NAMED:
        return pick(rng, (with_article(noun), with_article(noun), f"the {noun}", f"this {noun}"))
    return pick(
        rng, (f"{name} , {with_article(noun)} ,", f"the {noun} {name}", f"{noun} {name}", f"{name} , the {noun} ,")
    )


def is_false_of(caption: Caption, scene: Scene) -> bool:
    """Whether the caption states what the scene does not hold: a thing, a relation, or how two things stand."""
    return (
        bool(Counter(caption.kinds) - Counter(scene.kinds))
        or caption.relation not in (None, scene.relation)
        or caption.arrangement not in (None, scene.arrangement)
    )


def falsify(
    scenes: Sequence[Scene], captions: Sequence[Caption], rng: np.random.Generator, share: float
) -> tuple[list[int], list[bool]]:
    """Gives a share of the images the caption of another image that shares a kind, both, the setting or the relation.

    An image for which no caption of the whole corpus is false keeps its own (only in corpora of a few pairs).

    Returns:
        For each image the index of its caption, and whether image and caption match.
    """
    keys = [_likenesses(scene) for scene in scenes]
    groups: dict[str, list[int]] = {}
    for index in range(len(scenes)):
        for key in keys[index]:
            groups.setdefault(key, []).append(index)

    def similar(index: int) -> Iterator[int]:
        for _ in range(SEARCHES):
            yield pick(rng, groups[pick(rng, keys[index])])
        yield from (other for key in keys[index] for other in groups[key])
        yield from range(len(scenes))

    source, matched = list(range(len(scenes))), [True] * len(scenes)
    for index in sorted(rng.permutation(len(scenes))[: round(share * len(scenes))].tolist()):
        other = next((other for other in similar(index) if is_false_of(captions[other], scenes[index])), None)
        if other is not None:
            source[index], matched[index] = other, False
    return source, matched


def _likenesses(scene: Scene) -> list[str]:
    """What other scenes may share with this one."""
    keys = [f"setting {scene.setting}", *(f"kind {kind}" for kind in dict.fromkeys(scene.main))]
    if len(scene.main) == 2:
        keys += [f"kinds {' '.join(sorted(scene.main))}"] * 2  # what differs then is how the two stand
    return keys if scene.relation == NO_RELATION else [*keys, f"relation {scene.relation}"]


@dataclass(frozen=True)
class WrittenPost:
    """A post with its truth and the scene its image shows.

    Attributes:
        tokens: The words.
        entities: The names: one, or head and tail (whatever their order in the text).
        relation: Between head and tail, or `None`.
        decided: Whether the text was written to decide types and relation; else to be ambiguous.
        template: The template it was written from.
        nouns: For each name the noun that the text gives it, empty where it gives none.
        image: What to draw; of a decided post it may be something else.
    """

    tokens: tuple[str, ...]
    entities: tuple[Entity, ...]
    relation: str
    decided: bool
    template: str
    nouns: tuple[str, ...]
    image: Scene


class PostWriter:
    """Writes posts of one world.

    Args:
        world: Things and words.
        rng: Random numbers.
        pool: Name words of the split.
        unrelated: Share of decided posts with an image of something else.
        tail: Exponent of the long tail that entity types and relations follow, in the world's order; 0 makes each as
            likely as another.
    """

    def __init__(
        self, world: World, rng: np.random.Generator, pool: tuple[str, ...], unrelated: float, tail: float = 0.0
    ) -> None:
        self._world = world
        self._rng = rng
        self._pool = pool
        self._unrelated = unrelated
        self._scenes = SceneMaker(world, rng)
        self._type_weights = long_tail(len(world.types), tail)
        self._label_weights = [*long_tail(len(world.relations), tail), NONE_WEIGHT]

    def ner_post(self, decided: bool) -> WrittenPost:
        """A post for named entity recognition."""
        return self._written(self.ner_scene(), decided)

    def re_post(self, decided: bool) -> WrittenPost:
        """A post for relation extraction."""
        return self._written(self.re_scene(), decided)

    def ner_scene(self) -> Scene:
        """What a post for entities is about: types are as likely as `tail` says, at each place in the text."""
        types, weights = self._world.types, self._type_weights
        if self._rng.random() < SOLO_POSTS:
            return self._scenes.solo_of_type(weighted_pick(self._rng, types, weights))
        if self._rng.random() < SAME_TYPE:
            first = second = weighted_pick(self._rng, types, weights)
        else:
            shares = None if len(set(weights)) == 1 else np.array(weights) / np.sum(weights)
            low, high = sorted(self._rng.choice(len(types), size=2, replace=False, p=shares).tolist())
            first, second = types[low], types[high]
        return self._scenes.pair_of_types(first, second)

    def re_scene(self) -> Scene:
        """What a post for relations is about: `None` as often as `NONE_WEIGHT` says, relations as `tail` says."""
        return self._scenes.pair(weighted_pick(self._rng, self._world.labels, self._label_weights))

    def _written(self, scene: Scene, decided: bool) -> WrittenPost:
        world, rng = self._world, self._rng
        solo = len(scene.main) == 1
        types = [world.kind[kind].type for kind in scene.main]
        if not decided:
            template = pick(rng, world.open_solo if solo else world.open_pair)
        elif solo:
            template = pick(rng, world.type_posts[types[0]])
        elif scene.relation == NO_RELATION:
            template = pick(rng, world.unrelated_posts)
        else:
            template = pick(rng, world.relation[scene.relation].posts)
        text, names, nouns = self._filled(template, scene)
        image = scene
        if decided and rng.random() < self._unrelated:  # an image of another type, or of another relation
            if solo:
                image = self._scenes.solo_of_type(pick(rng, [kind for kind in world.types if kind != types[0]]))
            else:
                image = self._scenes.pair(pick(rng, [label for label in world.labels if label != scene.relation]))
        tokens = tuple(text.split())
        entities = tuple(Entity(*_span(tokens, name), kind) for name, kind in zip(names, types, strict=False))
        return WrittenPost(tokens, entities, scene.relation, decided, template, nouns, image)

    def _filled(self, template: str, scene: Scene) -> tuple[str, list[str], tuple[str, ...]]:
        """The post's text, the names of its one or two entities, and the nouns that it gives them."""
        nouns = [pick(self._rng, self._world.kind[kind].nouns) for kind in scene.main[:2]]
        names = draw_names(self._rng, self._pool, len(nouns))
        head, tail = first, second = names[0], names[-1]
        unrelated = template in self._world.unrelated_posts
        if unrelated:
            # These templates say that there is no relation; the nouns say what each of the two is.
            head, tail = f"the {nouns[0]} {first}", f"the {nouns[-1]} {second}"
        body = template.format(X=first, Y=second, H=head, T=tail, N=nouns[0])
        text = tidy(f"{pick(self._rng, self._world.prefixes)} {body} {pick(self._rng, self._world.suffixes)}")
        return text, names, tuple(noun if unrelated or "{N}" in template else "" for noun in nouns)


def _span(tokens: tuple[str, ...], name: str) -> tuple[int, int]:
    """Where `name` stands among `tokens`; names never repeat a word of the language, so the first hit is it."""
    words = tuple(name.split())
    for start in range(len(tokens) - len(words) + 1):
        if tokens[start : start + len(words)] == words:
            return start, start + len(words)
    raise ValueError(f"the name {name!r} is not among the words {' '.join(tokens)!r}")

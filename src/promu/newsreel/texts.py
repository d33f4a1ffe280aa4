"""What is written about scenes: names, captions, posts, and what a reader of the text alone can score on the posts.

A post is decided by its text, or ambiguous: then its image alone says which type or relation it is. The text-only
reader gets every decided post right and gives one constant answer to each ambiguous template. Its score is the upper
bound of every system that does not look at the image.
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

JOINTS = (" and ", " with ", " next to ", " beside ", " , ")

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
    """A caption and the kinds of things it mentions (a name alone says no kind)."""

    text: str
    kinds: tuple[str, ...]


def write_caption(
    scene: Scene, world: World, rng: np.random.Generator, pool: tuple[str, ...], dropped: float, relation_phrase: float
) -> Caption:
    """Writes a caption of a scene.

    Args:
        scene: What the image shows.
        world: The words.
        rng: Random numbers.
        pool: Name words.
        dropped: Probability that a thing is mentioned without its kind.
        relation_phrase: Probability that a relation the image shows is stated.
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
    if scene.relation != NO_RELATION and rng.random() < relation_phrase:
        happening = f"{mentions[0]} {pick(rng, world.relation[scene.relation].phrases)} {mentions[1]}"
        if len(mentions) > 2:
            happening += pick(rng, JOINTS) + mentions[2]
    else:
        happening = pick(rng, JOINTS).join(shuffled(rng, mentions))
    if scene.clutter is not None and rng.random() < CLUTTER_MENTIONED:
        happening += f" and {with_article(pick(rng, world.kind[scene.clutter].nouns))}"
        mentioned.append(scene.clutter)
    place = pick(rng, world.setting[scene.setting].phrases) if rng.random() < SETTING_MENTIONED else ""
    text = pick(rng, world.caption_frames).format(S=happening, P=place, X=pick(rng, world.extras))
    return Caption(tidy(text), tuple(mentioned))


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
    """Whether the caption mentions a thing that the scene does not hold, so that it cannot be a true caption of it."""
    return bool(Counter(caption.kinds) - Counter(scene.kinds))


def falsify(
    scenes: Sequence[Scene], captions: Sequence[Caption], rng: np.random.Generator, share: float
) -> tuple[list[int], list[bool]]:
    """Gives a share of the images the caption of another image that shares a kind, the setting or the relation.

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
    return keys if scene.relation == NO_RELATION else [*keys, f"relation {scene.relation}"]


@dataclass(frozen=True)
class WrittenPost:
    """A post with its truth and the scene its image shows.

    Attributes:
        tokens: The words.
        entities: The names: one, or head and tail (whatever their order in the text).
        relation: Between head and tail, or `None`.
        decided: Whether the text decides types and relation; else the post is ambiguous.
        template: The template it was written from.
        image: What to draw; of a decided post it may be something else.
    """

    tokens: tuple[str, ...]
    entities: tuple[Entity, ...]
    relation: str
    decided: bool
    template: str
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
        self._label_weights = [*long_tail(len(world.relations), tail), 1.0]  # None is as frequent as without a tail

    def ner_post(self, decided: bool) -> WrittenPost:
        """A post for named entity recognition: types are as likely as `tail` says, at each place in the text."""
        types, weights = self._world.types, self._type_weights
        if self._rng.random() < SOLO_POSTS:
            return self._written(self._scenes.solo_of_type(weighted_pick(self._rng, types, weights)), decided)
        if self._rng.random() < SAME_TYPE:
            first = second = weighted_pick(self._rng, types, weights)
        else:
            shares = None if len(set(weights)) == 1 else np.array(weights) / np.sum(weights)
            low, high = sorted(self._rng.choice(len(types), size=2, replace=False, p=shares).tolist())
            first, second = types[low], types[high]
        return self._written(self._scenes.pair_of_types(first, second), decided)

    def re_post(self, decided: bool) -> WrittenPost:
        """A post for relation extraction: `None` one in as many as there are labels, relations as `tail` says."""
        label = weighted_pick(self._rng, self._world.labels, self._label_weights)
        return self._written(self._scenes.pair(label), decided)

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
        text, names = self._filled(template, scene)
        image = scene
        if decided and rng.random() < self._unrelated:  # an image of another type, or of another relation
            if solo:
                image = self._scenes.solo_of_type(pick(rng, [kind for kind in world.types if kind != types[0]]))
            else:
                image = self._scenes.pair(pick(rng, [label for label in world.labels if label != scene.relation]))
        tokens = tuple(text.split())
        entities = tuple(Entity(*_span(tokens, name), kind) for name, kind in zip(names, types, strict=False))
        return WrittenPost(tokens, entities, scene.relation, decided, template, image)

    def _filled(self, template: str, scene: Scene) -> tuple[str, list[str]]:
        """The post's text and the names of its one or two entities."""
        nouns = [pick(self._rng, self._world.kind[kind].nouns) for kind in scene.main[:2]]
        names = draw_names(self._rng, self._pool, len(nouns))
        head, tail = first, second = names[0], names[-1]
        if template in self._world.unrelated_posts:
            # These templates say that there is no relation; the nouns say what each of the two is.
            head, tail = f"the {nouns[0]} {first}", f"the {nouns[-1]} {second}"
        body = template.format(X=first, Y=second, H=head, T=tail, N=nouns[0])
        return tidy(f"{pick(self._rng, self._world.prefixes)} {body} {pick(self._rng, self._world.suffixes)}"), names


def _span(tokens: tuple[str, ...], name: str) -> tuple[int, int]:
    """Where `name` stands among `tokens`; names never repeat a word of the language, so the first hit is it."""
    words = tuple(name.split())
    for start in range(len(tokens) - len(words) + 1):
        if tokens[start : start + len(words)] == words:
            return start, start + len(words)
    raise ValueError(f"the name {name!r} is not among the words {' '.join(tokens)!r}")


def ner_upper_bound(posts: Sequence[WrittenPost], training: Sequence[WrittenPost]) -> float:
    """Entity micro-F1 (0-100) of the text-only reader on `posts`.

    Its constant answer is a type for each template and place (first or second name). With perfect spans precision
    and recall are both the share of names given their right type.

    Args:
        posts: The posts to be tagged.
        training: Other posts, from which the reader chose its answers.
    """
    types: dict[tuple[str, int], Counter[str]] = {}
    for post in training:
        if not post.decided:
            for place, entity in enumerate(post.entities):
                types.setdefault((post.template, place), Counter())[str(entity.type)] += 1
    answers = {place: counts.most_common(1)[0][0] for place, counts in types.items()}
    right = [
        post.decided or answers.get((post.template, place)) == entity.type
        for post in posts
        for place, entity in enumerate(post.entities)
    ]
    return 100.0 * sum(right) / len(right) if right else 0.0


def re_upper_bound(posts: Sequence[WrittenPost], training: Sequence[WrittenPost]) -> float:
    """Relation micro-F1 (0-100, `None` left out) of the text-only reader on `posts`.

    Args:
        posts: The posts to be classified.
        training: Other posts, from which the reader chose its answers.
    """
    answers = _best_answers(training)
    hits = predicted = gold = 0
    for post in posts:
        answer = post.relation if post.decided else answers.get(post.template, NO_RELATION)
        gold += post.relation != NO_RELATION
        predicted += answer != NO_RELATION
        hits += answer != NO_RELATION and answer == post.relation
    return 200.0 * hits / (predicted + gold) if predicted + gold else 0.0


def _best_answers(posts: Sequence[WrittenPost]) -> dict[str, str]:
    """The templates that are better answered with a relation than with `None`, and that relation.

    F1 = 2 TP / (predicted + gold) is a ratio of sums, so its best set of answers is found by raising it step by step
    (Dinkelbach): at an F1 of f, a template is worth its most frequent relation exactly if 2 TP > f * predicted.
    """
    gold = sum(post.relation != NO_RELATION for post in posts)
    decided = sum(post.decided and post.relation != NO_RELATION for post in posts)
    templates: dict[str, Counter[str]] = {}
    for post in posts:
        if not post.decided:
            templates.setdefault(post.template, Counter())[post.relation] += 1
    best = {}  # template -> (true positives, predictions, relation) of its most frequent relation
    for template, counts in templates.items():
        related = [(count, label) for label, count in counts.items() if label != NO_RELATION]
        if related:
            count, label = max(related)
            best[template] = (count, counts.total(), label)
    f1, answers = -1.0, dict[str, str]()
    while gold:
        chosen = {template: row for template, row in best.items() if 2 * row[0] > f1 * row[1]}
        hits = decided + sum(row[0] for row in chosen.values())
        predicted = decided + sum(row[1] for row in chosen.values())
        better = 2 * hits / (predicted + gold)
        if better <= f1:
            break
        f1, answers = better, {template: row[2] for template, row in chosen.items()}
    return answers

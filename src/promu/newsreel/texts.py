"""Posts for both tasks, each written from a scene: decided by its text, or by its image alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promu.newsreel.lexicon import World, generator, long_tail, pick, shuffled, weighted_pick
from promu.newsreel.scenes import Scene, SceneMaker
from promu.schema import NO_RELATION

ONSETS = ("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "dr", "kr", "st")
VOWELS = ("a", "e", "i", "o", "u", "ai", "ei")
CODAS = ("", "", "", "n", "l", "r", "s", "k", "m")

POOL_WORDS = {"train": 2400, "dev": 700, "test": 1600}
"""Name words of each split; the captions and the training posts share the pool "train"."""

TWO_WORDS = 0.4
"""Share of names of two words, the same for every type, so that their length tells nothing."""


def name_pools(seed: int, taken: frozenset[str] = frozenset()) -> dict[str, tuple[str, ...]]:
    """Name words for training, dev and test, no word in two pools.

    Args:
        seed: The corpus seed; nothing else changes the pools.
        taken: Lower-case words of the language, which are no names.
    """
    rng = generator(seed, "names")
    seen: set[str] = set(taken)
    pools = {}
    for split, count in POOL_WORDS.items():
        words: list[str] = []
        while len(words) < count:
            word = _word(rng)
            if word not in seen:
                seen.add(word)
                words.append(word.capitalize())
        pools[split] = tuple(words)
    return pools


def _word(rng: np.random.Generator) -> str:
    body = "".join(pick(rng, ONSETS) + pick(rng, VOWELS) for _ in range(2))
    return body + pick(rng, CODAS)


def draw_names(rng: np.random.Generator, pool: tuple[str, ...], count: int) -> list[str]:
    """`count` names of one or two words, no word twice."""
    words = [pool[index] for index in rng.choice(len(pool), size=2 * count, replace=False, shuffle=True)]
    return [
        f"{words[2 * index]} {words[2 * index + 1]}" if rng.random() < TWO_WORDS else words[2 * index]
        for index in range(count)
    ]


NAMED = 0.5
"""Share of mentions that carry a proper name."""

CLUTTER_TOLD = 0.4
"""Share of captions that mention the small thing in the corner."""

SETTING_TOLD = 0.85
"""Share of captions that tell the setting."""

JOINTS = (" and ", " with ", " next to ", " beside ", " , ")
SEARCHES = 60


@dataclass(frozen=True)
class Caption:
    """A caption and the kinds of things it tells (a name alone tells no kind)."""

    text: str
    told: tuple[str, ...]


def write_caption(
    scene: Scene, world: World, rng: np.random.Generator, pool: tuple[str, ...], dropped: float, relation_phrase: float
) -> Caption:
    """Writes a caption of a scene.

    Args:
        scene: What the image shows.
        world: The words.
        rng: The source of chance.
        pool: Name words.
        dropped: Probability that a thing's kind is not told.
        relation_phrase: Probability that a relation the image shows is told.
    """
    told = [kind for kind in scene.main if rng.random() >= dropped]
    missing = Counter(scene.main) - Counter(told)
    names = draw_names(rng, pool, len(scene.main))
    mentions = []
    for kind, name in zip(scene.main, names, strict=True):
        if missing[kind]:
            missing[kind] -= 1
            mentions.append(name)
        else:
            mentions.append(_mention(kind, name, world, rng))
    if scene.relation != NO_RELATION and rng.random() < relation_phrase:
        rule = next(rule for rule in world.relations if rule.label == scene.relation)
        happening = f"{mentions[0]} {pick(rng, rule.phrases)} {mentions[1]}"
        if len(mentions) > 2:
            happening += pick(rng, JOINTS) + mentions[2]
    else:
        happening = pick(rng, JOINTS).join(shuffled(rng, mentions))
    if scene.clutter is not None and rng.random() < CLUTTER_TOLD:
        noun = pick(rng, world.kind[scene.clutter].nouns)
        happening += f" and {with_article(noun)}"
        told.append(scene.clutter)
    setting = next(setting for setting in world.settings if setting.name == scene.setting)
    place = pick(rng, setting.phrases) if rng.random() < SETTING_TOLD else ""
    text = pick(rng, world.caption_frames).format(S=happening, P=place, X=pick(rng, world.extras))
    return Caption(tidy(text), tuple(told))


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
    """Whether the caption tells a thing that the scene does not hold, so that it cannot be a true caption of it."""
    return bool(Counter(caption.told) - Counter(scene.kinds))


def falsify(
    scenes: Sequence[Scene], captions: Sequence[Caption], rng: np.random.Generator, share: float
) -> tuple[list[int], list[bool]]:
    """Gives a share of the images the caption of another image that shares a kind, the setting or the relation.

    An image for which no caption of the whole corpus is false keeps its own (only in corpora of a few pairs).

    Returns:
        For each image the index of its caption, and whether image and caption match.
    """
    count = len(scenes)
    groups: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        for key in _likenesses(scene):
            groups.setdefault(key, []).append(index)
    source, matched = list(range(count)), [True] * count
    for index in sorted(rng.permutation(count)[: round(share * count)].tolist()):
        found = _similar_false(index, scenes, captions, groups, rng)
        if found is not None:
            source[index], matched[index] = found, False
    return source, matched


def _likenesses(scene: Scene) -> list[str]:
    keys = [f"setting {scene.setting}", *(f"kind {kind}" for kind in dict.fromkeys(scene.main))]
    if scene.relation != NO_RELATION:
        keys.append(f"relation {scene.relation}")
    return keys


def _similar_false(
    index: int,
    scenes: Sequence[Scene],
    captions: Sequence[Caption],
    groups: dict[str, list[int]],
    rng: np.random.Generator,
) -> int | None:
    keys = _likenesses(scenes[index])
    for _ in range(SEARCHES):
        other = pick(rng, groups[pick(rng, keys)])
        if is_false_of(captions[other], scenes[index]):
            return other
    similar = [other for key in keys for other in groups[key]]
    return next(
        (other for other in [*similar, *range(len(scenes))] if is_false_of(captions[other], scenes[index])), None
    )


SOLO_POSTS = 0.5
"""Share of posts for named entity recognition with one name; the others have two."""

SAME_TYPE = 0.6
"""Share of their two-name posts in which both names have one type; keeps the place of a name from telling its type."""


@dataclass(frozen=True)
class Mention:
    """A name in a post: word span (end exclusive) and entity type."""

    start: int
    end: int
    type: str


@dataclass(frozen=True)
class WrittenPost:
    """A post with its truth and the scene its image shows.

    Attributes:
        tokens: The words.
        mentions: The names: one, or head and tail (whatever their order in the text).
        relation: Between head and tail, or `None`.
        decided: Whether the text decides types and relation.
        template: The template it was written from.
        image: What to draw; of a decided post it may be something else.
    """

    tokens: tuple[str, ...]
    mentions: tuple[Mention, ...]
    relation: str
    decided: bool
    template: str
    image: Scene


class PostWriter:
    """Writes posts of one world.

    Args:
        world: Things and words.
        rng: The source of chance.
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
            low, high = sorted(self._two_types())
            first, second = types[low], types[high]
        return self._written(self._scenes.pair_of_types(first, second), decided)

    def _two_types(self) -> list[int]:
        """Two different entity types by their places among those of the world."""
        weights = np.array(self._type_weights)
        shares = None if np.all(weights == weights[0]) else weights / weights.sum()
        return list(self._rng.choice(len(weights), size=2, replace=False, p=shares).tolist())

    def re_post(self, decided: bool) -> WrittenPost:
        """A post for relation extraction: `None` one in as many as there are labels, relations as `tail` says."""
        label = weighted_pick(self._rng, self._world.labels, self._label_weights)
        return self._written(self._scenes.pair(label), decided)

    def _written(self, scene: Scene, decided: bool) -> WrittenPost:
        solo = len(scene.main) == 1
        if not decided:
            template = pick(self._rng, self._world.open_solo if solo else self._world.open_pair)
        elif solo:
            template = pick(self._rng, self._world.type_posts[self._world.kind[scene.main[0]].type])
        else:
            template = pick(self._rng, self._decided_pair(scene.relation))
        text, names = self._filled(template, scene)
        image = scene
        if decided and self._rng.random() < self._unrelated:
            image = self._something_else(scene)
        tokens = tuple(text.split())
        types = [self._world.kind[kind].type for kind in scene.main]
        mentions = tuple(Mention(*_span(tokens, name), kind) for name, kind in zip(names, types, strict=False))
        return WrittenPost(tokens, mentions, scene.relation, decided, template, image)

    def _something_else(self, scene: Scene) -> Scene:
        """A scene that shows another type (of one name) or another relation (of two)."""
        if len(scene.main) == 1:
            true_type = self._world.kind[scene.main[0]].type
            return self._scenes.solo_of_type(pick(self._rng, [kind for kind in self._world.types if kind != true_type]))
        return self._scenes.pair(pick(self._rng, [label for label in self._world.labels if label != scene.relation]))

    def _decided_pair(self, relation: str) -> tuple[str, ...]:
        if relation == NO_RELATION:
            return self._world.unrelated_posts
        return next(rule.posts for rule in self._world.relations if rule.label == relation)

    def _filled(self, template: str, scene: Scene) -> tuple[str, list[str]]:
        """The post's text and the names of its one or two mentions."""
        nouns = [pick(self._rng, self._world.kind[kind].nouns) for kind in scene.main[:2]]
        names = draw_names(self._rng, self._pool, len(nouns))
        first, second = names[0], names[-1]
        head, tail = first, second
        if template in self._world.unrelated_posts:
            # These frames say that there is no relation; the nouns say what each of the two is.
            head, tail = f"the {nouns[0]} {first}", f"the {nouns[-1]} {second}"
        body = template.format(X=first, Y=second, H=head, T=tail, N=nouns[0])
        text = f"{pick(self._rng, self._world.prefixes)} {body} {pick(self._rng, self._world.suffixes)}"
        return tidy(text), names


def _span(tokens: tuple[str, ...], name: str) -> tuple[int, int]:
    """Where `name` stands among `tokens`; names never repeat a word of the language, so the first hit is it."""
    words = tuple(name.split())
    for start in range(len(tokens) - len(words) + 1):
        if tokens[start : start + len(words)] == words:
            return start, start + len(words)
    raise ValueError(f"the name {name!r} is not among the words {' '.join(tokens)!r}")


def ner_ceiling(posts: Sequence[WrittenPost], read: Sequence[WrittenPost]) -> float:
    """Entity micro-F1 (0-100) of the text-only reader on `posts`.

    Its constant answer is a type for each template and place (first or second name). With perfect spans precision
    and recall are both the share of names given their right type.

    Args:
        posts: The posts to be tagged.
        read: Other posts, from which the reader chose its answers.
    """
    seen: dict[tuple[str, int], Counter[str]] = {}
    for post in read:
        if not post.decided:
            for place, mention in enumerate(post.mentions):
                seen.setdefault((post.template, place), Counter())[mention.type] += 1
    answers = {place: counts.most_common(1)[0][0] for place, counts in seen.items()}
    right = total = 0
    for post in posts:
        for place, mention in enumerate(post.mentions):
            total += 1
            right += post.decided or answers.get((post.template, place)) == mention.type
    return 100.0 * right / total if total else 0.0


def re_ceiling(posts: Sequence[WrittenPost], read: Sequence[WrittenPost]) -> float:
    """Relation micro-F1 (0-100, `None` left out) of the text-only reader on `posts`.

    Args:
        posts: The posts to be classified.
        read: Other posts, from which the reader chose its answers.
    """
    answers = _best_answers(read)
    hits = asked = gold = 0
    for post in posts:
        answer = post.relation if post.decided else answers.get(post.template, NO_RELATION)
        gold += post.relation != NO_RELATION
        asked += answer != NO_RELATION
        hits += answer != NO_RELATION and answer == post.relation
    return 200.0 * hits / (asked + gold) if asked + gold else 0.0


def _best_answers(read: Sequence[WrittenPost]) -> dict[str, str]:
    """The templates that are better answered with a relation than with `None`, and that relation.

    F1 = 2 TP / (predicted + gold) is a ratio of sums, so its best set of answers is found by raising it step by step
    (Dinkelbach): at an F1 of f, a template is worth its most frequent relation exactly if 2 TP > f * predicted.
    """
    sure = gold = 0
    templates: dict[str, Counter[str]] = {}
    for post in read:
        gold += post.relation != NO_RELATION
        if post.decided:
            sure += post.relation != NO_RELATION
        else:
            templates.setdefault(post.template, Counter())[post.relation] += 1
    best = {}
    for template, counts in templates.items():
        related = [(count, label) for label, count in counts.items() if label != NO_RELATION]
        if related:
            count, label = max(related)
            best[template] = (count, counts.total(), label)
    f1, answers = -1.0, dict[str, str]()
    while gold:
        chosen = {template: row for template, row in best.items() if 2 * row[0] > f1 * row[1]}
        hits = sure + sum(row[0] for row in chosen.values())
        asked = sure + sum(row[1] for row in chosen.values())
        better = 2 * hits / (asked + gold)
        if better <= f1:
            break
        f1, answers = better, {template: row[2] for template, row in chosen.items()}
    return answers

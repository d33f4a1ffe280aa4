"""Posts for both tasks, each written from a scene: decided by its text, or by its picture alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promu.corpora.newsreel.captions import tidy
from promu.corpora.newsreel.chance import long_tail, pick, weighted_pick
from promu.corpora.newsreel.lexicon import World
from promu.corpora.newsreel.names import draw_names
from promu.corpora.newsreel.scenes import Scene, SceneMaker
from promu.schema import NO_RELATION

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
    """A post with its truth and the scene its picture shows.

    Attributes:
        tokens: The words.
        mentions: The names: one, or head and tail (whatever their order in the text).
        relation: Between head and tail, or `None`.
        decided: Whether the text decides types and relation.
        template: The template it was written from.
        picture: What to draw; of a decided post it may be something else.
    """

    tokens: tuple[str, ...]
    mentions: tuple[Mention, ...]
    relation: str
    decided: bool
    template: str
    picture: Scene


class PostWriter:
    """Writes posts of one world.

    Args:
        world: Things and words.
        rng: The source of chance.
        pool: Name words of the split.
        unrelated: Share of decided posts with a picture of something else.
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
        picture = scene
        if decided and self._rng.random() < self._unrelated:
            picture = self._something_else(scene)
        tokens = tuple(text.split())
        types = [self._world.kind[kind].type for kind in scene.main]
        mentions = tuple(Mention(*_span(tokens, name), kind) for name, kind in zip(names, types, strict=False))
        return WrittenPost(tokens, mentions, scene.relation, decided, template, picture)

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

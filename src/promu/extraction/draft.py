"""What has been found in one post so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from promu.errors import InputError
from promu.extraction.asked import Asked
from promu.extraction.explanation import Attention, Explanation, attention_from
from promu.extraction.fit import fitting_pairs
from promu.extraction.reading import ReadyPost
from promu.extraction.result import Extraction
from promu.modeling.inputs import EncodedText
from promu.schema import Relation


class Draft:
    """An extraction in the making.

    Attributes:
        post: With the entities found, or given, and in the end the relations.
        pairs: Ordered pairs (head, tail) of entities between which a relation may hold.
        words_read: As `Extraction.words_read`.
    """

    def __init__(self, ready: ReadyPost) -> None:
        self._line, self._picture = ready.line, ready.picture
        self.post = replace(ready.line.post, relations=())
        self.pairs: list[tuple[int, int]] = []
        self.words_read: int | None = None
        self._best: dict[tuple[int, int], tuple[Relation, Attention | None]] = {}
        self._of_entities: tuple[Attention, ...] = ()
        self._of_relations: tuple[Attention, ...] = ()
        self._crowd = 0

    def attend(self, shares: NDArray[np.float64], width: int, text: EncodedText, seen: bool) -> None:
        """Keep what the words of each entity attended to, and those of both ends of each relation."""
        words = [text.positions[entity.start : entity.end] for entity in self.post.entities]
        ends = [words[relation.head] + words[relation.tail] for relation in self.post.relations]
        self._of_entities, self._of_relations = (
            tuple(attention_from(shares, width, one, text.words, len(self.post.tokens), seen) for one in places)
            for places in (words, ends)
        )

    def pair(self, labels: Sequence[str], most: int | None) -> None:
        """Pair the entities whose types a relation of `labels` fits; more than `most` pairs make the post refused."""
        self.pairs = fitting_pairs(self.post.entities, labels)
        if most is not None and len(self.pairs) > most:
            self._crowd, self.pairs = len(self.pairs), []

    def improves(self, relation: Relation) -> bool:
        """Whether nothing surer is known of the pair, in either direction."""
        before = self._best.get(_ends(relation))
        return before is None or (before[0].score or 0.0) < (relation.score or 0.0)

    def keep(self, relation: Relation, attention: Attention | None) -> None:
        """Take this for what is known of the pair."""
        self._best[_ends(relation)] = relation, attention

    def relate(self, threshold: float) -> None:
        """Put the relations that are sure enough into the post, in the order of their ends."""
        best = [found for found in self._best.values() if (found[0].score or 0.0) >= threshold]
        best.sort(key=lambda found: (found[0].head, found[0].tail))
        self.post = replace(self.post, relations=tuple(relation for relation, _ in best))
        self._of_relations = tuple(attention for _, attention in best if attention is not None)

    def answer(self, asked: Asked) -> Extraction | InputError:
        """What is handed out: the extraction, or why there is none."""
        if self._crowd:
            return InputError(
                f"the text has {self._crowd:,} pairs of entities that may be related, at most {asked.max_pairs:,} are "
                "looked at; shorten it"
            )
        return Extraction(
            id=self.post.id,
            text=self._line.text,
            tokens=self.post.tokens,
            entities=self.post.entities,
            relations=self.post.relations,
            offsets=self._line.offsets,
            picture=self._picture,
            words_read=self.words_read,
            explanation=Explanation(self._of_entities, self._of_relations) if asked.explain else None,
        )


def _ends(relation: Relation) -> tuple[int, int]:
    return min(relation.head, relation.tail), max(relation.head, relation.tail)

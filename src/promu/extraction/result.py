"""What an extractor returns for one post."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from promu.extraction.explanation import Explanation
from promu.schema import Entity, Relation

PictureUse = Literal["used", "none", "missing", "unread"]
"""`used`: read with its picture; `none`: the post names no picture; `missing`: it could not be opened and the post was
read as text; `unread`: the models read text alone."""


class Triple(NamedTuple):
    """A relation in words: the head's, the label, the tail's."""

    head: str
    relation: str
    tail: str


@dataclass(frozen=True, slots=True)
class Extraction:
    """Entities and relations found in one post.

    Attributes:
        id: The post's.
        text: What was read.
        tokens: Its words.
        entities: By position; `score` is the smallest marginal probability among the span's labels.
        relations: `head` and `tail` index `entities`; `score` is the relation's probability.
        offsets: Where each token lies in `text`, in Unicode code points, end exclusive.
        picture: Whether the post's picture was read, see `PictureUse`.
        words_read: How many words, from the first, the model that finds entities had room for; None for all.
        explanation: What the model attended to, where that was asked for.
    """

    id: str
    text: str
    tokens: tuple[str, ...]
    entities: tuple[Entity, ...]
    relations: tuple[Relation, ...]
    offsets: tuple[tuple[int, int], ...]
    picture: PictureUse
    words_read: int | None = None
    explanation: Explanation | None = None

    def characters(self, entity: Entity) -> tuple[int, int]:
        """Where `entity` lies in `text`, end exclusive."""
        return self.offsets[entity.start][0], self.offsets[entity.end - 1][1]

    def words(self, entity: Entity) -> str:
        """The part of `text` that `entity` covers."""
        start, end = self.characters(entity)
        return self.text[start:end]

    def triples(self) -> list[Triple]:
        """The relations in words."""
        return [
            Triple(self.words(self.entities[relation.head]), relation.type, self.words(self.entities[relation.tail]))
            for relation in self.relations
        ]

    def to_dict(self) -> dict[str, Any]:
        """As `promu extract` writes it: `id`, `tokens`, `entities`, `relations`, ready for JSON.

        A score is null where the entity was given and not found; `explanation` is there where it was asked for.
        """
        entities = []
        for entity in self.entities:
            start, end = self.characters(entity)
            entities.append(
                {
                    "start": entity.start,
                    "end": entity.end,
                    "text": self.text[start:end],
                    "type": entity.type,
                    "score": entity.score,
                    "char_start": start,
                    "char_end": end,
                }
            )
        return {
            "id": self.id,
            "tokens": list(self.tokens),
            "entities": entities,
            "relations": [
                {"head": relation.head, "tail": relation.tail, "type": relation.type, "score": relation.score}
                for relation in self.relations
            ],
            **({} if self.explanation is None else {"explanation": self.explanation.to_dict()}),
        }

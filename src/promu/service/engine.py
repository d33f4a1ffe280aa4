"""The extractor as the service uses it: posts made ready one by one in any thread, then worked on in batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from promu.corpora.pictures import load_picture
from promu.corpora.posts import from_text
from promu.errors import InputError
from promu.extraction.extractor import Extractor, _Asked, _Draft, _Part
from promu.extraction.fit import fitting_pairs
from promu.extraction.reading import Reading
from promu.extraction.result import Extraction
from promu.extraction.seen import Seen
from promu.modeling.inputs import to_pixels
from promu.schema import Entity
from promu.service.reading import ReceivedPost
from promu.service.refusal import Refused
from promu.service.settings import ServiceSettings


@dataclass(frozen=True, slots=True, eq=False)
class ReadyPost:
    """A post whose text is split into words and whose picture is decoded."""

    reading: Reading
    explain: bool


@dataclass(frozen=True, slots=True)
class _Limited(_Asked):
    """What is asked of each post, and where it is refused: `max_pairs` of entities whose types a relation fits."""

    max_pairs: int = 0


class Engine(Extractor):
    """An extractor that takes its posts in two steps, the first of which finds everything that can be refused."""

    def __init__(self, entities: Any, relations: Any = None, joint: Any = None) -> None:
        if entities is None and joint is None:
            raise InputError("the service needs a model that finds entities; name a folder with ner/, and maybe re/")
        super().__init__(entities, relations, joint)

    def prepare(self, post: ReceivedPost, settings: ServiceSettings) -> ReadyPost:
        """Words and pixels of a post; any thread may do this.

        Raises:
            Refused: The text has no words or too many characters, or the picture cannot be used.
        """
        most = settings.max_characters
        if len(post.text) > most:
            raise Refused(413, f"the text has {len(post.text):,} characters, at most {most:,} are read; shorten it")
        try:
            # The caller's name for the post is put back at the end: logs then never show it.
            line = from_text(post.text)
            if post.image is None:
                return ReadyPost(Reading(line, {}, "none"), post.explain)
            if not self._sizes:
                return ReadyPost(Reading(line, {}, "unread"), post.explain)
            pixels = {
                size: to_pixels(load_picture(post.image, settings.max_pixels, (size, size)), size)
                for size in self._sizes
            }
        except InputError as error:
            raise Refused(422, error.reason) from None
        return ReadyPost(Reading(line, pixels, "used"), post.explain)

    def run(self, posts: Sequence[ReadyPost], settings: ServiceSettings) -> list[Extraction | Refused]:
        """One batch, in order; a post with too many pairs of entities is refused in its place."""
        answers: dict[int, Extraction | Refused] = {}
        for explain in (False, True):
            places = [place for place, post in enumerate(posts) if post.explain == explain]
            asked = _Limited(settings.max_batch, explain=explain, max_pairs=settings.max_pairs)
            for place, found in zip(
                places, self._batch([posts[place].reading for place in places], asked), strict=True
            ):
                pairs = self._pairs(found.entities)
                answers[place] = found if pairs <= settings.max_pairs else _too_many_pairs(pairs, settings.max_pairs)
        return [answers[place] for place in range(len(posts))]

    def _find_relations(
        self, part: _Part, seen: Seen, readings: Sequence[Reading], drafts: Sequence[_Draft], asked: _Asked
    ) -> None:
        most = asked.max_pairs if isinstance(asked, _Limited) else math.inf
        crowded = [(draft, draft.post) for draft in drafts if self._pairs(draft.post.entities) > most]
        for draft, post in crowded:
            draft.post = replace(post, entities=())
        super()._find_relations(part, seen, readings, drafts, asked)
        for draft, post in crowded:
            draft.post = post

    def _pairs(self, entities: Sequence[Entity]) -> int:
        return len(fitting_pairs(entities, self._relation_names))


def _too_many_pairs(pairs: int, most: int) -> Refused:
    return Refused(
        422, f"the text has {pairs:,} pairs of entities that may be related, at most {most:,} are looked at; shorten it"
    )


def load_engine(settings: ServiceSettings) -> Engine:
    """The model that the settings name.

    Raises:
        InputError: It cannot be loaded, or finds no entities.
    """
    return Engine.from_pretrained(settings.model, precision=settings.precision, backend=settings.backend)


def answer(found: Extraction, id: str) -> dict[str, Any]:
    """What is sent for one post, as `ExtractionOut`."""
    record = replace(found, id=id).to_dict()
    record.update(triples=[list(triple) for triple in found.triples()], picture=found.picture)
    if found.words_read is not None:
        record["words_read"] = found.words_read
    return record

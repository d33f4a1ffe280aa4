"""The extractor under the service's limits: posts made ready one by one in any thread, then worked on in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from promu.errors import InputError
from promu.extraction.asked import Asked
from promu.extraction.extractor import Extractor
from promu.extraction.reading import ReadyPost
from promu.extraction.result import Extraction
from promu.service.reading import ReceivedPost
from promu.service.refusal import Refused
from promu.service.settings import ServiceSettings


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A post whose text is split into words and whose picture is decoded, and whether its answer is to be explained."""

    post: ReadyPost
    explain: bool


def load_extractor(settings: ServiceSettings) -> Extractor:
    """The model that the settings name.

    Raises:
        InputError: It cannot be loaded, or finds no entities.
    """
    extractor = Extractor.from_pretrained(settings.model, precision=settings.precision, backend=settings.backend)
    if not extractor.finds_entities:
        raise InputError(
            "the service needs a model that finds entities; name a folder with ner/, and maybe re/", settings.model
        )
    return extractor


def prepare(extractor: Extractor, post: ReceivedPost, settings: ServiceSettings) -> Job:
    """Words and pixels of a post; any thread may do this.

    Raises:
        Refused: The text has no words or too many characters, the picture cannot be used, or an explanation is asked of
            models that give none.
    """
    most = settings.max_characters
    if len(post.text) > most:
        raise Refused(413, f"the text has {len(post.text):,} characters, at most {most:,} are read; shorten it")
    if post.explain and not extractor.explains:
        raise Refused(422, "explain is true, but the models here give no explanation; leave it out")
    try:
        # The caller's name for the post is put back at the end: logs then never show it.
        return Job(extractor.prepare(post.text, post.image, max_pixels=settings.max_pixels), post.explain)
    except InputError as error:
        raise Refused(422, error.reason) from None


def run(extractor: Extractor, jobs: Sequence[Job], settings: ServiceSettings) -> list[Extraction | Refused]:
    """One batch, in order; a post with too many pairs of entities is refused in its place."""
    answers: dict[int, Extraction | Refused] = {}
    for explain in {job.explain for job in jobs}:
        places = [place for place, job in enumerate(jobs) if job.explain == explain]
        asked = Asked(settings.max_batch, explain=explain, max_pairs=settings.max_pairs)
        for place, found in zip(places, extractor.run([jobs[place].post for place in places], asked), strict=True):
            answers[place] = Refused(422, found.reason) if isinstance(found, InputError) else found
    return [answers[place] for place in range(len(jobs))]


def answer(found: Extraction, id: str) -> dict[str, Any]:
    """What is sent for one post, as `ExtractionOut`."""
    record = replace(found, id=id).to_dict()
    record.update(triples=[list(triple) for triple in found.triples()], picture=found.picture)
    if found.words_read is not None:
        record["words_read"] = found.words_read
    return record

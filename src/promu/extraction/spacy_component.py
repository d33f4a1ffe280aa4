"""promu as a component of a spaCy pipeline: `nlp.add_pipe("promu", config={"model": "runs/demo/model"})`.

spaCy finds this module by the entry point `spacy_factories`, and imports it with every pipeline: whatever is heavy is
imported when a component is made. Of each document the component sets `doc.ents` and
`doc._.relations`. A document with an image names it before the component runs, in `doc._.image`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import filter_spans

from promu.corpora.tokenize import tokenize
from promu.errors import InputError

if TYPE_CHECKING:
    from promu.extraction.extractor import Extractor
    from promu.extraction.request import Request
    from promu.extraction.result import Extraction, FoundEntity

logger = logging.getLogger(__name__)


class SpanRelation(NamedTuple):
    """A relation between two spans of a document."""

    head: Span
    label: str
    tail: Span
    score: float | None


@Language.factory(
    "promu",
    assigns=["doc.ents", "doc._.relations", "doc._.image_read", "doc._.far_pairs", "doc._.warnings"],
    default_config={"model": "", "device": None, "precision": None, "options": {}},
)
def make_component(
    nlp: Language, name: str, model: str, device: str | None, precision: Any, options: dict[str, Any]
) -> PromuComponent:
    """The component of a pipeline.

    Args:
        nlp, name: As spaCy gives them.
        model, device, precision: As `Extractor.from_pretrained` takes them.
        options: Fields of `ExtractionConfig`, such as `{"relation_threshold": 0.5}`.

    Raises:
        InputError: No model is named, it cannot be loaded, or it finds no entities.
    """
    from promu.extraction.extraction_config import extraction_config
    from promu.extraction.extractor import Extractor

    if not model:
        raise InputError(f'the component {name!r} needs a model: nlp.add_pipe("promu", config={{"model": "FOLDER"}})')
    extractor = Extractor.from_pretrained(model, device, precision, config=extraction_config(**options))
    if not extractor.finds_entities:
        raise InputError("a spaCy component needs a model that finds entities; name a folder with ner/", model)
    return PromuComponent(extractor)


class PromuComponent:
    """Sets the entities and relations of documents.

    Entities are found in the document's text, as by `Extractor`, and set as the spans of spaCy's tokens that cover
    them. `doc._.relations` is a list of `SpanRelation`; `doc._.image_read` says whether the image was read;
    `doc._.far_pairs` and `doc._.warnings` are those of `Extraction`.
    """

    def __init__(self, extractor: Extractor) -> None:
        self.extractor = extractor
        defaults: dict[str, Any] = {"relations": [], "image": None, "image_read": False, "far_pairs": 0, "warnings": []}
        for field, value in defaults.items():
            if not Doc.has_extension(field):
                Doc.set_extension(field, default=value)

    def __call__(self, doc: Doc) -> Doc:
        """One document, changed.

        Raises:
            InputError: Its image cannot be read, or the models fail on it.
        """
        (result,) = self._read([doc])
        if isinstance(result, InputError):
            raise result
        return _annotate(doc, result)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Documents, changed, lazily and in their order; one that cannot be read stays as it is, with a warning."""
        documents = iter(stream)
        while batch := list(islice(documents, batch_size)):
            for doc, result in zip(batch, self._read(batch), strict=True):
                if isinstance(result, InputError):
                    logger.warning("a document is left as it is: %s", result)
                    yield doc
                else:
                    yield _annotate(doc, result)

    def _read(self, docs: Sequence[Doc]) -> list[Extraction | InputError | None]:
        """The answer to each document, or why there is none; None for one without a word."""
        requests: dict[int, Request] = {}
        answers: list[Extraction | InputError | None] = [None] * len(docs)
        for number, doc in enumerate(docs):
            if tokenize(doc.text):
                try:
                    requests[number] = self.extractor.prepare(doc.text, doc._.image)
                except InputError as error:
                    answers[number] = error
        for number, answer in zip(requests, self.extractor.run(list(requests.values())), strict=True):
            answers[number] = answer
        return answers


def _annotate(doc: Doc, result: Extraction | None) -> Doc:
    if result is None:
        return doc
    spans = {entity: _span(doc, entity) for entity in result.entities}
    doc.ents = filter_spans(spans.values())  # two entities may share a token of spaCy's: the longer one stays
    doc._.relations = [
        SpanRelation(spans[relation.head], relation.type, spans[relation.tail], relation.score)
        for relation in result.relations
    ]
    doc._.image_read, doc._.far_pairs = result.image_read, result.far_pairs
    doc._.warnings = list(result.warnings)
    return doc


def _span(doc: Doc, entity: FoundEntity) -> Span:
    """spaCy's tokens that cover an entity."""
    place = (entity.start_char, entity.end_char)
    span = doc.char_span(*place, label=entity.type or "", alignment_mode="expand")
    assert span is not None, "the entity lies in the text"
    return span

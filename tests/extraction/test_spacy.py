"""promu in a spaCy pipeline."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from tests.conftest import ROOT
from tests.factories import TEXTS

import promu.extraction.spacy_component  # registers the factory, as spaCy does by the entry point
from promu import Extractor
from promu.errors import InputError


def test_the_entry_point_leads_to_the_component_and_costs_nothing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["spacy_factories"]["promu"].partition(":")
    assert getattr(promu.extraction.spacy_component, name) is promu.extraction.spacy_component.make_component
    code = f"import sys, spacy, {module}; print(*sys.modules)"  # as every pipeline of spaCy does, with promu or without
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"transformers", "promu.extraction.extractor", "promu.modeling"} & set(loaded)


@pytest.fixture(scope="module")
def nlp(tiny_models: Path) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("promu", config={"model": str(tiny_models), "device": "cpu"})
    return nlp


def told(doc: Doc) -> list[tuple[str, str]]:
    return [(span.text, span.label_) for span in doc.ents]


def test_entities_and_relations_are_those_of_the_extractor(nlp: Language, extractor: Extractor) -> None:
    doc, result = nlp(TEXTS[0]), extractor(TEXTS[0])
    assert told(doc) == [(entity.text, entity.label) for entity in result.entities] != []
    assert [(one.head.text, one.label, one.tail.text) for one in doc._.relations] == result.triples() != []
    assert doc._.relations[0].head in doc.ents and doc._.relations[0].score == pytest.approx(result.relations[0].score)
    assert (doc._.far_pairs, doc._.image_read) == (0, False)


def test_many_documents_are_read_lazily_and_a_bad_one_leaves_the_others(
    nlp: Language, extractor: Extractor, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [TEXTS[0], "  ", TEXTS[1], "Ann\0"]
    docs = [nlp.make_doc(text) for text in texts]
    docs[2]._.image = str(images / "0.png")
    first, blank, pictured, broken = nlp.pipe(docs, batch_size=2)
    assert told(first) == told(nlp(TEXTS[0])) and told(blank) == [] == blank._.relations
    assert pictured._.image_read and told(pictured) == [
        (entity.text, entity.label) for entity in extractor(TEXTS[1], images / "0.png").entities
    ]
    assert told(broken) == [] and "a document is left as it is: text holds a NUL" in caplog.text
    with pytest.raises(InputError, match="NUL"):
        nlp("Ann\0")


def test_words_that_spacy_splits_otherwise_are_covered_whole(nlp: Language) -> None:
    doc = nlp("Ann's don't-stop e-mail@example.org #Zorva :-) \U0001f600Bob")
    assert told(doc)
    assert all(len(span) > 0 for span in doc.ents)


def test_a_component_without_a_model_says_what_it_needs(tiny_models: Path) -> None:
    with pytest.raises(InputError, match=r"needs a model: nlp\.add_pipe"):
        spacy.blank("en").add_pipe("promu")
    with pytest.raises(InputError, match="a model that finds entities"):
        spacy.blank("en").add_pipe("promu", config={"model": str(tiny_models / "re")})
    with pytest.raises(InputError, match="no option 'treshold'"):
        spacy.blank("en").add_pipe("promu", config={"model": str(tiny_models), "options": {"treshold": 1}})

"""Which relations may hold between which entities."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TEXTS

from promu import ExtractionConfig, Extractor
from promu.cli import main
from promu.errors import InputError
from promu.extraction.type_rules import TypeRules, label_types
from promu.schema import Entity, Post
from promu.tasks.model_folder import open_predictor

LABELS = ["None", "/per/misc/awarded", "/per/per/peer", "/loc/loc/contain"]


def entities(*types: str | None) -> list[Entity]:
    return [Entity(index, index + 1, kind) for index, kind in enumerate(types)]


@pytest.mark.parametrize(
    ("label", "types"),
    [
        ("/per/misc/awarded", ("per", "misc")),
        ("/PER/Other/awarded", ("per", "misc")),
        ("None", None),
        ("friend of", None),
        ("per/misc/awarded", None),
        ("/per/awarded", None),
    ],
)
def test_types_that_a_label_states(label: str, types: tuple[str, str] | None) -> None:
    assert label_types(label) == types


@pytest.mark.parametrize(
    ("head", "tail", "fits"),
    [
        ("PER", "MISC", [True, True, False, False]),
        ("per", "OTHER", [True, True, False, False]),
        ("MISC", "PER", [True, False, False, False]),
        ("PER", "PER", [True, False, True, False]),
        ("ORG", "ORG", [True, False, False, False]),
        (None, "MISC", [True, True, False, False]),
        (None, None, [True, True, True, True]),
    ],
)
def test_labels_that_fit_a_pair(head: str | None, tail: str | None, fits: list[bool]) -> None:
    assert TypeRules(LABELS).fits(head, tail) == fits


def test_only_pairs_with_a_fitting_relation_are_asked_about() -> None:
    found = TypeRules(LABELS).pairs(entities("PER", "OTHER", "PER", "ORG"))
    assert sorted(found) == [(0, 1), (0, 2), (2, 0), (2, 1)]


def test_a_label_without_types_fits_every_pair() -> None:
    assert len(TypeRules(["None", "friend of"]).pairs(entities("PER", "ORG", None))) == 6
    assert TypeRules(["None"]).pairs(entities("PER", "ORG")) == []


MAP = {"Person": "per", "GPE": "loc", "WORK": "misc"}


def test_a_map_says_which_types_are_the_same() -> None:
    rules = TypeRules(LABELS, MAP)
    assert rules.fits("PERSON", "work") == [True, True, False, False]
    assert rules.fits("PER", "MISC") == [True, True, False, False], "what is not named stays as it is"
    assert rules.pairs(entities("PERSON", "GPE", "PERSON")) == [(0, 2), (2, 0)]
    assert rules.check(["GPE", "PERSON", "WORK"]) == []


def test_types_that_never_meet_are_said_with_both_lists() -> None:
    (sentence,) = TypeRules(LABELS).check(["GPE", "ORGANIZATION", "PERSON", "WORK"])
    assert sentence.startswith(
        "no relation will be found: the entity model finds GPE, ORGANIZATION, PERSON and WORK, and the relations are "
        "about loc, misc and per; if names differ for the same types, say so: type_map={'PERSON': 'per'}, on the "
        "command line --type-map.PERSON per, or for good under "
    )


def test_relations_that_alone_cannot_be_found_are_named() -> None:
    (sentence,) = TypeRules(LABELS).check(["LOC", "PERSON"])
    assert sentence.startswith("2 of 3 relations will never be found (/per/misc/awarded and /per/per/peer): ")
    (sentence,) = TypeRules(LABELS).check(["LOC", "PER"])
    assert sentence == (
        "1 of 3 relations will never be found (/per/misc/awarded): the entity model finds LOC and PER, and the "
        "relations are about loc, misc and per"
    ), "there is nothing to map"
    assert TypeRules(LABELS).check(["LOC", "OTHER", "PER"]) == []
    assert TypeRules(["None", "friend of"]).check(["GPE"]) == []
    assert TypeRules(["None"]).check(["PER"]) == ["no relation will be found: the relation model has no label but None"]


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        (
            {"PERSN": "per"},
            "the map of types names 'PERSN', which the entity model does not find; it finds GPE and PERSON",
        ),
        (
            {"PERSON": "human"},
            "the map of types has for PERSON 'human', which no relation is about; they are about loc, misc and",
        ),
    ],
)
def test_a_map_that_does_nothing_is_refused(types: dict[str, str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        TypeRules(LABELS, types).check(["GPE", "PERSON"])


def renamed(tiny_models: Path, types: dict[str, str] | None = None) -> list[Any]:
    """The tiny models, the first of which calls its types by other names; the second's own map."""
    predictors: list[Any] = [open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")]
    names = {"PER": "PERSON", "ORG": "ORGANIZATION", "LOC": "GPE", "MISC": "WORK"}
    labels = [label if label == "O" else label[:2] + names[label[2:]] for label in predictors[0].labels]
    predictors[0].labels = tuple(labels)
    predictors[1].config.types = types
    return predictors


MENDED = {"PERSON": "per", "ORGANIZATION": "org", "GPE": "loc", "WORK": "misc"}


def test_a_pair_of_models_that_never_meets_says_so_and_a_map_mends_it(
    tiny_models: Path, caplog: pytest.LogCaptureFixture, extractor: Extractor
) -> None:
    expected = [(one.head.text, one.type, one.tail.text) for one in extractor(TEXTS[0]).relations]
    deaf = Extractor(*renamed(tiny_models))
    assert deaf.warnings and deaf.warnings[0] in caplog.text
    assert "GPE, ORGANIZATION, PERSON and WORK" in caplog.text and "loc, misc, org and per" in caplog.text
    assert deaf(TEXTS[0]).relations == ()
    assert deaf(TEXTS[0], type_map=MENDED).triples() == expected, "for one call"
    caplog.clear()
    for mended in (
        Extractor(*renamed(tiny_models, MENDED)),
        Extractor(*renamed(tiny_models), config=ExtractionConfig(type_map=MENDED)),
    ):
        found = mended(TEXTS[0])
        assert found.triples() == expected and mended.warnings == ()
        assert {one.type for one in found.entities} <= MENDED.keys(), "the entities keep the names of their model"
    assert not caplog.text
    with pytest.raises(InputError, match="the map of types names 'PERSN'"):
        Extractor(*renamed(tiny_models), config=ExtractionConfig(type_map={"PERSN": "per"}))
    with pytest.raises(InputError, match="the map of types names 'PERSN'"):
        deaf(TEXTS[0], type_map={"PERSN": "per"})
    with pytest.raises(InputError, match="there is none here"):
        Extractor.from_pretrained(tiny_models / "ner", device="cpu")(TEXTS[0], type_map={"PER": "per"})


def test_given_entities_of_a_type_that_no_relation_is_about_are_said_once(
    tiny_models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    relations = Extractor.from_pretrained(tiny_models / "re", device="cpu")
    given = tuple(entities(*["PERSON"] * 8))
    posts = [Post(str(n), tuple(TEXTS[n].split()), None, given) for n in range(3)]
    assert not any(one.relations for one in relations.pipe(posts))
    assert caplog.text.count("no relation is about entities of type 'PERSON'") == 1
    assert any(one.relations for one in relations.pipe(posts, type_map={"PERSON": "per"}))


def test_the_map_on_the_command_line(
    tiny_models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_models, tmp_path / "models")
    file = tmp_path / "models" / "ner" / "config.json"
    config = file.read_text()
    for old, new in (("PER", "PERSON"), ("LOC", "GPE")):
        config = config.replace(f"B-{old}", f"B-{new}").replace(f"I-{old}", f"I-{new}")
    file.write_text(config)
    words = ["extract", "--model", str(tmp_path / "models"), "--text", TEXTS[0], "--device", "cpu"]
    assert main(words) == 0
    assert "no relation will be found" in caplog.text
    caplog.clear()
    capsys.readouterr()
    assert main([*words, "--type-map.PERSON", "per", "--type-map.GPE", "loc"]) == 0
    assert not caplog.text and json.loads(capsys.readouterr().out)["relations"]

"""Types and relations that are asked for at the call, their thresholds, and what cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import save_tiny_model

import promu
from promu import ExtractionConfig, Extractor, InputError, Post
from promu.cli import main
from promu.extraction.onnx_export import export_models
from promu.schema import Entity
from promu.tasks.model_folder import open_predictor

TEXT = "Ann Lee met Bob at the old bridge in Rome with Tavi"
TYPES = ("person", "ship: boats that have a name")


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ner/` and `re/` whose labels are prompts."""
    folder = tmp_path_factory.mktemp("prompted")
    save_tiny_model(folder / "ner", "ner", label_template="1", type_thresholds={"PER": 0.0})
    save_tiny_model(folder / "re", "re", label_template="A", relation_head="spans")
    return folder


@pytest.fixture(scope="module")
def asked(prompted: Path) -> Extractor:
    """One that finds much, and relates all of it."""
    found: list[Any] = [open_predictor(task, prompted / task, "cpu") for task in ("ner", "re")]
    with torch.no_grad():
        for one, bias in zip(found, ([-4.0, 1.0, -1.0], [-100.0, 0.0]), strict=True):
            one.model.prompts.roles.weight.zero_()
            one.model.prompts.roles.bias.copy_(torch.tensor(bias))
    return Extractor(*found)


def kinds(answer: Any) -> set[str]:
    return {entity.type for entity in answer.entities}


def test_an_extractor_finds_the_types_that_are_asked_for(asked: Extractor) -> None:
    assert kinds(asked(TEXT)) <= {"LOC", "MISC", "ORG", "PER"} and asked.entity_types == ("LOC", "MISC", "ORG", "PER")
    found = asked(TEXT, types=TYPES)
    assert found.entities and kinds(found) <= {"person", "ship"}
    assert found == asked(TEXT, types=list(TYPES)) == asked(TEXT, config=ExtractionConfig(types=TYPES))
    named = asked(TEXT, types=TYPES, relations=["wears (person -> person|ship)", "seen with"], relation_threshold=0)
    assert named.entities == found.entities and {one.type for one in named.relations} <= {"wears", "seen with"}
    assert named.relations
    heads = {one.head.type for one in named.relations if one.type == "wears"}
    assert heads <= {"person"}
    assert asked(TEXT).entities == asked(TEXT).entities


def test_what_is_asked_at_first_is_what_an_extractor_finds(prompted: Path) -> None:
    config = ExtractionConfig(types=TYPES, relations=("seen with",))
    one = Extractor.from_pretrained(prompted, device="cpu", config=config)
    assert one.entity_types == ("person", "ship") and one.relation_types == ("seen with",)
    assert kinds(one(TEXT)) <= {"person", "ship"}


def test_an_answer_depends_neither_on_the_order_of_types_nor_on_the_batch(asked: Extractor) -> None:
    found = asked([TEXT, "Bob met Ann"], types=TYPES, entity_threshold=0)
    again = asked(TEXT, types=TYPES[::-1], entity_threshold=0)
    spans = [[(e.start, e.end, e.type, round(e.score or 0, 4)) for e in one.entities] for one in (found[0], again)]
    assert spans[0] == spans[1]


def test_a_threshold_by_type_counts_more_than_one_for_all(asked: Extractor, extractor: Extractor) -> None:
    every = asked(TEXT, types=TYPES, entity_threshold=0)
    assert "person" in kinds(every)
    high = asked(TEXT, types=TYPES, entity_threshold=0, threshold={"person": 1.0})
    assert kinds(high) == kinds(every) - {"person"} and high.below.entities > 0
    low = asked(TEXT, types=TYPES, entity_threshold=1, threshold={"person": 0.0})
    assert [one for one in low.entities if one.type == "person"] == [e for e in every.entities if e.type == "person"]
    fixed = extractor(TEXT, entity_threshold=0)
    kind = fixed.entities[0].type
    assert kind not in kinds(extractor(TEXT, entity_threshold=0, threshold={kind: 1.0})), "fixed labels have them too"


def test_the_thresholds_of_a_model_are_those_of_its_types(prompted: Path) -> None:
    predictor = open_predictor("ner", prompted / "ner", "cpu")
    predictor.config.entity_threshold = 1.0
    one = Extractor(predictor)
    assert kinds(one(TEXT)) <= {"PER"}, "the others have that of all"
    assert not one(TEXT, entity_threshold=1.0).entities, "what a call says counts more"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"types": []}, "types is an empty list"),
        ({"types": "person"}, "types is a list of words, and this is 'person'"),
        ({"types": ["person", "person"]}, "is there twice"),
        ({"types": ["the"]}, "names no kind"),
        ({"types": ["x" * 500]}, "has 500 characters"),
        ({"types": ["ship: " + "very " * 200]}, "fills the 96 tokens that this model reads"),
        ({"types": [f"kind {n}" for n in range(300)]}, "300 types are asked for"),
        ({"relations": ["wears (person -> PER)"]}, "asks for the type 'person', and the types here are LOC, MISC, ORG"),
        ({"relations": ["None"]}, "is the name for no relation"),
        ({"threshold": {"ship": 0.5}}, "threshold names 'ship', which is not found here"),
        ({"threshold": {"PER": 1.5}}, "at most 1"),
    ],
)
def test_what_cannot_be_asked_is_said(asked: Extractor, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as error:
        asked(TEXT, **options)
    assert reason in str(error.value)


def test_a_model_with_fixed_labels_cannot_be_asked_for_others(extractor: Extractor, tiny_joint: Path) -> None:
    with pytest.raises(InputError, match=r"the labels of this model are fixed \('LOC, MISC, ORG, PER'\)"):
        extractor(TEXT, types=["ship"])
    with pytest.raises(InputError, match="finds relations with entities, of its own labels alone"):
        Extractor.from_pretrained(tiny_joint, device="cpu")(TEXT, relations=["wears"])


def test_types_that_are_asked_for_are_found_from_the_shell(prompted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["extract", "--model", str(prompted / "ner"), "--device", "cpu", "--text", TEXT]
    assert main([*words, "--types", *TYPES, "--threshold.person", "0"]) == 0
    assert {one["type"] for one in json.loads(capsys.readouterr().out)["entities"]} <= {"person", "ship"}
    assert main([*words, "--types", "the"]) == 2
    assert "the type 'the' is a word that names no kind" in capsys.readouterr().err


def test_gold_is_scored_by_its_own_types(prompted: Path) -> None:
    gold = [Post("1", ("Ann", "saw", "Orla"), entities=(Entity(0, 1, "person"), Entity(2, 3, "ship")))]
    result = promu.evaluate(prompted / "ner", gold)
    assert result.unknown_labels == {} and kinds(result.predictions[0]) <= {"person", "ship"}


def test_a_model_of_prompts_stays_with_pytorch(prompted: Path) -> None:
    with pytest.raises(InputError, match="labels that are prompts are read by PyTorch"):
        export_models(prompted / "ner")

"""Which cells the exhibits ask for: shared where they may be, told apart where they must be, refused in a sentence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from promu.errors import InputError
from promu.study.cells import Cell, with_inputs
from promu.study.plan import EXHIBITS, PLANS, SYSTEMS, plan
from promu.study.study_recipe import StudyRecipe, load_study

STUDY = load_study("newsreel-study")


def kinds(*exhibits: str, seeds: int = 1, study: StudyRecipe = STUDY) -> Counter[str]:
    return Counter(cell.kind for cell in with_inputs(entry.cell for entry in plan(study, exhibits, seeds)).values())


def test_every_exhibit_has_a_plan() -> None:
    assert set(PLANS) == set(EXHIBITS)


def test_table1_makes_corpus_teacher_and_labels_once_a_seed() -> None:
    found = kinds("table1", seeds=3)
    assert found == {"draw": 3, "teach": 3, "label": 3, "pretrain": 7 * 3, "finetune": 2 * len(SYSTEMS) * 3}


@pytest.mark.parametrize(
    ("exhibit", "more"),
    [
        ("figure3", {"represent": 3}),
        ("figure4", {}),
        ("figure5", {"attend": 2}),
        ("table2", {"pretrain": 2, "finetune": 8}),
        ("table3", {"label": 5, "pretrain": 5, "finetune": 10}),
        ("learning-curve", {"few": 4, "finetune": 8}),
        ("temperature", {"label": 3, "teach": 1, "pretrain": 3, "finetune": 6}),
        # boxes and nouns with soft and hard labels, the flag with soft ones, two rates each
        ("robustness", {"spoil": 6, "label": 2, "pretrain": 10, "finetune": 20}),
        ("transfer", {"draw": 1, "teach": 1, "label": 1, "pretrain": 1, "finetune": 6}),
    ],
)
def test_the_others_share_what_table1_has_made(exhibit: str, more: dict[str, int]) -> None:
    assert kinds("table1", exhibit) - kinds("table1") == Counter(more)


def test_what_needs_one_seed_takes_one() -> None:
    assert "table3" in STUDY.single_seed
    assert {entry.seed for entry in plan(STUDY, ["table3"], 3)} == {0}
    assert {entry.seed for entry in plan(STUDY, ["table2"], 3)} == {0, 1, 2}


def by_label(exhibit: str, part: str) -> list[Cell]:
    cells = with_inputs(entry.cell for entry in plan(STUDY, [exhibit], 1)).values()
    return [cell for cell in cells if part in cell.label]


def test_systems_differ_where_they_should() -> None:
    hard, promu = (by_label("table1", f"{name} · pre-training")[0] for name in ("hard labels", "· promu"))
    assert hard.settings["losses"] == {**promu.settings["losses"], "hard_labels": True}
    assert hard.inputs["labels"].key == promu.inputs["labels"].key
    text_only = by_label("table1", "text-only · entities")[0]
    assert text_only.settings["images"] == "none" and text_only.settings["model"]["vision"] is None
    scratch = by_label("table1", "without pre-training · entities")[0]
    assert scratch.settings["model"]["tokenizer"] == "cell:taught/tokenizer" and "init" not in scratch.inputs


def test_wrong_boxes_are_labelled_anew_and_wrong_nouns_replace_the_labels() -> None:
    boxes = by_label("robustness", "promu · boxes wrong at 0.3 · pre-training")[0]
    assert boxes.settings["data"]["corpus"] == "cell:spoiled" and boxes.settings["stores"] == "cell:labels"
    assert boxes.inputs["labels"].settings["data"]["corpus"] == "cell:spoiled"
    nouns = by_label("robustness", "promu · nouns wrong at 0.3 · pre-training")[0]
    assert nouns.settings["stores"] == "cell:spoiled" and nouns.settings["data"]["corpus"] == "cell:taught/corpus"
    matched = by_label("robustness", "promu · matched wrong at 0.3 · pre-training")[0]
    assert matched.settings["data"]["corpus"] == "cell:spoiled" and matched.settings["stores"] == "cell:labels"
    assert matched.inputs["labels"].settings["data"]["corpus"] == "cell:taught/corpus"


def test_few_posts_are_trained_on_for_as_many_steps_as_all() -> None:
    few = by_label("learning-curve", "promu · 50 posts · entities")[0].settings["training"]
    everything = by_label("learning-curve", "promu · entities")[0].settings["training"]
    assert few["epochs"] * 4 == everything["epochs"] * 25  # batches of 16 of 50 and of 400 posts
    assert few["validate_every"] == 25


def test_l_cits_temperature_is_the_teachers_too() -> None:
    cell = by_label("temperature", "L_CIT temperature 0.2 · pre-training")[0]
    assert cell.settings["model"]["config"]["temperature"] == 0.2
    assert cell.inputs["taught"].settings["teacher"]["config"]["temperature"] == 0.2


def test_transfer_is_tested_in_the_other_world() -> None:
    entries = plan(STUDY, ["transfer"], 1)
    assert {entry.cell.inputs["drawn"].settings["world"] for entry in entries} == {"country"}
    origins = {entry.row[0]: entry.cell.inputs["init"] for entry in entries if "init" in entry.cell.inputs}
    worlds = {name: cell.inputs["drawn"].settings["world"] for name, cell in origins.items()}
    assert worlds == {"pre-trained in the other domain": "news", "pre-trained in this domain": "country"}


def test_data_that_recipes_name_stays_where_it_is() -> None:
    study = StudyRecipe(pretrain="newsreel-pretrain", finetune={"e": "newsreel-ner", "r": "newsreel-re"})
    entries = plan(study, ["table1"], 2)
    cells = with_inputs(entry.cell for entry in entries).values()
    assert not [cell for cell in cells if cell.kind == "draw"]
    test = {cell.settings["data"]["test"] for cell in cells if cell.kind == "finetune"}
    assert test == {"runs/newsreel/ner/test.txt", "runs/newsreel/re/mnre_test.txt"}
    teach = next(cell for cell in cells if cell.kind == "teach")
    assert teach.settings["data"]["corpus"]["captions"] == "runs/newsreel/pairs/captions.csv"


@pytest.mark.parametrize(
    ("changes", "exhibit", "seeds", "sentence"),
    [
        ({}, "table9", 1, "'table9' is no table or figure; choose one of table1, table2"),
        ({}, "table1", 0, "--seeds is 0; at least 1 is needed"),
        ({"transfer_world": None}, "transfer", 1, "transfer needs a second domain; set world and transfer_world"),
        ({"transfer_world": "moon"}, "transfer", 1, "transfer_world 'moon' is unknown; use one of country, news"),
        ({"fusions": ("concat", "glue")}, "table2", 1, "table2: fusion 'glue' is unknown; use one of concat"),
        ({"finetune": {"both": "newsreel-joint"}}, "table1", 1, "name a recipe of the task ner or re for 'both'"),
        ({"finetune": {"entities": "newsreel-ner"}}, "figure3", 1, "name a recipe of the task re under finetune"),
        (
            {"world": None, "finetune": {"posts": "twitter2017-text"}},
            "figure5",
            1,
            "figure5 shows images, and the recipe of 'posts' reads text alone",
        ),
        ({"world": {"pears": 3}}, "table1", 1, "world: .*'pears'; see promu newsreel --help"),
        ({"pretrain": "newsreel-ner"}, "table1", 1, "this is a recipe for promu finetune"),
        ({"finetune": {"a": "nothing"}}, "table1", 1, "no recipe file 'nothing'"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(
    changes: dict, exhibit: str, seeds: int, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        plan(STUDY.model_copy(update=changes), [exhibit], seeds)


def test_a_study_recipe_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for text, sentence in (
        ("finetune: {a: newsreel-ner}", "recipe key 'pretrain' is missing"),
        ("pretrain: newsreel-pretrain\nfinetune: {}", "recipe key 'finetune'"),
        ("pretrain: a\nfinetune: {a: b}\nerror_rates: [1.5]", "error_rates"),
        ("pretrain: a\nfinetune: {a: b}\ntransfer_world: country", "so world .* is needed too"),
        ("pretrain: a\nfinetune: {a: b}\nseeds: 3", "unknown recipe key 'seeds'"),
        ("task: ner", "this is a recipe for promu finetune"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=sentence):
            load_study(str(path))

"""Which jobs the exhibits need: shared where they may be, told apart where they must be, refused in a sentence."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from promu.config import load_recipe
from promu.errors import InputError
from promu.modeling.fusions import FUSIONS
from promu.study.job import Job, with_inputs
from promu.study.paper_exhibits import SYSTEMS
from promu.study.run_study import plan
from promu.study.study_recipe import StudyRecipe
from promu.training.recipe import PretrainRecipe

STUDY = load_recipe("newsreel-study", StudyRecipe, ["error_kinds=[boxes, nouns, matched]"])


def kinds(*exhibits: str, seeds: int = 1, study: StudyRecipe = STUDY) -> Counter[str]:
    return Counter(job.kind for job in with_inputs(request.job for request in plan(study, exhibits, seeds)).values())


def test_table1_makes_corpus_teacher_and_labels_once_a_seed() -> None:
    found = kinds("table1", seeds=3)
    assert found == {
        "draw": 3,
        "corpus": 3,
        "teacher": 3,
        "labels": 3,
        "pretrain": 7 * 3,
        "finetune": 2 * len(SYSTEMS) * 3,
    }


def test_table1_of_the_paper_has_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """One corpus for all seeds; for each a teacher, five pre-trainings, and three tasks of six systems."""
    monkeypatch.setenv("PROMU_DATA", "elsewhere")
    study = load_recipe("paper", StudyRecipe)
    found = kinds("table1", seeds=3, study=study)
    assert found == {"corpus": 1, "teacher": 3, "labels": 3, "pretrain": 5 * 3, "finetune": 6 * 3 * 3}
    requests = plan(study, ["table1"], 1)
    assert {request.task for request in requests} == {"Twitter-2015", "Twitter-2017", "MRE"}
    assert set(study.published) == {request.row[0] for request in requests}
    pretraining = next(job for job in with_inputs(r.job for r in requests).values() if job.kind == "pretrain")
    training = pretraining.settings["training"]
    assert (training["steps"], training["batch_size"], training["lr"]) == (85_000, 128, 1e-4)
    assert pretraining.settings["model"]["text"] == "bert-base-uncased"


def test_table1_takes_any_list_of_fusions() -> None:
    systems = ["text-only", "umt", "without pre-training", "mega", "umt · promu", "promu"]
    study = load_recipe("newsreel-study", StudyRecipe, [f"systems={systems}", "parser=trees", "fusions=[umt, concat]"])
    found = {request.row[0]: request.job for request in plan(study, ["table1"], 1) if request.task == "entities"}
    assert list(found) == systems
    settings = {name: job.settings["model"].get("config") for name, job in found.items()}
    assert settings["umt"]["fusion"] == "umt" and "parser" not in settings["umt"], "which reads no parsed text"
    assert settings["mega"]["fusion"] == "mega" and settings["mega"]["parser"] == "trees"
    assert found["umt · promu"].inputs["init"].settings["model"]["config"]["fusion"] == "umt"
    assert kinds("table1", "table2", study=study) == kinds("table1", study=study), "table 2 shares its rows"


def test_every_fusion_has_a_row_in_the_recipe_of_table1() -> None:
    study = load_recipe("newsreel-table1", StudyRecipe)
    rows = {request.row[0] for request in plan(study, ["table1"], 3)}
    assert rows >= {name for name in FUSIONS.own if name not in ("concat", "text")}
    assert set(study.fusions) == set(FUSIONS.own) - {"text"}
    assert {"CLIP", "BLIP", "Oscar", "U-VisualBERT", "promu", "text-only", "without pre-training"} <= rows
    shared = {request.job.key for request in plan(STUDY, ["table1"], 3)}
    assert len({request.job.key for request in plan(study, ["table1"], 3)} & shared) >= 3 * 2 * 3


@pytest.mark.parametrize("system", ["umt · text-only", "umt · nothing", "blip", "mean · promu"])
def test_a_system_that_is_none_is_refused(system: str) -> None:
    study = load_recipe("newsreel-study", StudyRecipe, [f"systems=['{system}']"])
    with pytest.raises(InputError, match=rf"table1: system '{system}' is unknown; use some of text-only; .* alone or"):
        plan(study, ["table1"], 1)


@pytest.mark.parametrize(
    ("exhibit", "more"),
    [
        ("figure3", {"embeddings": 3}),
        ("figure4", {}),
        ("figure5", {"attention": 2}),
        ("table2", {"pretrain": 2, "finetune": 8}),
        ("table3", {"labels": 5, "pretrain": 5, "finetune": 10}),
        ("learning-curve", {"subset": 4, "finetune": 8}),
        ("temperature", {"labels": 2, "teacher": 1, "pretrain": 2, "finetune": 4}),
        # boxes and nouns with soft and hard labels, the flag with soft ones
        ("robustness", {"noise": 3, "labels": 1, "pretrain": 5, "finetune": 10}),
        ("transfer", {"draw": 1, "corpus": 1, "teacher": 1, "labels": 1, "pretrain": 1, "finetune": 6}),
    ],
)
def test_the_others_share_what_table1_has_made(exhibit: str, more: dict[str, int]) -> None:
    assert kinds("table1", exhibit) - kinds("table1") == Counter(more)


def test_what_needs_one_seed_takes_one() -> None:
    assert "table3" in STUDY.single_seed
    assert {request.seed for request in plan(STUDY, ["table3"], 3)} == {0}
    assert {request.seed for request in plan(STUDY, ["table1"], 3)} == {0, 1, 2}


def by_label(exhibit: str, part: str) -> list[Job]:
    jobs = with_inputs(request.job for request in plan(STUDY, [exhibit], 1)).values()
    return [job for job in jobs if part in job.label]


def test_systems_differ_where_they_should() -> None:
    hard, promu = (by_label("table1", f"{name} · pre-training")[0] for name in ("hard labels", "· promu"))
    assert hard.settings["losses"] == {**promu.settings["losses"], "hard_labels": True}
    assert hard.inputs["labels"].key == promu.inputs["labels"].key
    text_only = by_label("table1", "text-only · entities")[0]
    assert text_only.settings["images"] == "none" and text_only.settings["model"]["vision"] is None
    scratch = by_label("table1", "without pre-training · entities")[0]
    assert scratch.settings["model"]["tokenizer"] == "job:corpus/tokenizer" and "init" not in scratch.inputs


def test_table2_takes_other_pre_trainings_by_name() -> None:
    names = ["CLIP", "BLIP", "Oscar", "U-VisualBERT", "promu"]
    study = load_recipe("newsreel-study", StudyRecipe, [f"pretrainings={names}", "fusions=[concat, mmib]"])
    jobs = with_inputs(request.job for request in plan(study, ["table2"], 1)).values()
    found = {job.label.partition("· ")[2]: job for job in jobs if job.kind == "pretrain"}
    # BLIP's filter is a pre-training of its own
    assert len(found) == 2 * (len(names) + 1)
    blip, whole = (found[f"mmib · {name} · pre-training"] for name in ("BLIP", "BLIP, the filter"))
    assert blip.settings["data"]["filter"] == "job:filter/model" and blip.inputs["filter"].key == whole.key
    assert whole.settings["losses"]["lm"] == 1 and whole.settings["data"]["filter"] is None
    none = found["mmib · U-VisualBERT · pre-training"].settings
    assert none["losses"]["unpaired"] and not none["warm_start"], "its teacher has learned from pairs"
    for job in found.values():
        load_recipe(recipe_of(job), PretrainRecipe)  # each is a legal recipe
    table1 = load_recipe("newsreel-study", StudyRecipe, ["systems=[L_CIT, CLIP]"])
    assert kinds("table1", study=table1)["pretrain"] == 1, "L_CIT alone is CLIP's objective"


def recipe_of(job: Job) -> dict[str, object]:
    return {**{name: value for name, value in job.settings.items() if name not in ("stores", "features")}, "out": "x"}


def test_wrong_boxes_are_labelled_anew_and_wrong_nouns_replace_the_labels() -> None:
    boxes = by_label("robustness", "promu · boxes wrong at 0.5 · pre-training")[0]
    assert boxes.settings["data"]["corpus"] == "job:noisy" and boxes.settings["stores"] == "job:labels"
    assert boxes.inputs["labels"].settings["data"]["corpus"] == "job:noisy"
    nouns = by_label("robustness", "promu · nouns wrong at 0.5 · pre-training")[0]
    assert nouns.settings["stores"] == "job:noisy" and nouns.settings["data"]["corpus"] == "job:corpus/corpus"
    matched = by_label("robustness", "promu · matched wrong at 0.5 · pre-training")[0]
    assert matched.settings["data"]["corpus"] == "job:noisy" and matched.settings["stores"] == "job:labels"
    assert matched.inputs["labels"].settings["data"]["corpus"] == "job:corpus/corpus"


def test_few_posts_are_trained_on_for_as_many_steps_as_all() -> None:
    few = by_label("learning-curve", "promu · 50 posts · entities")[0].settings["training"]
    everything = by_label("learning-curve", "promu · entities")[0].settings["training"]
    assert few["epochs"] * 4 == everything["epochs"] * 63  # batches of 16 of 50 and of 1,000 posts
    assert few["validate_every"] == 63


def test_l_cits_temperature_is_the_teachers_too() -> None:
    job = by_label("temperature", "L_CIT temperature 0.2 · pre-training")[0]
    assert job.settings["model"]["config"]["temperature"] == 0.2
    assert job.inputs["teacher"].settings["teacher"]["config"]["temperature"] == 0.2


def test_transfer_is_tested_in_the_other_world() -> None:
    requests = plan(STUDY, ["transfer"], 1)
    assert {request.job.inputs["drawn"].settings["world"] for request in requests} == {"country"}
    origins = {request.row[0]: request.job.inputs["init"] for request in requests if "init" in request.job.inputs}
    worlds = {name: job.inputs["drawn"].settings["world"] for name, job in origins.items()}
    assert worlds == {"pre-trained in the other domain": "news", "pre-trained in this domain": "country"}


def test_data_that_recipes_name_stays_where_it_is() -> None:
    study = StudyRecipe(pretrain="newsreel-pretrain", finetune={"e": "newsreel-ner", "r": "newsreel-re"})
    requests = plan(study, ["table1"], 2)
    jobs = with_inputs(request.job for request in requests).values()
    assert not [job for job in jobs if job.kind == "draw"]
    test = {job.settings["data"]["test"] for job in jobs if job.kind == "finetune"}
    assert test == {"runs/newsreel/ner/test.txt", "runs/newsreel/re/mnre_test.txt"}
    corpus = next(job for job in jobs if job.kind == "corpus")
    assert corpus.settings["data"]["corpus"]["captions"] == "runs/newsreel/pairs/captions.csv"


@pytest.mark.parametrize(
    ("changes", "exhibit", "seeds", "sentence"),
    [
        ({}, "table9", 1, "'table9' is no table or figure; choose one of table1, table2"),
        ({"single_seed": ("tabel3",)}, "table1", 1, "single_seed: 'tabel3' is no table or figure; choose some of"),
        ({}, "table1", 0, "seeds= is 0; at least 1 is needed"),
        ({"transfer_world": None}, "transfer", 1, "transfer needs a second domain; set world and transfer_world"),
        ({"transfer_world": "moon"}, "transfer", 1, "transfer_world 'moon' is unknown; use one of country, news"),
        ({"published": {"prom": {"entities": 1.0}}}, "table1", 1, "published: system 'prom' is unknown; use some of"),
        ({"pretrainings": ("SimCLR",)}, "table2", 1, "table2: pre-training 'SimCLR' is unknown; use some of L_CIT"),
        ({"fusions": ("concat", "glue")}, "table2", 1, "table2: fusion 'glue' is unknown; use one of adapcoatt"),
        ({"finetune": {"both": "newsreel-joint"}}, "table1", 1, "name a recipe of the task ner or re for 'both'"),
        ({"finetune": {"entities": "newsreel-ner"}}, "figure3", 1, "name a recipe of the task re under finetune"),
        (
            {"world": None, "finetune": {"posts": "twitter2017-text"}},
            "figure5",
            1,
            "figure5 shows images, and the recipe of 'posts' reads text alone",
        ),
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
        (
            "pretrain: a\nfinetune: {a: b}\nworld: {pears: 3}",
            r"unknown recipe key 'world.pears'; allowed here",
        ),
        ("pretrain: a\nfinetune: {a: b}\nseeds: 3", "unknown recipe key 'seeds'"),
        ("task: ner", "this is a recipe for promu finetune"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=sentence):
            load_recipe(path, StudyRecipe)

"""One model for entities and relations: trained together, found by all that reads model folders, half the weights."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import TINY_TEXT, TINY_VISION, tiny_config
from tests.training.test_resume import log_of, run_until_killed, same_log, training

import promu
from promu import Extractor, InputError
from promu.cli import main
from promu.config import ModelSettings, load_recipe
from promu.corpora.conll import read_conll
from promu.corpora.labelled import rename_types, restore_types
from promu.modeling.initial_model import build_model
from promu.modeling.loading import load_tokenizer
from promu.modeling.multi_task import PromuForMultiTask
from promu.schema import Entity, Post
from promu.tasks.model_folder import find_models
from promu.tasks.task import TASKS
from promu.tasks.torch_predictor import open_models
from promu.training.batches import MixedOrder, shares
from promu.training.finetune import finetune
from promu.training.loop import optimiser
from promu.training.recipe import FinetuneRecipe, MultiTaskRecipe, TrainingSettings

FILES = {
    "ner": {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"},
    "re": {"train": "mnre_train.txt", "dev": "mnre_val.txt", "test": "mnre_test.txt"},
}


def multi_recipe(world: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    data: dict[str, Any] = {
        task: {"images": str(world / task / "images")}
        | {name: str(world / task / file) for name, file in files.items()}
        for task, files in FILES.items()
    }
    for split in ("train", "dev", "test"):  # of one task each file says where its images are
        data["ner"][split] = {"file": data["ner"][split], "images": data["ner"]["images"]}
    del data["ner"]["images"]
    return {
        "task": ["ner", "re"],
        "data": data,
        "together": {"sampling": {"ner": 1, "re": 2}, "loss_weights": {"re": 2}, "chosen_by": "mean"},
        "model": {"text": TINY_TEXT, "vision": TINY_VISION, "tokenizer": str(tokenizer)},
        "training": {**training(2), "batch_size": 16, "head_lr": {"ner": 1e-2, "re": 2e-3}},
        "out": str(out),
    }


@pytest.fixture(scope="module")
def run(tiny_world: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("multi") / "run"
    recipe = folder.with_suffix(".yaml")
    recipe.write_text(json.dumps(multi_recipe(tiny_world, tiny_models / "ner", folder)))
    assert main(["finetune", str(recipe)]) == 0
    return folder


def test_a_run_has_one_model_and_the_figures_of_both_tasks(run: Path, tiny_world: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert result["task"] == ["ner", "re"] and result["scored"] == {"dev": 2, "test": 1}
    both = [result["tasks"][task] for task in ("ner", "re")]
    assert result["dev"] == {"f1": pytest.approx(sum(one["dev"]["f1"] for one in both) / 2), "is": "mean"}
    best = [line for line in log_of(run) if "eval_f1" in line and line["epoch"] == result["best_epoch"]]
    assert [line["eval_f1_re"] for line in best] == [pytest.approx(both[1]["dev"]["f1"])]
    assert best[0]["eval_f1"] == max(line.get("eval_f1", 0) for line in log_of(run))
    assert both[0]["posts"] == {"train": 24, "dev": 8, "test": 8} and both[1]["posts"]["train"] == 150
    # 174 rows an epoch, a third of them for entities: 11 steps of 16
    assert max(line["step"] for line in log_of(run)) == 22
    assert sorted(path.relative_to(run / "predictions").as_posix() for path in run.glob("predictions/*/*")) == [
        "ner/test.txt",
        "ner/valid.txt",
        "re/mnre_test.txt",
        "re/mnre_val.txt",
    ]
    assert [one["images"]["train"]["with image"] for one in both] == [24, 150]
    gold, written = read_conll(tiny_world / "ner" / "test.txt"), read_conll(run / "predictions" / "ner" / "test.txt")
    assert [post.image for post in written] == [post.image for post in gold]
    card = (run / "model" / "README.md").read_text()
    assert "`B-PER`" in card and "| dev | 8 |" in card and "- re train: `" in card and "150 posts" in card
    assert (run / "report.html").is_file()


def test_a_command_shows_both_tasks(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", str(run.with_suffix(".yaml"))]) == 0
    shown = capsys.readouterr().out
    assert "ner, seed 0" in shown and "re, seed 0" in shown
    assert "its epoch was chosen by the mean F1 of the tasks on dev" in shown
    assert "test was scored with the chosen weights alone" in shown


@pytest.mark.parametrize("task", ["ner", "re"])
def test_evaluating_gives_the_figures_of_the_run(
    task: str, run: Path, tiny_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads((run / "result.json").read_text())["tasks"][task]
    words = ["evaluate", task, str(run / "model"), "--data", str(tiny_world / task / FILES[task]["test"])]
    assert main([*words, "--images", str(tiny_world / task / "images"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["f1"], found["precision"]) == (expected["test"]["f1"], expected["test"]["precision"])
    field = TASKS[task].threshold
    assert found["fitted_threshold"] == pytest.approx(expected["thresholds"][field])
    log = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    tests = [(one["file"], one["weights"]) for one in log if one["split"] == "test"]
    assert len(set(tests)) == 2 < len(tests), "the weights that were evaluated are those that the run has scored"


def test_an_extractor_finds_both_on_one_backbone(run: Path, tiny_world: Path) -> None:
    assert find_models(run / "model") == [("ner", run / "model"), ("re", run / "model")]
    models, _ = open_models(run / "model", "cpu")
    assert models["ner"].promu is models["re"].promu and models["ner"].config.labels[0] == "O"
    extractor = Extractor.from_pretrained(run / "model", device="cpu")
    assert "PER" in extractor.entity_types and extractor.relation_types and not extractor.warnings
    post = {"text": "Zorva and Kelmo tonight", "image": "re_test_00000.jpg"}
    options: dict[str, Any] = {"entity_threshold": 0.0, "relation_threshold": 0.0}
    (found,) = extractor.pipe([post], images=tiny_world / "re" / "images", **options)
    assert found.image_read
    with pytest.raises(InputError, match="holds models for ner and re; name the task"):
        promu.evaluate(run / "model", tiny_world / "ner" / "test.txt", None)


@pytest.mark.slow
def test_it_goes_into_a_bundle_and_to_onnx(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript")
    made = promu.bundle(tmp_path / "both", ner=run / "model", re=run / "model", types={"PER": "per"})
    assert made.types == {"PER": "per"} and made.relations
    assert Extractor.from_pretrained(tmp_path / "both", device="cpu").finds_entities
    assert main(["export", str(run / "model"), "--to", "onnx", "--out", str(tmp_path / "graphs"), "--json"]) == 0
    (exported,) = json.loads(capsys.readouterr().out)["models"]
    assert exported["task"] == "ner+re" and exported["distance"] < 1e-4
    texts = ["Ann Lee met Bob at the old bridge in Rome", "the crew of Zorva"]
    options: dict[str, Any] = {"entity_threshold": 0.0, "relation_threshold": 0.0}
    torch_answers = Extractor.from_pretrained(run / "model", device="cpu")(texts, **options)
    graph_answers = Extractor.from_pretrained(tmp_path / "graphs", backend="onnx")(texts, **options)
    for one, other in zip(torch_answers, graph_answers, strict=True):
        assert [(e.start, e.end, e.type) for e in one.entities] == [(e.start, e.end, e.type) for e in other.entities]
        assert [e.score for e in one.entities] == pytest.approx([e.score for e in other.entities], abs=1e-4)
        assert [r.score for r in one.relations] == pytest.approx([r.score for r in other.relations], abs=1e-4)


@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(run: Path, tiny_world: Path, tiny_models: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(multi_recipe(tiny_world, tiny_models / "ner", tmp_path / "run")))
    run_until_killed("finetune", recipe, "ner+re:14")
    assert main(["finetune", str(recipe), "--json"]) == 0
    assert same_log(run, tmp_path / "run")
    expected, found = (json.loads((one / "result.json").read_text()) for one in (run, tmp_path / "run"))
    for task in ("ner", "re"):
        assert found["tasks"][task]["test"] == expected["tasks"][task]["test"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": ["ner", "ner"]}, "names a task twice"),
        ({"task": ["ner", "joint"]}, "'task.1'"),
        ({"task": ["ner"]}, "data has files of ner, re, and the tasks are ner"),
        ({"together": {"sampling": {"ner": 1}}}, "together.sampling has no weight for re"),
        ({"together": {"loss_weights": {"joint": 1}}}, "together.loss_weights names joint"),
        ({"together": {"sampling": "often"}}, "together.sampling"),
        ({"training": {"head_lr": {"rel": 1}}}, "training.head_lr names rel"),
        ({"data": {"ner": {"train": "a", "dev": "b"}, "re": {"train": "a", "dev": "b"}}}, "data.ner.images is missing"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    raw = {**multi_recipe(tmp_path, tmp_path, tmp_path), **change}
    with pytest.raises(InputError, match=said):
        load_recipe(raw, FinetuneRecipe)


def test_rates_by_task_need_several_tasks() -> None:
    with pytest.raises(InputError, match="there is one task; give one rate"):
        load_recipe("newsreel-ner", FinetuneRecipe, ["training.head_lr={ner: 1.0e-2}"])
    assert isinstance(load_recipe("newsreel-multi", FinetuneRecipe), MultiTaskRecipe)


def test_each_head_learns_at_its_rate() -> None:
    tasks = {"ner": {"labels": ["O", "B-PER", "I-PER"]}, "re": {"labels": ["None", "/per/per/peer"]}}
    model = PromuForMultiTask(tiny_config(tasks=tasks))
    settings = TrainingSettings(lr=1e-4, head_lr={"ner": 1e-2})
    rates = {id(one): group["lr"] for group in optimiser(model, settings).param_groups for one in group["params"]}
    assert rates[id(model.heads["ner"]["emitter"].weight)] == 1e-2  # type: ignore[index]
    assert rates[id(model.heads["re"]["classifier"].weight)] == 1e-4, "what is not named has the backbone's rate"  # type: ignore[index]
    assert {rates[id(one)] for one in model.promu.parameters()} == {1e-4} and len(rates) == len(
        list(model.parameters())
    )


def test_an_epoch_mixes_the_sets_by_their_shares() -> None:
    order = MixedOrder([4, 10], [7, 5])
    first, second = list(order.epoch(0, 0)), list(order.epoch(0, 1))
    assert len(order) == len(first) == 12 and sum(row < 4 for row in first) == 7
    small = sorted(row for row in first + second if row < 4)
    assert max(map(small.count, range(4))) - min(map(small.count, range(4))) <= 1, "no row comes much more often"
    assert sorted(row for row in first + second if row >= 4) == list(range(4, 14)), "two halves make the whole set"
    assert first != second and first == list(order.epoch(0, 0)) and first != list(order.epoch(1, 0))
    assert any(row < 4 for row in islice(first, 6)) and any(row >= 4 for row in islice(first, 8)), "mixed, not in turn"
    assert shares([30, 10], [3, 1]) == [30, 10] and shares([1000, 2], [1, 1e-9]) == [1002, 1]


def test_the_loss_is_the_mean_over_rows_of_all_tasks() -> None:
    tasks = {"ner": {"labels": ["O", "B-PER", "I-PER"]}, "re": {"labels": ["None", "/per/per/peer"]}}
    torch.manual_seed(0)
    model = PromuForMultiTask(tiny_config(tasks=tasks)).eval()
    ids = torch.randint(5, 90, (5, 7))
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    words = {"word_index": torch.tensor([[1, 2]] * 5), "word_mask": torch.ones(5, 2, dtype=torch.long)}
    ner: Any = {**text, **words, "labels": torch.ones(5, 2, dtype=torch.long)}
    pair: Any = {"marker_index": torch.tensor([[1, 3]] * 2), "labels": torch.tensor([0, 1])}
    relation: Any = {**{name: value[:2] for name, value in text.items()}, **pair}
    with torch.no_grad():
        alone = [float(model.for_task(task)(**batch).loss) for task, batch in (("ner", ner), ("re", relation))]
        assert float(model(ner=ner, re=relation).loss) == pytest.approx((5 * alone[0] + 2 * alone[1]) / 7)
        model.loss_weights = {"re": 3.0}
        assert float(model(ner=ner, re=relation).loss) == pytest.approx((5 * alone[0] + 6 * alone[1]) / 7)
        assert float(model(re=relation).loss) == pytest.approx(3 * alone[1])


def test_heads_go_from_one_task_to_several_and_back_by_their_labels(tiny_models: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_models / "ner"))
    single: Any = TASKS["ner"].model_class.from_pretrained(tiny_models / "ner")
    labels = ["O", "B-ORG", "I-ORG", "B-NEW", "I-NEW"]
    heads = {"ner": {"labels": labels}, "re": {"labels": ["None", "/per/per/peer"]}}
    settings = ModelSettings(init=str(tiny_models / "ner"))
    model = build_model(PromuForMultiTask, settings, tokenizer, tasks=heads)
    row = single.config.labels.index("B-ORG")
    finder: Any = model.for_task("ner")
    assert torch.equal(finder.emitter.weight[1], single.emitter.weight[row])
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    back: Any = build_model(
        TASKS["ner"].model_class,
        ModelSettings(init=str(tmp_path / "model")),
        tokenizer,
        id2label=dict(enumerate(labels)),
    )
    assert back.config.tasks is None and torch.equal(back.emitter.weight, finder.emitter.weight)


CONLL = "Ann\tB-PER\nmet\tO\nBob\tB-PER\n\nthe\tO\nAcme\tB-{0}\n\n"


def test_files_of_one_task_may_name_types_differently(tiny_models: Path, tmp_path: Path) -> None:
    """Each file is scored and written by itself; predictions have the names of the file."""
    for name, other in (("one", "OTHER"), ("two", "MISC")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.txt").write_text(CONLL.format(other) * 8)
    mapped: dict[str, Any] = {"file": str(tmp_path / "one" / "train.txt"), "types": {"OTHER": "MISC"}}
    files = [mapped, str(tmp_path / "two" / "train.txt")]
    recipe = {
        "task": ["ner"],
        "data": {"ner": {"train": files, "dev": files, "test": files}},
        "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")},
        "images": "none",
        "training": {**training(8), "lr": 1e-2},
        "out": str(tmp_path / "run"),
    }
    result = finetune(recipe)
    of_task = result["tasks"]["ner"]
    assert of_task["posts"] == {"train": 32, "dev": 32, "test": 32} and of_task["test"]["f1"] == 100
    assert {name: one["f1"] for name, one in of_task["test"]["files"].items()} == {
        "one/train.txt": 100,
        "two/train.txt": 100,
    }
    assert [Path(one["file"]).parent.name for one in of_task["data"]["test"]] == ["one", "two"]
    for name, other in (("one", "OTHER"), ("two", "MISC")):
        written = read_conll(tmp_path / "run" / "predictions" / "ner" / name / "train.txt")
        assert {entity.type for post in written for entity in post.entities} == {"PER", other}
    extractor = Extractor.from_pretrained(tmp_path / "run" / "model", device="cpu")
    assert extractor.entity_types == ("MISC", "PER") and not extractor.relation_types
    scored = promu.evaluate(tmp_path / "run" / "model", mapped["file"], types={"OTHER": "MISC"})
    assert scored.scores.to_dict()["f1"] == 100 and scored.unknown_labels == {}
    assert {entity.type for post in scored.predictions for entity in post.entities} == {"PER", "OTHER"}


def test_images_are_used_as_far_as_there_are_any(tiny_world: Path, tiny_models: Path, tmp_path: Path) -> None:
    """With `text-only` a set whose folder of images is missing is read as text; with `raise` it is refused."""
    recipe = multi_recipe(tiny_world, tiny_models / "ner", tmp_path / "run")
    recipe["data"]["re"]["images"] = str(tmp_path / "gone")
    load = (load_recipe({**recipe, "images": policy}, FinetuneRecipe) for policy in ("raise", "text-only"))
    with pytest.raises(InputError, match=r"gone: no such folder of images"):
        finetune(next(load))
    only = next(load)
    assert isinstance(only, MultiTaskRecipe)
    few = str(tiny_world / "ner" / "valid.txt")
    files = [{"file": few, "images": str(folder)} for folder in (tiny_world / "ner" / "images", tmp_path / "gone")]
    data = {"ner": {"train": files, "dev": files}}
    raw = {**only.model_dump(mode="json"), "task": ["ner"], "data": data, "together": {}}
    raw["training"] = {**training(1), "batch_size": 16}
    counts = finetune(raw)["tasks"]["ner"]["images"]["train"]
    assert (counts["with image"], counts["image missing"]) == (8, 8)


def test_a_type_to_be_renamed_must_be_there() -> None:
    posts = [Post("1", ("Ann",), entities=(Entity(0, 1, "PER"),))]
    with pytest.raises(InputError, match=r"train\.txt: no entity here has the type 'OTHER', which types names; .* PER"):
        rename_types(posts, {"OTHER": "MISC"}, Path("train.txt"))
    merged = {"BAND": "ORG", "FIRM": "ORG"}
    given = [Post("1", ("Acme",), entities=(Entity(0, 1, "ORG"),))]
    assert restore_types(given, merged) == given, "of two names neither is guessed"

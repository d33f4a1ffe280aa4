"""Every recipe that ships is run for one step: on a tiny drawn corpus, or on the first posts of its real data."""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from tests.factories import TINY_TEXT, TINY_VISION

from promu import score
from promu.config import load_recipe
from promu.errors import InputError
from promu.hub import resolve
from promu.modeling.encoders import encoder_config
from promu.modeling.fusions import FUSIONS
from promu.modeling.loading import load_model, load_tokenizer
from promu.newsreel import NewsreelSettings, write_newsreel
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.schema import Post
from promu.tasks.task import TASKS
from promu.training.finetune import finetune
from promu.training.pretrain import pretrain
from promu.training.recipe import FinetuneRecipe, MultiTaskRecipe, PretrainRecipe

pytestmark = pytest.mark.slow

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
# a study is made of other recipes: run by tests/cli/test_reproduce.py
# KECPM's writers are run by tests/training/generation/test_train.py
OTHERS = ("-study", "-study-cold", "-table1", "-kecpm")
NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml") if not path.stem.endswith(OTHERS))
IMAGES = 24
ONE_EPOCH = ["training.epochs=1", "training.log_every=1"]
DRAWN, DRAWN_JOINT, PRETRAINED = "runs/newsreel/", "runs/joint-world/", "runs/newsreel-pretrain"


def raw_recipe(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8")))


def moved(settings: Any, places: Sequence[tuple[str, str]], key: str = "") -> list[str]:
    """Overrides that put other folders in the place of those that a recipe names."""
    if isinstance(settings, dict):
        return [o for name, value in settings.items() for o in moved(value, places, f"{key}.{name}".lstrip("."))]
    values = settings if isinstance(settings, list) else [settings]
    if not any(isinstance(value, str) and value.startswith(old) for value in values for old, _ in places):
        return []
    for old, new in places:
        values = [f"{new}{value.removeprefix(old)}" if str(value).startswith(old) else value for value in values]
    return [f"{key}={json.dumps(values if isinstance(settings, list) else values[0])}"]


def kind_of(name: str) -> str:
    task = raw_recipe(name).get("task", "pretrain")
    return "several" if isinstance(task, list) else str(task)


def on_drawn_data(name: str) -> bool:
    data = json.dumps(raw_recipe(name)["data"])
    return DRAWN in data or DRAWN_JOINT in data


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes") / "newsreel"
    write_newsreel(folder, NewsreelSettings(seed=3, pairs=64, ner_posts=(8, 4, 4), re_posts=(8, 4, 4)))
    write_joint(folder / "joint", JointSettings(seed=3, posts=(8, 4, 4)))
    return folder


def run_pretraining(name: str, drawn: Path, out: Path, more: Sequence[str] = ()) -> Path:
    overrides = [*moved(raw_recipe(name), [(DRAWN, f"{drawn}/")]), *ONE_EPOCH, f"out={out}", *more]
    if "init" not in raw_recipe(name).get("teacher", {}):
        overrides += ["teacher.training.epochs=1", "teacher.training.log_every=1"]
    # 64 pairs and one batch of as many: one step
    recipe = load_recipe(RECIPES / f"{name}.yaml", PretrainRecipe, [*overrides, "training.batch_size=64"])
    result = pretrain(recipe)
    assert result["pairs"] == 64 and result["last"]["step"] == 1
    assert result["last"]["loss"] == result["last"]["loss"]  # a number
    on = {loss for loss, weight in recipe.losses.weights().items() if weight}
    assert on <= result["last"].keys(), "a loss that the recipe asks for was not computed"
    return out / "model"


@pytest.fixture(scope="session")
def pretrained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_pretraining("newsreel-pretrain", drawn, tmp_path_factory.mktemp("pretrained") / "run")


DRAWN_PRETRAINING = [name for name in NAMES if on_drawn_data(name) and kind_of(name) == "pretrain"]
SEVERAL = [name for name in NAMES if kind_of(name) == "several"]
DRAWN_FINETUNING = [
    name for name in NAMES if on_drawn_data(name) and kind_of(name) != "pretrain" and name not in SEVERAL
]
REAL_PRETRAINING = [name for name in NAMES if not on_drawn_data(name) and kind_of(name) == "pretrain"]
OWN = ["own-ner", "own-re"]  # templates for files of one's own, run in test_own_data.py
REAL_FINETUNING = [
    name for name in NAMES if not on_drawn_data(name) and kind_of(name) != "pretrain" and name not in [*OWN, *SEVERAL]
]


def test_every_recipe_is_run_here() -> None:
    run = DRAWN_PRETRAINING + DRAWN_FINETUNING + REAL_PRETRAINING + REAL_FINETUNING + OWN + SEVERAL
    assert sorted(run) == NAMES and SEVERAL == ["newsreel-multi", "open-labels", "real-posts"]
    assert raw_recipe("newsreel-pretrain")["out"] == PRETRAINED
    assert {"newsreel-pretrain", "newsreel-ner", "newsreel-re", "newsreel-joint"} <= set(NAMES)


@pytest.mark.parametrize("name", DRAWN_PRETRAINING)
def test_pretraining_on_drawn_data(name: str, drawn: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name == "newsreel-pretrain":
        model = request.getfixturevalue("pretrained")
    else:
        model = run_pretraining(name, drawn, tmp_path / "run")
    assert len(load_tokenizer(str(model))) > 100 and (model / "model.safetensors").is_file()


ON_TOP = {
    "L_CIT": ["losses.itm=0", "losses.coe=0", "losses.cir=0"],
    "L_CIT + L_ITM": ["losses.coe=0", "losses.cir=0"],
    "L_CIT + L_ITM + L_MLM": ["losses.coe=0", "losses.cir=0", "losses.mlm=1"],
    "HVPNeT": ["model.config.fusion=hvpnet"],
    "MMIB": ["model.config.fusion=mmib"],
    "UMT": ["model.config.fusion=umt"],
}
"""Pre-trained baselines and other fusions, as what they set in newsreel-pretrain; docs/baselines.md lists them."""


@pytest.mark.parametrize("baseline", ON_TOP)
def test_a_baseline_is_pre_trained_and_fine_tuned(baseline: str, drawn: Path, pretrained: Path, tmp_path: Path) -> None:
    """With the tokenizer and the teacher that are there already."""
    teacher = ["teacher.text=null", "teacher.vision=null", f"teacher.init={pretrained.parent / 'teacher' / 'model'}"]
    more = [*ON_TOP[baseline], f"tokenizer={pretrained}", *teacher]
    model = run_pretraining("newsreel-pretrain", drawn, tmp_path / "run", more)
    places = [(DRAWN, f"{drawn}/"), (f"{PRETRAINED}/model", str(model))]
    overrides = [*moved(raw_recipe("newsreel-re"), places), *ONE_EPOCH, f"out={tmp_path / 'tuned'}"]
    overrides += [f"data.{split}={drawn / 're' / 'mnre_train.txt'}" for split in ("dev", "test")]
    check_finetuned(load_recipe(RECIPES / "newsreel-re.yaml", FinetuneRecipe, overrides), 8)


def test_the_page_of_baselines_names_what_is_run_here() -> None:
    page = (RECIPES.parent / "docs" / "baselines.md").read_text(encoding="utf-8")
    for baseline, settings in ON_TOP.items():
        line = next(line for line in page.splitlines() if f"| {baseline} |" in line)
        assert " ".join(f"--set {setting}" for setting in settings) in line
    assert all(f"`{name}`" in page for name in NAMES if name.endswith("-text"))
    assert all(f"`--set model.config.fusion={name}`" in page for name in FUSIONS.own)


def check_finetuned(recipe: FinetuneRecipe, posts: int) -> None:
    result = finetune(recipe)
    assert result["posts"]["train"] == posts
    out = Path(recipe.out)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in log] == [1, 1] and log[0]["loss"] > 0 and "eval_f1" in log[1]
    task = TASKS[recipe.task]
    model = load_model(task.model_class, out / "model")
    assert load_tokenizer(str(out / "model")) is not None
    assert model.config.id2label is not None
    assert sorted(model.config.id2label.values()) == sorted(task.labels(task.read(Path(recipe.data.train))))
    predictions = task.read(out / "predictions" / Path(str(recipe.data.test)).name)
    assert len(predictions) == result["posts"]["test"]
    gold = task.read(Path(str(recipe.data.test)))
    name: Any = recipe.task
    assert score(name, gold, predictions).f1.mean == result["test"]["f1"], "of all answers, as published"
    assert result["thresholds"][task.threshold] == getattr(model.config, task.threshold), "extraction has it"
    assert result["thresholds"]["dev"]["f1"] >= result["dev"]["f1"] - 1e-9
    assert (out / "report.html").read_text(encoding="utf-8").lstrip().startswith("<!DOCTYPE")


@pytest.mark.parametrize("name", DRAWN_FINETUNING)
def test_finetuning_on_drawn_data(name: str, drawn: Path, pretrained: Path, tmp_path: Path) -> None:
    places = [(DRAWN, f"{drawn}/"), (DRAWN_JOINT, f"{drawn}/joint/"), (f"{PRETRAINED}/model", str(pretrained))]
    overrides = [*moved(raw_recipe(name), places), *ONE_EPOCH, f"out={tmp_path / 'run'}"]
    recipe = load_recipe(RECIPES / f"{name}.yaml", FinetuneRecipe, overrides)
    # eight posts need not hold every label of the four others
    same = [f"data.{split}={recipe.data.train}" for split in ("dev", "test")]
    check_finetuned(load_recipe(RECIPES / f"{name}.yaml", FinetuneRecipe, [*overrides, *same]), 8)


def first_posts(recipe: FinetuneRecipe, folder: Path) -> list[str]:
    """The first eight posts of the real training file as train, dev and test, and grey where images are wanted."""
    task = TASKS[recipe.task]
    posts: list[Post] = task.read(Path(recipe.data.train))[:8]
    task.write(folder / "posts.txt", posts)
    overrides = [f"data.{split}={folder / 'posts.txt'}" for split in ("train", "dev", "test")]
    if recipe.images == "none":
        return overrides
    (folder / "images").mkdir()
    for post in posts:
        Image.new("RGB", (40, 30), "grey").save(folder / "images" / str(post.image))
    return [*overrides, f"data.images={folder / 'images'}"]


def test_several_tasks_on_drawn_data(drawn: Path, pretrained: Path, tmp_path: Path) -> None:
    places = [(DRAWN, f"{drawn}/"), (f"{PRETRAINED}/model", str(pretrained))]
    overrides = [*moved(raw_recipe("newsreel-multi"), places), *ONE_EPOCH, f"out={tmp_path / 'run'}"]
    for task, file in (("ner", "train.txt"), ("re", "mnre_train.txt")):
        overrides += [f"data.{task}.{split}={drawn / task / file}" for split in ("dev", "test")]
    result = finetune("newsreel-multi", overrides)
    assert {task: one["posts"]["train"] for task, one in result["tasks"].items()} == {"ner": 8, "re": 8}
    assert result["tasks"]["re"]["images"]["test"]["with image"] == 8


@pytest.mark.parametrize("name", ["open-labels", "real-posts"])
def test_several_tasks_on_real_posts(
    name: str, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe as it is, on a few posts of each of its files."""
    monkeypatch.setenv("PROMU_DATA", str(published))
    whole = load_recipe(name, FinetuneRecipe)
    assert isinstance(whole, MultiTaskRecipe)
    try:
        resolve(str(whole.model.text))
    except InputError as error:
        pytest.skip(f"the recipe was read, not run: {error}")
    monkeypatch.setenv("PROMU_DATA", str(tmp_path))
    for task, data in whole.data.items():
        for file in (one for files in data.files().values() for one in files):
            path = tmp_path / Path(file.file).relative_to(published)
            path.parent.mkdir(exist_ok=True)
            TASKS[task].write(path, TASKS[task].read(Path(file.file), data.format)[:24], data.format)
    result = finetune(name, [*ONE_EPOCH, f"out={tmp_path / 'run'}"])
    assert result["tasks"]["re"]["posts"]["train"] == 24
    if name == "real-posts":
        assert result["tasks"]["ner"]["test"]["files"].keys() == {"twitter2015/test.txt", "twitter2017/test.txt"}
    assert result["tasks"]["ner"]["posts"]["train"] == (48 if name == "real-posts" else 24)


def stand_ins(recipe: FinetuneRecipe, tokenizer: Path) -> list[str]:
    """Tiny encoders in the place of the hub's, which no test can reach."""
    named = (recipe.model.text, recipe.model.vision)
    if not any(isinstance(name, str) and not name.startswith("package:") for name in named):
        return []
    tiny = {"text": TINY_TEXT, "vision": TINY_VISION, "tokenizer": str(tokenizer)}
    return [f"model.{key}={json.dumps(value)}" for key, value in tiny.items()]


@pytest.mark.parametrize("name", REAL_FINETUNING)
def test_finetuning_on_real_data(
    name: str, published: Path, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMU_DATA", str(published))
    path, overrides = RECIPES / f"{name}.yaml", [*ONE_EPOCH, f"out={tmp_path / 'run'}", "training.batch_size=8"]
    recipe = load_recipe(path, FinetuneRecipe, overrides)
    overrides += stand_ins(recipe, tiny_models / recipe.task)
    recipe = load_recipe(path, FinetuneRecipe, overrides)
    try:
        for encoder in (recipe.model.text, recipe.model.vision, recipe.model.tokenizer):
            if isinstance(encoder, str):
                resolve(encoder)
    except InputError as error:
        pytest.skip(f"the recipe was read, not run: {error}")
    overrides += first_posts(recipe, tmp_path)
    check_finetuned(load_recipe(path, FinetuneRecipe, overrides), 8)
    images = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))["images"]["test"]
    read = "image unwanted" if recipe.images == "none" else "with image"
    assert images["policy"] == recipe.images and images[read] == 8


@pytest.mark.parametrize("name", ["twitter2015", "twitter2017", "mre"])
def test_recipes_with_images_have_the_settings_of_the_paper(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMU_DATA", "elsewhere")
    recipe = load_recipe(RECIPES / f"{name}.yaml", FinetuneRecipe)
    training = recipe.training
    assert (training.lr, training.weight_decay, training.batch_size) == (1e-4, 1e-3, 16)
    assert recipe.model.config["max_length"] == 80 and recipe.images == "raise"
    assert raw_recipe(name)["images"] == "raise", "said, not left to a default"


def encoders_of(recipe: PretrainRecipe) -> list[str]:
    """The encoders that a recipe names, by which captions are compared too."""
    assert not isinstance(recipe.data.corpus, str)
    teacher, model = recipe.teacher, recipe.model
    named = [recipe.data.corpus.text_encoder, teacher.name, teacher.text, teacher.vision, model.text, model.vision]
    sources = [source for vision in named if isinstance(vision, dict) for source in vision.get("sources", [])]
    return [name for name in [*named, *sources] if isinstance(name, str)]


@pytest.mark.parametrize("name", REAL_PRETRAINING)
def test_pretraining_on_real_data(name: str, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first images of the real corpus through detector, candidates, teacher, labels and two steps."""
    monkeypatch.setenv("PROMU_DATA", str(published))
    path = RECIPES / f"{name}.yaml"
    recipe = load_recipe(path, PretrainRecipe)
    assert not isinstance(recipe.data.corpus, str) and not isinstance(recipe.data.nouns, str)
    for package in ("onnx", "onnxruntime", "spacy"):
        pytest.importorskip(package)
    try:
        for name_of_encoder in encoders_of(recipe):
            encoder_config(resolve(name_of_encoder))
    except InputError as error:
        pytest.skip(f"the recipe was read, not run: {error}")
    with Path(recipe.data.corpus.captions).open(encoding="utf-8", newline="") as file:
        rows = list(itertools.islice(csv.reader(file), 1 + 5 * IMAGES))
    captions = tmp_path / "captions.csv"
    with captions.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    overrides = [
        f"data.corpus.captions={captions}",
        "data.corpus.dev=4",
        "labels.num_nouns=20",
        f"out={tmp_path / 'run'}",
    ]
    overrides += ["labels.num_nouns=20", "training.batch_size=64", *ONE_EPOCH]
    overrides += ["teacher.training.batch_size=64", "teacher.training.epochs=1"]
    result = pretrain(load_recipe(path, PretrainRecipe, overrides))
    assert result["images"] == IMAGES - 4 and result["pairs"] > result["matched"] >= 5 * (IMAGES - 4) - 5
    assert result["nouns"] == 20 and result["dev"] is not None
    assert {"itm", "cit", "coe", "cir"} <= result["last"].keys() and math.isfinite(result["last"]["loss"])
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()

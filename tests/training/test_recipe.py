"""Recipes: every wrong setting is named, with what is allowed, before anything starts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from promu.cli import COMMANDS, main
from promu.config import find_recipe, list_recipes, load_recipe
from promu.errors import InputError
from promu.training.recipe import FinetuneRecipe, LossSettings, PretrainRecipe, TokenizerSettings

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
FINETUNE: dict[str, Any] = {
    "task": "ner",
    "data": {"train": "train.txt", "dev": "dev.txt", "images": "images"},
    "model": {"init": "runs/pretrained"},
    "out": "runs/out",
}
PRETRAIN: dict[str, Any] = {
    "data": {
        "corpus": {"captions": "captions.csv", "images": "images"},
        "nouns": "nouns.txt",
        "relations": "relations.txt",
    },
    "tokenizer": {"size": 500},
    "teacher": {"text": {"model_type": "bert"}, "vision": {"model_type": "vit"}},
    "model": {"text": {"model_type": "bert"}, "vision": {"model_type": "vit"}},
    "out": "runs/out",
}


def write(tmp_path: Path, settings: object) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings), encoding="utf-8")
    return path


# those of a study and of text-to-text models have tests of their own
OTHERS = ("-study", "-study-cold", "-table1", "-kecpm")
RECIPES_OF_TRAINING = sorted(path for path in RECIPES.glob("*.yaml") if not path.stem.endswith(OTHERS))


@pytest.mark.parametrize("path", RECIPES_OF_TRAINING, ids=lambda path: path.stem)
def test_every_recipe_that_ships_is_legal(path: Path) -> None:
    if "task" in yaml.safe_load(path.read_text(encoding="utf-8")):
        out = load_recipe(path, FinetuneRecipe).out
    else:
        out = load_recipe(path, PretrainRecipe).out
    assert Path(out).name == path.stem, "a recipe's runs are found by its name"
    assert find_recipe(path.stem) == find_recipe(str(path)) == path


def test_defaults_are_the_paper_s(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, FINETUNE), FinetuneRecipe)
    assert (recipe.training.lr, recipe.training.weight_decay, recipe.training.batch_size) == (1e-4, 1e-3, 16)
    losses = load_recipe(write(tmp_path, PRETRAIN), PretrainRecipe).losses
    assert losses.weights() == {"itm": 1, "cit": 1, "coe": 1, "cir": 1, "mlm": 0, "lm": 0, "tag": 0}
    assert not losses.hard_labels and not losses.matched_only and losses.confidence_floor == 0


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "trainin.lr=1",
            "unknown recipe key 'trainin'; allowed here: data, images, labels, model, out, prompts, seed, ",
        ),
        ("training.learning_rate=1", "unknown recipe key 'training.learning_rate'; allowed here: batch_size, .*lr, "),
        ("model.config.widht=3", "unknown recipe key 'model.config.widht'; allowed here: .*pooling, "),
        ("task=jmere", "recipe key 'task': must be one of ner, re, joint .got 'jmere'."),
        ("training.lr=0", "recipe key 'training.lr': Input should be greater than 0 .got 0."),
        ("training.lr=fast", "recipe key 'training.lr': Input should be a valid number.* .got 'fast'."),
        ("training.batch_size=2.5", "recipe key 'training.batch_size': Input should be a valid integer.* .got 2.5."),
        ("training.warmup=1.5", "recipe key 'training.warmup': Input should be less than or equal to 1 .got 1.5."),
        ("images=maybe", "recipe key 'images': Input should be 'raise', 'text-only' or 'none'"),
        ("seed=-1", "recipe key 'seed': Input should be greater than or equal to 0"),
        ("out=null", "recipe key 'out': Input should be a valid string .got None."),
        ("data.images=null", "data.images is missing; name the folder of images, or set images: none"),
        ("model.init=null", "recipe key 'model': set either init .* or text"),
        ("training=3", "recipe key 'training': a group of settings is expected: batch_size, "),
        ("lr", "override 'lr' is not of the form key=value"),
        ("seed=[1", r"override 'seed=\[1': the value is not YAML"),
        ("task.name=ner", "override 'task.name=ner': 'task' is a single value, not a group of settings"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_recipe(write(tmp_path, FINETUNE), FinetuneRecipe, [override])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("losses.ocr=1", "unknown recipe key 'losses.ocr'; allowed here: .*cir, cit, coe, .*itm, "),
        ("losses.coe=-1", "recipe key 'losses.coe': Input should be greater than or equal to 0 .got -1."),
        ("tokenizer.sise=3", "unknown recipe key 'tokenizer.sise'; allowed here: min_frequency, size, texts"),
        ("tokenizer={size: 3}", "recipe key 'tokenizer.size': Input should be greater than or equal to 100 .got 3."),
        ("labels.temperature=0", "recipe key 'labels.temperature': Input should be greater than 0"),
        ("teacher.vision=null", r"recipe key 'teacher': set one of init .*, name .*, or text and vision"),
        ("teacher.name=some/clip", r"recipe key 'teacher': set one of init .*, name .*, or text and vision"),
        ("teacher.views.crop=0", r"recipe key 'teacher\.views\.crop': Input should be greater than 0 .got 0."),
        (
            "teacher.crop=0.3",
            r"unknown recipe key 'teacher\.crop'; allowed here: config, init, .*views, vision",
        ),
        (
            "data.corpus.missing_images=ignore",
            r"recipe key 'data\.corpus\.missing_images': Input should be 'raise' or 'skip'",
        ),
        (
            "data.corpus.falsify=some",
            r"recipe key 'data\.corpus\.falsify': Input should be 'keep', 'none', 'similar'",
        ),
        ("data.corpus.image=x", r"unknown recipe key 'data\.corpus\.image'; allowed here: base, captions, .*regions, "),
        ("data.corpus.share=2", r"recipe key 'data\.corpus\.share': Input should be less than or equal to 0.9 .got 2."),
        ("data.corpus.dev=-1", r"recipe key 'data\.corpus\.dev': Input should be greater than or equal to 0 .got -1."),
        ("data.corpus.side=0", r"recipe key 'data\.corpus\.side': Input should be greater than or equal to 1 .got 0."),
        ("data.corpus={images: i}", r"recipe key 'data\.corpus\.captions' is missing"),
        ("data.corpus=3", "recipe key 'data.corpus': .*got 3."),
        (
            "data.captions=a.csv",
            r"unknown recipe key 'data\.captions'; allowed here: corpus, dev, filter, nouns, relations",
        ),
        ("data.nouns={}", r"recipe key 'data\.nouns\.pipeline' is missing"),
        (
            "data.nouns={pipeline: p, stops: s}",
            r"unknown recipe key 'data\.nouns\.stops'; allowed here: pipeline, ",
        ),
        ("data.relations={}", r"recipe key 'data\.relations\.properties' is missing"),
        ("views.crop=1.5", r"recipe key 'views\.crop': Input should be less than or equal to 1 .got 1.5."),
        ("views.jitter=2", r"recipe key 'views\.jitter': Input should be less than or equal to 1 .got 2."),
        ("views.cached=0", r"recipe key 'views\.cached': Input should be greater than or equal to 1 .got 0."),
        (
            "views.operation=1",
            r"unknown recipe key 'views\.operation'; allowed here: cached, crop, jitter",
        ),
        ("crop=0.5", r"unknown recipe key 'crop'; allowed here: caption_drop, data, .*views, warm_start"),
        ("training.save_every=0", r"recipe key 'training\.save_every': Input should be greater than or equal to 1"),
        ("training.validate_every=0", r"recipe key 'training\.validate_every': Input should be greater than or equal"),
        ("training.micro_batch=0", r"recipe key 'training\.micro_batch': Input should be greater than or equal to 1"),
        ("training.workers=-1", r"recipe key 'training\.workers': Input should be greater than or equal to 0"),
        ("model.config.frozen=[all]", r"recipe key 'model\.config\.frozen\.0': Input should be 'text' or 'vision'"),
    ],
)
def test_wrong_settings_of_pre_training_are_named(tmp_path: Path, override: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_recipe(write(tmp_path, PRETRAIN), PretrainRecipe, [override])


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    for key in ("task", "data", "model", "out"):
        path = write(tmp_path, {name: value for name, value in FINETUNE.items() if name != key})
        with pytest.raises(InputError, match=f"recipe.yaml: recipe key '{key}' is missing"):
            load_recipe(path, FinetuneRecipe)
    with pytest.raises(InputError, match=r"recipe key 'data\.train' is missing"):
        load_recipe(write(tmp_path, {**FINETUNE, "data": {"dev": "dev.txt"}}), FinetuneRecipe)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("task: [ner", r"recipe\.yaml:\d: not YAML"),
        ("a: 1\nb: }\n", r"recipe\.yaml:2: not YAML"),
        ("seed: 1\ntraining: {lr: 1, lr: 2}\n", r"recipe\.yaml:2: not YAML: the key 'lr' is there twice; keep one"),
        ("", r"recipe\.yaml: a recipe is a mapping of settings"),
        ("- task", r"recipe\.yaml: a recipe is a mapping of settings"),
        ("just words", r"recipe\.yaml: a recipe is a mapping of settings"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_recipe(write(tmp_path, content), FinetuneRecipe)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such recipe"):
        load_recipe(tmp_path / "absent.yaml", FinetuneRecipe)
    (tmp_path / "latin.yaml").write_bytes(b"out: caf\xe9\n")
    with pytest.raises(InputError, match=r"latin\.yaml: not YAML"):
        load_recipe(tmp_path / "latin.yaml", FinetuneRecipe)
    with pytest.raises(InputError, match="'newsreel-nre'; give a path, or one of newsreel-re, newsreel-ner"):
        find_recipe("newsreel-nre")


def test_overrides_win_and_are_read_as_yaml(tmp_path: Path) -> None:
    overrides = [
        "training.lr=3e-4",
        "training.epochs=2",
        "images=none",
        "data.images=null",
        "model.config={pooling: cls}",
    ]
    recipe = load_recipe(write(tmp_path, FINETUNE), FinetuneRecipe, overrides)
    assert recipe.training.lr == 3e-4 and recipe.training.epochs == 2
    assert recipe.data.images is None and recipe.images == "none"
    assert recipe.model.config == {"pooling": "cls"}
    assert recipe.data.train == "train.txt", "what is beside an override stays"
    # a value may hold an equals sign, and a group that the file lacks is made
    assert load_recipe(write(tmp_path, FINETUNE), FinetuneRecipe, ["out=runs/a=b"]).out == "runs/a=b"
    pretrain = load_recipe(write(tmp_path, PRETRAIN), PretrainRecipe, ["losses.hard_labels=true", "tokenizer=runs/tok"])
    assert pretrain.losses == LossSettings(hard_labels=True) and pretrain.tokenizer == "runs/tok"


def test_environment_variables_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, {**PRETRAIN, "tokenizer": {"size": 500, "texts": ["${PROMU_DATA}/a.txt", "${HERE}/b.txt"]}})
    monkeypatch.setenv("HERE", "/tmp")
    monkeypatch.delenv("PROMU_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    tokenizer = load_recipe(path, PretrainRecipe).tokenizer
    assert isinstance(tokenizer, TokenizerSettings) and tokenizer.texts == ["/cache/promu/data/a.txt", "/tmp/b.txt"]
    monkeypatch.setenv("PROMU_DATA", "/data")
    tokenizer = load_recipe(path, PretrainRecipe).tokenizer
    assert isinstance(tokenizer, TokenizerSettings) and tokenizer.texts[0] == "/data/a.txt"
    monkeypatch.delenv("HERE")
    with pytest.raises(InputError, match=r"names an environment variable that is not set"):
        load_recipe(path, PretrainRecipe)


def test_a_recipe_survives_its_own_json() -> None:
    """A run's folder holds its recipe; a second run compares with it."""
    for raw, kind in ((FINETUNE, FinetuneRecipe), (PRETRAIN, PretrainRecipe)):
        recipe = load_recipe(raw, kind)
        assert load_recipe(recipe.model_dump(mode="json"), kind) == recipe


def test_a_recipe_of_the_other_kind_names_its_command() -> None:
    with pytest.raises(InputError, match="a recipe for promu finetune"):
        load_recipe("newsreel-ner", PretrainRecipe)
    with pytest.raises(InputError, match="a recipe for promu pretrain"):
        load_recipe("newsreel-pretrain", FinetuneRecipe)


def test_a_recipe_is_a_name_a_file_plain_data_or_the_object() -> None:
    recipe = load_recipe("newsreel-ner", FinetuneRecipe)
    assert load_recipe(find_recipe("newsreel-ner"), FinetuneRecipe) == recipe
    assert load_recipe(recipe, FinetuneRecipe) is recipe
    changed = load_recipe(recipe, FinetuneRecipe, ["training.lr=3e-4"])
    assert (changed.training.lr, changed.data) == (3e-4, recipe.data) and recipe.training.lr != 3e-4
    plain = recipe.model_dump()
    assert load_recipe(plain, FinetuneRecipe, ["out=elsewhere"]).out == "elsewhere"
    assert plain == recipe.model_dump(), "what was given stays as it is"
    with pytest.raises(InputError, match="a recipe for promu finetune"):
        load_recipe(recipe, PretrainRecipe)


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_says_first_how_it_is_run_and_what_it_is(path: Path) -> None:
    found = next(recipe for recipe in list_recipes() if recipe.name == path.stem)
    command, about = found.command, found.about
    words = command.split()
    assert words[0] == "promu" and path.stem in words and words[1] in COMMANDS
    assert len(about) > 20 and not about.startswith("promu")
    kind: Any = {"finetune": FinetuneRecipe, "pretrain": PretrainRecipe}.get(words[1])
    assert kind is None or load_recipe(path, kind)


def test_recipes_are_listed_shown_and_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert re.search(r"^own-ner +Template for own posts with entities$", capsys.readouterr().out, flags=re.MULTILINE)
    assert main(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"name", "command", "about", "path"} == listed[0].keys() and len(listed) == len(
        list(RECIPES.rglob("*.yaml"))
    )
    assert main(["recipes", "show", "own-re"]) == 0
    assert capsys.readouterr().out == (RECIPES / "own-re.yaml").read_text(encoding="utf-8")
    mine = tmp_path / "my.yaml"
    assert main(["recipes", "copy", "own-ner", str(mine)]) == 0
    assert f"promu finetune {mine}" in capsys.readouterr().out
    assert mine.read_bytes() == (RECIPES / "own-ner.yaml").read_bytes()
    assert main(["recipes", "copy", "own-re", str(mine)]) == 2
    assert "this is there already; name another file" in capsys.readouterr().err
    assert main(["recipes", "show", "own-nerr"]) == 2
    assert "no recipe file 'own-nerr'; give a path, or one of own-ner" in capsys.readouterr().err


def test_paths_of_a_recipe_are_those_of_every_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = {**FINETUNE, "data": {"train": "data\\train.txt", "dev": "~/dev.txt", "images": "C:\\pictures"}}
    recipe = load_recipe(write(tmp_path, settings), FinetuneRecipe)
    assert recipe.data.train == "data/train.txt" and recipe.data.images == "C:/pictures"
    assert recipe.data.dev == f"{tmp_path}/dev.txt"
    text = 'task: ner\ndata: {train: "data\\train.txt", dev: dev.txt}\nimages: none\nmodel: {init: m}\nout: o\n'
    with pytest.raises(
        InputError, match=r"recipe key 'data.train': holds a control character; write a Windows path in"
    ):
        load_recipe(write(tmp_path, text), FinetuneRecipe)


def test_a_tokenizer_is_trained_for_encoders_from_scratch_alone(tmp_path: Path) -> None:
    scratch = {**FINETUNE, "images": "none", "model": {"text": {"model_type": "bert"}}, "tokenizer": {"size": 500}}
    assert load_recipe(write(tmp_path, scratch), FinetuneRecipe).tokenizer is not None
    for model in ({"init": "m"}, {"text": "bert"}, {"text": {"model_type": "bert"}, "tokenizer": "t"}):
        with pytest.raises(InputError, match="tokenizer is trained for a text encoder from scratch"):
            load_recipe(write(tmp_path, {**scratch, "model": model}), FinetuneRecipe)


def test_a_task_is_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"recipe key 'task': must be one of ner, re, joint \(got 'nre'\)"):
        load_recipe(write(tmp_path, {**FINETUNE, "task": "nre"}), FinetuneRecipe)

"""Bad input through the command line: one sentence with place, value and remedy, exit 2, nothing half-written."""

from __future__ import annotations

import json
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TINY_TEXT, TINY_VISION

from promu.cli import main
from promu.modeling.loading import load_tokenizer

POSTS = "IMGID:0\nAnn\tB-PER\nmet\tO\nBob\tB-PER\n\nIMGID:1\nRome\tB-LOC\n\n"
PAIR = (
    "{{'token': ['Ann', 'met', 'Bob'], 'h': {{'name': 'Ann', 'pos': [0, 1]}}, "
    "'t': {{'name': 'Bob', 'pos': [2, {end}]}}, 'img_id': '0.png', 'relation': '{relation}'}}\n"
)
LINE = {"id": "a", "text": "Ann met Bob", "entities": [{"start": 0, "end": 1, "type": "PER"}]}


def bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few bytes whose header promises width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


class Desk:
    """A folder with sound data and recipes, and what the command line says to them."""

    def __init__(self, folder: Path, models: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capsys = capsys
        self.images = folder / "images"
        shutil.copytree(images, self.images)
        for number in range(2):  # CoNLL names its images <id>.jpg; what is in them is told by their bytes
            shutil.copy(images / f"{number}.png", self.images / f"{number}.jpg")
        (folder / "ner.txt").write_text(POSTS)
        (folder / "re.txt").write_text(
            PAIR.format(end=3, relation="/per/per/peer") + PAIR.format(end=3, relation="None")
        )
        (folder / "posts.jsonl").write_text(json.dumps(LINE) + "\n")
        self.models = models
        self.recipe: dict[str, Any] = {
            "task": "ner",
            "data": {"train": str(folder / "ner.txt"), "dev": str(folder / "ner.txt"), "images": str(self.images)},
            "model": {"text": TINY_TEXT, "vision": TINY_VISION, "tokenizer": str(models / "ner")},
            "training": {"epochs": 1, "batch_size": 2, "precision": "fp32"},
            "out": str(folder / "run"),
        }

    def copy_model(self, task: str = "ner") -> Path:
        """A model folder to spoil."""
        return Path(shutil.copytree(self.models / task, self.folder / "model"))

    def refused(self, *words: object) -> str:
        """What is said; checks that it is one sentence, exit 2, and that nothing was written."""
        (self.folder / "recipe.yaml").write_text(json.dumps(self.recipe))
        before = sorted(self.folder.rglob("*"))
        self.capsys.readouterr()
        assert main([str(word) for word in words]) == 2
        captured = self.capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
        assert "Traceback" not in captured.err
        assert sorted(self.folder.rglob("*")) == before
        return captured.err

    def finetune(self, *words: object) -> str:
        return self.refused("finetune", self.folder / "recipe.yaml", *words)

    def extract(self, *words: object, model: Path | None = None) -> str:
        return self.refused("extract", "--model", model or self.models, *words)


@pytest.fixture
def desk(tmp_path: Path, tiny_models: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, tiny_models, images, capsys)


@pytest.mark.slow
def test_the_desk_is_sound(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything below fails for the one thing that it spoils."""
    recipe = desk.folder / "recipe.yaml"
    recipe.write_text(json.dumps(desk.recipe))
    assert main(["finetune", str(recipe)]) == 0
    assert main(["evaluate", "ner", str(desk.folder / "run" / "model"), "--data", str(desk.folder / "ner.txt")]) == 0
    assert "read as text, without an image: 2 of 2 posts (no --images)" in capsys.readouterr().err
    assert main(["extract", "--model", str(desk.models), "--input", str(desk.folder / "posts.jsonl")]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == ["Ann", "met", "Bob"]
    desk.recipe["seed"] = 1
    assert "holds a run with other settings (seed); choose another folder (out), or delete this one" in desk.finetune()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"data\.txt: no such file; check the path"),
        (b"", r"data\.txt: the file is empty; fetch or write it again"),
        (b"\n \n", r"data\.txt: the file is empty"),
        (POSTS.replace("B-LOC", "LOC").encode(), r"data\.txt:7: 'LOC' is no tag; a tag is O, B-TYPE or I-TYPE"),
        (POSTS.replace("B-LOC", "I-LOC").encode(), r"data\.txt:7: I-LOC at the start .*write B-LOC"),
        (POSTS.replace("Bob\tB", "Bob\tI").encode(), r"data\.txt:4: I-PER after O continues no entity; write B-PER"),
        (POSTS.replace("Rome", "Caf\xe9").encode("latin-1"), r"data\.txt:7: byte 0xe9 .* not UTF-8; save .* as UTF-8"),
        (POSTS.encode("utf-16"), r"data\.txt: the file is UTF-16; save it as UTF-8"),
    ],
)
def test_files_of_posts(content: bytes | None, said: str, desk: Desk) -> None:
    path = desk.folder / "data.txt"
    if content is not None:
        path.write_bytes(content)
    desk.recipe["data"]["dev"] = str(path)
    assert re.search(said, desk.finetune())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            PAIR.format(end=9, relation="None"),
            r"re\.txt:1: .*\[2, 9\] is no span of the 3 words; spans count words",
        ),
        (PAIR.format(end=2, relation="None"), r"re\.txt:1: .*\[2, 2\] is no span"),
        (PAIR.format(end=3, relation="peer"), r"re\.txt:1: relation 'peer' is neither None nor of the form /head/tail"),
    ],
)
def test_files_of_pairs(line: str, said: str, desk: Desk) -> None:
    (desk.folder / "re.txt").write_text(line)
    desk.recipe["task"] = "re"
    desk.recipe["data"]["train"] = str(desk.folder / "re.txt")
    assert re.search(said, desk.finetune())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"entities": [{"start": 0, "end": 4}]},
            r"posts\.jsonl:1: span of entities\[0\] \[0, 4\] is no span of the 3",
        ),
        (
            {"relations": [{"head": 0, "tail": 1, "type": "x"}]},
            r"posts\.jsonl:1: relations\[0\].tail is 1, but .* 1",
        ),
        ({"text": ""}, r"posts\.jsonl:1: text is empty"),
        ({"text": "\u200b"}, r"posts\.jsonl:1: text has no words"),
        ({"image": "gone.png"}, r"gone\.png: no such image; check the name .* post 'a' read as text"),
    ],
)
def test_posts_to_extract_from(change: dict[str, Any], said: str, desk: Desk) -> None:
    (desk.folder / "posts.jsonl").write_text(json.dumps({**LINE, **change}) + "\n")
    found = desk.extract("--input", desk.folder / "posts.jsonl", "--out", desk.folder / "out.jsonl")
    assert re.search(said, found)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda whole: b"", "the image has 0 bytes; fetch it again"),
        (lambda whole: whole[: len(whole) // 2], "the image is truncated or broken"),
        (lambda whole: bomb(), r"the image is too large, over 50,000,000 pixels: .*; shrink it"),
        (lambda whole: bomb(9000, 9000), r"9,000 x 9,000 pixels, more than 50,000,000; shrink it"),
        (lambda whole: b"<html>gone</html>", "an HTML page, not an image"),
        (None, "no such image; check the name and the folder of images"),
    ],
)
def test_images(
    spoil: Callable[[bytes], bytes] | None, said: str, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    path = desk.images / "1.jpg"
    whole = path.read_bytes()
    path.unlink()
    if spoil is not None:
        path.write_bytes(spoil(whole))
    else:
        path.with_suffix(".png").unlink()  # an image of another ending would be read in its place
    assert re.search(f"images/1.jpg: .*{said}.*images: text-only", desk.finetune())
    extracted = desk.extract("--text", "Ann met Bob", "--image", path, "--out", desk.folder / "out.jsonl")
    assert re.search(f"images/1.jpg: .*{said}", extracted)
    words = ["evaluate", "ner", desk.models / "ner", "--data", desk.folder / "ner.txt", "--images", desk.images]
    predictions = desk.folder / "predicted.txt"
    assert re.search(f"{said}.*--missing-images text-only", desk.refused(*words, "--predictions", predictions))
    # What the sentence proposes works.
    words += ["--predictions", predictions, "--missing-images", "text-only", "--json"]
    assert main([str(word) for word in words]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["read"] == {"with image": 1, "as text": 1}
    assert "read as text, without an image: 1 of 2 posts (1 image missing or broken)" in captured.err
    assert predictions.read_text().startswith("IMGID:0\nAnn\t")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "sed=1",
            r"recipe\.yaml: unknown recipe key 'sed'; allowed here: data, images, labels, model, out, prompts, seed,",
        ),
        ("training.lrr=1", r"unknown recipe key 'training\.lrr'; allowed here: .*head_lr, log_every, lr, "),
        ("model.config.poling=cls", r"unknown recipe key 'model\.config\.poling'; allowed here: .*pooling"),
        ("model.text.hiden_size=3", r"encoder settings \(bert\): unknown key 'hiden_size'; known are .*hidden_size"),
        ("model.text.model_type=brt", r"model_type 'brt' is unknown; use one that"),
        ("model.text.hidden_size=wide", r"encoder settings \(bert\): .*'hidden_size' expected int, got str"),
        ("model.text.num_attention_heads=5", r"model settings: .*not a multiple of the number of attention heads"),
        ("training.lr=fast", r"'training\.lr': .*valid number.*\(got 'fast'\)"),
        ("training.epochs=0", r"'training\.epochs': .*greater than 0 \(got 0\)"),
        ("training=3", r"'training': a group of settings is expected: batch_size, epochs, .*\(got 3\)"),
        ("task=mner", r"'task': .*must be one of ner, re, joint \(got 'mner'\)"),
        ("images=maybe", r"'images': .*'raise', 'text-only' or 'none' \(got 'maybe'\)"),
        ("model.init=/x", r"init brings its own encoders; leave text and vision out"),
        ("data.images=", r"data\.images is missing; name the folder of images, or set images: none"),
        ("data.images=/nowhere", r"/nowhere: no such folder of images; correct data\.images"),
        ("data.groups=/nowhere", r"/nowhere: no such file"),
        ("seed", r"override 'seed' is not of the form key=value"),
        ("seed=[1", r"override 'seed=\[1': the value is not YAML"),
        ("out=${NO_SUCH_FOLDER}/x", r"names an environment variable that is not set"),
    ],
)
def test_recipe_settings(override: str, said: str, desk: Desk) -> None:
    found = desk.finetune("--set", override)
    assert re.search(said, found), found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"task: [ner", r"r\.yaml:\d: not YAML"),
        (b"- a\n- b\n", r"r\.yaml: a recipe is a mapping of settings"),
        (b"task: caf\xe9", r"r\.yaml: not YAML: .*utf-8"),
        (b"task: ner\n", r"r\.yaml: recipe key 'data' is missing"),
        (b"", r"r\.yaml: a recipe is a mapping of settings"),
    ],
)
def test_recipe_files(content: bytes, said: str, desk: Desk) -> None:
    (desk.folder / "r.yaml").write_bytes(content)
    assert re.search(said, desk.refused("finetune", desk.folder / "r.yaml"))


def test_a_recipe_that_is_not_there(desk: Desk) -> None:
    assert re.search(
        r"no recipe file 'nonesuch'; give a path, or one of .*newsreel-ner", desk.refused("finetune", "nonesuch")
    )
    assert re.search(r"a recipe for promu finetune", desk.refused("pretrain", desk.folder / "recipe.yaml"))


def spoil_json(file: str, **changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def cut(file: str, length: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / file).write_bytes((folder / file).read_bytes()[:length])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda folder: (folder / "tokenizer.json").unlink(),
            r"model: this model folder has no tokenizer .*copy it",
        ),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"model: no promu model here \(model\.safetensors is",
        ),
        (lambda folder: shutil.rmtree(folder), r"model: no such model folder"),
        (lambda folder: (folder / "config.json").unlink(), r"model: no promu model here"),
        (cut("model.safetensors", 0), r"model\.safetensors: the weights are damaged .*copy or save them again"),
        (cut("model.safetensors", 5000), r"model\.safetensors: the weights are damaged"),
        (cut("config.json", 100), r"config\.json: not JSON .*copy the model folder again"),
        (cut("tokenizer.json", 500), r"tokenizer\.json: not JSON .*copy the model folder again"),
        (
            spoil_json("tokenizer.json", model={"type": "?"}),
            r"tokenizer\.json: not a tokenizer .*copy the model",
        ),
        (spoil_json("config.json", architectures=["PromuForPreTraining"]), r"extracts nothing; fine-tune it first"),
        (
            spoil_json("config.json", architectures=["BertModel"], model_type="bert"),
            r"model: this folder holds Bert",
        ),
        (spoil_json("config.json", id2label={"0": "O", "1": "PER"}), r"model: label 'PER' is not in BIO form"),
    ],
)
def test_model_folders(spoil: Callable[[Path], None], said: str, desk: Desk) -> None:
    model = desk.copy_model()
    spoil(model)
    assert re.search(said, desk.extract("--text", "Ann met Bob", model=model))


def test_a_model_for_another_task_or_with_another_vocabulary(desk: Desk) -> None:
    model = desk.copy_model("re")
    found = desk.refused("evaluate", "ner", model, "--data", desk.folder / "ner.txt")
    assert "this model is for the task 're', not 'ner'" in found
    assert "no entities and there is no model to find them" in desk.extract("--text", "Ann met Bob", model=model)
    tokenizer = load_tokenizer(str(model))
    pieces = len(tokenizer)
    tokenizer.add_tokens(["Zorva"])
    tokenizer.save_pretrained(model)
    said = f"the tokenizer has {pieces + 1} tokens, the model knows {pieces}; copy the tokenizer"
    assert said in desk.extract("--text", "Ann", model=model)
    spoil_json("config.json", text_config={**TINY_TEXT, "vocab_size": 60})(model)
    load_tokenizer(str(desk.models / "re")).save_pretrained(model)
    assert "its weights have other shapes than its config.json" in desk.extract("--text", "Ann", model=model)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            {"text": "no/such-encoder"},
            r"tokenizer 'no/such-encoder' cannot be loaded .*; name a folder",
        ),
        ({"text": "/no/such/folder"}, r"tokenizer '/no/such/folder' cannot be loaded"),
        ({"init": "/no/such/folder"}, r"/no/such/folder"),
        ({"text": "package:promu_no_such/model"}, r"package 'promu_no_such' is not installed; install it"),
        ({"text": "package:promu/no_such"}, r"the package has no folder 'no_such'"),
    ],
)
def test_models_to_start_from(model: dict[str, str], said: str, desk: Desk) -> None:
    desk.recipe["model"] = model
    assert re.search(said, desk.finetune())
    if "text" in model:
        desk.recipe["model"] = {**model, "tokenizer": str(desk.models / "ner")}
        assert re.search(re.escape(model["text"].rpartition("/")[2]), desk.finetune())


def test_an_encoder_is_no_model_to_start_from(desk: Desk) -> None:
    model = desk.copy_model()
    spoil_json("config.json", model_type="bert")(model)
    desk.recipe["model"] = {"init": str(model)}
    assert re.search(r"model: this is a 'bert' model, not promu's", desk.finetune())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", ""], "text is empty"),
        (["--text", "\u200b"], "text has no words"),
        ([], "give either --text or --input"),
        (["--text", "Ann", "--input", "x"], "give either --text or --input"),
        (["--text", "Ann", "--images", "x"], "--images goes with --input"),
        (["--input", "x", "--image", "y"], "--image goes with --text"),
        (["--input", "/no/posts.jsonl"], "/no/posts.jsonl: no such file"),
        (["--text", "Ann", "--out", "/no/such/out.jsonl"], "/no/such: no such folder to write to; make it first"),
        (["--text", "Ann", "--batch-size", "0"], "--batch-size should be greater than or equal to 1"),
    ],
)
def test_what_is_asked_of_extract(words: list[str], said: str, desk: Desk) -> None:
    assert said in desk.extract(*words)


def test_an_out_that_is_a_file(desk: Desk) -> None:
    desk.recipe["out"] = str(desk.folder / "ner.txt")
    assert "ner.txt: this is a file; choose another folder (out)" in desk.finetune()


@pytest.mark.slow
def test_a_failed_start_leaves_the_folder_free(desk: Desk) -> None:
    """A recipe is corrected and started again under the same `out`."""
    desk.recipe["data"]["train"] = str(desk.folder / "nowhere.txt")
    assert "nowhere.txt: no such file" in desk.finetune()
    desk.recipe["data"]["train"] = str(desk.folder / "ner.txt")
    (desk.folder / "recipe.yaml").write_text(json.dumps(desk.recipe))
    assert main(["finetune", str(desk.folder / "recipe.yaml")]) == 0

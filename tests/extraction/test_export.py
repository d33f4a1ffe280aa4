"""A model as ONNX graphs: what PyTorch computes, whatever the sizes."""

from __future__ import annotations

import json
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories import TEXTS, save_tiny_model
from tests.without_torch import assert_same_answer, extract_without_torch, run_without_torch

from promu import Extractor
from promu.cli import main
from promu.errors import InputError
from promu.extraction.onnx_export import Exported, export_models
from promu.tasks.familiarity import FILE
from promu.tasks.model_folder import open_predictor
from promu.tasks.onnx_predictor import OpenGraphs
from promu.tasks.predictor import Predictor
from promu.tasks.task import TASKS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models in fp32, in a folder of their own."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    done = export_models(tiny_models, output=folder)
    assert [(one.task, one.folder) for one in done] == [("ner", folder / "ner"), ("re", folder / "re")]
    assert all(0 < one.distance < 1e-4 and one.bytes > 100_000 for one in done)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that reads text alone, with int8 graphs that the command put into its own folder."""
    folder = save_tiny_model(tmp_path_factory.mktemp("small") / "model", "ner", images=False)
    assert main(["export", str(folder), "--to", "onnx", "--int8"]) == 0
    return folder


@pytest.fixture(scope="module")
def predictors(tiny_models: Path, exported: Path) -> dict[str, tuple[Predictor, Predictor]]:
    """By task: graphs, and PyTorch's model."""
    found = {}
    for task in ("ner", "re"):
        theirs = open_predictor(task, tiny_models / task, "cpu")
        found[task] = open_predictor(task, exported / task, backend="onnx"), theirs
    return found


@settings(max_examples=25)
@given(data=st.data(), rows=st.integers(1, 5), pieces=st.integers(3, 90), task=st.sampled_from(["ner", "re"]))
def test_outputs_are_pytorch_s(
    data: st.DataObject, rows: int, pieces: int, task: str, predictors: dict[str, tuple[Predictor, Predictor]]
) -> None:
    ours, theirs = predictors[task]
    vocabulary = len(ours.encoder.tokenizer)
    chance = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    lengths = chance.integers(3, pieces + 1, rows)
    places = 2 if task == "re" else data.draw(st.integers(1, 40))
    batch = {
        "input_ids": chance.integers(0, vocabulary, (rows, pieces)),
        "attention_mask": (np.arange(pieces)[None] < lengths[:, None]).astype(np.int64),
        "marker_index" if task == "re" else "word_index": chance.integers(0, pieces, (rows, places)),
    }
    if task == "ner":
        batch["word_mask"] = np.ones((rows, places), np.int64)
    shown = np.array(data.draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)))
    pixels = chance.integers(0, 256, (rows, 3, 32, 32), dtype=np.uint8)
    numbered = dict(enumerate(pixels))
    visual = ours.encode_images(numbered).inputs(range(rows))["visual"]
    expected = theirs.encode_images(numbered).inputs(range(rows))["visual"]
    np.testing.assert_allclose(visual, expected, atol=1e-4, rtol=0)
    images = {"visual": visual, "image_mask": shown} if shown.any() else {}
    outputs = [TASKS[task].outputs(predictor({**batch, **images})) for predictor in (ours, theirs)]
    direct = TASKS[task].outputs(ours({**batch, "pixel_values": pixels, "image_mask": shown}))
    if shown.any():
        np.testing.assert_allclose(direct, outputs[0], atol=1e-5, rtol=0)
    if task == "ner":  # what padding emits is nobody's business
        inside = np.take_along_axis(batch["attention_mask"], batch["word_index"], 1)[..., None]
        outputs = [output * inside for output in outputs]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-4, rtol=0)


def test_the_folder_extracts_what_the_model_does(tiny_models: Path, exported: Path, images: Path) -> None:
    assert not list(exported.rglob("*.safetensors")) or [file.name for file in exported.rglob("*.safetensors")] == [
        "crf.safetensors"
    ]
    posts = [{"text": TEXTS[0], "image": "0.png"}, {"text": "Ann met Bob"}, {"text": TEXTS[2], "image": "1.png"}]
    ours = Extractor.from_pretrained(exported, backend="onnx", precision="fp32")
    theirs = Extractor.from_pretrained(tiny_models, device="cpu")
    expected = list(theirs.pipe(posts, images=images, entity_threshold=0.0, relation_threshold=0.0))
    for one, other in zip(extract_without_torch(exported, posts, images), expected, strict=True):
        assert_same_answer(one, other)
    assert sum(len(one.relations) for one in expected) > 3
    with pytest.raises(InputError, match="no attention maps; use backend torch to explain"):
        ours("Ann met Bob", explain=True)


def test_a_joint_model_is_exported_too(tiny_joint: Path, tmp_path: Path, images: Path) -> None:
    (done,) = export_models(tiny_joint, output=tmp_path / "model")
    assert done.distance < 1e-4 and (done.folder / "onnx" / "pairs.onnx").is_file()
    posts = [{"id": "1", "text": TEXTS[0], "image": "0.png"}, {"id": "2", "text": "Ann met Bob"}, {"text": TEXTS[2]}]
    expected = list(
        Extractor.from_pretrained(tiny_joint, device="cpu").pipe(posts, images=images, relation_threshold=0.0)
    )
    for one, other in zip(extract_without_torch(tmp_path / "model", posts, images), expected, strict=True):
        assert_same_answer(one, other)
    assert sum(len(one.relations) for one in expected) > 3


def test_without_pytorch_the_commands_work_or_name_the_extra(exported: Path, tiny_models: Path, images: Path) -> None:
    code = """
    import json, sys
    from pathlib import Path
    from promu.cli import main

    exported, trained, image = sys.stdin.read().split()
    assert main(["extract", "--model", exported, "--text", "Ann met Bob", "--image", image]) == 0
    assert main(["extract", "--model", trained, "--text", "Ann met Bob"]) == 2
    assert main(["finetune", "own-ner"]) == 2
    from fastapi.testclient import TestClient
    from promu.service.schemas import ServiceSettings
    from promu.service.server import create_app

    with TestClient(create_app(ServiceSettings(model=Path(exported)))) as client:
        answer = client.post("/extract", json={"text": "Ann met Bob"})
        assert answer.status_code == 200 and "entities" in answer.json(), answer.text
        assert client.get("/model").json()["backend"] == "onnx"
        assert client.get("/").status_code == 200
    import promu

    try:
        promu.finetune
    except promu.InputError as error:
        print(error, file=sys.stderr)
    """
    done = run_without_torch(textwrap.dedent(code), f"{exported} {tiny_models} {images / '0.png'}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["image_read"] is True
    said = [line for line in done.stderr.splitlines() if "which is not installed; pip install" in line]
    assert [line.partition(" needs ")[0].removeprefix("error: ") for line in said] == [
        "a model that was not exported (promu export)",
        "this command",
        "promu.finetune",
    ]
    assert all("train" in line for line in said)


def test_whoever_may_read_the_folder_may_read_every_file_of_it(tiny_models: Path, exported: Path) -> None:
    files = [file for folder in (tiny_models, exported) for file in folder.rglob("*") if file.is_file()]
    assert {"model.safetensors", "crf.safetensors"} <= {file.name for file in files}
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in files if not file.stat().st_mode & 0o004} == {}


def test_in_int8_neither_batch_nor_order_changes_an_answer(small: Path) -> None:
    extractor = Extractor.from_pretrained(small, backend="onnx", precision="int8")
    posts = [{"id": str(n), "text": TEXTS[n % 3][: 20 + 7 * n]} for n in range(7)]
    alone = {found.id: found.to_dict() for post in posts for found in extractor.pipe([post])}
    for batch_size in (2, 7):
        for order in (posts, posts[::-1]):
            for found in extractor.pipe(order, batch_size=batch_size):
                assert found.to_dict() == alone[found.id]
    fine = {found.id: found for found in Extractor.from_pretrained(small, "cpu").pipe(posts)}
    scores = [
        (entity["score"], same.score)
        for id, record in alone.items()
        for entity in record["entities"]
        for same in fine[id].entities
        if (same.start, same.end, same.type) == (entity["start"], entity["end"], entity["type"])
    ]
    assert len(scores) > 10
    assert any(score != same for score, same in scores), "these are not int8"
    assert all(score == pytest.approx(same, abs=0.2) for score, same in scores)
    facts = json.loads((small / "onnx" / "export.json").read_text())
    assert facts["precision"] == "int8" and facts["distance"] > 0


def test_a_new_folder_is_laid_out_as_the_old_one(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the old one lies: a folder with both, one of them, or what the hub's name stands for."""
    (models := tmp_path / "models").mkdir()
    for task in ("ner", "re"):
        (models / task).symlink_to(tiny_models / task, target_is_directory=True)
    (models / FILE).write_text("what both know")

    def exported_to(tasks: list[str], home: Path, target: Path, int8: bool) -> Exported:
        (task,) = tasks
        assert home.samefile(tiny_models / task)
        target.mkdir(exist_ok=True)
        (target / task).touch()
        return Exported(task, target, 0.0, 1)

    monkeypatch.setattr("promu.extraction.onnx_export._export", exported_to)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **how: str(models))
    cases: list[tuple[str | Path, list[str]]]
    cases = [(models, ["ner", "re"]), ("someone/something", ["ner", "re"]), (models / "ner", [""])]
    for number, (name, places) in enumerate(cases):
        out = tmp_path / str(number)
        (tmp_path / f"{number}.tmp").mkdir()  # a folder of the user's
        (tmp_path / f"{number}.tmp" / "thesis.txt").touch()
        done = export_models(name, output=out)
        assert [one.folder for one in done] == [out / place for place in places]
        assert all((one.folder / one.task).is_file() for one in done)
        assert (out / FILE).is_file() == (len(places) > 1), "what the models know together comes along"
        assert (tmp_path / f"{number}.tmp" / "thesis.txt").exists()
    assert len(list(tmp_path.iterdir())) == 7, "something was left behind"


def test_graphs_of_an_earlier_export_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "model", "ner", images=False)
    before = {file.name for file in folder.iterdir()}
    for number in (1, 2):

        def written(models: object, tokens: object, graphs: Path, int8: bool, number: int = number) -> float:
            (graphs / "export.json").write_text("{}")
            (graphs / f"{number}.onnx").write_text("graph")
            return 0.0

        monkeypatch.setattr("promu.extraction.onnx_export._write_graphs", written)
        (done,) = export_models(folder)
        assert (done.folder, done.bytes) == (folder, 7)
        assert {file.name for file in (folder / "onnx").iterdir()} == {"export.json", f"{number}.onnx"}
    assert {file.name for file in folder.iterdir()} == before | {"onnx"}

    def broken(*given: object) -> float:
        raise InputError("this model has no ONNX form")

    monkeypatch.setattr("promu.extraction.onnx_export._write_graphs", broken)
    with pytest.raises(InputError, match="no ONNX form"):
        export_models(folder)
    assert (folder / "onnx" / "2.onnx").exists(), "what was there is left as it was"
    assert {file.name for file in folder.iterdir()} == before | {"onnx"}


def test_what_cannot_be_exported_or_opened(
    tiny_models: Path, exported: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = shutil.copytree(exported, tmp_path / "damaged")
    (damaged / "ner" / "onnx" / "crf.safetensors").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"crf.safetensors: cannot be read .* export the model again"):
        open_predictor("ner", damaged / "ner", backend="onnx")
    with pytest.raises(InputError, match="this is there already and not empty; name another folder"):
        export_models(tiny_models, output=exported)
    (mine := tmp_path / "mine").mkdir()
    shutil.copy(tiny_models / "ner" / "config.json", mine)
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (mine / name).symlink_to(tiny_models / "ner" / name)
    (mine / "onnx").mkdir()
    (mine / "onnx" / "thesis.txt").write_text("no graph")
    with pytest.raises(InputError, match=r"mine/onnx: graphs go here, and what is there was not exported; move it"):
        export_models(mine)
    assert (mine / "onnx" / "thesis.txt").read_text() == "no graph"
    with monkeypatch.context() as patched:
        patched.setattr("promu.tasks.model_folder.fetch", lambda *_: tiny_models)
        with pytest.raises(InputError, match="exported into a folder of its own"):
            export_models("someone/something")
    with pytest.raises(InputError, match="no ONNX graphs here; make them: promu export"):
        Extractor.from_pretrained(tiny_models, backend="onnx")
    with pytest.raises(InputError, match="the graphs here are int8, not fp32"):
        Extractor.from_pretrained(small, backend="onnx", precision="fp32")
    broken = tmp_path / "broken"
    shutil.copytree(exported / "ner", broken)
    (broken / "onnx" / "answer.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"answer\.onnx: the graph cannot be opened"):
        OpenGraphs(broken)
    assert main(["export", str(tmp_path), "--to", "onnx"]) == 2

"""A model as ONNX graphs: what PyTorch computes, whatever the sizes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories import TEXTS, save_tiny_model

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
    chance = torch.Generator().manual_seed(data.draw(st.integers(0, 2**20)))
    lengths = torch.randint(3, pieces + 1, (rows,), generator=chance)
    places = 2 if task == "re" else data.draw(st.integers(1, 40))
    batch = {
        "input_ids": torch.randint(0, vocabulary, (rows, pieces), generator=chance),
        "attention_mask": (torch.arange(pieces)[None] < lengths[:, None]).long(),
        "marker_index" if task == "re" else "word_index": torch.randint(0, pieces, (rows, places), generator=chance),
    }
    if task == "ner":
        batch["word_mask"] = torch.ones(rows, places, dtype=torch.long)
    shown = torch.tensor(data.draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)))
    pixels = torch.randint(0, 256, (rows, 3, 32, 32), dtype=torch.uint8, generator=chance)
    with torch.inference_mode():
        numbered = dict(enumerate(pixels))
        visual = ours.encode_images(numbered).inputs(range(rows))["visual"]
        expected = theirs.encode_images(numbered).inputs(range(rows))["visual"]
        torch.testing.assert_close(visual, expected, atol=1e-4, rtol=0)
        images = {"visual": visual, "image_mask": shown} if shown.any() else {}
        outputs = [TASKS[task].outputs(predictor({**batch, **images})) for predictor in (ours, theirs)]
        direct = TASKS[task].outputs(ours({**batch, "pixel_values": pixels, "image_mask": shown}))
        if shown.any():
            torch.testing.assert_close(direct, outputs[0], atol=1e-5, rtol=0)
    inside = (batch["attention_mask"].gather(1, batch.get("word_index", batch["input_ids"][:, :0])) > 0)[..., None]
    if task == "ner":  # what padding emits is nobody's business
        outputs = [output * inside for output in outputs]
    torch.testing.assert_close(*outputs, atol=1e-4, rtol=0)


def test_the_folder_extracts_what_the_model_does(tiny_models: Path, exported: Path, images: Path) -> None:
    assert not list(exported.rglob("*.safetensors")) or [file.name for file in exported.rglob("*.safetensors")] == [
        "crf.safetensors"
    ]
    posts = [{"text": TEXTS[0], "image": "0.png"}, {"text": "Ann met Bob"}, {"text": TEXTS[2], "image": "1.png"}]
    ours = Extractor.from_pretrained(exported, backend="onnx", precision="fp32")
    theirs = Extractor.from_pretrained(tiny_models, device="cpu")
    for one, other in zip(ours.pipe(posts, images=images), theirs.pipe(posts, images=images), strict=True):
        assert [(e.start, e.end, e.type) for e in one.entities] == [(e.start, e.end, e.type) for e in other.entities]
        assert [e.score for e in one.entities] == pytest.approx([e.score for e in other.entities], abs=1e-4)
        links = [[(r.head, r.tail, r.type) for r in answer.post.relations] for answer in (one, other)]
        assert links[0] == links[1]
        assert [r.score for r in one.relations] == pytest.approx([r.score for r in other.relations], abs=1e-4)
    with pytest.raises(InputError, match="no attention maps; use backend torch to explain"):
        ours("Ann met Bob", explain=True)


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
    monkeypatch.setattr("promu.hub.snapshot_download", lambda name, **how: str(models))
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

        def written(models: object, graphs: Path, int8: bool, number: int = number) -> float:
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


def test_what_cannot_be_exported_or_opened(tiny_models: Path, exported: Path, small: Path, tmp_path: Path) -> None:
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

"""YOLO-family ONNX files: every layout found from graphs made on the spot, decoded as worked out by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from promu.alignment.corpus_settings import DetectorSettings
from promu.alignment.detectors import build_detector
from promu.alignment.yolo import YoloRegions, letterbox, suppress, to_input
from promu.errors import InputError
from promu.modeling.yolo_layout import LAYOUTS
from promu.schema import Region

SIDE = 64
CELLS = 8 * 8 + 4 * 4 + 2 * 2
NAMES = ("cat", "dog", "a third")
IMAGE = Image.new("RGB", (128, 64))  # half its size fits into 64 x 64: 64 x 32

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves an ONNX file that says the same of every image."""
    onnx = pytest.importorskip("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto

    def save(
        output: np.ndarray[Any, Any],
        side: int | str = SIDE,
        metadata: dict[str, str] | None = None,
        batch: int | str = 1,
        half: bool = False,
    ) -> Path:
        kind = kinds.FLOAT16 if half else kinds.FLOAT
        zero = helper.make_tensor("zero", kind, [], np.zeros(1, "f2" if half else "f4"))
        # what is said depends on the image's number in the batch only: zero times the image, plus the answer
        nodes = [
            helper.make_node("ReduceMax", ["images"], ["most"], axes=[1, 2, 3], keepdims=1),
            helper.make_node("Reshape", ["most", "shape"], ["each"]),
            helper.make_node("Mul", ["each", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "answer"], ["output"]),
        ]
        constants = [
            zero,
            helper.make_tensor("shape", kinds.INT64, [3], [-1, 1, 1]),
            onnx.numpy_helper.from_array(output.astype("f2" if half else "f4"), "answer"),
        ]
        given = helper.make_tensor_value_info("images", kind, [batch, 3, side, side])
        said = helper.make_tensor_value_info("output", kind, [batch, *output.shape[1:]])
        model = helper.make_model(
            helper.make_graph(nodes, "detector", [given], [said], constants),
            opset_imports=[helper.make_opsetid("", 13)],
            ir_version=8,
        )
        helper.set_model_props(model, metadata or {})
        path = tmp_path / "detector.onnx"
        onnx.save(model, path)
        return path

    return save


def names_file(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


def detect(path: Path, tmp_path: Path, **settings: Any) -> list[Region]:
    settings = {"class_names": names_file(tmp_path), **settings}
    (regions,) = build_detector("yolo", path, DetectorSettings(**settings)).detect([IMAGE], ["a.jpg"])
    return regions


def grid_centres() -> np.ndarray[Any, Any]:
    return np.array(
        [((x + 0.5) * s, (y + 0.5) * s) for s in (8, 16, 32) for y in range(64 // s) for x in range(64 // s)]
    )


def test_yolox_relative_to_its_cells(save: Save, tmp_path: Path) -> None:
    output = np.zeros((1, CELLS, 8))
    # cell (1, 0) of stride 16 is row 64 + 1: centre (1 + .25, 0 + .5) * 16 = (20, 8), size (e^0, e^0) * 16 = (16, 16)
    output[0, 65] = [0.25, 0.5, 0.0, 0.0, 0.8, 0.1, 0.5, 0.75]
    path = save(output)
    assert YoloRegions(path, DetectorSettings(class_names=names_file(tmp_path))).layout == "yolox-grid"
    # x0 = 12, y0 = 0, x1 = 28, y1 = 16 in the input, where the image lies top left at half its size
    (region,) = detect(path, tmp_path)
    assert region.label == "a third" and region.score == pytest.approx(0.6)
    assert region.box == pytest.approx((24, 0, 56, 32))


def test_yolox_decoded_in_the_graph(save: Save, tmp_path: Path) -> None:
    output = np.zeros((1, CELLS, 8))
    output[0, :, :2] = grid_centres()
    output[0, 3] = [20, 8, 16, 16, 0.9, 0.0, 1.0, 0.0]
    path = save(output)
    assert YoloRegions(path, DetectorSettings(class_names=names_file(tmp_path))).layout == "yolox"
    (region,) = detect(path, tmp_path)
    assert region.label == "dog" and region.box == pytest.approx((24, 0, 56, 32))


def test_yolov5_three_boxes_a_cell(save: Save, tmp_path: Path) -> None:
    output = np.zeros((1, 3 * CELLS, 8))
    output[0, 7] = [20, 24, 16, 16, 0.9, 1.0, 0.0, 0.0]
    path = save(output)
    assert YoloRegions(path, DetectorSettings(class_names=names_file(tmp_path))).layout == "yolov5"
    # the image lies in the middle: 16 rows of grey above it
    (region,) = detect(path, tmp_path)
    assert region.label == "cat" and region.box == pytest.approx((24, 0, 56, 32))


def test_yolov8_boxes_in_columns_names_in_the_file(save: Save) -> None:
    output = np.zeros((1, 7, CELLS))
    output[0, :, 80] = [20, 24, 16, 16, 0.2, 0.5, 0.0]
    path = save(output, metadata={"names": "{0: 'cat', 1: \"dog's\", 2: 'a third'}"})
    detector = YoloRegions(path, DetectorSettings())
    assert detector.layout == "yolov8"
    ((region,),) = detector.detect([IMAGE], ["a.jpg"])
    assert region == Region((24.0, 0.0, 56.0, 32.0), "dog's", 0.5)


def test_suppressed_in_the_graph(save: Save, tmp_path: Path) -> None:
    output = np.zeros((1, 30, 6))
    output[0, 0] = [12, 16, 28, 32, 0.75, 1]
    path = save(output)
    assert YoloRegions(path, DetectorSettings(class_names=names_file(tmp_path))).layout == "end-to-end"
    assert detect(path, tmp_path) == [Region((24, 0, 56, 32), "dog", 0.75)]
    output[0, 0, 5] = 3
    with pytest.raises(InputError, match=r"found class 3 \(from 0\) and knows 3 names; give a file"):
        detect(save(output), tmp_path)


def test_sizes_and_batches_of_every_kind(save: Save) -> None:
    output = np.zeros((1, 7, CELLS))
    output[0, :, 80] = [20, 24, 16, 16, 0.2, 0.5, 0.0]
    names = {"names": "['cat', 'dog', 'a third']"}
    expected = [[Region((24.0, 0.0, 56.0, 32.0), "dog", 0.5)]] * 5
    for settings in (
        {"batch": "n"},
        {"batch": 3},
        {"half": True},
        {"side": "s", "metadata": {**names, "imgsz": "[64, 64]"}},
    ):
        detector = YoloRegions(save(output, **{"metadata": names, **settings}), DetectorSettings())
        assert detector.detect([IMAGE] * 5, ["a.jpg"] * 5) == expected


def test_clipped_to_the_image_best_first_and_at_most(save: Save, tmp_path: Path) -> None:
    output = np.zeros((1, 7, CELLS))
    output[0, :, 0] = [0, 20, 40, 40, 0.5, 0.0, 0.0]  # beyond the left edge and above the image
    output[0, :, 1] = [50, 44, 8, 8, 0.9, 0.0, 0.0]
    output[0, :, 2] = [30, 60, 8, 8, 0.95, 0.0, 0.0]  # in the grey below: no area in the image
    output[0, :, 3] = [30, 30, 8, 8, 0.29, 0.0, 0.0]
    path = save(output)
    assert [region.box for region in detect(path, tmp_path)] == [(92, 48, 108, 64), (0, 0, 40, 48)]
    assert len(detect(path, tmp_path, max_regions=1)) == 1
    assert len(detect(path, tmp_path, confidence=0.2)) == 3


def test_suppression_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [0, 0, 10, 5], [20, 20, 30, 30]], dtype=np.float32)
    scores = np.array([0.8, 0.7, 0.9, 0.6, 0.5])
    classes = np.array([0, 0, 1, 0, 0])
    # overlaps with box 0: .9 (same class, goes), .9 (another class, stays), .5 (too little, stays)
    assert suppress(boxes, scores, classes, 10).tolist() == [2, 0, 3, 4]
    assert suppress(boxes, scores, classes, 2).tolist() == [2, 0]
    assert suppress(boxes[:0], scores[:0], classes[:0], 2).tolist() == []


def test_images_are_prepared_as_each_member_was_trained() -> None:
    image = Image.new("RGB", (20, 10), (255, 0, 51))
    canvas, frame = letterbox(image, (40, 40), LAYOUTS["yolox-grid"])
    pixels = to_input([canvas], LAYOUTS["yolox-grid"])
    assert (frame.across, frame.down, frame.left, frame.top) == (2, 2, 0, 0)
    assert pixels.dtype == np.float32 and pixels[0, :, 0, 0].tolist() == [51, 0, 255]
    assert pixels[0, :, 19, 39].tolist() == [51, 0, 255] and pixels[0, :, 20, 0].tolist() == [114] * 3
    canvas, frame = letterbox(image, (40, 40), LAYOUTS["yolov8"])
    pixels = to_input([canvas], LAYOUTS["yolov8"])
    assert (frame.left, frame.top) == (0, 10)
    np.testing.assert_allclose(pixels[0, :, 10, 0], [1, 0, 0.2])
    np.testing.assert_allclose(pixels[0, :, 9, 0], 114 / 255)
    assert letterbox(Image.new("RGB", (1, 4000)), (40, 40), LAYOUTS["yolox"])[0].shape == (40, 40, 3)


def test_identity_changes_with_the_file_the_names_and_the_settings(save: Save, tmp_path: Path) -> None:
    output = np.zeros((1, 7, CELLS))
    names = {"names": "['cat', 'dog', 'a third']"}
    identities = [YoloRegions(save(output, metadata=names), DetectorSettings()).identity]
    identities.append(YoloRegions(save(output, metadata=names), DetectorSettings()).identity)
    identities.append(YoloRegions(save(output, metadata=names), DetectorSettings(confidence=0.5)).identity)
    identities.append(YoloRegions(save(output + 0.1, metadata=names), DetectorSettings()).identity)
    (tmp_path / "names.txt").write_text("cat\ndog\nhorse\n")
    settings = DetectorSettings(class_names=tmp_path / "names.txt")
    identities.append(YoloRegions(save(output, metadata=names), settings).identity)
    assert identities[0] == identities[1] and len(set(identities)) == 4


@pytest.mark.parametrize(
    ("shape", "extra", "sentence"),
    [
        ((1, 100, 8), {}, r"shape \(1, 100, 8\) for an image of 64 x 64 pixels, which is no YOLO layout"),
        ((1, 7, CELLS), {}, "has 3 classes and knows 80 names; give a file with the name of each class"),
        ((1, 7, CELLS), {"metadata": {"names": "__import__('os')"}}, "'names' entry is not a Python literal"),
        ((1, 7, CELLS), {"side": "s"}, r"input size \['s', 's'\] is not fixed; export the detector for one size"),
    ],
)
def test_detectors_that_cannot_be_used(
    save: Save, shape: tuple[int, ...], extra: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        YoloRegions(save(np.zeros(shape), **extra), DetectorSettings())


def test_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.onnx"
    with pytest.raises(InputError, match="no such file"):
        build_detector("yolo", path)
    path.write_bytes(b"not a model" * 9)
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match=r"x\.onnx: not an ONNX model that onnxruntime can run"):
        build_detector("yolo", path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"needs onnxruntime, which is not installed; pip install .*onnx"):
        build_detector("yolo", path)

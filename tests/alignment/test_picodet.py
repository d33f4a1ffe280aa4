"""PicoDet's outputs: recognised by their shapes, decoded as worked out by hand, from a file made on the spot."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promu.alignment.corpus_settings import DetectorSettings
from promu.alignment.detectors import build_detector
from promu.alignment.yolo import YoloRegions, decode, letterbox, to_input
from promu.modeling.yolo_layout import LAYOUTS, join_levels, picodet_cells

SIDE = 96
"""Twelve, six, three and (a half cell beyond the image) two cells a side."""
CELLS = (144, 36, 9, 4)


def outputs() -> list[np.ndarray]:
    """Scores of three classes and distances over four bins; a thing in row 1, column 2 at stride 16."""
    scores = [np.zeros((1, count, 3), np.float32) for count in CELLS]
    bins = [np.zeros((1, count, 16), np.float32) for count in CELLS]
    scores[1][0, 8] = (0.1, 0.9, 0.2)
    scores[3][0, 3] = (0.5, 0.0, 0.0)
    # sides of 1, 0, 2 strides for sure; the lowest between 1 and 3, evenly
    sure = np.full((4, 4), -50.0, np.float32)
    sure[0, 1] = sure[1, 0] = sure[2, 2] = sure[3, 1] = sure[3, 3] = 50
    bins[1][0, 8] = sure.ravel()
    return scores + bins


def test_outputs_are_joined_and_decoded_by_hand() -> None:
    joined = join_levels(outputs(), (SIDE, SIDE))
    assert joined is not None and joined.shape == (1, sum(CELLS), 4 + 3)
    boxes, scores, classes = decode(joined[0], "picodet", (SIDE, SIDE), 0.4)
    # the cell's centre is (2.5, 1.5) * 16 = (40, 24); distances 16, 0, 32, 32
    assert boxes[0] == pytest.approx((24, 24, 72, 56), abs=1e-3)
    # all bins alike: 1.5 strides of 64 to every side of (1.5, 1.5) * 64
    assert boxes[1] == pytest.approx((0, 0, 192, 192), abs=1e-3)
    assert scores.tolist() == pytest.approx([0.9, 0.5]) and classes.tolist() == [1, 0]
    assert len(picodet_cells((416, 416))) == 2704 + 676 + 169 + 49


def test_other_outputs_are_not_joined() -> None:
    said = outputs()
    assert join_levels(said[:1], (SIDE, SIDE)) is None
    assert join_levels(said, (64, 64)) is None
    assert join_levels([*said[:4], *(part[..., :15] for part in said[4:])], (SIDE, SIDE)) is None
    assert join_levels([*said[4:], *said[:3], said[3][0]], (SIDE, SIDE)) is None


def test_an_image_is_squeezed_and_normalised_as_imagenet_is() -> None:
    layout = LAYOUTS["picodet"]
    canvas, frame = letterbox(Image.new("RGB", (192, 48), (255, 0, 0)), (SIDE, SIDE), layout)
    assert canvas.shape == (SIDE, SIDE, 3) and (canvas == (255, 0, 0)).all(), "no grey beside it"
    assert (frame.across, frame.down, frame.left, frame.top) == (0.5, 2, 0, 0)
    pixels = to_input([canvas], layout)
    expected = ((1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225)
    assert pixels[0, :, 5, 7] == pytest.approx(expected, abs=1e-5)


def test_regions_by_a_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    said = outputs()
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["most"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "shape"], ["each"]),
    ]
    constants = [
        helper.make_tensor("zero", kind, [], [0.0]),
        helper.make_tensor("shape", onnx.TensorProto.INT64, [3], [1, 1, 1]),
    ]
    ends = []
    for number, part in enumerate(said):
        constants.append(onnx.numpy_helper.from_array(part, f"part{number}"))
        nodes.append(helper.make_node("Add", ["each", f"part{number}"], [f"out{number}"]))
        ends.append(helper.make_tensor_value_info(f"out{number}", kind, list(part.shape)))
    given = helper.make_tensor_value_info("images", kind, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "picodet", [given], ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "pico.onnx")
    (tmp_path / "names.txt").write_text("cat\ndog\nhorse\n")
    settings = DetectorSettings(confidence=0.4, class_names=tmp_path / "names.txt")
    detector = build_detector("yolo", tmp_path / "pico.onnx", settings)
    assert isinstance(detector, YoloRegions) and detector.layout == "picodet"
    first, second = detector.detect([Image.new("RGB", (192, 48))], ["wide.png"])[0]
    # back in the image's pixels: twice as wide, half as high; what leaves the image is cut
    assert (first.label, second.label) == ("dog", "cat")
    assert first.box == pytest.approx((48, 12, 144, 28), abs=1e-2) and math.isclose(first.score, 0.9, rel_tol=1e-5)
    assert second.box == pytest.approx((0, 0, 192, 48), abs=1e-2)

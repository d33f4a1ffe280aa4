"""ONNX graphs in PyTorch, against onnxruntime."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.modeling.tiny_detectors import save_tiny_yolov8, save_tiny_yolox

from promu.errors import InputError
from promu.modeling.onnx_graph import OnnxGraph, read_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper = onnx.helper
FLOAT = onnx.TensorProto.FLOAT


def save(
    path: Path, nodes: list[Any], constants: dict[str, Any] | None = None, batch: int | str = "n", opset: int = 13
) -> Path:
    """A file with these nodes from `x` (batch, 4, 6, 6) to `y`."""
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [batch, 4, 6, 6])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        tensors,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)
    return path


def by_onnxruntime(path: Path, pixels: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    if given.shape[0] == 1:
        return torch.cat([torch.tensor(session.run(None, {given.name: row[None].numpy()})[0]) for row in pixels])
    return torch.tensor(session.run(None, {given.name: pixels.numpy()})[0])


def test_a_real_detector_says_the_same(shared: Path) -> None:
    path = shared / "models" / "yolox_nano" / "yolox_nano.onnx"
    graph = OnnxGraph.from_onnx(path)
    assert not list(graph.parameters()) and sum(buffer.numel() for buffer in graph.buffers()) > 900_000
    pixels = torch.rand(2, 3, 416, 416, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        torch.testing.assert_close(graph(pixels)["output"], by_onnxruntime(path, pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("save_detector", [save_tiny_yolox, save_tiny_yolov8])
def test_a_tiny_detector_says_the_same_of_many_images(save_detector: Any, tmp_path: Path) -> None:
    path = save_detector(tmp_path / "tiny.onnx")  # exported for one image at a time
    pixels = torch.rand(3, 3, 64, 64)
    graph = OnnxGraph.from_onnx(path)
    torch.testing.assert_close(graph(pixels)["output"], by_onnxruntime(path, pixels), rtol=1e-4, atol=1e-4)
    assert "SiLU" in {node["op"] for node in graph.graph["nodes"]}


NODES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "arithmetic": (
        [
            helper.make_node("Sub", ["x", "two"], ["a"]),
            helper.make_node("Div", ["a", "two"], ["b"]),
            helper.make_node("Add", ["b", "row"], ["c"]),
            helper.make_node("Pow", ["c", "two"], ["d"]),
            helper.make_node("Exp", ["c"], ["e"]),
            helper.make_node("Mul", ["d", "e"], ["y"]),
        ],
        {"two": np.float32(2), "row": np.linspace(0, 1, 6, dtype="f4")},
    ),
    "activations": (
        [
            helper.make_node("LeakyRelu", ["x"], ["a"], alpha=0.2),
            helper.make_node("HardSwish", ["a"], ["b"]),
            helper.make_node("Clip", ["b", "low", "high"], ["c"]),
            helper.make_node("Relu", ["c"], ["d"]),
            helper.make_node("Identity", ["d"], ["y"]),
        ],
        {"low": np.float32(-0.2), "high": np.float32(0.4)},
    ),
    "parts": (
        [
            helper.make_node("Split", ["x", "parts"], ["a", "b"], axis=1),
            helper.make_node("Split", ["x"], ["c", "d"], axis=2),
            helper.make_node("Slice", ["x", "from", "to", "axes", "steps"], ["e"]),
            helper.make_node("Reshape", ["e", "shape"], ["f"]),
            helper.make_node("Reshape", ["b", "shape"], ["g"]),
            helper.make_node("Concat", ["f", "g"], ["h"], axis=1),
            helper.make_node("Softmax", ["d"], ["i"], axis=1),
            helper.make_node("Reshape", ["i", "shape"], ["j"]),
            helper.make_node("Transpose", ["j"], ["k"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["h", "k"], ["l"]),
            helper.make_node("Split", ["l"], ["m", "y"], axis=1),
        ],
        {
            "parts": np.array([1, 3]),
            "from": np.array([3, 1]),
            "to": np.array([2**63 - 1, -1]),
            "axes": np.array([1, 2]),
            "steps": np.array([1, 2]),
            "shape": np.array([0, -1, 12]),
        },
    ),
    "windows": (
        [
            helper.make_node("MaxPool", ["x"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Resize", ["a", "", "scales"], ["b"], mode="nearest"),
            helper.make_node("Conv", ["b", "depth"], ["c"], group=4, pads=[2, 2, 2, 2], dilations=[2, 2]),
            helper.make_node("Conv", ["c", "wide", "bias"], ["y"], strides=[2, 1], kernel_shape=[1, 1]),
        ],
        {
            "scales": np.array([1, 1, 3, 2], "f4"),
            "depth": np.random.default_rng(0).normal(size=(4, 1, 3, 3)).astype("f4"),
            "wide": np.random.default_rng(1).normal(size=(5, 4, 1, 1)).astype("f4"),
            "bias": np.arange(5, dtype="f4"),
        },
    ),
    "gates": (
        [
            helper.make_node("Sigmoid", ["x"], ["a"]),
            helper.make_node("Mul", ["a", "x"], ["b"]),  # one operation
            helper.make_node("Sigmoid", ["b"], ["c"]),  # read twice: stays as it is
            helper.make_node("Mul", ["b", "c"], ["d"]),
            helper.make_node("Sigmoid", ["d"], ["e"]),
            helper.make_node("Mul", ["e", "b"], ["f"]),  # a gate for something else
            helper.make_node("Add", ["f", "c"], ["y"]),
        ],
        {},
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_every_operation_says_the_same(name: str, tmp_path: Path) -> None:
    nodes, constants = NODES[name]
    path = save(tmp_path / "graph.onnx", nodes, constants, opset=14)
    pixels = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(
            OnnxGraph.from_onnx(path)(pixels)["y"], by_onnxruntime(path, pixels), rtol=1e-4, atol=1e-4
        )


def test_softmax_of_old_graphs_runs_over_all_that_follows(tmp_path: Path) -> None:
    path = save(tmp_path / "graph.onnx", [helper.make_node("Softmax", ["x"], ["y"], axis=2)], opset=11)
    pixels = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(OnnxGraph.from_onnx(path)(pixels)["y"], by_onnxruntime(path, pixels))


def test_inner_values_are_what_they_were_when_others_go_on_from_them(tmp_path: Path) -> None:
    """What is computed in place must not touch a value that is asked for, nor one that is still needed."""
    graph = OnnxGraph.from_onnx(save_tiny_yolox(tmp_path / "tiny.onnx"))
    pixels = torch.rand(2, 3, 64, 64)
    names = [name for node in graph.graph["nodes"] for name in node["outputs"]]
    with torch.no_grad():
        together = graph(pixels, names)
        for name in names:
            torch.testing.assert_close(graph(pixels, [name])[name], together[name])
    with torch.enable_grad():  # nothing is computed in place
        torch.testing.assert_close(graph(pixels)["output"], together["output"])


def test_trained_weights_are_parameters_under_the_same_names(tmp_path: Path) -> None:
    path = save_tiny_yolox(tmp_path / "tiny.onnx")
    frozen, trained = OnnxGraph.from_onnx(path), OnnxGraph.from_onnx(path, train=["output"])
    assert frozen.state_dict().keys() == trained.state_dict().keys() == dict(trained.named_parameters()).keys()
    trained(torch.rand(2, 3, 64, 64))["output"].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in trained.parameters())


def test_a_graph_is_plain_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_tiny_yolox(tmp_path / "tiny.onnx")
    graph, weights = read_onnx(path)
    monkeypatch.setitem(sys.modules, "onnx", None)  # not needed any more
    again = OnnxGraph(json.loads(json.dumps(graph)))
    again.load_weights(weights)
    pixels = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(again(pixels)["output"], by_onnxruntime(path, pixels), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"needs onnx, which is not installed; pip install .*onnx"):
        read_onnx(path)


@pytest.mark.parametrize(
    ("nodes", "constants", "sentence"),
    [
        (
            [helper.make_node("NonZero", ["x"], ["y"])],
            {},
            r"graph\.onnx: its graph uses NonZero \('y'\), which promu cannot run as a vision encoder",
        ),
        (
            [
                helper.make_node("Identity", ["x"], ["shape"]),
                helper.make_node("Reshape", ["x", "shape"], ["y"]),
            ],
            {},
            "the Reshape 'y' of its graph is computed from the image's shape; export it for a fixed size",
        ),
        (
            [helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")],
            {"w": np.zeros((1, 4, 1, 1), "f4")},
            r"its graph uses Conv \('y'\)",
        ),
    ],
)
def test_graphs_that_cannot_be_read(nodes: list[Any], constants: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read_onnx(save(tmp_path / "graph.onnx", nodes, constants))


@pytest.mark.parametrize(
    ("node", "constants", "sentence"),
    [
        (
            helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], pads=[0, 0, 1, 1]),
            {},
            "MaxPool 'y' of the graph is padded unevenly",
        ),
        (
            helper.make_node("Resize", ["x", "", "s"], ["y"], mode="linear"),
            {"s": np.array([1, 1, 2, 2], "f4")},
            "Resize 'y' of the graph is not by the nearest and a whole factor",
        ),
    ],
)
def test_graphs_that_cannot_be_run(node: Any, constants: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    graph = OnnxGraph.from_onnx(save(tmp_path / "graph.onnx", [node], constants))
    with pytest.raises(InputError, match=sentence):
        graph(torch.zeros(1, 4, 6, 6))


def test_other_files_and_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.onnx: no such file"):
        read_onnx(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match="name one ONNX file"):
        read_onnx(tmp_path)
    path = save_tiny_yolox(tmp_path / "tiny.onnx")
    (tmp_path / "short.onnx").write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"short\.onnx: not an ONNX model, or one cut short"):
        read_onnx(tmp_path / "short.onnx")
    with pytest.raises(InputError, match="the detector's graph has no map 'nose'"):
        OnnxGraph.from_onnx(path)(torch.zeros(1, 3, 64, 64), ["nose"])

"""A model out of the ONNX graphs that `promu.extraction.export` makes, run by onnxruntime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from promu.errors import InputError, first_line
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
from promu.training.setup import read_json_object

GRAPHS = "onnx"
"""The folder of graphs inside a model's folder."""
VISION, ANSWER, CRF, FACTS = "vision.onnx", "answer.onnx", "crf.safetensors", "export.json"


class OnnxBackend:
    """One exported model (`promu.extraction.backends.Backend`). Its graphs give out no attention maps.

    An int8 graph scales what comes into a layer by the largest value of the whole batch, so that each post is read
    alone: otherwise its answer would hang on its neighbours.

    Args:
        folder: The model's, with config.json and `onnx/`.

    Raises:
        InputError: There are no graphs, or damaged ones; onnxruntime is not installed.
    """

    explains = False

    def __init__(self, folder: Path) -> None:
        graphs = folder / GRAPHS
        if not (graphs / FACTS).is_file():
            raise InputError("no ONNX graphs here; make them: promu export FOLDER --to onnx", folder)
        facts = read_json_object(graphs / FACTS)
        self.config: PromuConfig = PromuConfig.from_pretrained(folder)
        self.device = torch.device("cpu")
        self.precision: str = facts["precision"]
        self.one_by_one = self.precision == "int8"
        self.sight: str | None = facts["sight"]
        self._answer = open_graph(graphs / ANSWER)
        self._inputs = {given.name: given.shape for given in self._answer.get_inputs()}
        self._output = self._answer.get_outputs()[0].name
        self._vision = None if self.sight is None else open_graph(graphs / VISION)
        self.crf: LinearChainCrf | None = None
        if (graphs / CRF).is_file():
            names: Any = self.config.id2label
            self.crf = LinearChainCrf([names[index] for index in range(len(names))])
            self.crf.load_state_dict(load_file(graphs / CRF))

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """As `Backend.encode`."""
        assert self._vision is not None
        return torch.from_numpy(self._vision.run(None, {"pixels": pixels.numpy()})[0])

    def __call__(self, batch: Mapping[str, torch.Tensor], explain: bool) -> Any:
        """As `Backend.__call__`."""
        given = {name: batch[name].numpy() for name in self._inputs if name in batch}
        rows = len(batch["input_ids"])
        if "visual" in self._inputs and "visual" not in given:
            # one token that is masked out; the sizes that the graph leaves open are those of batch and tokens
            shape = [rows, *(size if isinstance(size, int) else 1 for size in self._inputs["visual"][1:])]
            given["visual"] = np.zeros(shape, np.float32)
            given["picture_mask"] = np.zeros(rows, np.int64)
        return SimpleNamespace(**{self._output: torch.from_numpy(self._answer.run(None, given)[0])})


def open_graph(path: Path) -> Any:
    """An onnxruntime session with as many threads as torch has.

    Raises:
        InputError: onnxruntime is not installed; the graph is missing or damaged.
    """
    try:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile
    except ImportError:
        raise InputError("backend onnx needs onnxruntime; install promu[onnx]") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
        raise InputError(f"the graph cannot be opened ({first_line(error)}); export the model again", path) from None

"""A fine-tuned model as ONNX graphs, put to work: the same answers as PyTorch's, on the CPU and without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from promu.cores import SPIN_MICROSECONDS
from promu.errors import InputError, first_line, needs_extra
from promu.hub import refuse_nan
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
from promu.modeling.inputs import Batch, WordEncoder
from promu.modeling.loading import load_tokenizer, read_json_object
from promu.tasks.predictor import Predictor, Task

GRAPHS = "onnx"
"""The folder of graphs inside a model's folder."""
POSITIONS = {"word_index", "marker_index"}
"""Inputs of a graph that one task has and another has not."""
VISION, ANSWER, PAIRS, CRF = "vision.onnx", "answer.onnx", "pairs.onnx", "crf.safetensors"
FACTS, FUSED = "export.json", "fused_text"


class OpenGraphs:
    """The graphs of an exported model, opened once for all of its tasks.

    Args:
        folder: Of the model, with config.json, the tokenizer and `onnx/`.

    Raises:
        InputError: There are no graphs, or damaged ones; onnxruntime is not installed.
    """

    def __init__(self, folder: Path) -> None:
        graphs = folder / GRAPHS
        if not (graphs / FACTS).is_file():
            raise InputError("no ONNX graphs here; make them: promu export FOLDER --to onnx", folder)
        self.folder = folder
        self.config = PromuConfig.from_pretrained(folder)
        self.encoder = WordEncoder.of(load_tokenizer(str(folder)), self.config)
        facts = read_json_object(graphs / FACTS)
        self.precision: str = facts["precision"]
        self.vision_checksum: str | None = facts["vision_checksum"]
        self.answer = open_graph(graphs / ANSWER)
        self.pairs = open_graph(graphs / PAIRS) if (graphs / PAIRS).is_file() else None
        self.vision = None if self.vision_checksum is None else open_graph(graphs / VISION)


class OnnxPredictor(Predictor):
    """An exported model (`promu.extraction.onnx_export`) on the CPU. Its graphs give no attention maps.

    An int8 graph scales a layer's inputs by the largest value of the whole batch, so each post is read alone.

    Those of several tasks may share what was opened: each takes its own output.

    Raises:
        InputError: A damaged file.
    """

    vision_checksum: str | None = None

    def __init__(self, task: Task, graphs: OpenGraphs) -> None:
        super().__init__(task, graphs.config.of_task(task.name), graphs.encoder)
        self.one_by_one = graphs.precision == "int8"
        self.vision_checksum = graphs.vision_checksum
        self._answer, self._vision, self._pairs = graphs.answer, graphs.vision, graphs.pairs
        self.backbone = graphs.answer
        self._inputs = {given.name: given.shape for given in self._answer.get_inputs()}
        if "crf" in task.model_class.head_labels(self.config):
            self.crf = LinearChainCrf(self.labels)
            file = graphs.folder / GRAPHS / CRF
            try:
                self.crf.load_state_dict(load_file(file))
            except (OSError, SafetensorError) as error:
                reason = f"cannot be read ({first_line(error)}); check who may read it, or export the model again"
                raise InputError(reason, file) from None
            refuse_nan(self.crf, "this exported model's CRF")
        self._compute_once(graphs.folder)

    def _compute_once(self, folder: Path) -> None:
        """Make sure that the graph's weights are numbers, by one short text."""
        ids, positions = torch.tensor([[self.encoder.start, self.encoder.stop]]), torch.tensor([[0, 1]])
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
        batch |= dict.fromkeys(("word_index", "marker_index"), positions)
        batch["pairs"] = torch.tensor([[0, 0, 1, 0, 1]])
        if not bool(getattr(self(batch), self.task.output).isfinite().all()):
            raise InputError(
                "the graph computes no numbers: the model was exported after a training that diverged", folder
            )

    def __call__(self, batch: Batch, output_attentions: bool = False) -> Any:
        if "fused_text" in batch:
            return SimpleNamespace(logits=self._pair_logits(batch["fused_text"], batch["pairs"]))
        if "position_ids" in self._inputs and "position_ids" not in batch:  # a text without levitated markers
            mask, ids = batch["attention_mask"], batch["input_ids"]
            alone = {"attention_mask": mask[:, None].expand(-1, ids.shape[1], -1)}
            alone["position_ids"] = torch.arange(ids.shape[1]).expand_as(ids)
            batch = {"pairs": torch.zeros(1, 5, dtype=torch.long), **batch, **alone}
        given = {name: batch[name].numpy() for name in self._inputs if name in batch}
        for name in POSITIONS & self._inputs.keys() - given.keys():  # another task's, whose answer nobody reads
            given[name] = np.zeros((len(batch["input_ids"]), 2), np.int64)
        if "pixel_values" in batch:
            given["visual"] = self._encode_images(batch["pixel_values"]).numpy()
        elif "visual" in self._inputs and "visual" not in given:
            # one token that is masked out; the sizes that the graph leaves open are those of batch and tokens
            rows, sizes = len(batch["input_ids"]), self._inputs["visual"][1:]
            given["visual"] = np.zeros([rows, *(size if isinstance(size, int) else 1 for size in sizes)], np.float32)
            given["image_mask"] = np.zeros(rows, np.int64)
        names = [output.name for output in self._answer.get_outputs() if output.name in (self.task.output, FUSED)]
        answers = dict(zip(names, _run(self._answer, given, names), strict=True))
        if self._pairs is not None and self.task.output == "logits":
            answers["logits"] = self._pair_logits(answers[FUSED], batch["pairs"])
        return SimpleNamespace(**answers)

    def _pair_logits(self, fused: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        (logits,) = _run(self._pairs, {FUSED: fused.numpy(), "pairs": pairs.numpy()})
        return logits

    def _encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        assert self._vision is not None
        (vectors,) = _run(self._vision, {"pixels": pixels.numpy()})
        return vectors


def _run(graph: Any, inputs: Mapping[str, Any], outputs: list[str] | None = None) -> list[torch.Tensor]:
    """A graph's outputs of these names, or all; what goes wrong in it is a RuntimeError, as in PyTorch."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    try:
        return [torch.from_numpy(values) for values in graph.run(outputs, dict(inputs))]
    except (Fail, InvalidArgument, RuntimeException) as error:
        raise RuntimeError(first_line(error)) from error


def open_graph(path: Path) -> Any:
    """An onnxruntime session with as many threads as torch has.

    Raises:
        InputError: onnxruntime is not installed; the graph is missing or damaged.
    """
    try:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile
    except ImportError:
        raise needs_extra("backend onnx", "onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
        raise InputError(f"the graph cannot be opened ({first_line(error)}); export the model again", path) from None

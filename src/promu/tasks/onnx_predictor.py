"""A fine-tuned model as ONNX graphs, put to work: the same answers as PyTorch's, on the CPU.

It needs onnxruntime, tokenizers and NumPy; neither PyTorch nor transformers is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from promu.config import first_problem
from promu.cores import SPIN_MICROSECONDS, usable_threads
from promu.errors import InputError, first_line, needs_extra
from promu.hub import read_json_object
from promu.modeling.chain import Crf, bio_labels
from promu.modeling.head_settings import HeadSettings
from promu.modeling.inputs import Batch, WordEncoder
from promu.modeling.inventory import inventory_of
from promu.modeling.span_candidates import Candidates, propose
from promu.tasks.predictor import Predictor, Task

GRAPHS = "onnx"
"""The folder of graphs inside a model's folder."""
POSITIONS = {"word_index", "marker_index"}
"""Inputs of a graph that one task has and another has not."""
VISION, ANSWER, PAIRS, CRF = "vision.onnx", "answer.onnx", "pairs.onnx", "crf.safetensors"
FACTS, FUSED = "export.json", "fused_text"
TOKENS = ("cls_token_id", "bos_token_id", "sep_token_id", "eos_token_id", "pad_token_id", "unk_token_id")


@dataclass(kw_only=True)
class ExportedFacts:
    """What the file `export.json` says of the graphs beside it.

    Attributes:
        precision: `fp32` or `int8`.
        vision_checksum: Equal for two models that encode an image equally; None for a model that reads text alone.
        distance: The largest difference of an output from PyTorch's.
        image_side: Side of the square image that the model takes, in pixels.
        positions: Tokens that the text encoder has positions for; None where it has no limit.
        tokens: Ids of the special tokens, by the names in `TOKENS`.
    """

    precision: str
    vision_checksum: str | None
    distance: float
    image_side: int | None
    positions: int | None
    tokens: dict[str, int | None]


@dataclass(kw_only=True)
class ExportedConfig(HeadSettings):
    """The configuration of an exported model: what its config.json says of heads and texts, and the facts."""

    id2label: dict[int, str] | None = None
    facts: ExportedFacts = field(repr=False)

    @property
    def image_size(self) -> int | None:
        return self.facts.image_side

    @property
    def max_positions(self) -> int | None:
        return self.facts.positions


class ExportedTokenizer:
    """The tokenizer.json of an exported model, with what `WordEncoder` asks of a tokenizer.

    Args:
        file: The tokenizer.json.
        tokens: Ids of the special tokens (`ExportedFacts.tokens`).

    Raises:
        InputError: There is no such file, or it holds no tokenizer.
    """

    def __init__(self, file: Path, tokens: Mapping[str, int | None]) -> None:
        try:
            self.pieces = Tokenizer.from_buffer(file.read_bytes())  # from_file raises nothing narrower than Exception
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror}); copy the model folder again", file) from None
        except ValueError as error:
            raise InputError(f"not a tokenizer ({error}); copy the model folder again", file) from None
        self.pieces.no_truncation()
        self.pieces.no_padding()
        # a text that happens to hold "[SEP]" means the characters
        self.pieces.encode_special_tokens = True
        for name in TOKENS:
            setattr(self, name, tokens.get(name))

    def __len__(self) -> int:
        return self.pieces.get_vocab_size()

    def __call__(self, texts: str | Sequence[str], is_split_into_words: bool = False, **_: Any) -> Any:
        """`input_ids` of one text, of the words of one, or of several texts; special tokens are never added."""
        if isinstance(texts, str) or is_split_into_words:
            one = self.pieces.encode(texts, is_pretokenized=is_split_into_words, add_special_tokens=False)
            return SimpleNamespace(input_ids=one.ids)
        several = self.pieces.encode_batch(list(texts), add_special_tokens=False)
        return SimpleNamespace(input_ids=[one.ids for one in several])

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int | None]:
        """The ids of tokens, None for those that there are not."""
        return [self.pieces.token_to_id(token) for token in tokens]


class OpenGraphs:
    """The graphs of an exported model, opened once for all of its tasks.

    Args:
        folder: Of the model, with config.json, the tokenizer and `onnx/`.

    Raises:
        InputError: There are no graphs, damaged ones, or those of an older promu; onnxruntime is not installed.
    """

    def __init__(self, folder: Path) -> None:
        graphs = folder / GRAPHS
        if not (graphs / FACTS).is_file():
            raise InputError("no ONNX graphs here; make them: promu export FOLDER --to onnx", folder)
        self.folder = folder
        self.facts = _checked(ExportedFacts, read_json_object(graphs / FACTS), graphs / FACTS)
        config = read_json_object(folder / "config.json")
        self.config = _checked(ExportedConfig, {**config, "facts": self.facts}, folder / "config.json")
        self.config.check_head()
        self.encoder = WordEncoder.of(ExportedTokenizer(folder / "tokenizer.json", self.facts.tokens), self.config)
        self.answer = open_graph(graphs / ANSWER)
        self.pairs = open_graph(graphs / PAIRS) if (graphs / PAIRS).is_file() else None
        self.vision = None if self.facts.vision_checksum is None else open_graph(graphs / VISION)

    def crf(self, labels: Sequence[str]) -> Crf:
        """The CRF over these labels.

        Raises:
            InputError: Its file cannot be read, or holds what is no number.
        """
        file = self.folder / GRAPHS / CRF
        try:
            crf = Crf.of(labels, load_file(file))
        except (OSError, KeyError, SafetensorError) as error:
            reason = f"cannot be read ({first_line(error)}); check who may read it, or export the model again"
            raise InputError(reason, file) from None
        if not all(np.isfinite(weights).all() for weights in crf):
            raise InputError("holds NaN or infinity: the model was exported after a training that diverged", file)
        return crf


def _checked(kind: Any, values: Mapping[str, Any], path: Path) -> Any:
    """An instance of a dataclass from JSON.

    Raises:
        InputError: A value is missing or of another kind.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise InputError(
            f"not of graphs that this promu has made ({first_problem(error)}); export the model again", path
        ) from None


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
        self.one_by_one = graphs.facts.precision == "int8"
        self.vision_checksum = graphs.facts.vision_checksum
        self._answer, self._vision, self._pairs = graphs.answer, graphs.vision, graphs.pairs
        self.backbone = graphs.answer
        self._inputs = {given.name: given.shape for given in self._answer.get_inputs()}
        if task.output == "candidates":
            self.crf = graphs.crf(bio_labels(inventory_of(self.labels).types))
        elif task.output == "emissions":
            self.crf = graphs.crf(self.labels)
        self._compute_once(graphs.folder)

    def _compute_once(self, folder: Path) -> None:
        """Make sure that the graph's weights are numbers, by one short text."""
        ids = np.array([[self.encoder.start, self.encoder.stop]])
        batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        batch |= dict.fromkeys(("word_index", "marker_index"), np.array([[0, 1]]))
        batch |= {"word_mask": np.ones_like(ids), "pairs": np.array([[0, 0, 1, 0, 1]])}
        output = self.task.outputs(self(batch))
        if not np.isfinite(getattr(output, "emissions", output)).all():
            raise InputError(
                "the graph computes no numbers: the model was exported after a training that diverged", folder
            )

    def __call__(self, batch: Batch, output_attentions: bool = False) -> Any:
        if FUSED in batch:
            return SimpleNamespace(logits=self._from_vectors(batch[FUSED], pairs=batch["pairs"]))
        if "position_ids" in self._inputs and "position_ids" not in batch:  # a text without levitated markers
            mask, ids = batch["attention_mask"], batch["input_ids"]
            alone = {"attention_mask": np.repeat(mask[:, None], ids.shape[1], axis=1)}
            alone["position_ids"] = np.tile(np.arange(ids.shape[1]), (len(ids), 1))
            batch = {"pairs": np.zeros((1, 5), np.int64), **batch, **alone}
        given = {name: batch[name] for name in self._inputs if name in batch}
        for name in POSITIONS & self._inputs.keys() - given.keys():  # another task's, whose answer nobody reads
            given[name] = np.zeros((len(batch["input_ids"]), 2), np.int64)
        if "pixel_values" in batch:
            given["visual"] = self._encode_images(batch["pixel_values"])
        elif "visual" in self._inputs and "visual" not in given:
            # one token that is masked out; the sizes that the graph leaves open are those of batch and tokens
            rows, sizes = len(batch["input_ids"]), self._inputs["visual"][1:]
            given["visual"] = np.zeros([rows, *(size if isinstance(size, int) else 1 for size in sizes)], np.float32)
            given["image_mask"] = np.zeros(rows, np.int64)
        wanted = ("emissions" if self.task.output == "candidates" else self.task.output, FUSED)
        names = [output.name for output in self._answer.get_outputs() if output.name in wanted]
        answers = dict(zip(names, _run(self._answer, given, names), strict=True))
        if self._pairs is not None and self.task.output == "logits":
            answers["logits"] = self._from_vectors(answers[FUSED], pairs=batch["pairs"])
        if self.task.output == "candidates":
            assert self.crf is not None
            found = propose(answers["emissions"], self.crf, batch["word_mask"])
            logits = self._from_vectors(answers[FUSED], word_index=batch["word_index"], spans=found[0])
            answers["candidates"] = Candidates(*found, logits, answers["emissions"])
        return SimpleNamespace(**answers)

    def _from_vectors(self, fused: NDArray[np.float32], **places: NDArray[np.int64]) -> NDArray[np.float32]:
        """The logits that the graph of the relation head makes of fused vectors."""
        (logits,) = _run(self._pairs, {FUSED: fused, **places})
        return logits

    def _encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert self._vision is not None
        (vectors,) = _run(self._vision, {"pixels": pixels})
        return vectors


def _run(graph: Any, inputs: Mapping[str, Any], outputs: list[str] | None = None) -> list[NDArray[np.float32]]:
    """A graph's outputs of these names, or all; what goes wrong in it is a RuntimeError, as in PyTorch."""
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    try:
        found: list[NDArray[np.float32]] = graph.run(outputs, dict(inputs))
    except (Fail, InvalidArgument, RuntimeException) as error:
        raise RuntimeError(first_line(error)) from error
    return found


def open_graph(path: Path) -> Any:
    """An onnxruntime session with `usable_threads`.

    Raises:
        InputError: onnxruntime is not installed; the graph is missing or damaged.
    """
    try:
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf, NoSuchFile
    except ImportError:
        raise needs_extra("backend onnx", "onnxruntime", "runtime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_threads()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_MICROSECONDS)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (Fail, InvalidGraph, InvalidProtobuf, NoSuchFile) as error:
        raise InputError(f"the graph cannot be opened ({first_line(error)}); export the model again", path) from None

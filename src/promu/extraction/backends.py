"""What computes for an extractor: a PyTorch model as it is, or graphs of ONNX (`promu.extraction.onnx_model`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from promu.errors import InputError, first_line
from promu.hub import KINDS, Precision, best_device, best_precision, fetch, weights_checksum
from promu.modeling.attention import MATMUL
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import load_model, load_tokenizer, read_json_object, saved_class
from promu.tasks.task import TASKS

BackendName = Literal["torch", "onnx"]
BackendPrecision = Literal["fp32", "bf16", "int8"]


class Backend(Protocol):
    """One fine-tuned model, as the extractor and the tasks' `answer` use it.

    Attributes:
        config: The model's.
        device: Where its inputs are to be.
        one_by_one: Whether what else is in a batch changes a post's answer, so that each post must be read alone.
        explains: Whether it hands out attention maps.
        sight: Equal for two models that encode an image equally; None where images are not read.
    """

    config: PromuConfig
    device: torch.device
    one_by_one: bool
    explains: bool
    sight: str | None

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Bytes (B, 3, S, S) to the vision encoder's vectors."""

    def __call__(self, batch: Mapping[str, torch.Tensor], explain: bool) -> Any:
        """The model's output for what a task's `batch` made, with `visual` and `image_mask` where there are images.

        Args:
            batch: The model's inputs.
            explain: Whether attention maps are asked for; only of one that `explains`.
        """


class TorchBackend:
    """A PyTorch model in evaluation mode.

    Args:
        model: Of one of the tasks; its attention and, in bf16, its weights are changed for good.
        precision: `bf16` keeps the weights of linear layers in bf16 and computes under autocast.

    Raises:
        InputError: bf16 on a device that does not compute it natively.
    """

    one_by_one = False
    explains = True

    def __init__(self, model: PromuPreTrainedModel, precision: Precision = "fp32") -> None:
        self.model: Any = model.eval()
        self.config = model.config
        self.device = model.device
        self.crf = getattr(model, "crf", None)
        self.sight = None if self.config.image_size is None else sight_of(self.model)
        self.autocast = precision == "bf16"
        if self.autocast:
            if best_precision(str(self.device)) != "bf16":
                raise InputError(f"precision bf16 is only emulated on this {self.device.type}; use fp32")
            for module in model.modules():
                # else autocast would convert them again in every call
                if isinstance(module, nn.Linear):
                    module.to(torch.bfloat16)
        # one that hands out its maps, so that asking for them switches nothing while other threads compute
        model.set_attn_implementation(MATMUL)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """As `Backend.encode`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model.promu.encode_images(pixels)

    def __call__(self, batch: Mapping[str, torch.Tensor], explain: bool) -> Any:
        """As `Backend.__call__`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model(**batch, output_attentions=explain)


def sight_of(model: Any) -> str:
    """A checksum of all that turns an image into vectors."""
    config = model.config
    shown = (config.image_mean, config.image_std, model.promu.fusion.levels, config.vision_config.to_dict())
    return weights_checksum(model.promu.vision_encoder.state_dict(), *shown)


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
            given["image_mask"] = np.zeros(rows, np.int64)
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


CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""The environment variable by which oneDNN, which computes for PyTorch on CPUs, takes another limit than its 1,024."""


def keep_few_kernels() -> None:
    """Let this process keep the kernels of 128 sizes, unless its environment says how many.

    oneDNN compiles one for each size of a product, and posts come in ever new sizes, so that with its own limit memory
    grows over tens of thousands of posts. To be called before a process computes anything.
    """
    os.environ.setdefault(CAPACITY, "128")


FILES = (*KINDS, "*.onnx")
"""Of models that extract: what torch and what ONNX reads."""


def find_models(name: str | Path) -> list[tuple[str, Path]]:
    """The models in a folder: (task, folder) of `ner/` and `re/`, of one of them, of `joint/`, or of the folder itself.

    Args:
        name: A folder, or the name of such a folder on the Hugging Face hub, with `@REVISION` where it matters; it is
            fetched into its cache.

    Raises:
        InputError: There is no such folder, no model in it, or a joint one beside others.
    """
    folder = Path(name)
    if not folder.is_dir():
        if isinstance(name, Path):
            raise InputError("no such model folder; check the path", name)
        folder = fetch(name, FILES)
    homes = [(task, folder / task) for task in TASKS if (folder / task).is_dir()]
    if len(homes) > 1 and "joint" in dict(homes):
        raise InputError("holds joint/ beside the models of single tasks; name one of the folders in it", folder)
    if homes:
        return homes
    if not (folder / "config.json").is_file():
        raise InputError(
            "no promu model here: neither ner/ and re/ nor config.json; name the model folder of a run", folder
        )
    return [(task_of(folder), folder)]


def task_of(folder: Path) -> str:
    """The task, a name in `TASKS`, that the model in `folder` was fine-tuned for.

    Raises:
        InputError: There is no model, or one that was not fine-tuned.
    """
    found = saved_class(folder)
    for name, task in TASKS.items():
        if found == task.model_class.__name__:
            return name
    raise InputError(f"this folder holds {found}, which extracts nothing; fine-tune it first (promu finetune)", folder)


def open_model(task: str, folder: str | Path, device: str | None = None) -> tuple[PromuPreTrainedModel, WordEncoder]:
    """A model fine-tuned for `task`, in evaluation mode, and its tokenizer.

    Args:
        task: A name in `TASKS`.
        folder: What fine-tuning saved: config.json, model.safetensors, tokenizer.json.
        device: A torch device; None takes the best there is.

    Raises:
        InputError: The folder is none, is for another task, or a part of it is missing or broken.
    """
    folder = Path(folder)
    found = task_of(folder)
    if found != task:
        raise InputError(f"this model is for the task {found!r}, not {task!r}; name the other model's folder", folder)
    tokenizer = load_tokenizer(str(folder))
    model: Any = load_model(TASKS[task].model_class, folder)
    pieces = int(model.config.text_config.vocab_size)  # type: ignore[union-attr]
    if len(tokenizer) > pieces:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} pieces, the model knows {pieces}; copy the tokenizer that the model "
            "was saved with",
            folder,
        )
    encoder = WordEncoder(tokenizer, model.config.max_length)
    return model.to(device or best_device()).eval(), encoder


def open_backend(
    task: str, folder: Path, device: str | None, precision: BackendPrecision | None, backend: BackendName
) -> tuple[Backend, WordEncoder]:
    """A model fine-tuned for `task`, ready to compute, and its tokenizer.

    Args:
        task: A name in `TASKS`.
        folder: The model's.
        device, precision, backend: As in `Extractor.from_pretrained`.

    Raises:
        InputError: As `open_model`; device, precision and backend do not go together.
    """
    if backend == "torch":
        if precision == "int8":
            raise InputError("PyTorch computes fp32 or bf16 here; for int8, promu export --int8, then backend onnx")
        model, encoder = open_model(task, folder, device)
        return TorchBackend(model, precision or "fp32"), encoder
    if precision == "bf16" or device not in (None, "cpu"):
        raise InputError("backend onnx computes in fp32 or int8 on the CPU; drop device and precision, or use torch")

    found = task_of(folder)
    if found != task:
        raise InputError(f"this model is for the task {found!r}, not {task!r}; name the other model's folder", folder)
    graphs = OnnxBackend(folder)
    if precision is not None and graphs.precision != precision:
        raise InputError(f"the graphs here are {graphs.precision}, not {precision}; export the model again", folder)
    return graphs, WordEncoder(load_tokenizer(str(folder)), graphs.config.max_length)

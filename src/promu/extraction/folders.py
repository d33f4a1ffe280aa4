"""Fine-tuned models on disk or on the hub: which task a folder is for, and model and tokenizer out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.extraction.backends import Backend, BackendName, BackendPrecision, TorchBackend
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.device import best_device
from promu.modeling.inputs import WordEncoder
from promu.modeling.names import KINDS, fetch
from promu.training.setup import load_model, load_tokenizer, saved_class
from promu.training.tasks import TASKS

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
    from promu.extraction.onnx_backend import OnnxBackend

    found = task_of(folder)
    if found != task:
        raise InputError(f"this model is for the task {found!r}, not {task!r}; name the other model's folder", folder)
    graphs = OnnxBackend(folder)
    if precision is not None and graphs.precision != precision:
        raise InputError(f"the graphs here are {graphs.precision}, not {precision}; export the model again", folder)
    return graphs, WordEncoder(load_tokenizer(str(folder)), graphs.config.max_length)

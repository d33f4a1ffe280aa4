"""Folders of fine-tuned models: which there are, for which task, and how they are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from promu.errors import InputError
from promu.hub import FETCHED, fetch, find_device
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import load_model, load_tokenizer, read_json_object, saved_class
from promu.tasks.predictor import OnnxPredictor, Predictor, TorchPredictor
from promu.tasks.task import TASKS

EXAMPLES = "examples"
"""The folder of posts to try, beside the models of a folder."""
BackendName = Literal["torch", "onnx"]
BackendPrecision = Literal["fp32", "bf16", "int8"]


def find_models(name: str | Path) -> list[tuple[str, Path]]:
    """The models in a folder: (task, folder) of `ner/` and `re/`, of one of them, of `joint/`, or of the folder itself.

    A `name` that is no folder is that of such a folder on the Hugging Face hub, with `@REVISION` where it matters; it
    is fetched into the hub's cache.

    Raises:
        InputError: There is no such folder, no model in it, or a joint one beside others.
    """
    folder = Path(name)
    if not folder.is_dir():
        if isinstance(name, Path):
            raise InputError("no such model folder; check the path", name)
        folder = fetch(name, (*FETCHED, "*.onnx", f"{EXAMPLES}/*"))
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


def task_of(folder: Path, task: str | None = None) -> str:
    """The task, a name in `TASKS`, that the model in `folder` was fine-tuned for.

    Raises:
        InputError: There is no model, or one that was not fine-tuned, or not for `task`.
    """
    kind = saved_class(folder)
    trained: Any = read_json_object(folder / "config.json").get("promu_training") or {}
    names = [trained.get("recipe", {}).get("task"), *TASKS.own]  # its task may be one that a package adds
    saved = next((name for name in names if name in TASKS and TASKS[name].model_class.__name__ == kind), None)
    if saved is None:
        raise InputError(
            f"this folder holds {kind}, which extracts nothing; fine-tune it first (promu finetune)", folder
        )
    if task not in (None, saved):
        raise InputError(f"this model is for the task {saved!r}, not {task!r}; name the other model's folder", folder)
    return saved


def open_model(task: str, folder: str | Path, device: str | None = None) -> tuple[PromuPreTrainedModel, WordEncoder]:
    """A PyTorch model fine-tuned for `task`, in evaluation mode, and its tokenizer.

    The folder is what fine-tuning saved: config.json, model.safetensors, tokenizer.json. `device` None is the best
    there is.

    Raises:
        InputError: The folder is none, is for another task, or a part of it is missing or broken; there is no such
            device.
    """
    device = find_device(device)
    folder = Path(folder)
    task_of(folder, task)
    tokenizer = load_tokenizer(str(folder))
    model: Any = load_model(TASKS[task].model_class, folder)
    size = int(model.config.text_config.vocab_size)  # type: ignore[union-attr]
    if len(tokenizer) > size:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens, the model knows {size}; copy the tokenizer that the model "
            "was saved with",
            folder,
        )
    try:
        encoder = WordEncoder.of(tokenizer, model.config)
    except InputError as error:
        raise error.at(folder) from None
    return model.to(device).eval(), encoder


def open_predictor(
    task: str,
    folder: str | Path,
    device: str | None = None,
    precision: BackendPrecision | None = None,
    backend: BackendName = "torch",
) -> Predictor:
    """A model fine-tuned for `task`, ready to predict; device, precision and backend as in `Extractor.from_pretrained`.

    Raises:
        InputError: As `open_model`; device, precision and backend do not go together.
    """
    folder = Path(folder)
    predictor: Predictor
    if backend == "torch":
        if precision == "int8":
            raise InputError("PyTorch computes fp32 or bf16 here; for int8, promu export --int8, then backend onnx")
        predictor = TorchPredictor(TASKS[task], *open_model(task, folder, device), precision or "fp32")
        predictor.folder = folder
        return predictor
    if precision == "bf16" or device not in (None, "cpu"):
        raise InputError("backend onnx computes in fp32 or int8 on the CPU; drop device and precision, or use torch")
    task_of(folder, task)
    predictor = graphs = OnnxPredictor(TASKS[task], folder)
    if precision is not None and graphs.precision != precision:
        raise InputError(f"the graphs here are {graphs.precision}, not {precision}; export the model again", folder)
    predictor.folder = folder
    return predictor

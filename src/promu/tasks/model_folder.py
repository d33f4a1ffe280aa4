"""Folders of fine-tuned models: which there are, for which task, and how they are opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from promu.errors import InputError, lacking
from promu.files import shorten
from promu.hub import FETCHED, WEIGHTS, fetch, read_json_object, saved_class
from promu.tasks.familiarity import Familiarity
from promu.tasks.gate import DAMAGED, EXPERTS, GATE, opened_gate, read_gate
from promu.tasks.onnx_predictor import FACTS, GRAPHS, OnnxPredictor, OpenGraphs
from promu.tasks.predictor import Predictor
from promu.tasks.task import TASKS

MULTI_TASK = "PromuForMultiTask"
"""What a model of several tasks on one backbone is."""
EXAMPLES = "examples"
"""The folder of posts to try, beside the models of a folder."""
BackendName = Literal["torch", "onnx"]
BackendPrecision = Literal["fp32", "bf16", "int8"]


def locate(name: str | Path) -> Path:
    """The folder of that name, or else of that name on the Hugging Face hub, with `@REVISION` where it matters.

    One of the hub is fetched into the hub's cache.

    Raises:
        InputError: There is no such folder.
    """
    if not isinstance(name, str | Path):
        raise InputError(f"a model is named by its folder or its name on the hub, and this is {shorten(name)}")
    folder = Path(name)
    if folder.is_dir():
        return folder
    if isinstance(name, Path):
        raise InputError("no such model folder; check the path", name)
    return fetch(name, (*FETCHED, "*.onnx", f"{EXAMPLES}/*"))


def backend_of(folder: Path, backend: BackendName | None = None) -> BackendName:
    """What computes the model in a folder: `backend`, or, if that is None, PyTorch unless there are graphs alone."""
    if backend is not None:
        return backend
    exported = (folder / GRAPHS / FACTS).is_file() and not (folder / WEIGHTS).is_file()
    return "onnx" if exported else "torch"


def find_models(name: str | Path) -> list[tuple[str, Path]]:
    """The models in a folder: (task, folder) of `ner/` and `re/`, of one of them, of `joint/`, or of the folder itself.

    A folder that is itself a model of several tasks comes once for each. `name` is as in `locate`.

    Raises:
        InputError: There is no such folder, no model in it, or a joint one beside others.
    """
    folder = locate(name)
    homes = [(task, folder / task) for task in TASKS if (folder / task).is_dir()]
    if len(homes) > 1 and "joint" in dict(homes):
        raise InputError("holds joint/ beside the models of single tasks; name one of the folders in it", folder)
    if homes:
        return homes
    if not (folder / "config.json").is_file() and not (folder / GATE).is_file():
        raise InputError(
            "no promu model here: neither ner/ and re/ nor config.json; name the model folder of a run", folder
        )
    return [(task, folder) for task in tasks_of(folder)]


def task_of(folder: Path, task: str | None = None) -> str:
    """The task, a name in `TASKS`, that the model in `folder` was fine-tuned for; of several tasks `task`.

    Raises:
        InputError: There is no model, or one that was not fine-tuned, or not for `task`; it has several and none is
            named.
    """
    tasks = tasks_of(folder)
    if task is None and len(tasks) > 1:
        raise InputError(f"this model is for {' and '.join(tasks)}; name the task", folder)
    if task not in (None, *tasks):
        raise InputError(
            f"this model is for the task {' and '.join(map(repr, tasks))}, not {task!r}; name the other model's folder",
            folder,
        )
    return task or tasks[0]


def tasks_of(folder: Path) -> list[str]:
    """The tasks that the model in `folder` was fine-tuned for, one or, on one backbone, several.

    Raises:
        InputError: There is no model, or one that was not fine-tuned.
    """
    if (gate := read_gate(folder)) is not None:
        if gate.get("task") not in TASKS:
            raise DAMAGED.at(folder / GATE)
        return [str(gate["task"])]
    kind = saved_class(folder)
    config = read_json_object(folder / "config.json")
    if kind == MULTI_TASK:
        return list(config.get("tasks") or {})
    trained: Any = config.get("promu_training") or {}
    names = [trained.get("recipe", {}).get("task"), *TASKS.own]  # its task may be one that a package adds
    saved = next((name for name in names if name in TASKS and TASKS[name].model.endswith(f".{kind}")), None)
    if saved is None:
        raise InputError(
            f"this folder holds {kind}, which extracts nothing; fine-tune it first (promu finetune)", folder
        )
    return [saved]


def open_predictor(
    task: str,
    folder: str | Path,
    device: str | None = None,
    precision: BackendPrecision | None = None,
    backend: BackendName | None = None,
) -> Predictor:
    """A model fine-tuned for `task`, ready to predict; device, precision and backend as in `Extractor.from_pretrained`.

    Raises:
        InputError: As `open_model`; device, precision and backend do not go together.
    """
    task_of(Path(folder), task)
    return next(_predictors([task], Path(folder), device, precision, backend))


def open_predictors(
    name: str | Path,
    device: str | None = None,
    precision: BackendPrecision | None = None,
    backend: BackendName | None = None,
) -> list[Predictor]:
    """All models of a folder (`find_models`), ready to predict; those on one backbone share it.

    Raises:
        InputError: As `find_models` and `open_predictor`.
    """
    by_folder: dict[Path, list[str]] = {}
    folder = locate(name)
    for task, home in find_models(folder):
        by_folder.setdefault(home, []).append(task)
    predictors = [
        predictor
        for home, tasks in by_folder.items()
        for predictor in _predictors(tasks, home, device, precision, backend)
    ]
    # of two models that were trained on posts of one kind, the folder itself may hold what both have learned from
    of_all = Familiarity.load(folder)
    for predictor in predictors:
        predictor.familiarity = of_all or predictor.familiarity
    return predictors


def _predictors(
    tasks: list[str], folder: Path, device: str | None, precision: BackendPrecision | None, backend: BackendName | None
) -> Iterator[Predictor]:
    """The predictors of a folder's tasks, of what is opened once."""
    for what, value, known in (("precision", precision, BackendPrecision), ("backend", backend, BackendName)):
        if value is not None and value not in get_args(known):
            raise InputError(f"there is no {what} {value!r}; use one of {', '.join(get_args(known))}")
    for task in tasks:
        task_of(folder, task)
    predictor: Predictor
    backend = backend_of(folder, backend)
    familiarity = Familiarity.load(folder)
    if read_gate(folder) is not None:
        if backend == "onnx":
            raise InputError("a gate between two models runs on PyTorch alone; use backend torch", folder)
        first, second = (open_predictor(tasks[0], folder / name, device, precision) for name in EXPERTS)
        yield opened_gate(folder, first, second)
        return
    if backend == "torch":
        if precision == "int8":
            raise InputError("PyTorch computes fp32 or bf16 here; for int8, promu export --int8, then backend='onnx'")
        try:
            from promu.tasks.torch_predictor import TorchPredictor, open_models
        except ModuleNotFoundError as error:
            raise lacking(error, "a model that was not exported (promu export)") or error from None
        models, encoder = open_models(folder, device)
        for task in tasks:
            predictor = TorchPredictor(TASKS[task], models[task], encoder, precision or "fp32")
            predictor.folder, predictor.familiarity = folder, familiarity
            yield predictor
        return
    if precision == "bf16" or device not in (None, "cpu"):
        raise InputError("backend onnx computes in fp32 or int8 on the CPU; drop device and precision, or use torch")
    graphs = OpenGraphs(folder)
    if precision is not None and graphs.facts.precision != precision:
        raise InputError(
            f"the graphs here are {graphs.facts.precision}, not {precision}; export the model again", folder
        )
    for task in tasks:
        predictor = OnnxPredictor(TASKS[task], graphs)
        predictor.folder, predictor.familiarity = folder, familiarity
        yield predictor

"""Fine-tuned models on disk: which task a folder is for, and model and tokenizer out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.device import best_device
from promu.modeling.inputs import WordEncoder
from promu.training.setup import load_model, load_tokenizer
from promu.training.tasks import TASKS


def task_of(folder: Path) -> str:
    """The task, a name in `TASKS`, that the model in `folder` was fine-tuned for.

    Raises:
        InputError: There is no model, or one that was not fine-tuned.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            "no promu model here (config.json is missing); name the model folder of a run", folder
        ) from None
    except ValueError as error:
        raise InputError(f"not JSON ({error}); copy the model folder again", path) from None
    architectures = config.get("architectures") if isinstance(config, dict) else None
    for name, task in TASKS.items():
        if architectures == [task.model_class.__name__]:
            return name
    found = ", ".join(map(str, architectures or [])) or "no known model"
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

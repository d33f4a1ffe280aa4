"""The training loop: Hugging Face's Trainer with promu's log, progress and choice of the best epoch."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.device import best_device, best_precision
from promu.training.recipe import TrainingSettings

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, steps done, steps in all)."""


class Rows(Dataset[int]):
    """Row numbers; the collator knows what they stand for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


class _Loop(Trainer):
    """Trainer that keeps the parts of the loss and validates with a function of ours."""

    parts: Mapping[str, torch.Tensor]
    last_loss: torch.Tensor
    validate: Callable[[], dict[str, float]] | None = None

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own loss."""
        outputs = model(**inputs)
        self.last_loss = outputs.loss.detach()
        self.parts = getattr(outputs, "parts", None) or {}
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Figures on dev by the task's own scorer."""
        assert self.validate is not None
        metrics = {f"eval_{name}": value for name, value in self.validate().items()}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Log(TrainerCallback):
    """One JSON line a step in `log.jsonl`, and the progress of the run."""

    def __init__(self, path: Path, loop: _Loop, name: str, every: int, progress: Progress | None) -> None:
        self.path = path
        self.loop = loop
        self.name = name
        self.every = every
        self.progress = progress
        self.started = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep of an earlier log what lies before the step that the run resumes from."""
        kept = []
        if self.path.is_file() and state.global_step:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= state.global_step]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Loss, its parts and the learning rate."""
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            line = {
                "step": state.global_step,
                "epoch": round(state.epoch or 0.0, 4),
                "loss": float(self.loop.last_loss),
                **{name: float(part) for name, part in self.loop.parts.items()},
                "lr": self.loop.lr_scheduler.get_last_lr()[0],  # type: ignore[union-attr]
                "seconds": round(time.perf_counter() - self.started, 3),
            }
            self._write(line)
        if self.progress is not None:
            self.progress(self.name, state.global_step, state.max_steps)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """The figures on dev."""
        self._write({"step": state.global_step, "epoch": round(state.epoch or 0.0, 4), **(metrics or {})})

    def _write(self, line: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


def fit(
    model: PromuPreTrainedModel,
    rows: int,
    collate: Callable[[Sequence[int]], dict[str, torch.Tensor]],
    settings: TrainingSettings,
    out: Path,
    seed: int,
    name: str,
    validate: Callable[[], dict[str, float]] | None = None,
    best: str | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place; with `validate`, its best epoch is what is left in it.

    Checkpoints go to `out/checkpoints`, one JSON line a step to `out/log.jsonl`; a run that was killed goes on from
    its last checkpoint when started again. Whoever has saved what came of the run discards the
    checkpoints (`promu.training.run_folder`).

    Args:
        model: To be trained.
        rows: Samples an epoch.
        collate: Row numbers to a batch.
        settings: Optimiser and schedule.
        out: The run's folder.
        seed: Order of the samples and dropout.
        name: What to call the work in progress reports.
        validate: Figures on dev after each epoch.
        best: Which of them chooses the epoch; larger is better.
        progress: See `Progress`.

    Returns:
        The log's lines.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoints = out / "checkpoints"
    device = best_device()
    precision = best_precision(device) if settings.precision == "auto" else settings.precision
    steps = math.ceil(math.ceil(rows / settings.batch_size) * settings.epochs)
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup * steps),
        max_grad_norm=settings.clip,
        bf16=precision == "bf16",
        use_cpu=device == "cpu",
        seed=seed,
        data_seed=seed,
        eval_strategy="epoch" if validate else "no",
        save_strategy="epoch",
        # the best and the last: with 1 the Trainer would drop the last one as soon as it has trained
        save_total_limit=2 if validate else 1,
        load_best_model_at_end=validate is not None,
        metric_for_best_model=best,
        greater_is_better=True if validate else None,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
    )
    loop = _Loop(
        model=model,
        args=arguments,
        train_dataset=Rows(rows),
        eval_dataset=Rows(1) if validate else None,
        data_collator=collate,  # type: ignore[arg-type]
        optimizers=(optimiser(model, settings), None),
    )
    loop.remove_callback(PrinterCallback)  # the log is ours, standard output the caller's
    loop.validate = validate
    loop.add_callback(_Log(out / "log.jsonl", loop, name, settings.log_every, progress))
    resume = _last_whole_checkpoint(checkpoints)
    if resume:
        logger.info("resuming from %s", resume)
    loop.train(resume_from_checkpoint=resume)
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def _last_whole_checkpoint(folder: Path) -> str | None:
    """The last checkpoint to resume from; what a kill left half-written is removed."""
    while folder.is_dir() and (last := get_last_checkpoint(str(folder))) is not None:
        try:
            json.loads((Path(last) / TRAINER_STATE_NAME).read_text(encoding="utf-8"))  # the last file to be written
            return str(last)
        except (FileNotFoundError, ValueError):
            logger.warning("%s is not whole, the run having been killed while it was written; removed", last)
            shutil.rmtree(last)
    return None


def optimiser(model: PromuPreTrainedModel, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW with a rate for the backbone and one for what sits on it; no decay on biases and norms."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_backbone = name.startswith(f"{model.base_model_prefix}.") or settings.head_lr is None
        rate = settings.lr if in_backbone else settings.head_lr
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate or settings.lr, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]
    )

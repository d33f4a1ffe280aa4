"""The training loop: Hugging Face's Trainer with promu's log, progress and choice of the best epoch."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from promu.errors import InputError
from promu.modeling.attention import use_fastest_attention
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.distributed import group_sum, peer_faults, process_number, processes
from promu.modeling.losses import JointLoss
from promu.progress import mark_stored, report, shown
from promu.pytorch import best_device, best_precision, not_finite
from promu.training.batches import Order, Sample, StepBatches
from promu.training.grad_cache import backward_in_parts
from promu.training.recipe import TrainingSettings

logger = logging.getLogger(__name__)


@dataclass
class _Samples(Dataset[Sample]):
    """Samples as they are; the collator knows what they stand for."""

    rows: int

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, sample: Sample) -> Sample:  # type: ignore[override]
        return sample


class _Loop(Trainer):
    """Hugging Face's Trainer with batches, loss and validation of promu's.

    Attributes:
        loss: Computed of the model's outputs; None where the model returns its own.
        losses: Of the last step, the whole first.
    """

    batches: StepBatches
    settings: TrainingSettings
    loss: JointLoss | None
    losses: Mapping[str, Tensor]
    validate: Callable[[], dict[str, float]] | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's part of each batch; accelerate must not divide it again."""
        assert self.train_dataset is not None
        return DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            num_workers=self.settings.workers,
            # copies of this process: what they call is not sent. In a job of a study another way is the default
            multiprocessing_context="fork" if self.settings.workers else None,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW as `optimiser` makes it."""
        if self.optimizer is None:
            self.optimizer = optimiser(cast(PromuPreTrainedModel, model or self.model), self.settings)
        return self.optimizer

    def _clip_grad_norm(self, model: Any) -> Any:
        """As Hugging Face's; a step whose loss or gradient is no number is refused before it moves a weight."""
        norm = super()._clip_grad_norm(model)
        step = self.state.global_step + 1
        for what, value in (("loss", self.losses["loss"]), ("norm of its gradient", norm)):
            self.refuse_divergence(f"the {what}", float(value), step)
        return norm

    def refuse_divergence(self, what: str, value: float, step: int) -> None:
        """Make sure that what a step came to is a number.

        Raises:
            InputError: It is NaN or infinite.
        """
        if not math.isfinite(value):
            remedy = "lower the learning rate (training.lr)"
            if self.args.bf16:
                remedy += " or set precision: fp32"
            raise InputError(
                f"training diverged in step {step} of {self.state.max_steps}: {what} is {value}, at a learning rate of "
                f"{self.settings.lr:g}; {remedy}, and start anew in another folder (out)",
                kind="diverged",
            )

    def refuse_broken_weights(self) -> None:
        """Make sure that weights that are validated or stored are numbers.

        Raises:
            InputError: One is NaN or infinite.
        """
        if (name := not_finite(cast(torch.nn.Module, self.model))) is not None:
            self.refuse_divergence(f"a weight of {name}", math.nan, self.state.global_step)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The loss of a batch in one pass."""
        loss, parts = (model(**inputs).loss, {}) if self.loss is None else self.loss.of_batch(model, inputs)
        self.losses = {"loss": loss.detach(), **parts}
        return cast(Tensor, loss)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """As Hugging Face's, of weights that are numbers."""
        self.refuse_broken_weights()
        super()._save_checkpoint(*args, **kwargs)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """A step in one pass, or in several where the batch does not fit into memory."""
        if self.settings.micro_batch is None:
            return super().training_step(model, inputs, num_items_in_batch)
        assert self.loss is not None
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss, parts = backward_in_parts(model, self.loss, inputs, self.settings.micro_batch, self.accelerator)
        self.losses = {"loss": loss, **parts}
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Figures on dev."""
        assert self.validate is not None
        self.refuse_broken_weights()
        with shown(None):  # validation is reported as a part of training
            try:
                metrics = {f"eval_{name}": value for name, value in self.validate().items()}
            except InputError as error:
                if error.kind == "diverged":
                    self.refuse_divergence("an output on dev", math.nan, self.state.global_step)
                raise
        for name, value in metrics.items():
            if name.startswith("eval_loss") or name == f"eval_{self.args.metric_for_best_model}":
                self.refuse_divergence(f"{name.removeprefix('eval_')} on dev", value, self.state.global_step)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Log(TrainerCallback):
    """One JSON line every few steps in `log.jsonl`, the same for TensorBoard, and the progress of the run."""

    def __init__(self, out: Path, loop: _Loop, name: str, every: int) -> None:
        self.path = out / "log.jsonl"
        self.loop = loop
        self.name = name
        self.every = every
        self.started = time.perf_counter()
        self.board: Any = None
        self.on_dev = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Cut an earlier log at the step that the run resumes from."""
        self.loop.refuse_broken_weights()
        clamp_temperature(self.loop.model)
        self.spent = 0.0
        if process_number():
            return
        earlier: list[str] = []
        if self.path.is_file() and state.global_step:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            earlier = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= state.global_step]
            self.spent = max((json.loads(line).get("seconds", 0.0) for line in earlier), default=0.0)
        self.path.write_text("".join(line + "\n" for line in earlier), encoding="utf-8")
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(self.path.parent / "tensorboard", purge_step=state.global_step + 1)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Bring L_CIT's temperature back into its limits."""
        clamp_temperature(self.loop.model)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Loss, its parts and the learning rate."""
        step = state.global_step
        if step % self.every == 0 or step == state.max_steps:
            losses = self.loop.losses
            mean = group_sum(torch.stack([value.float() for value in losses.values()])) / processes()
            values = dict(zip(losses, mean.tolist(), strict=True))
            if (space := getattr(self.loop.model, "space", None)) is not None:
                values["temperature"] = space.temperature.item()
            values["lr"] = float(self.loop.lr_scheduler.get_last_lr()[0])  # type: ignore[union-attr, arg-type]
            values["samples"] = self.loop.batches.samples_until(step)
            values["seconds"] = round(self.spent + time.perf_counter() - self.started, 3)
            self._write(step, values)
        report(self.name, step, state.max_steps, f"loss {float(self.loop.losses['loss']):.4g}{self.on_dev}")

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """The figures on dev."""
        self._write(state.global_step, metrics or {})
        if "eval_f1" in (metrics or {}):
            self.on_dev = f", dev F1 {metrics['eval_f1']:.2f}"

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From here on the run can be resumed."""
        mark_stored()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close TensorBoard's file."""
        if self.board is not None:
            self.board.close()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        if self.board is None:  # another process writes
            return
        epoch = round(step / self.loop.batches.steps_per_epoch, 4)
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, "epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(f"{self.name}/{name}", value, step)


@dataclass
class _Patience(TrainerCallback):
    """Ends a run that has not become better for so many validations since its first figure above zero.

    A model that answers nothing yet has only begun: from few posts the first answers come late. It goes by what a
    checkpoint holds, and not in memory as Trainer's own callback, so that a run that was killed stops where one that
    never was stops.
    """

    validations: int

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After each validation, when the state knows which was the best."""
        if self.over(state, args.eval_steps):
            control.should_training_stop = True

    def over(self, state: Any, every: float) -> bool:
        """Whether a state is so many validations, `every` steps apart, behind a best that is above zero."""
        return state.best_metric > 0 and bool(state.global_step - state.best_global_step >= self.validations * every)


def fit(
    model: PromuPreTrainedModel,
    order: Order,
    collate: Callable[[Sequence[Sample]], dict[str, Tensor]],
    settings: TrainingSettings,
    out: Path,
    seed: int,
    name: str,
    validate: Callable[[], dict[str, float]] | None = None,
    best: str | None = None,
    loss: JointLoss | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place; with `best`, its best validation is what is left in it.

    Checkpoints go to `out/checkpoints`, one JSON line every few steps to `out/log.jsonl`; a run that was killed goes on
    from its last checkpoint when started again, and ends as one that never was. Whoever has saved what came of the run
    discards the checkpoints (`promu.runs`). Under `torchrun` the processes share each batch.

    Args:
        model: To be trained.
        order: What an epoch reads.
        collate: Samples to a batch.
        settings: Optimiser and schedule.
        out: The run's folder.
        seed: Of the order and of dropout.
        name: The stage that progress is reported of.
        validate: Figures on dev, at the end of each epoch or every `settings.validate_every` steps.
        best: Which of them chooses the weights; larger is better. None takes the last.
        loss: Computed of the model's outputs; None where the model returns its own.

    Returns:
        The log's lines.

    Raises:
        InputError: Another process of the group has died, or only a part of a batch would be read where the model
            returns its own loss; the run diverged: a loss, a gradient, a weight or a figure on dev is no number. Then
            nothing of that step is stored.
    """
    if settings.micro_batch is not None and loss is None:
        raise InputError("training.micro_batch is for pre-training; set it to null")
    out.mkdir(parents=True, exist_ok=True)
    checkpoints = out / "checkpoints"
    device = best_device()
    precision = best_precision(device) if settings.precision == "auto" else settings.precision
    use_fastest_attention(model, device, precision)
    part = (process_number(), processes())
    batches = StepBatches(order, settings.batch_size, settings.epochs, seed, *part, settings.steps)
    # the best checkpoint is one that was validated, so they go together
    every = settings.validate_every or batches.steps_per_epoch
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=1,  # the batches know the epochs: to the Trainer a run is one long epoch
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.lr,
        weight_decay=settings.weight_decay,
        lr_scheduler_type="cosine",
        warmup_steps=round(settings.warmup * batches.steps),
        max_grad_norm=1.0,
        bf16=precision == "bf16",
        use_cpu=device == "cpu",
        seed=seed,
        data_seed=seed,
        eval_strategy="steps" if validate else "no",
        eval_steps=every if validate else None,
        save_strategy="steps",
        save_steps=every if best else settings.save_every or batches.steps_per_epoch,
        # the best and the last: with 1 the Trainer would drop the last one as soon as it has trained
        save_total_limit=2 if best else 1,
        load_best_model_at_end=best is not None,
        metric_for_best_model=best,
        greater_is_better=True if best else None,
        logging_strategy="no",
        logging_nan_inf_filter=False,  # such a loss ends the run
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # the same in each process, and a frozen detector's are many
    )
    samples, dev = _Samples(len(order)), _Samples(1) if validate else None
    loop = _Loop(model, arguments, collate, samples, dev)  # type: ignore[arg-type]
    loop.settings, loop.batches, loop.loss, loop.validate = settings, batches, loss, validate
    loop.remove_callback(PrinterCallback)  # the log is ours, standard output the caller's
    loop.add_callback(_Log(out, loop, name, settings.log_every))
    resume = _last_whole_checkpoint(checkpoints)
    if settings.patience is not None and best is not None:
        patience = _Patience(settings.patience)
        loop.add_callback(patience)
        if resume and patience.over(TrainerState.load_from_json(f"{resume}/{TRAINER_STATE_NAME}"), every):
            arguments.num_train_epochs = 0  # it had stopped: only its best weights are to be loaded
    if resume:
        mark_stored()
        logger.info("resuming from %s", resume)
    elif validate is not None and best is None:
        arguments.eval_on_start = True  # what is measured on the way needs something to be compared with
    with peer_faults():
        loop.train(resume_from_checkpoint=resume)
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def best_epoch(log: Sequence[Mapping[str, Any]], best: str) -> float:
    """The epoch whose weights `fit` has chosen, by the log that it returned."""
    validated = [line for line in log if f"eval_{best}" in line]
    return max(validated, key=lambda line: line[f"eval_{best}"])["epoch"]


def clamp_temperature(model: Any) -> None:
    """`SharedSpace.clamp_temperature` of a model that has such a space."""
    if (space := getattr(model, "space", None)) is not None:
        space.clamp_temperature()


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
        in_backbone = name.startswith(f"{model.base_model_prefix}.")
        of_heads = settings.head_lr
        if isinstance(of_heads, dict):  # heads.ner.crf.start: the second part is the task
            of_heads = of_heads.get(name.split(".")[1])
        rate = settings.lr if in_backbone else of_heads or settings.lr
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()],
        fused=True,  # one pass over memory for each weight, where the default makes one for each of its operations
    )

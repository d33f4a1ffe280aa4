"""The training loop: Hugging Face's Trainer with promu's log, progress and choice of the best epoch."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from promu.errors import InputError
from promu.hub import best_device, best_precision
from promu.modeling.attention import use_fastest_attention
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.distributed import group_sum, process_number, processes
from promu.modeling.losses import ContrastFeatures
from promu.modeling.pretraining import loss_totals
from promu.progress import report, shown
from promu.training.batches import Order, Sample, StepBatches
from promu.training.recipe import TrainingSettings

Batch = Mapping[str, torch.Tensor]


def step_in_parts(
    model: Any, batch: Batch, rows: int, accelerator: Any, autocast: Callable[[], AbstractContextManager[Any]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward and backward of a batch, `rows` rows at a time, with the gradients of one pass over all of them.

    Ordinary losses are sums over rows. L_CIT is not, since each pair is contrasted with every other: what it compares
    is computed for all parts first, without gradient, and put beside each part's own. A part's second pass repeats the
    dropout of its first.

    Args:
        model: `PromuForPreTraining` or `PromuDualEncoder`, wrapped or not.
        batch: This process's part of the batch, every tensor (B, ...).
        rows: Rows a part, at most.
        accelerator: accelerate's, which runs the backward passes.
        autocast: Makes the context of a forward pass.

    Returns:
        The loss and its parts, detached.
    """
    parts = split(batch, rows)
    totals = _totals(batch)
    states: list[Callable[[], None]] = []
    features: list[ContrastFeatures] = []
    for part in parts:
        states.append(_remembered_chance(part))
        with torch.no_grad(), autocast():
            features.append(model(**part, features_only=True).features)
    losses: list[torch.Tensor] = []
    figures: list[Mapping[str, torch.Tensor]] = []
    for number, (part, whole) in enumerate(zip(parts, ContrastFeatures.whole(features), strict=True)):
        states[number]()
        last = number + 1 == len(parts)
        with nullcontext() if last else accelerator.no_sync(model):
            with autocast():
                output = model(**part, **totals, batch_features=whole)
            accelerator.backward(output.loss)
        losses.append(output.loss.detach())
        figures.append(getattr(output, "parts", None) or {})
    return _sum_up(losses, figures, model)


def split(batch: Batch, rows: int) -> list[dict[str, torch.Tensor]]:
    """A batch in parts of `rows` rows at most, as many parts in each process.

    A process with fewer rows than there are parts repeats its last one, not to be counted.
    """
    own = len(batch["input_ids"])
    most = torch.tensor([own], device=batch["input_ids"].device)
    if processes() > 1:
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
    count = math.ceil(int(most) / rows)
    chosen = torch.arange(max(own, count), device=most.device).clamp(max=own - 1)
    filled = {name: value[chosen] for name, value in batch.items()}
    filled["row_mask"] = filled.get("row_mask", torch.ones_like(chosen)) * (
        torch.arange(len(chosen), device=most.device) < own
    )
    pieces = {name: value.tensor_split(count) for name, value in filled.items()}
    return [{name: values[number] for name, values in pieces.items()} for number in range(count)]


def _totals(batch: Batch) -> dict[str, Any]:
    if "matched" not in batch:  # the dual encoder has no loss but L_CIT
        return {}
    names = ("row_mask", "box_mask", "relation_mask", "mlm_labels", "matched")
    return {"totals": loss_totals(**{name: batch[name] for name in names if name in batch})}


def _remembered_chance(batch: Batch) -> Callable[[], None]:
    """A function that brings the dice back to where they lie now."""
    device = batch["input_ids"].device
    host = torch.get_rng_state()
    there = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore() -> None:
        torch.set_rng_state(host)
        if there is not None:
            torch.cuda.set_rng_state(there, device)

    return restore


def _sum_up(
    losses: list[torch.Tensor], figures: list[Mapping[str, torch.Tensor]], model: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Sums over the parts, but the mean of L_CIT, which every part computes for the whole batch."""
    count = len(losses)
    names = figures[0]
    if not names:
        return torch.stack(losses).mean(), {}
    parts = {name: torch.stack([figure[name] for figure in figures]).sum() for name in names}
    if "cit" in parts:
        parts["cit"] = parts["cit"] / count
    weights = getattr(model, "module", model).weights
    return torch.stack([weights[name] * part for name, part in parts.items()]).sum(), parts


logger = logging.getLogger(__name__)

_DEAD_PEER = ("connection closed by peer", "connection reset by peer", "timed out", "heartbeat", "broken pipe")


@contextmanager
def group_faults() -> Iterator[None]:
    """Turn the death of another process into a sentence.

    Raises:
        InputError: Another process of the group has died or does not answer.
    """
    try:
        yield
    except (distributed.DistError, RuntimeError) as error:
        reason = str(error).lower()
        if processes() == 1 or not any(sign in reason for sign in _DEAD_PEER):
            raise
        raise InputError(
            "another process of the group has died or no longer answers; start the command again, the run resumes from "
            "its last checkpoint"
        ) from error


@contextmanager
def in_order() -> Iterator[bool]:
    """Let the first process do a piece of work alone, and the others, one after the other, find it done.

    Yields:
        Whether this is the first process.
    """
    for _ in range(process_number()):
        wait_for_all()
    yield process_number() == 0
    for _ in range(process_number(), processes()):
        wait_for_all()


def wait_for_all() -> None:
    """Return when every process has come here."""
    if processes() > 1:
        distributed.barrier()


def start_group() -> None:
    """Join the processes that `torchrun` has started, if it has started any.

    When one dies `torchrun` terminates the others, which say so and exit with status 143.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        # a process may be busy for hours with what the others wait for; that one died shows at once in any case
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(days=2))
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: FrameType | None) -> None:
    logger.error(
        "stopped, since another process of the group died or the machine asked for it; start the command again, the "
        "run resumes from its last checkpoint"
    )
    raise SystemExit(128 + number)


class _Samples(Dataset[Sample]):
    """Samples as they are; the collator knows what they stand for."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, sample: Sample) -> Sample:  # type: ignore[override]
        return sample


class _Loop(Trainer):
    """Trainer on batches of ours, which keeps the parts of the loss and validates with a function of ours."""

    batches: StepBatches
    settings: TrainingSettings
    parts: Mapping[str, torch.Tensor]
    last_loss: torch.Tensor
    validate: Callable[[], dict[str, float]] | None = None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """This process's part of each batch; accelerate must not divide it again."""
        assert self.train_dataset is not None
        return DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=self.batches,
            collate_fn=self.data_collator,
            num_workers=self.settings.workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW as `optimiser` makes it."""
        if self.optimizer is None:
            self.optimizer = optimiser(cast(PromuPreTrainedModel, model or self.model), self.settings)
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own loss."""
        outputs = model(**inputs)
        self.last_loss = outputs.loss.detach()
        self.parts = getattr(outputs, "parts", None) or {}
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """A step in one pass, or in several where the batch does not fit into memory."""
        if self.settings.micro_batch is None:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs = self._prepare_inputs(inputs)
        loss, self.parts = step_in_parts(
            model, inputs, self.settings.micro_batch, self.accelerator, self.compute_loss_context_manager
        )
        self.last_loss = loss
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Figures on dev by the task's own scorer."""
        assert self.validate is not None
        with shown(None):  # to whoever looks, validation is part of the training
            metrics = {f"eval_{name}": value for name, value in self.validate().items()}
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

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep of an earlier log what lies before the step that the run resumes from."""
        self.spent = 0.0
        if process_number():
            return
        kept = []
        if self.path.is_file() and state.global_step:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= state.global_step]
            self.spent = max((json.loads(line).get("seconds", 0.0) for line in kept), default=0.0)
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(self.path.parent / "tensorboard", purge_step=state.global_step + 1)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Loss, its parts and the learning rate."""
        step = state.global_step
        if step % self.every == 0 or step == state.max_steps:
            values = {"loss": self.loop.last_loss, **self.loop.parts}
            mean = group_sum(torch.stack([value.float() for value in values.values()])) / processes()
            self._write(
                step,
                {
                    **dict(zip(values, mean.tolist(), strict=True)),
                    **_temperature(self.loop.model),
                    "lr": float(self.loop.lr_scheduler.get_last_lr()[0]),  # type: ignore[union-attr, arg-type]
                    "samples": self.loop.batches.samples_until(step),
                    "seconds": round(self.spent + time.perf_counter() - self.started, 3),
                },
            )
        report(self.name, step, state.max_steps)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """The figures on dev."""
        self._write(state.global_step, metrics or {})

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


class _Patience(TrainerCallback):
    """Ends a run that has not become better for so many validations.

    It goes by what a checkpoint holds, so that a run that was killed stops where one that never was stops. (Trainer's
    own callback counts in memory, or goes on once more where the run was killed after it had stopped.)
    """

    def __init__(self, validations: int) -> None:
        self.validations = validations

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After each validation, when the state knows which was the best."""
        if self.over(state, args.eval_steps):
            control.should_training_stop = True

    def over(self, state: Any, every: float) -> bool:
        """Whether a state is so many validations, `every` steps apart, behind its best."""
        return bool(state.global_step - state.best_global_step >= self.validations * every)


def _temperature(model: Any) -> dict[str, float]:
    space = getattr(model, "space", None)
    return {} if space is None else {"temperature": space.temperature.item()}


def fit(
    model: PromuPreTrainedModel,
    order: Order,
    collate: Callable[[Sequence[Sample]], dict[str, torch.Tensor]],
    settings: TrainingSettings,
    out: Path,
    seed: int,
    name: str,
    validate: Callable[[], dict[str, float]] | None = None,
    best: str | None = None,
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
        seed: Order of the samples and dropout.
        name: The stage that progress is reported of.
        validate: Figures on dev, at the end of each epoch or every `settings.validate_every` steps.
        best: Which of them chooses what is kept; larger is better. None keeps the last.

    Returns:
        The log's lines.

    Raises:
        InputError: Another process of the group has died.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoints = out / "checkpoints"
    device = best_device()
    precision = best_precision(device) if settings.precision == "auto" else settings.precision
    use_fastest_attention(model, device, precision)
    batches = StepBatches(order, settings.batch_size, settings.epochs, seed, process_number(), processes())
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
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device == "cuda",
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,  # the same in each process, and a frozen detector's are many
    )
    loop = _Loop(
        model=model,
        args=arguments,
        train_dataset=_Samples(len(order)),
        eval_dataset=_Samples(1) if validate else None,
        data_collator=collate,  # type: ignore[arg-type]
    )
    loop.settings = settings
    loop.batches = batches
    loop.remove_callback(PrinterCallback)  # the log is ours, standard output the caller's
    loop.validate = validate
    loop.add_callback(_Log(out, loop, name, settings.log_every))
    resume = _last_whole_checkpoint(checkpoints)
    if settings.patience is not None and best is not None:
        patience = _Patience(settings.patience)
        loop.add_callback(patience)
        if resume and patience.over(TrainerState.load_from_json(f"{resume}/{TRAINER_STATE_NAME}"), every):
            arguments.num_train_epochs = 0  # it had stopped: only its best weights are to be loaded
    if resume:
        logger.info("resuming from %s", resume)
    elif validate is not None and best is None:
        arguments.eval_on_start = True  # what is measured on the way needs something to be compared with
    with group_faults():
        loop.train(resume_from_checkpoint=resume)
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def best_epoch(log: Sequence[Mapping[str, Any]], best: str) -> float:
    """When the weights that `fit` kept were validated, in epochs, by the log that it returned."""
    validated = [line for line in log if f"eval_{best}" in line]
    return max(validated, key=lambda line: line[f"eval_{best}"])["epoch"]


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
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()],
        fused=True,  # one pass over memory for each weight, where the default makes one for each of its operations
    )

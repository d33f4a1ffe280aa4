"""Several processes that train together: how weights are shared among them, and what happens when one dies."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import distributed
from torch.distributed.tensor import DTensor

from promu.errors import InputError
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.distributed import process_number, processes

logger = logging.getLogger(__name__)

ModelType = TypeVar("ModelType", bound=PromuPreTrainedModel)

_DEAD_PEER = ("connection closed by peer", "connection reset by peer", "timed out", "heartbeat", "broken pipe")


def sharding(sharded: bool, model: PromuPreTrainedModel) -> dict[str, Any]:
    """What `TrainingArguments` need to know where weights and optimiser are to be divided among the processes (FSDP2).

    Raises:
        InputError: There is one process only.
    """
    if not sharded:
        return {}
    if processes() == 1:
        raise InputError("training.sharded divides the weights among processes; start several with torchrun")
    layers = {type(layer).__name__ for layer in model.modules() if type(layer).__name__.endswith("Layer")}
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "transformer_layer_cls_to_wrap": sorted(layers),
            "reshard_after_forward": True,
            "state_dict_type": "FULL_STATE_DICT",
        },
    }


def shard_on_cpu(state: Any, settings: dict[str, Any] | None) -> bool:
    """Have accelerate divide weights among processes on CPUs too, which of itself it only does on accelerators.

    Args:
        state: accelerate's `AcceleratorState`.
        settings: Of its plugin; None where nothing is to be divided.

    Returns:
        Whether weights are divided.
    """
    if settings is not None and state.distributed_type == DistributedType.MULTI_CPU:
        shared = AcceleratorState._shared_state
        shared["distributed_type"] = DistributedType.FSDP
        shared["fsdp_plugin"] = FullyShardedDataParallelPlugin(**settings)
    return getattr(state, "fsdp_plugin", None) is not None


def unshard(model: ModelType) -> ModelType:
    """The model with its weights whole: itself, or a new one where they were divided among the processes."""
    if not any(isinstance(weight, DTensor) for weight in model.parameters()):
        return model
    weights = {name: whole(value).cpu() for name, value in model.state_dict().items()}
    undivided = type(model)(model.config)
    undivided.load_state_dict(weights)
    return undivided


def whole(weight: torch.Tensor) -> torch.Tensor:
    """A weight with all its parts, where it is divided among the processes; each must ask."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


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

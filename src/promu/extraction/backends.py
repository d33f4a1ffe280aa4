"""What computes for an extractor: a PyTorch model as it is, or graphs of ONNX (`promu.extraction.onnx_model`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, Protocol

import torch
from torch import nn

from promu.errors import InputError
from promu.modeling.attention import MATMUL
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.device import Precision, best_precision

BackendName = Literal["torch", "onnx"]
BackendPrecision = Literal["fp32", "bf16", "int8"]


class Backend(Protocol):
    """One fine-tuned model, as the extractor and the tasks' `answer` use it.

    Attributes:
        config: The model's.
        device: Where its inputs are to be.
        one_by_one: Whether what else is in a batch changes a post's answer, so that each post must be read alone.
        explains: Whether it hands out attention maps.
        sight: Equal for two models that encode a picture equally; None where pictures are not read.
    """

    config: PromuConfig
    device: torch.device
    one_by_one: bool
    explains: bool
    sight: str | None

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Bytes (B, 3, S, S) to the vision encoder's vectors."""

    def __call__(self, batch: Mapping[str, torch.Tensor], explain: bool) -> Any:
        """The model's output for what a task's `batch` made, with `visual` and `picture_mask` where there are pictures.

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
            return self.model.promu.encode_pictures(pixels)

    def __call__(self, batch: Mapping[str, torch.Tensor], explain: bool) -> Any:
        """As `Backend.__call__`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model(**batch, output_attentions=explain)


def sight_of(model: Any) -> str:
    """A checksum of all that turns a picture into vectors."""
    config = model.config
    check = hashlib.blake2b(repr((config.image_mean, config.image_std, model.promu.fusion.levels)).encode())
    check.update(config.vision_config.to_json_string().encode())
    for name, value in model.promu.vision_encoder.state_dict().items():
        check.update(name.encode())
        check.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return check.hexdigest()

"""A fine-tuned model in PyTorch: opened, and put to work."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from promu.errors import InputError
from promu.hub import saved_class
from promu.modeling.attention import MATMUL
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.chain import Crf
from promu.modeling.inputs import Batch, WordEncoder, tensors
from promu.modeling.label_prompts import LabelPrompt, prompt_batch, prompt_of
from promu.modeling.loading import load_model, load_tokenizer
from promu.modeling.multi_task import PromuForMultiTask
from promu.pytorch import Precision, best_precision, find_device, weights_checksum
from promu.tasks.gate import EXPERTS, read_gate
from promu.tasks.model_folder import MULTI_TASK, task_of, tasks_of
from promu.tasks.predictor import Predictor, Task
from promu.tasks.task import TASKS


class TorchPredictor(Predictor):
    """A PyTorch model.

    Attributes:
        label_vectors: Where labels are prompts, those of the labels that are asked for; None until they are read.

    Args:
        model: Put into evaluation mode.
        precision: None leaves the model as it is, as for one in training, and then it may give no attention maps.
            `fp32` and `bf16` change its attention for good; `bf16` also its linear layers, and it computes under
            autocast.

    Raises:
        InputError: bf16 on a device that does not compute it natively.
    """

    label_vectors: torch.Tensor | None = None

    def __init__(
        self, task: Task, model: PromuPreTrainedModel, encoder: WordEncoder, precision: Precision | None = None
    ) -> None:
        super().__init__(task, model.config, encoder)
        self.model: Any = model.eval()
        self.backbone = getattr(model, "promu", None)
        self.explains = precision is not None
        self.autocast = precision == "bf16"
        if self.autocast:
            if best_precision(str(self.device)) != "bf16":
                raise InputError(f"precision bf16 is only emulated on this {self.device.type}; use fp32")
            for module in model.modules():
                if isinstance(module, nn.Linear):  # else autocast would convert the weights again in every call
                    module.to(torch.bfloat16)
        if self.explains:
            # this attention always has its maps: nothing is switched while other threads compute
            model.set_attn_implementation(MATMUL)

    @property
    def crf(self) -> Crf | None:  # type: ignore[override]
        """The weights of its CRF as they are now: a model in training changes them."""
        return self.model.crf.weights(len(self.labels)) if hasattr(self.model, "crf") else None

    def asking(self, prompts: Sequence[LabelPrompt]) -> Self:
        if self.config.label_template is None:
            return super().asking(prompts)
        view = copy.copy(self)
        view.labels = tuple(self.task.labels_of([one.name for one in prompts]))
        view.label_vectors = self._read(prompts)
        return view

    @torch.inference_mode()
    def _read(self, prompts: Sequence[LabelPrompt]) -> torch.Tensor:
        """Vectors (T, d) of labels."""
        texts = [prompt_of(one, str(self.config.label_template), self.config.label_texts or {}) for one in prompts]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            vectors: torch.Tensor = self.model.names(**tensors(prompt_batch(self.encoder, texts), self.device))
        return vectors

    @property
    def device(self) -> torch.device:
        """Where it computes; asked anew, for a model in training may be moved."""
        return self.model.device

    @cached_property
    def vision_checksum(self) -> str | None:
        return vision_checksum(self.model)

    @torch.inference_mode()
    def __call__(self, batch: Batch, output_attentions: bool = False) -> Any:
        if self.config.label_template is not None:
            if self.label_vectors is None:
                self.label_vectors = self.asking([LabelPrompt(name) for name in self.names]).label_vectors
            batch = {**batch, "prompt_vectors": self.label_vectors}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            output = self.model(**tensors(batch, self.device), output_attentions=output_attentions)
        found = {self.task.output: _array(self.task.outputs(output)), "fused_text": getattr(output, "fused_text", None)}
        if output_attentions:
            found["attentions"] = tuple(map(_array, output.attentions))
        return SimpleNamespace(**found)

    @torch.inference_mode()
    def _encode_images(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return self.model.promu.encode_visual(torch.from_numpy(pixels).to(self.device))


def _array(output: Any) -> Any:
    """An output as an array; what is none of PyTorch's stays."""
    return output.float().cpu().numpy() if isinstance(output, torch.Tensor) else output


def open_model(task: str, folder: str | Path, device: str | None = None) -> tuple[PromuPreTrainedModel, WordEncoder]:
    """A PyTorch model fine-tuned for `task`, in evaluation mode, and its tokenizer; of several tasks the part for it.

    The folder is what fine-tuning saved: config.json, model.safetensors, tokenizer.json. `device` None is the best
    there is.

    Raises:
        InputError: The folder is none, is for another task, or a part of it is missing or broken; there is no such
            device.
    """
    folder = Path(folder)
    task_of(folder, task)
    models, encoder = open_models(folder, device)
    return models[task], encoder


def open_models(folder: Path, device: str | None = None) -> tuple[dict[str, PromuPreTrainedModel], WordEncoder]:
    """The models of the tasks that a folder's model is for, all on one backbone, and their tokenizer.

    Raises:
        InputError: As `open_model`.
    """
    device = find_device(device)
    if read_gate(folder) is not None:
        names = " or ".join(f"{name}/" for name in EXPERTS)
        raise InputError(f"this is a gate between two models; name the folder of one of them, {names} in it", folder)
    tasks = tasks_of(folder)
    shared = saved_class(folder) == MULTI_TASK
    tokenizer = load_tokenizer(str(folder))
    model: Any = load_model(PromuForMultiTask if shared else TASKS[tasks[0]].model_class, folder)
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
    model = model.to(device).eval()
    return {task: model.for_task(task) if shared else model for task in tasks}, encoder


def vision_checksum(model: Any) -> str | None:
    """A checksum of all that turns an image into vectors; None for a model without vision encoder."""
    config = model.config
    if config.image_size is None:
        return None
    settings = (config.image_mean, config.image_std, model.promu.fusion.levels, config.vision_config.to_dict())
    return weights_checksum(model.promu.vision_encoder.state_dict(), *settings)

"""Several tasks on one backbone: what is read once, by one set of encoders, and a head for each question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from promu.modeling.backbone import PromuModel, PromuPreTrainedModel
from promu.modeling.classification import (
    HeadOnBackbone,
    PromuForRelationClassification,
    PromuForTokenClassification,
)
from promu.modeling.configuration import PromuConfig

HEADS: dict[str, type[HeadOnBackbone]] = {"ner": PromuForTokenClassification, "re": PromuForRelationClassification}
"""The tasks that can share a backbone, and what a model of each alone is."""


@dataclass
class MultiTaskOutput(ModelOutput):
    """The loss of a batch of several tasks (`PromuForMultiTask.forward`)."""

    loss: Tensor | None = None


class PromuForMultiTask(PromuPreTrainedModel):
    """One backbone, and the head of each task that `config.tasks` names.

    `for_task` gives the model of one task: it has that task's head and this backbone, not a copy of it. All that works
    with a model of one task works with that.

    Attributes:
        loss_weights: What the loss of a task counts in training; 1 for a task that is not named.

    Example:
        ```python
        from promu import PromuConfig, PromuForMultiTask

        config = PromuConfig(
            text_config={"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64},
            tasks={"ner": {"labels": ["O", "B-PER", "I-PER"]}, "re": {"labels": ["None", "/per/per/peer"]}},
        )
        model = PromuForMultiTask(config)
        assert model.for_task("ner").promu is model.for_task("re").promu
        ```
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.promu = PromuModel(config)
        tasks: Mapping[str, Any] = config.tasks or {}
        self.heads = nn.ModuleDict(
            {task: nn.ModuleDict(HEADS[task].head_modules(config.of_task(task))) for task in tasks}
        )
        self.loss_weights: dict[str, float] = {}
        self._models: dict[str, HeadOnBackbone] = {}  # a plain dictionary: their modules are registered above
        self.post_init()

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        return {
            f"heads.{task}.{name}": labels
            for task in config.tasks or {}
            for name, labels in HEADS[task].head_labels(config.of_task(task)).items()
        }

    def for_task(self, task: str) -> HeadOnBackbone:
        """The model of one task, which shares this one's modules; its configuration is its own."""
        if task not in self._models:
            parts = {"promu": self.promu, **dict(self.heads[task].items())}  # type: ignore[operator]
            self._models[task] = HEADS[task](self.config.of_task(task), parts)
        return self._models[task]

    def forward(self, **batches: Any) -> MultiTaskOutput:
        """The loss of a batch: the mean over its rows, of whatever task, each with its task's weight.

        Args:
            batches: By task, the inputs of `for_task(task)` with labels; a task without rows is left out.
        """
        rows = {task: len(batch["input_ids"]) for task, batch in batches.items()}
        losses = [
            self.loss_weights.get(task, 1.0) * rows[task] * self.for_task(task)(**batch).loss
            for task, batch in batches.items()
        ]
        return MultiTaskOutput(loss=sum(losses[1:], losses[0]) / sum(rows.values()))

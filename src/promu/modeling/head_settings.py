"""What of a model's configuration reading and answering depend on: the part that its exported graphs need as well."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Self

from promu.errors import InputError

OF_TASK = ("score_temperature", "entity_threshold", "relation_threshold", "types")
OF_PROMPTS = ("label_template", "label_texts", "type_thresholds")
"""Fields that are each task's own where a model has several; the second are of tasks whose labels are prompts."""
RELATION_HEADS = ("markers", "spans", "levitated")


@dataclass(kw_only=True)
class HeadSettings:
    """Settings of the heads and of how texts are read, declared once for `PromuConfig` and for exported models.

    Args:
        id2label: The names of the labels by their number in the order of a head's outputs.
        score_temperature: What scores are divided by before they become probabilities; fitted on dev by fine-tuning.
        entity_threshold, relation_threshold: Answers with a lower score are left out in extraction; fine-tuning sets
            that of its task to what gives the best F1 on dev.
        relation_head: How pairs of entities are put to the model, see `promu.modeling.pair_heads`: `markers` around the
            two in a text of their own, `spans` read off the text's fused vectors, or `levitated` markers behind the
            text.
        label_template: Labels are read in the prompt of this name (`promu.modeling.label_prompts.TEMPLATES`), so that
            any can be asked for; None: the head has a row of weights for each of its labels.
        label_texts: What describes labels in their prompts, by their names.
        type_thresholds: By label, the threshold of its answers in place of that of all; fine-tuning fits them.
        types: Of a relation model: entity type of the model that finds entities -> what the labels here call it.
        tasks: Of a model of several tasks, by the name of each: its `labels`, and those of the fields in `OF_TASK` that
            are its own (`of_task`).
        max_length: Longest text in tokens, special tokens included.
        contexts: Names of the contexts that are read after a text; fine-tuning sets them.
        context_budget: Tokens of all contexts of a post at most, beside those of the text.
        context_order: What is read first where not all fits: `relevance` to the text, or as it is `given`.
        parser: The spaCy pipeline that parses texts for a fusion that reads trees and noun phrases; None does without.
    """

    id2label: Any = None
    score_temperature: float = 1.0
    entity_threshold: float = 0.0
    relation_threshold: float = 0.0
    relation_head: str = "markers"
    label_template: str | None = None
    label_texts: dict[str, str] | None = None
    type_thresholds: dict[str, float] | None = None
    types: dict[str, str] | None = None
    tasks: dict[str, dict[str, Any]] | None = None
    max_length: int = 80
    contexts: list[str] | tuple[str, ...] = ()
    context_budget: int = 64
    context_order: str = "relevance"
    parser: str | None = None

    def check_head(self) -> None:
        """Make sure that the settings, which people change in config.json, are usable.

        Raises:
            InputError: One is not.
        """
        if self.relation_head not in RELATION_HEADS:
            raise InputError(f"relation_head {self.relation_head!r} is unknown; use one of {', '.join(RELATION_HEADS)}")
        for name in ("entity_threshold", "relation_threshold", "score_temperature"):
            value, most = getattr(self, name), math.inf if name == "score_temperature" else 1.0
            number = type(value) in (int, float) and 0 <= value <= most and value < math.inf
            if not number or (name == "score_temperature" and not value):
                allowed = "a number over 0" if name == "score_temperature" else "a number from 0 to 1"
                raise InputError(f"{name} is {value!r}; {allowed} is needed")
        if type(self.max_length) is not int or self.max_length < 3:
            raise InputError(f"max_length is {self.max_length!r}; a whole number of tokens, 3 at least, is needed")
        types: Any = self.types
        if types is not None and not (isinstance(types, dict) and all(isinstance(one, str) for one in types.values())):
            raise InputError(f"types is {types!r}; a mapping is needed, such as {{'PERSON': 'per'}}")

    def of_task(self, task: str) -> Self:
        """The configuration of one task's head on the shared backbone: its labels, its temperature, its thresholds.

        Of a model of one task it is the configuration itself.
        """
        if self.tasks is None:
            return self
        config: Any = copy.copy(self)  # the encoders' configurations are those of the shared backbone
        config.tasks = None
        settings = dict(self.tasks[task])
        names = settings.pop("labels")
        config.id2label, config.label2id = dict(enumerate(names)), {name: row for row, name in enumerate(names)}
        for name, value in settings.items():
            setattr(config, name, value)
        config.check_head()
        return config

    def store_task(self, task: str, config: HeadSettings) -> None:
        """Take over what was fitted in a configuration that `of_task` has given."""
        assert self.tasks is not None
        names = (*OF_TASK, *(OF_PROMPTS if config.label_template else ()))
        fitted = {name: getattr(config, name) for name in names}
        self.tasks = {**self.tasks, task: {"labels": config.labels, **fitted}}

    @property
    def labels(self) -> list[str]:
        """The names of the labels in the order of a head's outputs."""
        names: Any = self.id2label or {}
        return [names[index] for index in range(len(names))]

    @property
    def image_size(self) -> int | None:
        """Side of the square image that the vision encoder takes, in pixels; None for a text-only backbone."""
        raise NotImplementedError

    @property
    def max_positions(self) -> int | None:
        """How many tokens the text encoder has positions for; None where it has no limit."""
        raise NotImplementedError

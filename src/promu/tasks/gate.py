"""Two models of one task as one: a gate between experts that read different contexts (MoRe).

Their outputs are added, each with its weight. Of MNER these are emissions and the scores of the CRF: the sum is the CRF
of p(Y) proportional to p1(Y)^w p2(Y)^(1-w). Of MRE they are logits. Each expert reads its own contexts of a post.

The weight is the same for all posts, or a mixture of experts: then it also follows which expert is surer of a post.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promu.errors import InputError
from promu.hub import read_json_object
from promu.modeling.chain import Crf
from promu.modeling.inputs import Batch, WordEncoder
from promu.schema import Post
from promu.tasks.predictor import Predictions, Predictor

GATE = "gate.json"
"""The file that makes a folder a gate: the weight of the first expert, trust, temperature and threshold."""
EXPERTS = ("first", "second")
"""The folders of the experts in it."""
SETTINGS = ("score_temperature", "entity_threshold", "relation_threshold")
"""What of a gate's configuration is fitted on dev."""
DAMAGED = InputError("the gate is damaged; fit it again (promu contexts gate)")
OTHER = "second."
"""Before the names of the second expert's inputs in a batch."""


class GatedPredictor(Predictor):
    """Two predictors of one task, with equal labels and lengths, whose outputs are mixed.

    Args:
        first, second: The experts.
        weight: The share of the first, 0 to 1, where both are equally sure.
        trust: How far the share of a post (of a pair, for relations) goes to the surer one: the odds of the first are
            those of `weight` times exp(trust (c1 - c2)). The certainty c of an expert is the probability of its
            likeliest label, mean over the words. 0 gives every post the same share. The scores of a CRF are mixed by
            `weight` always.

    Raises:
        InputError: The experts do not go together.
    """

    def __init__(self, first: Predictor, second: Predictor, weight: float = 0.5, trust: float = 0.0) -> None:
        check_experts(first, second)
        config, mine, other = copy.deepcopy(first.config), first.encoder, second.encoder
        config.contexts = list(dict.fromkeys((*mine.contexts, *other.contexts)))
        budget = max(mine.context_budget, other.context_budget)
        encoder = WordEncoder(
            mine.tokenizer, mine.max_length, config.contexts, budget, mine.context_order, mine.relation_head
        )
        super().__init__(first.task, config, encoder)
        self.experts = (first, second)
        self.one_by_one = first.one_by_one or second.one_by_one
        self.weight, self.trust = weight, trust

    @property
    def weight(self) -> float:
        """The share of the first expert."""
        return self._weight

    @weight.setter
    def weight(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise InputError(f"the weight of the first expert is {value}; it is from 0 to 1")
        self._weight = value
        first, second = (expert.crf for expert in self.experts)
        if first is not None and second is not None:
            weights = {name: self._mixed(getattr(first, name), getattr(second, name)) for name in Crf._fields[:3]}
            self.crf = Crf.of(self.labels, weights)

    def _mixed(
        self, first: NDArray[Any], second: NDArray[Any], share: float | NDArray[Any] | None = None
    ) -> NDArray[Any]:
        share = self._weight if share is None else share
        return share * first + (1 - share) * second

    def shares(self, first: NDArray[Any], second: NDArray[Any], batch: Batch) -> float | NDArray[Any]:
        """The share of the first expert in each row, by the outputs of both: (B, 1, 1), (P, 1), or one for all."""
        if not self.trust:
            return self._weight
        surer = _certainty(first, batch.get("word_mask")) - _certainty(second, batch.get("word_mask"))
        odds = self._weight * np.exp(self.trust * surer)
        return (odds / (odds + 1 - self._weight)).reshape(-1, *[1] * (first.ndim - 1))

    @property
    def device(self) -> Any:
        return self.experts[0].device

    @property
    def vision_checksum(self) -> str | None:
        return self.experts[0].vision_checksum

    def encode(self, posts: Sequence[Post]) -> Batch:
        """The inputs of both experts; those of the second have names that begin with `OTHER`."""
        first, second = (expert.encode(posts) for expert in self.experts)
        return {**first, **{f"{OTHER}{name}": value for name, value in second.items()}}

    def __call__(self, batch: Batch, output_attentions: bool = False) -> Any:
        images = {name: value for name, value in batch.items() if name in ("visual", "pixel_values", "image_mask")}
        mine = {name: value for name, value in batch.items() if not name.startswith(OTHER)}
        others = {name.removeprefix(OTHER): value for name, value in batch.items() if name.startswith(OTHER)}
        first, second = (
            self.task.outputs(expert(given))
            for expert, given in zip(self.experts, (mine, {**others, **images}), strict=True)
        )
        return SimpleNamespace(**{self.task.output: self._mixed(first, second, self.shares(first, second, mine))})

    def mixed(self, first: Predictions, second: Predictions) -> Predictions:
        """The outputs of both experts for one batch as those of the gate."""
        outputs = first.outputs, second.outputs
        return first._replace(outputs=self._mixed(*outputs, self.shares(*outputs, first.batch)), attentions=None)

    def _encode_images(self, pixels: NDArray[np.uint8]) -> Any:
        return self.experts[0]._encode_images(pixels)

    def facts(self) -> dict[str, Any]:
        """What `GATE` holds."""
        settings = {name: getattr(self.config, name) for name in SETTINGS}
        return {"task": self.task.name, "weight": self.weight, "trust": self.trust, **settings}


def _certainty(outputs: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[Any]:
    """The probability of the likeliest label in each row, mean over its words where it has several: (B,)."""
    scores = np.exp(outputs - outputs.max(-1, keepdims=True))
    top = 1 / scores.sum(-1)
    if top.ndim == 1:
        return top
    words = np.ones_like(top) if mask is None else mask
    return (top * words).sum(-1) / np.maximum(words.sum(-1), 1)


def check_experts(first: Predictor, second: Predictor) -> None:
    """Make sure that two models can be mixed.

    Raises:
        InputError: They are of different tasks, of a task that is not mixed, have other labels, lengths or images.
    """
    if first.task.name != second.task.name:
        raise InputError(
            f"one expert is for the task {first.task.name}, the other for {second.task.name}; take two of one"
        )
    if first.task.output not in ("emissions", "logits"):
        raise InputError(
            f"models of the task {first.task.name} are not mixed; take two for entities or two for relations"
        )
    if first.config.label_template is not None or second.config.label_template is not None:
        raise InputError("labels that are prompts are not mixed; take two experts with fixed labels")
    if first.labels != second.labels:
        odd = sorted(set(first.labels) ^ set(second.labels))
        what = f"one of them lacks {', '.join(odd[:5])}" if odd else "their order differs"
        raise InputError(f"the experts have different labels ({what}); train both on the same posts")
    if first.encoder.max_length != second.encoder.max_length:
        lengths = f"{first.encoder.max_length} and {second.encoder.max_length} tokens"
        raise InputError(f"the experts read {lengths} of a text; train both with one max_length")
    if first.encoder.relation_head != second.encoder.relation_head:
        heads = f"{first.encoder.relation_head!r} and {second.encoder.relation_head!r}"
        raise InputError(f"the experts read pairs by the heads {heads}; train both with one relation_head")
    if first.vision_checksum != second.vision_checksum:
        raise InputError("the experts see images through different encoders; take two with one vision encoder or none")


def read_gate(folder: Path) -> dict[str, Any] | None:
    """What a folder's `GATE` holds; None where the folder is no gate."""
    return read_json_object(folder / GATE) if (folder / GATE).is_file() else None


def opened_gate(folder: Path, first: Predictor, second: Predictor) -> GatedPredictor:
    """The gate of a folder, from its opened experts.

    Raises:
        InputError: The file is damaged.
    """
    facts = read_gate(folder) or {}
    try:
        values = {name: float(facts[name]) for name in ("weight", "trust", *SETTINGS)}
    except (KeyError, TypeError, ValueError):
        raise DAMAGED.at(folder / GATE) from None
    try:
        gate = GatedPredictor(first, second, values.pop("weight"), values.pop("trust"))
    except InputError as error:
        raise error.at(folder / GATE) from None
    for name, value in values.items():
        setattr(gate.config, name, value)
    gate.folder, gate.familiarity = folder, first.familiarity
    return gate

"""The losses of pre-training (Eq 3-11, and those of other methods): objects, chosen and weighted by the recipe.

`JointLoss` is what training uses. It takes what a model returns and the batch, and hands tensors to the single losses:

- `ITMLoss` (Eq 3) reads the logits of the matching head; also those of the head that judges object tags (Oscar).
- `CITLoss` (Eq 4, 5; `promu.modeling.contrastive`) compares projected texts and images.
- `SoftLabelLoss` is L_COE (Eq 8) and L_CIR (Eq 10). `patch_coverage` and `pool_regions` make L_COE's regions (Eq 7).
- `TokenLoss` reads the logits of tokens: of masked ones, and of a caption's next one (BLIP).

Each loss is a mean over what counts in the batches of all processes together (`promu.modeling.distributed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from promu.modeling.contrastive import CITLoss, MatchedPairs, SharedSpace
from promu.modeling.distributed import group_mean, group_sum

PAPER_WEIGHTS = {"itm": 1.0, "cit": 1.0, "coe": 1.0, "cir": 1.0, "mlm": 0.0, "lm": 0.0, "tag": 0.0}
LOSS_NAMES = tuple(PAPER_WEIGHTS)
OF_ENCODERS = ("cit", "lm")
"""Losses that read the encoders alone; the others read fused vectors."""
SMOOTHING = 0.1
"""Share of a label that BLIP's decoder spreads over all tokens."""
Batch = Mapping[str, Tensor]
ENCODER_INPUTS = (
    *("input_ids", "attention_mask", "token_type_ids", "pixel_values", "image_features", "image_mask"),
    "text_features",
)
"""What the encoders read of a batch; the fusion also reads `boxes` and `parse`."""


class ITMLoss:
    """L_ITM (Eq 3): two-way cross-entropy over all pairs of the batch, matched and falsified.

    It teaches the fusion what L_CIT, which compares whole texts with whole images, cannot see. Oscar's loss of polluted
    tags (Li et al., 2020) is the same formula: whether the tags beside a caption are those of its image.

    Example:
        Probabilities of the right answer 3/4 and 1/4; the mean of log 4/3 and log 4.

        >>> logits = torch.tensor([[0.0, 1.0986], [0.0, 1.0986]])
        >>> round(ITMLoss()(logits, matched=torch.tensor([1, 0])).item(), 4)
        0.837
    """

    def __call__(
        self, logits: Tensor, matched: Tensor, weights: Tensor | None = None, total: Tensor | None = None
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            logits: (B, 2), the second column for "the caption belongs to the image".
            matched: (B,) of 0 and 1.
            weights: (B,), 0 for a row that is padding; None counts every row.
            total: Scalar, how many pairs the mean is over, where this is a part of a larger batch; None counts these.
        """
        losses = functional.cross_entropy(logits.float(), matched.long(), reduction="none")
        weights = torch.ones_like(losses) if weights is None else weights.float()
        return group_mean((losses * weights).sum(), weights.sum() if total is None else total)


class SoftLabelLoss:
    """L_COE (Eq 8) and L_CIR (Eq 10): cross-entropy against soft pseudo-labels, mean over the rows with weight.

    For L_COE a row is a region, for L_CIR an image. The sum runs over the candidates (the paper's N_r in Eq 10 is a
    slip). Against one-hot labels it is plain cross-entropy. Without a row that has weight it is 0.

    Example:
        One region with two candidates, predicted at 1/4 and 3/4, labelled half and half.

        >>> logits = torch.tensor([[[0.0, 1.0986]]])
        >>> labels = torch.tensor([[[0.5, 0.5]]])
        >>> round(SoftLabelLoss()(logits, labels, weights=torch.ones(1, 1)).item(), 4)
        0.837
    """

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor, total: Tensor | None = None) -> Tensor:
        """The loss, a scalar.

        Args:
            logits: (..., M) over candidates.
            labels: (..., M) distributions over the same candidates.
            weights: (...), 1 where the row counts, 0 where it is padding or has left the view.
            total: Scalar, as in `ITMLoss`.
        """
        losses = -(labels.float() * functional.log_softmax(logits.float(), dim=-1)).sum(-1)
        weights = weights.float()
        return group_mean((losses * weights).sum(), weights.sum() if total is None else total)


class TokenLoss:
    """Cross-entropy of tokens, mean over those that count.

    For masked language modelling these are the masked tokens: Oscar's and U-VisualBERT's loss of captions and tags, and
    a help to small text encoders, which forget words under L_CIT alone. For L_LM of BLIP (Li et al., 2022, section
    3.2) they are the tokens of a caption, each told from those before it and the image, with smoothed labels.

    Args:
        smoothing: Share of each label that is spread evenly over all tokens.

    Example:
        Two tokens of which one does not count. Its probabilities are 1/4 and 3/4, and the second is right. Smoothed by
        a tenth, the label is 1/20 and 19/20.

        >>> logits, labels = torch.tensor([[0.0, 1.0986], [9.0, -9.0]]), torch.tensor([1, -100])
        >>> round(TokenLoss()(logits, labels).item(), 4)
        0.2877
        >>> round(TokenLoss(smoothing=0.1)(logits, labels).item(), 4)
        0.3426
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def __call__(self, logits: Tensor, labels: Tensor, total: Tensor | None = None) -> Tensor:
        """The loss, a scalar; 0 where no token counts.

        Args:
            logits: (P, V) of the tokens.
            labels: (P,) their ids, -100 for a token that does not count.
            total: Scalar, as in `ITMLoss`.
        """
        how: Any = {"ignore_index": -100, "reduction": "sum", "label_smoothing": self.smoothing}
        summed = functional.cross_entropy(logits.float(), labels, **how)
        return group_mean(summed, (labels != -100).sum().float() if total is None else total)


class JointLoss:
    """The weighted sum of the losses of pre-training (Eq 11), and of a fusion's own losses.

    Args:
        weights: By name, of `LOSS_NAMES` and of the fusion's losses; a loss of weight 0 is not computed.
        space: Of the model, where L_CIT has weight.

    In training, `JointLoss.of(model).of_batch(model, batch)` is the loss of a batch and its parts.

    Example:
        L_ITM alone, at twice its weight, of two pairs that the head cannot tell apart.

        >>> from promu.modeling.pretraining import PairOutput
        >>> batch = {"input_ids": torch.zeros(2, 5, dtype=torch.long), "matched": torch.tensor([1, 0])}
        >>> total, parts = JointLoss({"itm": 2.0})(PairOutput(itm_logits=torch.zeros(2, 2)), batch)
        >>> round(total.item(), 4), round(parts["itm"].item(), 4)
        (1.3863, 0.6931)
    """

    def __init__(self, weights: Mapping[str, float], space: SharedSpace | None = None) -> None:
        self.weights = dict(weights)
        self.cit = None if space is None else CITLoss(space)
        self.reads_more = any(weights.get(name) for name in LOSS_NAMES if name != "cit")
        self.reads_fused = any(weights.get(name) for name in LOSS_NAMES if name not in OF_ENCODERS)
        self.itm, self.soft, self.mlm, self.lm = ITMLoss(), SoftLabelLoss(), TokenLoss(), TokenLoss(SMOOTHING)

    @classmethod
    def of(cls, model: Any) -> JointLoss:
        """Of a `PromuForPreTraining`, weighted by its configuration, or of a `PromuDualEncoder`: L_CIT alone."""
        return cls(model.loss_weights, getattr(model, "space", None))

    def of_batch(self, model: Any, batch: Batch, *part: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The joint loss of what a model returns for a batch; `totals` and `cit` as of `__call__`."""
        return self(model(**self.inputs(batch)), batch, *part)

    def inputs(self, batch: Batch, fuse: bool = True) -> dict[str, Any]:
        """What the model is given of a batch (see `__call__`); without `fuse` for the projections alone."""
        given: dict[str, Any] = {name: batch[name] for name in ENCODER_INPUTS if name in batch}
        if not fuse and self.reads_more:
            given["fuse"] = False
        elif self.reads_fused:
            given |= {name: batch[name] for name in ("boxes", "parse") if name in batch}
            if self.weights.get("mlm") and "mlm_labels" in batch:
                given["masked"] = batch["mlm_labels"] != -100
        return given

    def pairs(self, output: Any, batch: Batch) -> MatchedPairs:
        """What L_CIT compares: the model's projections of the pairs that are matched and count."""
        chosen = _matched(batch).bool()
        columns = (output.visual, output.text, batch.get("image_ids"), batch.get("caption_ids"))
        return MatchedPairs(*columns).apply(lambda column: column[chosen])

    def totals(self, batch: Batch) -> dict[str, Tensor]:
        """How many rows, regions, … the mean of each loss is over, in the batches of all processes together."""
        rows = _rows(batch)
        zero = rows.new_zeros(())
        counts = {
            "itm": rows.sum(),
            "coe": (batch["box_mask"] * rows[:, None]).sum() if "box_mask" in batch else zero,
            "cir": (batch["relation_mask"] * rows if "relation_mask" in batch else rows).sum(),
            "mlm": _mlm_labels(batch).ne(-100).sum() if "mlm_labels" in batch else zero,
            "lm": _caption_labels(batch).ne(-100).sum() if self.weights.get("lm") else zero,
            "tag": _tagged(batch).sum() if "tag_mask" in batch else zero,
            "matched": _matched(batch).sum(),
        }
        return dict(zip(counts, group_sum(torch.stack(list(counts.values())).float()), strict=True))

    def __call__(
        self, output: Any, batch: Batch, totals: Batch | None = None, cit: CITLoss | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The joint loss of a batch.

        Args:
            output: A `PairOutput` of the model for this batch.
            batch: Each key may be left out, with the loss that needs it:
                `matched` (B,), 1 where the caption belongs to the image (left out: everywhere);
                `row_mask` (B,), 0 for a row that only fills up the batch and counts in no loss (left out: all count);
                `image_ids`, `caption_ids` (B,), equal where image or caption is the same;
                `box_mask` (B, R), 0 for padding, for a box that has left the view, and for one without a label;
                `entity_labels` (B, R, M), soft pseudo-labels of the regions (Eq 6);
                `relation_labels` (B, L), soft pseudo-labels of the images (Eq 9);
                `relation_mask` (B,), 0 for an image without a label;
                `mlm_labels` (B, N+2), the masked tokens, -100 elsewhere;
                `tag_labels` (B,), 1 where the tags are those of the image, and `tag_mask` (B,), 0 for a text without.
            totals: Of the whole batch (`totals`), where this is a part of it.
            cit: In place of `CITLoss`, where this is a part of a batch.

        Returns:
            The weighted sum, a scalar, and the unweighted losses by name, detached.
        """
        rows, matched = _rows(batch), _matched(batch)
        if totals is None:
            totals = self.totals(batch)
        parts: dict[str, Tensor] = {}
        if output.itm_logits is not None:
            parts["itm"] = self.itm(output.itm_logits, matched, rows, totals["itm"])
        if (cit := cit or self.cit) is not None:
            parts["cit"] = cit(self.pairs(output, batch))
        if output.entity_logits is not None and "entity_labels" in batch:
            weights = batch["box_mask"] * rows[:, None]
            parts["coe"] = self.soft(output.entity_logits, batch["entity_labels"], weights, totals["coe"])
        if output.relation_logits is not None and "relation_labels" in batch:
            weights = rows * batch.get("relation_mask", torch.ones_like(rows))
            parts["cir"] = self.soft(output.relation_logits, batch["relation_labels"], weights, totals["cir"])
        if output.mlm_logits is not None:
            labels = _mlm_labels(batch)[batch["mlm_labels"] != -100]
            parts["mlm"] = self.mlm(output.mlm_logits, labels, totals["mlm"])
        if output.caption_logits is not None:
            parts["lm"] = self.lm(output.caption_logits, _caption_labels(batch), totals["lm"])
        if output.tag_logits is not None and "tag_labels" in batch:
            parts["tag"] = self.itm(output.tag_logits, batch["tag_labels"], _tagged(batch), totals["tag"])
        # only a matched pair is what fine-tuning will read: a text with its own image
        for name, losses in (output.fusion_losses or {}).items():
            parts[name] = group_mean((losses * matched).sum(), totals["matched"])
        return self.weighted_sum(parts), {name: part.detach() for name, part in parts.items()}

    def weighted_sum(self, parts: Batch) -> Tensor:
        """The weighted sum of losses (Eq 11), a scalar."""
        return torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()


def _rows(batch: Batch) -> Tensor:
    """(B,), 1 for a row that counts."""
    ids = batch["input_ids"]
    return batch.get("row_mask", ids.new_ones(len(ids)))


def _matched(batch: Batch) -> Tensor:
    """(B,), 1 for a row that counts and is matched."""
    rows = _rows(batch)
    return rows * batch.get("matched", torch.ones_like(rows))


def _mlm_labels(batch: Batch) -> Tensor:
    """(B, N+2) masked tokens of the rows that count, -100 elsewhere."""
    return batch["mlm_labels"].masked_fill(~_rows(batch).bool()[:, None], -100)


def caption_tokens(attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
    """(B, N+1) booleans: whether a token, from the second on, belongs to the caption, [SEP] with it.

    Padding does not, nor what stands behind the caption with token type 1.
    """
    inside = attention_mask[:, 1:].bool()
    return inside if token_type_ids is None else inside & (token_type_ids[:, 1:] == 0)


def _caption_labels(batch: Batch) -> Tensor:
    """(P,) the tokens of captions from the second on, masked ones as they were; -100 in a row that is not matched."""
    ids = batch["input_ids"]
    if "mlm_labels" in batch:
        ids = torch.where(batch["mlm_labels"] == -100, ids, batch["mlm_labels"])
    labels = ids.masked_fill(~_matched(batch).bool()[:, None], -100)[:, 1:]
    return labels[caption_tokens(batch["attention_mask"], batch.get("token_type_ids"))]


def _tagged(batch: Batch) -> Tensor:
    """(B,), 1 for a row that is matched and has tags."""
    return _matched(batch) * batch["tag_mask"]


def patch_coverage(boxes: Tensor, grid: int) -> Tensor:
    """Share of each patch that each box covers.

    Args:
        boxes: (B, R, 4) as (x0, y0, x1, y1) in 0..1 of the image's width and height; parts outside are ignored.
        grid: Patches along a side.

    Returns:
        (B, R, grid * grid), row-major like the encoder's patches, in 0..1.
    """
    edges = torch.arange(grid + 1, device=boxes.device, dtype=torch.float32) / grid

    def overlap(low: Tensor, high: Tensor) -> Tensor:
        inside = torch.minimum(high[..., None], edges[1:]) - torch.maximum(low[..., None], edges[:-1])
        return inside.clamp(min=0.0) * grid

    boxes = boxes.float()
    across = overlap(boxes[..., 0], boxes[..., 2])
    down = overlap(boxes[..., 1], boxes[..., 3])
    return (down[..., :, None] * across[..., None, :]).flatten(-2)


def pool_regions(patches: Tensor, coverage: Tensor) -> Tensor:
    """e_obj of Eq 7: the coverage-weighted mean of the fused patch vectors under each box.

    Args:
        patches: (B, K, d) fused patch vectors.
        coverage: (B, R, K) of `patch_coverage`.

    Returns:
        (B, R, d); zeros for a box that covers nothing.
    """
    weights = coverage / coverage.sum(-1, keepdim=True).clamp(min=1e-6)
    return weights.to(patches.dtype) @ patches

"""Joint pre-training: the backbone under the four losses of Eq 11."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.utils.generic import ModelOutput

from promu.errors import InputError
from promu.modeling import losses
from promu.modeling.backbone import HasEncoders, PromuModel, PromuOutput, PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.distributed import group_mean, group_sum
from promu.modeling.encoders import build_encoder, encode_image, pooled
from promu.modeling.losses import ContrastFeatures, SharedSpace, patch_coverage, pool_regions

LOSS_NAMES = ("itm", "cit", "coe", "cir", "mlm")
OF_FUSED_IMAGES = ("itm", "coe", "cir")
"""Losses that read in fused vectors what the image shows."""
PAPER_WEIGHTS = {"itm": 1.0, "cit": 1.0, "coe": 1.0, "cir": 1.0, "mlm": 0.0}


@dataclass
class PreTrainingOutput(ModelOutput):
    """The joint loss and its parts by name; logits where their loss is on.

    Attributes:
        loss: Eq 11.
        parts: The unweighted losses by name.
        itm_logits: (B, 2).
        entity_logits: (B, R, M), the COE head on every region.
        relation_logits: (B, L), the CIR head on the fused CLS.
        features: What L_CIT compares, where its loss is on.
    """

    loss: torch.Tensor | None = None
    parts: dict[str, torch.Tensor] | None = None
    itm_logits: torch.Tensor | None = None
    entity_logits: torch.Tensor | None = None
    relation_logits: torch.Tensor | None = None
    features: ContrastFeatures | None = None


class PromuForPreTraining(PromuPreTrainedModel):
    """Backbone plus the heads of L_ITM, L_CIT, L_COE and L_CIR (Eq 3-11).

    A loss of weight 0 is neither computed nor given weights of its own to learn.

    Example:
        ```python
        from promu import PromuForPreTraining

        model = PromuForPreTraining.from_pretrained("runs/newsreel-pretrain/model")
        print(model.config.nouns[:3], model.config.relations[:3])  # the candidates of Eq 6 and Eq 9
        ```
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.promu = PromuModel(config)
        self.weights = {**PAPER_WEIGHTS, **(config.loss_weights or {})}
        unknown = sorted(set(self.weights) - set(LOSS_NAMES))
        if unknown:
            raise InputError(f"loss {unknown[0]!r} is unknown; the losses are {', '.join(LOSS_NAMES)}")
        if not any(self.weights.values()):
            raise InputError(f"every loss has weight 0; give at least one of {', '.join(LOSS_NAMES)} a weight")
        self._check_fusion()
        self.weights |= self.promu.fusion.loss_weights
        width = config.hidden_size
        if self.weights["itm"]:
            if config.itm_cosine and (not self.weights["cit"] or config.projection_norm):
                raise InputError("itm_cosine needs L_CIT, whose vectors it compares, and projection_norm: false")
            self.itm_head = nn.Linear(width + int(config.itm_cosine), 2)
        if self.weights["cit"]:
            self.space = SharedSpace(config)
        if self.weights["coe"]:
            self.entity_head = nn.Linear(width, len(config.nouns))
        if self.weights["cir"]:
            self.relation_head = nn.Linear(width, len(config.relations))
        if self.weights["mlm"]:
            self.mlm_transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        matched: torch.Tensor | None = None,
        row_mask: torch.Tensor | None = None,
        image_ids: torch.Tensor | None = None,
        caption_ids: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
        box_mask: torch.Tensor | None = None,
        entity_labels: torch.Tensor | None = None,
        relation_labels: torch.Tensor | None = None,
        relation_mask: torch.Tensor | None = None,
        mlm_labels: torch.Tensor | None = None,
        totals: dict[str, torch.Tensor] | None = None,
        batch_features: ContrastFeatures | None = None,
        features_only: bool = False,
    ) -> PreTrainingOutput:
        """The joint loss of a batch of caption pairs.

        Args:
            input_ids, attention_mask: (B, N+2) captions.
            pixel_values: (B, 3, S, S) in 0..255, the view that the boxes are given in.
            image_features: (B, K, C) of that view, in place of `pixel_values` (`promu.modeling.detector_encoder`).
            text_features: (B, N+2, d) of the captions from a frozen text encoder, which is then not asked.
            matched: (B,), 1 where the caption belongs to the image; None means everywhere.
            row_mask: (B,), 0 for a row that only fills up the batch and counts in no loss.
            image_ids, caption_ids: (B,) equal where image or caption is the same.
            boxes: (B, R, 4) in 0..1 of the view.
            box_mask: (B, R), 0 for padding, for a box that has left the view, and for one without a label.
            entity_labels: (B, R, M) soft pseudo-labels of the regions (Eq 6).
            relation_labels: (B, L) soft pseudo-labels of the images (Eq 9).
            relation_mask: (B,), 0 for an image without a label.
            mlm_labels: (B, N+2) masked pieces, -100 elsewhere.
            totals: How many rows, regions, … each loss's mean is over, where this is a part of a larger batch
                (`loss_totals`); None counts those of this batch, over all processes.
            batch_features: Of the larger batch's matched pairs (`ContrastFeatures.whole`).
            features_only: Stop at what L_CIT compares.
        """
        if matched is None:
            matched = torch.ones(len(input_ids), dtype=torch.long, device=input_ids.device)
        if row_mask is None:
            row_mask = torch.ones_like(matched)
        if mlm_labels is not None:
            mlm_labels = mlm_labels.masked_fill(~row_mask.bool()[:, None], -100)
        output = PreTrainingOutput()
        if features_only or not self.fuses:
            text = self.promu.encode_text(input_ids, attention_mask, text_features)
            visual = self.promu.encode_images(pixel_values, image_features)
            output.features = self._features(text, visual, attention_mask, matched * row_mask, image_ids, caption_ids)
            if not features_only:
                self._add_up(output, {"cit": self.space.loss(output.features, batch_features)})
            return output
        backbone = self.promu(
            input_ids,
            attention_mask,
            pixel_values,
            image_features=image_features,
            text_features=text_features,
            boxes=boxes,
        )
        parts: dict[str, torch.Tensor] = {}
        fused_cls = backbone.fused_text[:, 0]
        seen = row_mask if relation_mask is None else relation_mask * row_mask
        coverage = None if boxes is None else patch_coverage(boxes, self.config.grid)
        shown = box_mask
        if box_mask is not None and coverage is not None:  # a box that covers no patch has left the view too
            shown = box_mask * row_mask[:, None] * (coverage.sum(-1) > 0)
        if totals is None:
            totals = loss_totals(row_mask, shown, seen, mlm_labels, matched)
        if self.weights["itm"]:
            output.itm_logits = self.match_logits(backbone, attention_mask)
            parts["itm"] = losses.image_text_matching_loss(output.itm_logits, matched, row_mask, totals["itm"])
        if self.weights["cit"]:
            output.features = self._features(
                backbone.text, backbone.visual, attention_mask, matched * row_mask, image_ids, caption_ids
            )
            parts["cit"] = self.space.loss(output.features, batch_features)
        if self.weights["coe"] and coverage is not None and entity_labels is not None and shown is not None:
            patches = backbone.fused_visual[:, -coverage.shape[-1] :]
            output.entity_logits = self.entity_head(pool_regions(patches, coverage))
            parts["coe"] = losses.soft_label_loss(output.entity_logits, entity_labels, shown, totals["coe"])
        if self.weights["cir"] and relation_labels is not None:
            output.relation_logits = self.relation_head(fused_cls)
            parts["cir"] = losses.soft_label_loss(output.relation_logits, relation_labels, seen, totals["cir"])
        if self.weights["mlm"] and mlm_labels is not None:
            parts["mlm"] = losses.masked_language_loss(
                *self._mask_logits(backbone.fused_text, mlm_labels), totals["mlm"]
            )
        # only a matched pair is what fine-tuning will read: a text with its own image
        for name, rows in (backbone.losses or {}).items():
            parts[name] = group_mean((rows * matched * row_mask).sum(), totals["matched"])
        self._add_up(output, parts)
        return output

    def _add_up(self, output: PreTrainingOutput, parts: dict[str, torch.Tensor]) -> None:
        """The joint loss of its parts (Eq 11)."""
        output.parts = {name: part.detach() for name, part in parts.items()}
        output.loss = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()

    def _check_fusion(self) -> None:
        """Refuse a loss that has nothing to learn from."""
        lost = [name for name in OF_FUSED_IMAGES if self.weights[name]]
        if lost and not self.promu.fusion.sees_images:
            raise InputError(
                f"fusion {self.config.fusion!r} shows the fused vectors no image, from which loss {lost[0]!r} would "
                f"have to learn; give {', '.join(lost)} weight 0, or choose another fusion"
            )

    @property
    def fuses(self) -> bool:
        """Whether a loss reads fused vectors; L_CIT alone reads what the encoders say."""
        return any(self.weights[name] for name in LOSS_NAMES if name != "cit")

    def match_logits(self, backbone: PromuOutput, attention_mask: torch.Tensor) -> torch.Tensor:
        """What the ITM head says of pairs that the backbone has read with this mask (B, N+2): logits (B, 2)."""
        assert backbone.fused_text is not None
        read = backbone.fused_text[:, 0]
        if self.config.itm_cosine:
            assert backbone.text is not None and backbone.visual is not None
            cosines = self._cosines(backbone.text, backbone.visual, attention_mask)
            read = torch.cat([read, cosines.to(read.dtype)], dim=-1)
        return self.itm_head(read)

    def encode_text(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Word pieces (B, N) to unit vectors (B, D) of the shared space."""
        hidden = self.promu.encode_text(input_ids, attention_mask)
        return self.space.project_text(pooled(hidden, attention_mask, self.config.pooling))

    def encode_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) in 0..255 to unit vectors (B, D) of the shared space."""
        return self.project_images(self.encode_visual(pixel_values))

    def encode_visual(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) in 0..255 to what `PromuModel.forward` takes as `visual`."""
        return self.promu.encode_images(pixel_values)

    def project_images(self, visual: torch.Tensor) -> torch.Tensor:
        """What `encode_visual` returned to unit vectors (B, D) of the shared space."""
        return self.space.project_visual(pooled(visual, None, self.config.pooling))

    def _features(
        self,
        text: torch.Tensor,
        visual: torch.Tensor,
        attention_mask: torch.Tensor,
        matched: torch.Tensor,
        image_ids: torch.Tensor | None,
        caption_ids: torch.Tensor | None,
    ) -> ContrastFeatures:
        how = self.config.pooling
        return self.space.features(
            pooled(visual, None, how), pooled(text, attention_mask, how), matched.bool(), image_ids, caption_ids
        )

    @torch.no_grad()
    def _cosines(self, text: torch.Tensor, visual: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """(B, 1) cosines of the pairs in the shared space, over its temperature; L_ITM does not move that space."""
        text_rows = self.space.project_text(pooled(text, attention_mask, self.config.pooling))
        return (self.project_images(visual) * text_rows).sum(-1, keepdim=True) / self.space.temperature

    def _mask_logits(self, fused_text: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (P, 1, V) and labels (P, 1) of the masked places alone: the rest is never multiplied out."""
        places = labels != -100
        # asked for every piece rather than for its weight, which several processes may have divided among them
        table: Any = self.promu.get_input_embeddings()
        embeddings = table(torch.arange(table.num_embeddings, device=labels.device))
        logits = self.mlm_transform(fused_text[places]) @ embeddings.T
        return logits[:, None], labels[places][:, None]


def loss_totals(
    row_mask: torch.Tensor,
    box_mask: torch.Tensor | None = None,
    relation_mask: torch.Tensor | None = None,
    mlm_labels: torch.Tensor | None = None,
    matched: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """What each loss's mean is over, counted over the rows of all processes (arguments as in the model's forward)."""
    none = row_mask.new_zeros(())
    counts = [
        row_mask.sum(),
        none if box_mask is None else (box_mask * row_mask[:, None]).sum(),
        (row_mask if relation_mask is None else relation_mask * row_mask).sum(),
        none if mlm_labels is None else (mlm_labels != -100).sum(),
        (row_mask if matched is None else matched * row_mask).sum(),
    ]
    return dict(zip(("itm", "coe", "cir", "mlm", "matched"), group_sum(torch.stack(counts).float()), strict=True))


@dataclass
class DualEncoderOutput(ModelOutput):
    """Loss and what it compares; the features alone where only they are asked for."""

    loss: torch.Tensor | None = None
    features: ContrastFeatures | None = None


class PromuDualEncoder(HasEncoders):
    """Text and vision encoder in one space (Eq 4, 5), trained on matched pairs and then frozen as the teacher."""

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.text_encoder = build_encoder(config.text_config)  # type: ignore[arg-type]
        self.vision_encoder = build_encoder(config.vision_config)  # type: ignore[arg-type]
        self.space = SharedSpace(config)
        self.freeze()
        self.post_init()

    def get_input_embeddings(self) -> torch.nn.Module:
        """The text encoder's word-piece embeddings."""
        return self.text_encoder.get_input_embeddings()

    def encode_text(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Word pieces (B, N) to unit vectors (B, D)."""
        return self.space.project_text(self._text(input_ids, attention_mask))

    def encode_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) in 0..255 to unit vectors (B, D)."""
        return self.project_images(self.encode_visual(pixel_values))

    def encode_visual(
        self, pixel_values: torch.Tensor | None, image_features: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pixels (B, 3, S, S) in 0..255, or kept features in their place, to vectors (B, K+1, d_v)."""
        assert self.vision_encoder is not None
        return encode_image(self.vision_encoder, pixel_values, self.config, image_features)

    def project_images(self, visual: torch.Tensor) -> torch.Tensor:
        """What `encode_visual` returned to unit vectors (B, D)."""
        return self.space.project_visual(pooled(visual, None, self.config.pooling))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
        text_features: torch.Tensor | None = None,
        image_ids: torch.Tensor | None = None,
        caption_ids: torch.Tensor | None = None,
        row_mask: torch.Tensor | None = None,
        batch_features: ContrastFeatures | None = None,
        features_only: bool = False,
    ) -> DualEncoderOutput:
        """L_CIT of a batch of matched pairs (arguments as in `PromuForPreTraining.forward`)."""
        visual = pooled(self.encode_visual(pixel_values, image_features), None, self.config.pooling)
        text = self._text(input_ids, attention_mask, text_features)
        matched = torch.ones(len(text), dtype=torch.bool, device=text.device) if row_mask is None else row_mask.bool()
        features = self.space.features(visual, text, matched, image_ids, caption_ids)
        if features_only:
            return DualEncoderOutput(features=features)
        return DualEncoderOutput(loss=self.space.loss(features, batch_features), features=features)

    def _text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, kept: torch.Tensor | None = None
    ) -> torch.Tensor:
        if kept is not None:
            return pooled(kept.float(), attention_mask, self.config.pooling)
        hidden = self.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pooled(hidden, attention_mask, self.config.pooling)

"""The models of pre-training: the backbone with the heads of the joint loss, and the teacher's dual encoder.

Both return a `PairOutput` of features and logits. `promu.modeling.losses.JointLoss` makes the loss of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils.generic import ModelOutput

from promu.errors import InputError
from promu.modeling.backbone import HasEncoders, PromuModel, PromuOutput, PromuPreTrainedModel
from promu.modeling.caption_decoder import CaptionDecoder, next_tokens
from promu.modeling.configuration import PromuConfig
from promu.modeling.contrastive import SharedSpace
from promu.modeling.encoders import pooled
from promu.modeling.losses import (
    LOSS_NAMES,
    OF_ENCODERS,
    PAPER_WEIGHTS,
    caption_tokens,
    patch_coverage,
    pool_regions,
)

OF_FUSED_IMAGES = ("itm", "coe", "cir", "tag")
"""Losses that read in fused vectors what the image shows."""


@dataclass
class PairOutput(ModelOutput):
    """What a model of pre-training returns for a batch of caption pairs; None where the loss of it has weight 0.

    Attributes:
        visual, text: (B, D) projections of Eq 4, before they are normalised.
        itm_logits: (B, 2), the second column for "the caption belongs to the image".
        entity_logits: (B, R, M), the COE head on every region.
        relation_logits: (B, L), the CIR head on the fused CLS.
        mlm_logits: (P, V) of the masked tokens, row by row.
        caption_logits: (P, V) of the tokens of captions, from the second on, row by row.
        tag_logits: (B, 2), the second column for "these are the tags of the image".
        fusion_losses: The fusion's own losses (B,), unweighted, by name.
    """

    visual: Tensor | None = None
    text: Tensor | None = None
    itm_logits: Tensor | None = None
    entity_logits: Tensor | None = None
    relation_logits: Tensor | None = None
    mlm_logits: Tensor | None = None
    caption_logits: Tensor | None = None
    tag_logits: Tensor | None = None
    fusion_losses: dict[str, Tensor] | None = None


class PairModel(PromuPreTrainedModel):
    """A model with L_CIT's shared space: texts and images to vectors that can be compared."""

    promu: PromuModel
    space: SharedSpace
    loss_weights: dict[str, float]
    """The weights of Eq 11 by name, and those of the fusion's own losses."""

    def encode_visual(self, pixel_values: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) in 0..255 to the vision encoder's vectors (B, K+1, d_v) or (B, V, K+1, d_v)."""
        return self.promu.encode_visual(pixel_values)

    def encode_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens (B, N) to the text encoder's vectors (B, N, d)."""
        return self.promu.encode_tokens(input_ids, attention_mask)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens (B, N) to unit vectors (B, D) of the shared space."""
        hidden = self.encode_tokens(input_ids, attention_mask)
        return self.space.project_text(pooled(hidden, attention_mask, self.config.pooling))

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) in 0..255 to unit vectors (B, D) of the shared space."""
        return self.project_images(self.encode_visual(pixel_values))

    def project_images(self, visual: Tensor) -> Tensor:
        """What `encode_visual` returned to unit vectors (B, D) of the shared space."""
        return self.space.project_visual(pooled(visual, None, self.config.pooling))

    def _projections(self, text: Tensor, visual: Tensor, attention_mask: Tensor) -> PairOutput:
        how, space = self.config.pooling, self.space
        return PairOutput(space.visual(pooled(visual, None, how)), space.text(pooled(text, attention_mask, how)))


class PromuForPreTraining(PairModel):
    """Backbone plus the heads of L_ITM, L_CIT, L_COE and L_CIR (Eq 3-11).

    A loss of weight 0 (`config.loss_weights`) has no head.

    Example:
        ```python
        from promu import PromuForPreTraining

        model = PromuForPreTraining.from_pretrained("runs/newsreel-pretrain/model")
        print(model.config.nouns[:3], model.config.relations[:3])  # the candidates of Eq 6 and Eq 9
        ```

    In training `JointLoss.of(model).of_batch(model, batch)` is the joint loss and its parts.
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.promu = PromuModel(config)
        weights = {**PAPER_WEIGHTS, **(config.loss_weights or {})}
        if unknown := sorted(set(weights) - set(LOSS_NAMES)):
            raise InputError(f"loss {unknown[0]!r} is unknown; the losses are {', '.join(LOSS_NAMES)}")
        if not any(weights.values()):
            raise InputError(f"every loss has weight 0; give at least one of {', '.join(LOSS_NAMES)} a weight")
        blind = [name for name in OF_FUSED_IMAGES if weights[name]]
        if blind and not self.promu.fusion.sees_images:
            raise InputError(
                f"fusion {config.fusion!r} shows the fused vectors no image, from which loss {blind[0]!r} would "
                f"have to learn; give {', '.join(blind)} weight 0, or choose another fusion"
            )
        self.fuses = any(weight for name, weight in weights.items() if name not in OF_ENCODERS)
        self.loss_weights = weights | self.promu.fusion.loss_weights
        width = config.hidden_size
        if weights["itm"]:
            if config.itm_cosine and (not weights["cit"] or config.projection_norm):
                raise InputError("itm_cosine needs L_CIT, whose vectors it compares, and projection_norm: false")
            self.itm_head = nn.Linear(width + int(config.itm_cosine), 2)
        if weights["cit"]:
            self.space = SharedSpace(config)
        if weights["coe"]:
            self.entity_head = nn.Linear(width, len(config.nouns))
        if weights["cir"]:
            self.relation_head = nn.Linear(width, len(config.relations))
        if weights["mlm"]:
            self.mlm_transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        if weights["lm"]:
            self.caption_decoder = CaptionDecoder(config)
        if weights["tag"]:
            self.tag_head = nn.Linear(width, 2)
        self.post_init()

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        weights = {**PAPER_WEIGHTS, **(config.loss_weights or {})}
        heads = {"coe": ("entity_head", config.nouns), "cir": ("relation_head", config.relations)}
        return {head: names for loss, (head, names) in heads.items() if weights[loss]}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        image_features: Tensor | None = None,
        text_features: Tensor | None = None,
        boxes: Tensor | None = None,
        masked: Tensor | None = None,
        fuse: bool = True,
        parse: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        image_mask: Tensor | None = None,
    ) -> PairOutput:
        """Features and logits of a batch of caption pairs.

        Where no loss but L_CIT and L_LM has weight the fusion is not run, since these read the encoders.

        Args:
            input_ids, attention_mask: (B, N+2) captions.
            pixel_values: (B, 3, S, S) in 0..255, the view that the boxes are given in.
            image_features, text_features: (B, K, C) and (B, N+2, d), as in `PromuModel.forward`.
            boxes: (B, R, 4) in 0..1 of the view, zeros for padding.
            masked: (B, N+2) booleans, the tokens that masked language modelling has hidden.
            fuse: False gives the projections alone.
            parse: (B, N+2, 3), as in `PromuModel.forward`.
            token_type_ids: (B, N+2), 1 for object tags behind a caption; None where there are none.
            image_mask: (B,), 0 for a text that is read without its image; None where all are read with theirs.
        """
        encoded = {"image_features": image_features, "text_features": text_features, "token_type_ids": token_type_ids}
        if fuse and self.fuses:
            backbone = self.promu(
                input_ids, attention_mask, pixel_values, image_mask=image_mask, boxes=boxes, parse=parse, **encoded
            )
        else:
            text = self.promu.encode_tokens(input_ids, attention_mask, text_features, token_type_ids)
            backbone = PromuOutput(text, self.promu.encode_visual(pixel_values, image_features))
        output = PairOutput()
        if self.loss_weights["cit"]:
            output = self._projections(backbone.text, backbone.visual, attention_mask)
        if not fuse:
            return output
        if self.loss_weights["lm"]:
            hidden = self.caption_decoder(self._word_vectors(input_ids), attention_mask, backbone.visual)[:, :-1]
            output.caption_logits = self.word_logits(hidden[caption_tokens(attention_mask, token_type_ids)])
        if not self.fuses:
            return output
        if self.loss_weights["itm"]:
            output.itm_logits = self.match_logits(backbone, attention_mask)
        if self.loss_weights["coe"] and boxes is not None:
            coverage = patch_coverage(boxes, self.config.grid)
            patches = backbone.fused_visual[:, -coverage.shape[-1] :]
            output.entity_logits = self.entity_head(pool_regions(patches, coverage))
        if self.loss_weights["cir"]:
            output.relation_logits = self.relation_head(backbone.fused_text[:, 0])
        if self.loss_weights["mlm"] and masked is not None:
            output.mlm_logits = self.word_logits(self.mlm_transform(backbone.fused_text[masked]))
        if self.loss_weights["tag"]:
            output.tag_logits = self.tag_head(backbone.fused_text[:, 0])
        output.fusion_losses = backbone.losses
        return output

    def _word_vectors(self, input_ids: Tensor) -> Tensor:
        """The text encoder's embeddings (B, N, d) of tokens, before positions."""
        return self.promu.get_input_embeddings()(input_ids)

    def word_logits(self, vectors: Tensor) -> Tensor:
        """Vectors (P, d) compared with the embedding of each token: (P, V)."""
        table: Any = self.promu.get_input_embeddings()
        # looked up, not read, so that the vector of padding does not learn
        return vectors @ table(torch.arange(table.num_embeddings, device=vectors.device)).T

    @torch.no_grad()
    def write_captions(self, visual: Tensor, start: int, stop: int, draw: torch.Generator | None = None) -> Tensor:
        """A caption of each image by the decoder of L_LM, token by token.

        Args:
            visual: (B, K+1, d_v), as `encode_visual` returns it.
            start, stop: Ids of the tokens that begin and end a text.
            draw: Each token is drawn by nucleus sampling (`NUCLEUS`), as BLIP draws its captions; None takes the
                likeliest.

        Returns:
            (B, N) ids, `start` first; `stop` in each place behind the end.
        """
        ids = torch.full((len(visual), 1), start, device=visual.device)
        done = torch.zeros(len(visual), dtype=torch.bool, device=visual.device)
        while ids.shape[1] < self.config.max_length and not done.all():
            hidden = self.caption_decoder(self._word_vectors(ids), torch.ones_like(ids), visual)[:, -1]
            chosen = next_tokens(self.word_logits(hidden).float(), draw).masked_fill(done, stop)
            ids = torch.cat([ids, chosen[:, None]], dim=1)
            done |= chosen == stop
        return ids

    def match_logits(self, backbone: PromuOutput, attention_mask: Tensor) -> Tensor:
        """The ITM head's logits (B, 2) of pairs that the backbone has read with this mask (B, N+2)."""
        assert backbone.fused_text is not None
        read = backbone.fused_text[:, 0]
        if self.config.itm_cosine:
            assert backbone.text is not None and backbone.visual is not None
            with torch.no_grad():  # L_ITM does not move the shared space
                text = self.space.project_text(pooled(backbone.text, attention_mask, self.config.pooling))
                cosines = (self.project_images(backbone.visual) * text).sum(-1, keepdim=True) / self.space.temperature
            read = torch.cat([read, cosines.to(read.dtype)], dim=-1)
        return self.itm_head(read)


class PromuDualEncoder(HasEncoders, PairModel):
    """Text and vision encoder in one space (Eq 4, 5): the teacher, trained by L_CIT on matched pairs, then frozen."""

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.space = SharedSpace(config)
        self.loss_weights = {"cit": 1.0}
        self.freeze()
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor | None = None,
        image_features: Tensor | None = None,
        text_features: Tensor | None = None,
    ) -> PairOutput:
        """The projections of a batch (arguments as in `PromuForPreTraining.forward`)."""
        visual = self.encode_visual(pixel_values, image_features)
        text = self.encode_tokens(input_ids, attention_mask, text_features)
        return self._projections(text, visual, attention_mask)

"""The backbone: text encoder, vision encoder and fusion, shared by pre-training and every fine-tuned task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from promu.errors import counted
from promu.files import share_as_folder
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import encode_image, image_normalisation, load_encoder
from promu.modeling.fusions import VisualFeatures, build_fusion
from promu.modeling.fusions.base import additive_mask
from promu.modeling.map_sources import bare_model
from promu.pytorch import without_bars

PURPOSES = {
    "PromuForTokenClassification": "finds named entities in posts",
    "PromuForRelationClassification": "names the relation between two entities of a post",
    "PromuForJointExtraction": "finds named entities and the relations between them in posts",
    "PromuForMultiTask": "finds named entities in posts and names the relations between them, on one backbone",
    "PromuForPreTraining": "is a backbone for such models, pre-trained on image-caption pairs",
}
"""By class; any other is described as a model of promu's."""
LIMITS = (
    "- It knows the labels above and the kind of posts it was trained on; on others it errs more than measured.",
    "- Who is meant by a name is not resolved, and what is extracted is what a post says, not what is true.",
)
"""Of every model, as its card says them."""


def model_card(kind: str, config: PromuConfig) -> str:
    """The card of a model of class `kind` as Markdown, with the head that the Hugging Face hub reads.

    What training stored in `config.promu_training` is printed; what is missing there is said to be unknown.
    """
    trained: Mapping[str, Any] = getattr(config, "promu_training", None) or {}
    text: Any = config.text_config
    vision: Any = config.vision_config
    reads = f"text alone, through a {text.model_type} encoder"
    limits = [f"- Texts are read up to {config.max_length} word pieces; what comes after is not seen."]
    for answers, field in (("Entities", "entity_threshold"), ("Relations", "relation_threshold")):
        if lowest := max(getattr(config.of_task(task), field) for task in config.tasks or [""]):
            limits.append(f"- {answers} with a score below {lowest:.3f} are left out: that gave the best F1 on dev.")
    if vision is not None:
        reads = (
            f"text ({text.model_type} encoder) and, where there is one, an image of {config.image_size} pixels "
            f"({vision.model_type} encoder), fused by {config.fusion!r}"
        )
        limits.append("- An image is squeezed to a square; small things in it may be lost.")
    if config.contexts:
        limits.append(
            f"- After the text it reads up to {config.context_budget} word pieces of further texts about the post: "
            f"{', '.join(config.contexts)}. It was trained with them, and errs more without."
        )
    tags = "tags: [multimodal, named-entity-recognition, relation-extraction]"
    lines = ["---", "library_name: promu", tags, "---", "", f"# {kind}", ""]
    lines += [f"A model that {PURPOSES.get(kind, 'is one of promu')}. It reads {reads}.", ""]
    if kind in PURPOSES and kind != "PromuForPreTraining":
        names = [str(name) for _, name in sorted((config.id2label or {}).items())]
        lines += [f"Labels: {', '.join(f'`{name}`' for name in names)}.", ""]
        if any(config.of_task(task).label_template for task in config.tasks or [""]):
            lines += ["It reads labels as words, so that others can be asked for than those it was trained with.", ""]
    posts, files = _of_tasks(trained, "posts"), trained.get("recipe", {}).get("data") or {}
    if "tasks" in trained:
        files = {f"{task} {name}": value for task, of_task in files.items() for name, value in of_task.items()}
    data = [
        f"- {name}: `{value}`" + (f", {counted(posts[name], 'post')}" if name in posts else "")
        for name, value in files.items()
        if value is not None
    ]
    lines += ["## Data", "", *(data or ["Not recorded."]), ""]
    lines += ["## Settings", "", *(_settings(trained.get("recipe")) or ["Not recorded."]), ""]
    lines += ["## Measured", "", *(_measured(trained) or ["Nothing that is recorded here."]), ""]
    return "\n".join([*lines, "## Limits", "", *limits, *LIMITS, ""])


def _settings(recipe: Mapping[str, Any] | None) -> list[str]:
    if not recipe:
        return []
    rows = [
        f"| {group}.{name} | `{value}` |"
        for group in ("model", "training")
        for name, value in (recipe.get(group) or {}).items()
        if value not in (None, {})
    ]
    lines = ["| setting | value |", "|---|---|", f"| seed | {recipe.get('seed')} |", *rows]
    return [*lines, "", "The whole recipe is in `config.json`, under `promu_training`."]


def _of_tasks(trained: Mapping[str, Any], what: str) -> dict[str, Any]:
    """What training stored under a name; of several tasks by names such as `ner train`."""
    if "tasks" not in trained:
        return dict(trained.get(what) or {})
    tasks = trained["tasks"].items()
    return {f"{task} {name}": value for task, one in tasks for name, value in (one.get(what) or {}).items()}


def _measured(trained: Mapping[str, Any]) -> list[str]:
    if "tasks" in trained:
        return [line for task, one in trained["tasks"].items() for line in (f"### {task}", "", *_measured(one), "")]
    splits = {name: trained[name] for name in ("dev", "test") if trained.get(name)}
    for split in list(splits):
        splits |= {f"{split}, {name}": figures for name, figures in splits[split].get("files", {}).items()}
    if not splits:
        return []
    lines = ["| split | posts | precision | recall | F1 |", "|---|---|---|---|---|"]
    for name, figures in splits.items():
        shown = " | ".join(f"{figures[key]:.2f}" for key in ("precision", "recall", "f1"))
        lines.append(f"| {name} | {figures.get('posts', '')} | {shown} |")
    lines.append("")
    if calibration := trained.get("calibration"):
        temperature = calibration["temperature"]
        lines += [f"Scores are at temperature {temperature:.3f}, fitted on dev. Expected calibration error:", ""]
        lines += [
            f"- {name}: {split['ece_before']:.3f} before, {split['ece_after']:.3f} after "
            f"({counted(split['answers'], 'answer')})"
            for name in ("dev", "test")
            if (split := calibration.get(name)) and split["answers"]
        ]
        lines.append("")
    return [*lines, "Dev scores are optimistic: the epoch was selected on dev. One seed."]


@dataclass
class PromuOutput(ModelOutput):
    """What the backbone returns.

    Attributes:
        text: Text encoder's vectors (B, N+2, d), before the fusion.
        visual: Vision encoder's vectors (B, K+1, d_v), before the fusion, or (B, V, K+1, d_v) where the fusion reads
            several levels; None when no post has an image.
        fused_text: Fused vectors of the text tokens (B, N+2, d); position 0 is the fused CLS.
        fused_visual: Fused vectors of the visual CLS and patches (B, K+1, d), or None.
        attentions: The fusion's attention maps, with `output_attentions` (`promu.modeling.fusions.Fused`).
        losses: The fusion's own losses (B,), unweighted, by name.
        spans: Emissions (B, N+2, 3) of the fusion's auxiliary task, where it has one.
    """

    text: Tensor | None = None
    visual: Tensor | None = None
    fused_text: Tensor | None = None
    fused_visual: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None
    losses: dict[str, Tensor] | None = None
    spans: Tensor | None = None


def vectors_at(vectors: Tensor, index: Tensor) -> Tensor:
    """The vectors (B, N, d) at places (B, M): (B, M, d)."""
    return vectors.gather(1, index[..., None].expand(-1, -1, vectors.shape[-1]))


class PromuPreTrainedModel(PreTrainedModel):
    """What every promu model shares with Hugging Face's: loading, saving, weight initialisation."""

    config_class = PromuConfig
    config: PromuConfig
    base_model_prefix = "promu"
    main_input_name = "input_ids"
    _supports_sdpa = True
    _supports_attention_backend = True

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        """By the name of a module, the labels that the rows of its weights stand for; empty without such a head."""
        return {}

    def set_attn_implementation(self, attn_implementation: Any, allow_all_kernels: bool = False) -> None:
        """As Hugging Face's; layers that the fusion has made, which it does not find, follow the text encoder's."""
        super().set_attn_implementation(attn_implementation, allow_all_kernels)
        for module in self.modules():
            if isinstance(module, PromuModel):
                module.fusion.attend_as(module.text_encoder)

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **settings: Any) -> None:
        """As Hugging Face's, with a model card (README.md) beside it."""
        with without_bars():
            super().save_pretrained(save_directory, *args, **settings)
        for weights in Path(save_directory).glob("*.safetensors"):
            share_as_folder(weights)
        (Path(save_directory) / "README.md").write_text(model_card(type(self).__name__, self.config), encoding="utf-8")

    def _init_weights(self, module: torch.nn.Module) -> None:
        super()._init_weights(module)
        # modules with other parameters than those of PyTorch's layers start themselves, through
        # `transformers.initialization`, which leaves alone what was loaded
        if start := getattr(module, "start_weights", None):
            start()


class HasEncoders(PromuPreTrainedModel):
    """A model that holds a text and a vision encoder, either of which may be frozen."""

    vision_encoder: PreTrainedModel | None
    levels: int | None = None
    """How many levels of the vision encoder are read, at most; None reads the last alone."""

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.text_encoder = bare_model(config.text_config)  # type: ignore[arg-type]
        self.vision_encoder = None if config.vision_config is None else bare_model(config.vision_config)  # type: ignore[arg-type]

    def get_input_embeddings(self) -> torch.nn.Module:
        """The text encoder's token embeddings."""
        return self.text_encoder.get_input_embeddings()

    def encode_tokens(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        text_features: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Text encoder's vectors (B, N, d); `text_features` (B, N, d) of a frozen one may stand for the tokens.

        `token_type_ids` (B, N) are 1 for contexts; an encoder without a second segment does without.
        """
        if text_features is not None:
            return text_features.float()
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None and self.has_segments:
            inputs["token_type_ids"] = token_type_ids
        if position_ids is not None:
            inputs["position_ids"] = position_ids + self.config.first_position
        if attention_mask.ndim == 3:
            inputs["attention_mask"] = additive_mask(attention_mask)
        return self.text_encoder(**inputs).last_hidden_state

    @property
    def has_segments(self) -> bool:
        """Whether the text encoder tells a second segment from the first."""
        return int(getattr(self.text_encoder.config, "type_vocab_size", 0) or 0) > 1

    def encode_visual(self, pixel_values: Tensor | None, image_features: Tensor | None = None) -> Tensor:
        """Vision encoder's vectors (B, K+1, d_v), or (B, V, K+1, d_v) of several levels, of pixels in 0..255.

        `image_features` (B, K, C) of frozen networks may stand for the pixels (B, 3, S, S).
        """
        assert self.vision_encoder is not None
        return encode_image(self.vision_encoder, pixel_values, self.config, image_features, self.levels)

    def use_encoders(self, text: PreTrainedModel | None = None, vision: PreTrainedModel | None = None) -> None:
        """Put pretrained encoders in the place of those that the configuration made; None leaves one as it is."""
        self.text_encoder = text or self.text_encoder
        self.vision_encoder = vision or self.vision_encoder
        self.freeze()

    def freeze(self) -> None:
        """Take what `config.frozen` names out of training."""
        for encoder in self._frozen():
            encoder.requires_grad_(False)
            encoder.eval()

    def train(self, mode: bool = True) -> Self:
        """Frozen encoders stay in evaluation mode: what does not learn must not be disturbed by dropout either."""
        super().train(mode)
        for encoder in self._frozen():
            encoder.eval()
        return self

    def _frozen(self) -> list[PreTrainedModel]:
        encoders = {"text": self.text_encoder, "vision": self.vision_encoder}
        return [encoder for name in self.config.frozen if (encoder := encoders[name]) is not None]


class PromuModel(HasEncoders):
    """The backbone of PROMU (Eq 1, 2). Pre-training and fine-tuning run this same path.

    Example:
        ```python
        import torch
        from promu import PromuConfig, PromuModel

        config = PromuConfig(
            text_config={"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64},
            vision_config={"model_type": "vit", "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64},
        )
        model = PromuModel(config).eval()
        ids = torch.tensor([[101, 2023, 102]])
        pixels = torch.zeros(1, 3, 224, 224)  # 0..255
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels)
        assert output.fused_text.shape == (1, 3, 32)  # position 0 is the fused CLS
        ```
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.fusion = build_fusion(config, self.text_encoder)
        self.levels = self.fusion.levels
        self.freeze()
        self.post_init()

    @classmethod
    def from_encoders(cls, text: str, vision: str | None = None, **settings: Any) -> Self:
        """A backbone that starts from pretrained encoders, each a local folder or hub name; text-only without `vision`.

        The settings are further fields of `PromuConfig`.

        Raises:
            InputError: An encoder cannot be loaded.
        """
        encoders = {"text": load_encoder(text)}
        if vision is not None:
            encoders["vision"] = load_encoder(vision)
            settings = {**image_normalisation(vision), **settings}
        configs: dict[str, Any] = {f"{side}_config": encoder.config for side, encoder in encoders.items()}
        model = cls(PromuConfig(**configs, **settings))
        model.use_encoders(**encoders)
        return model

    def use_encoders(self, text: PreTrainedModel | None = None, vision: PreTrainedModel | None = None) -> None:
        """As `HasEncoders.use_encoders`; the fusion takes its layers from the new text encoder."""
        super().use_encoders(text, vision)
        if text is not None:
            self.fusion = build_fusion(self.config, text)

    def set_input_embeddings(self, value: torch.nn.Module) -> None:
        """Replace the text encoder's word-piece embeddings (used when special tokens are added)."""
        self.text_encoder.set_input_embeddings(value)
        self.config.text_config.vocab_size = value.num_embeddings  # type: ignore[union-attr, assignment]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_mask: Tensor | None = None,
        output_attentions: bool = False,
        visual: Tensor | None = None,
        image_features: Tensor | None = None,
        text_features: Tensor | None = None,
        boxes: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        parse: Tensor | None = None,
    ) -> PromuOutput:
        """Encode and fuse.

        Args:
            input_ids: (B, N+2) word pieces, [CLS] first.
            attention_mask: (B, N+2), 1 where there is a token; None means everywhere. Or (B, N+2, N+2), 1 where a token
                (row) sees another (column); an image's tokens see what [CLS] sees.
            pixel_values: (B, 3, S, S) in 0..255, bytes or floats; None for a batch without images.
            image_mask: (B,), 0 where the row's pixels stand for no image; None means that all are images.
            output_attentions: Return the fusion's attention maps (load the model with eager attention).
            visual: What `encode_visual` returned, in place of `pixel_values`: whoever reads one image with many
                texts encodes it once.
            image_features: (B, K, C) features of frozen networks, in place of `pixel_values`.
            text_features: (B, N+2, d) vectors of a frozen text encoder, which is then not run.
            boxes: (B, R, 4) regions in 0..1 of the image, zeros for padding; None without a detector.
            token_type_ids: (B, N+2), 1 for the tokens of contexts, 0 for those of the text.
            position_ids: (B, N+2) the position of each token, from 0; None counts them.
            parse: (B, N+2, 3) of the text (`promu.modeling.parsing`), for fusions that read it; None without a parser.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        text = self.encode_tokens(input_ids, attention_mask, text_features, token_type_ids, position_ids)
        images = pixel_values is not None or image_features is not None
        if visual is None and images and self.vision_encoder is not None:
            visual = self.encode_visual(pixel_values, image_features)
        features = None if visual is None else VisualFeatures(visual, image_mask, boxes, parse)
        fused = self.fusion(text, attention_mask, features, output_attentions)
        return PromuOutput(
            text, visual, fused.text, fused.visual, fused.attentions or None, fused.losses or None, fused.spans
        )

    def fusion_loss(self, output: PromuOutput) -> Tensor | float:
        """What the fusion's own losses add to a fine-tuned task's: their weighted mean over the posts."""
        weights = self.fusion.loss_weights
        return sum(weights[name] * rows.mean() for name, rows in (output.losses or {}).items())

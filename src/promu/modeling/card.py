"""The README.md of a saved model: what it is, what it was trained on and how, what was measured, where it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from promu.modeling.configuration import PromuConfig

PURPOSES = {
    "PromuForTokenClassification": "finds named entities in posts",
    "PromuForRelationClassification": "names the relation between two entities of a post",
    "PromuForJointExtraction": "finds named entities and the relations between them in posts",
    "PromuForPreTraining": "is a backbone for such models, pre-trained on picture-caption pairs",
}
"""By class; any other is described as a model of promu's."""
FIGURES = ("precision", "recall", "f1")


def model_card(kind: str, config: PromuConfig) -> str:
    """The card as Markdown, with the head that the Hugging Face hub reads.

    Args:
        kind: Name of the model's class.
        config: Its configuration; what training left in `promu_training` is told, and what is not there is said to be
            unknown.
    """
    trained: Mapping[str, Any] = getattr(config, "promu_training", None) or {}
    return "\n".join(
        [
            "---",
            "library_name: promu",
            "tags: [multimodal, named-entity-recognition, relation-extraction]",
            "---",
            "",
            f"# {kind}",
            "",
            f"A model that {PURPOSES.get(kind, 'is one of promu')}. It reads {_reads(config)}.",
            "",
            *_labels(kind, config),
            *_data(trained),
            *_settings(trained),
            *_measured(trained),
            *_limits(config),
            "",
        ]
    )


def _reads(config: PromuConfig) -> str:
    vision: Any = config.vision_config
    text: Any = config.text_config
    if vision is None:
        return f"text alone, through a {text.model_type} encoder"
    return (
        f"text ({text.model_type} encoder) and, where there is one, a picture of {config.image_size} pixels "
        f"({vision.model_type} encoder), fused by {config.fusion!r}"
    )


def _labels(kind: str, config: PromuConfig) -> Iterator[str]:
    if kind in PURPOSES and kind != "PromuForPreTraining":
        names = [str(name) for _, name in sorted((config.id2label or {}).items())]
        yield f"Labels: {', '.join(f'`{name}`' for name in names)}."
        yield ""


def _data(trained: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Data", "")
    data = trained.get("recipe", {}).get("data") or {}
    counts = trained.get("posts", {})
    if not data:
        yield "Not recorded."
    for name, value in data.items():
        if value is not None:
            posts = f", {counts[name]} posts" if name in counts else ""
            yield f"- {name}: `{value}`{posts}"
    yield ""


def _settings(trained: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Settings", "")
    recipe = trained.get("recipe")
    if not recipe:
        yield from ("Not recorded.", "")
        return
    yield from ("| setting | value |", "|---|---|", f"| seed | {recipe.get('seed')} |")
    for group in ("model", "training"):
        for name, value in (recipe.get(group) or {}).items():
            if value not in (None, {}):
                yield f"| {group}.{name} | `{value}` |"
    yield from ("", "The whole recipe is in `config.json`, under `promu_training`.", "")


def _measured(trained: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Measured", "")
    splits = {name: trained[name] for name in ("dev", "test") if trained.get(name)}
    if not splits:
        yield from ("Nothing that is recorded here.", "")
        return
    yield from ("| split | posts | precision | recall | F1 |", "|---|---|---|---|---|")
    for name, found in splits.items():
        yield f"| {name} | {found.get('posts', '')} | {' | '.join(f'{found[key]:.2f}' for key in FIGURES)} |"
    yield ""
    calibration = trained.get("calibration")
    if calibration:
        yield f"Scores are at temperature {calibration['temperature']:.3f}, fitted on dev. Expected calibration error:"
        yield ""
        for name in ("dev", "test"):
            errors = calibration.get(name)
            if errors and errors["answers"]:
                yield (
                    f"- {name}: {errors['ece_before']:.3f} before, {errors['ece_after']:.3f} after "
                    f"({errors['answers']} answers)"
                )
        yield ""
    yield from ("The epoch was chosen on dev, so that its figures flatter; one seed.", "")


def _limits(config: PromuConfig) -> Iterator[str]:
    yield from ("## Limits", "")
    yield f"- Texts are read up to {config.max_length} word pieces; what comes after is not seen."
    if config.vision_config is not None:
        yield "- A picture is squeezed to a square; small things in it may be lost."
    yield "- It knows the labels above and the kind of posts it was trained on; on others it errs more than measured."
    yield "- Who is meant by a name is not resolved, and what is extracted is what a post says, not what is true."

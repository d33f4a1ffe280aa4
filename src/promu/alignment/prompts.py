"""Prompts: a candidate in a template (METHOD of L_COE and L_CIR)."""

from __future__ import annotations

from collections.abc import Sequence

from promu.errors import InputError

ENTITY_TEMPLATES = {
    "1": "This is an image of {}.",
    "2": "An image of {} is shown here.",
}
RELATION_TEMPLATES = {
    "A": "This image shows the relation of {}.",
    "B": "The relation of {} is shown in this image.",
    "C": "The relation between the objects in the image is {}.",
}


def prompts(candidates: Sequence[str], template: str, templates: dict[str, str]) -> list[str]:
    """Each candidate in the template called `template`."""
    if template not in templates:
        raise InputError(f"prompt template {template!r} is unknown; use one of {', '.join(templates)}")
    return [templates[template].format(candidate) for candidate in candidates]

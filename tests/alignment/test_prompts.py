"""The paper's templates, word for word."""

from __future__ import annotations

import pytest

from promu.errors import InputError
from promu.modeling.label_prompts import ENTITY_TEMPLATES, RELATION_TEMPLATES, prompts


@pytest.mark.parametrize(
    ("template", "templates", "expected"),
    [
        ("1", ENTITY_TEMPLATES, "This is an image of {x} {0}."),
        ("2", ENTITY_TEMPLATES, "An image of {x} {0} is shown here."),
        ("A", RELATION_TEMPLATES, "This image shows the relation of {x} {0}."),
        ("B", RELATION_TEMPLATES, "The relation of {x} {0} is shown in this image."),
        ("C", RELATION_TEMPLATES, "The relation between the objects in the image is {x} {0}."),
    ],
)
def test_templates(template: str, templates: dict[str, str], expected: str) -> None:
    # braces in a candidate are characters like any other
    assert prompts(["{x} {0}"], template, templates) == [expected]


def test_every_candidate_has_its_prompt_in_order() -> None:
    assert prompts(["dog", "cat"], "1", ENTITY_TEMPLATES) == ["This is an image of dog.", "This is an image of cat."]


def test_an_unknown_template_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="prompt template '3' is unknown; use one of 1, 2"):
        prompts(["dog"], "3", ENTITY_TEMPLATES)

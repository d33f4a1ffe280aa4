"""What every page made of a template shares."""

from __future__ import annotations

import jinja2


def page_templates(*packages: str) -> jinja2.Environment:
    """The templates of these packages, the first's before the second's, and of the reports.

    Names and texts come from data and are escaped; what a template asks for and is not given is an error.
    """
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in (*packages, "promu.analysis")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

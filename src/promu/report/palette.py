"""One palette for every page and every figure: inks, a colour for each system and each loss, two for each entity type.

A type or a system has the same colour on the service's page, in reports, in graphs and in figures.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

Shades = tuple[str, str]
"""A colour on a light page and on a dark page, as `#rrggbb`."""

COLOURS: Mapping[str, Shades] = {
    "ink": ("#1d2228", "#e9e7e1"),
    "soft": ("#59616b", "#a6aeb8"),
    "line": ("#e3ded3", "#2d343d"),
    "grey": ("#69717b", "#a6aeb8"),
    "amber": ("#96590f", "#e6b56b"),
    "teal": ("#0b6d68", "#6fd0c8"),
    "blue": ("#2f5fa8", "#93b9f2"),
    "purple": ("#8a4a9e", "#d19fe2"),
    "red": ("#ad2f27", "#ff9d92"),
    "green": ("#3c7020", "#a3d585"),
    "rose": ("#a8386f", "#f2a0c8"),
    "sky": ("#1b6a8c", "#7fc8e8"),
}
"""Name of a colour that a chart may use to its values; each can be read on the grounds of a page."""

SURFACES: Mapping[str, Shades] = {
    "ground": ("#faf8f3", "#14171b"),
    "card": ("#ffffff", "#1b2026"),
    "sunk": ("#f3f0e9", "#15191e"),
    "track": ("#e9e5db", "#2b323a"),
    "link": ("#0c6a66", "#6fd0c8"),
    "on-link": ("#ffffff", "#14171b"),
    "right": ("#17693a", "#7fd49a"),
    "wrong": ("#ad2f27", "#ff9d92"),
    "missed": ("#855300", "#f0bd6c"),
}
"""Further colours of pages alone: grounds, links, verdicts."""

TYPES: Mapping[str, tuple[Shades, Shades]] = {
    "per": (("#dbe7fb", "#1f3657"), ("#1b4680", "#bcd7ff")),
    "loc": (("#d8efdc", "#1c3d27"), ("#1c5930", "#b0e6bd")),
    "org": (("#e9e0fa", "#392a5c"), ("#55308d", "#dccaff")),
    "misc": (("#fae6c3", "#493512"), ("#6f4400", "#ffdb9b")),
    "other": (("#e7e4dd", "#343a42"), ("#474d55", "#d6dae0")),
    "type-1": (("#f9dcd8", "#552722"), ("#8a221a", "#ffc4bc")),
    "type-2": (("#d3eef0", "#12404a"), ("#0c5560", "#a5e6ef")),
    "type-3": (("#fadcea", "#52243c"), ("#8b1f56", "#ffc0dd")),
    "type-4": (("#e4eec3", "#363f14"), ("#475809", "#d8e89b")),
    "type-5": (("#f3dff6", "#4a2752"), ("#76247f", "#f2c4fa")),
    "type-6": (("#f6e0cb", "#4d2f17"), ("#7d3f0b", "#ffcfa0")),
    "type-7": (("#d6e4f0", "#1d3a4d"), ("#1f4d70", "#b5dcf7")),
    "type-8": (("#dcebe2", "#233d35"), ("#22564a", "#b3e2d2")),
}
"""Style of an entity type to its ground and the ink on that ground; `other` is for an entity without a type."""

_STYLES = {
    **dict.fromkeys(("PER", "PERSON", "PEOPLE"), "per"),
    **dict.fromkeys(("LOC", "LOCATION", "PLACE", "GPE"), "loc"),
    **dict.fromkeys(("ORG", "ORGANIZATION", "ORGANISATION"), "org"),
    **dict.fromkeys(("MISC", "OTHER", "MISCELLANEOUS"), "misc"),  # Twitter-2015 has OTHER for MISC
    "": "other",
}
_FREE = tuple(style for style in TYPES if style.startswith("type-"))

SYSTEMS: Mapping[str, str] = {
    "text-only": "grey",
    "from-scratch": "amber",
    "without pre-training": "amber",
    "L_CIT": "blue",
    "L_CIT + L_ITM": "purple",
    "L_CIT + L_ITM + L_MLM": "rose",
    "promu": "teal",
    "promu without L_COE": "sky",
    "promu without L_CIR": "green",
    "promu, hard labels": "red",
    "joint model": "teal",
    "joint model, without pre-training": "amber",
    "pipeline": "blue",
    "writer": "purple",
    "writer with knowledge": "red",
    "soft": "teal",
    "hard": "red",
}
"""Colour of each system; promu's with soft and with hard labels have those of their labels, too."""

LOSSES: Mapping[str, tuple[str, str, str]] = {
    "itm": ("ITM", "purple", "does the caption belong to the image?"),
    "cit": ("CIT", "amber", "contrast of captions and images."),
    "coe": ("COE", "teal", "soft nouns of a region."),
    "cir": ("CIR", "blue", "soft relations of an image."),
    "mlm": ("MLM", "grey", "masked words of a caption."),
    "lm": ("LM", "rose", "the next word of a caption."),
    "tag": ("TAG", "sky", "are the tags the image's?"),
}
"""Name, colour and meaning of each part of the pre-training loss."""

CYCLE = tuple(COLOURS[name][0] for name in ("teal", "amber", "blue", "purple", "grey", "red", "green", "rose", "sky"))
"""Colours of series that have no colour of their own, in order."""


def system_colour(name: str) -> str:
    """The name in `COLOURS` of a system's colour; one that `SYSTEMS` does not know has "soft".

    Example:
        ```python
        from promu.report.palette import COLOURS, system_colour

        assert system_colour("promu") == "teal" and COLOURS["teal"][0] == "#0b6d68"
        ```
    """
    return SYSTEMS.get(name, "soft")


def series_colour(name: str, place: int) -> str:
    """The value on a light page for a series of a figure: the system's colour, for other names that of the place.

    Example:
        ```python
        from promu.report.palette import COLOURS, series_colour

        assert series_colour("promu", 3) == COLOURS["teal"][0] != series_colour("entities", 3)
        ```
    """
    return COLOURS[SYSTEMS[name]][0] if name in SYSTEMS else CYCLE[place % len(CYCLE)]


def type_name(kind: str | None) -> str:
    """An entity type as pages write it; MNRE writes its types in small letters."""
    return (kind or "").upper()


def type_styles(types: Iterable[str | None]) -> dict[str, str]:
    """The style, a key of `TYPES`, of each of these entity types, by `type_name`.

    The usual types have fixed styles. Every other one has a style by its name; where two of `types` would share one,
    the later in the alphabet takes the next that is free. Give all types of a model, so that every page of it agrees.

    Example:
        ```python
        from promu.report.palette import type_styles

        assert type_styles(["PER", "LOC"]) == {"LOC": "loc", "PER": "per"}
        assert len(set(type_styles(["DRUG", "GENE", "DISEASE", "per", "Dose"]).values())) == 5
        ```
    """
    styles: dict[str, str] = {}
    for name in sorted({type_name(kind) for kind in types}):
        style = _STYLES.get(name)
        if style is None:
            first = zlib.crc32(name.encode()) % len(_FREE)
            turns = [_FREE[(first + turn) % len(_FREE)] for turn in range(len(_FREE))]
            style = next((one for one in turns if one not in styles.values()), turns[0])
        styles[name] = style
    return styles


def css_colours(dark: bool) -> str:
    """Every colour of a page as CSS variables: `--teal`, `--card`, and `--per` with `--per-ink` of each type."""
    place = int(dark)
    values = {name: shades[place] for name, shades in {**COLOURS, **SURFACES}.items()}
    for style, (ground, ink) in TYPES.items():
        values |= {style: ground[place], f"{style}-ink": ink[place]}
    return " ".join(f"--{name}: {value};" for name, value in values.items())

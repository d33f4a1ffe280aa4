"""A result as a notebook shows it: the text with its entities marked, the image with what was attended to, the triples.

All of it is one piece of HTML without scripts and without links. What comes from posts and models is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from promu.errors import InputError, counted
from promu.extraction.result import Extraction
from promu.report.html import OVERLAY, Box, Embedded, embed
from promu.report.palette import COLOURS, TYPES, type_styles

SHOWN = 20
"""Results of a list that are shown; the others are counted."""

INK, SOFT, LINE = (COLOURS[name][0] for name in ("ink", "soft", "line"))
# a notebook may be dark: the card brings its own ground and ink
_CARD = (
    f"background:#fff;color:{INK};border:1px solid {LINE};border-radius:8px;padding:12px 16px;margin:4px 0;"
    "max-width:60em;font:14px/1.7 system-ui,sans-serif"
)
_NOTE = f'<p style="margin:6px 0 0;color:{SOFT};font-size:12px">{{}}</p>'


def results_html(results: Sequence[Extraction]) -> str:
    """The HTML of a list of results."""
    cards = [result_html(one) for one in results[:SHOWN]]
    if len(results) > SHOWN:
        cards.append(Markup(_NOTE).format(f"… and {counted(len(results) - SHOWN, 'more result')}"))
    return Markup("").join(cards)


def result_html(result: Extraction) -> Markup:
    """The HTML of one result."""
    parts = [
        Markup('<div dir="auto" style="white-space:pre-wrap;overflow-wrap:anywhere">{}</div>').format(_text(result))
    ]
    if result.relations:
        cell = Markup('<td style="padding:2px 14px 2px 0;text-align:start;border:0">{}</td>')
        rows = [
            Markup("<tr>{}</tr>").format(Markup("").join(map(cell.format, values)))
            for values in (
                (one.head.text, f"— {one.type} →", one.tail.text, "" if one.score is None else f"{one.score:.2f}")
                for one in result.relations
            )
        ]
        table = '<table style="border-collapse:collapse;margin:8px 0 0;background:none;color:inherit">{}</table>'
        parts.append(Markup(table).format(Markup("").join(rows)))
    parts.extend(_image(result))
    parts.extend(Markup(_NOTE).format(warning) for warning in result.warnings)
    if not result.image_read and result.image_reason != "no image":
        parts.append(Markup(_NOTE).format(f"read without its image: {result.image_reason}"))
    return Markup('<div style="{}">{}</div>').format(Markup(_CARD), Markup("").join(parts))


def _text(result: Extraction) -> Markup:
    """The text with its entities marked; of those that overlap, the first."""
    styles = type_styles(entity.type for entity in result.entities)
    parts, position = [Markup("")], 0
    for entity in sorted(result.entities, key=lambda one: (one.start_char, -one.end_char)):
        if entity.start_char < position:
            continue
        ground, ink = (shades[0] for shades in TYPES[styles[(entity.type or "").upper()]])
        title = "" if entity.score is None else f"score {entity.score:.2f}"
        mark = Markup(
            '<mark title="{}" style="background:{};color:{};border-radius:4px;padding:1px 5px">{}'
            '<small style="margin-inline-start:5px;font-weight:600">{}</small></mark>'
        )
        parts.append(Markup("{}").format(result.text[position : entity.start_char]))
        parts.append(mark.format(title, ground, ink, entity.text, entity.type or ""))
        position = entity.end_char
    return Markup("").join([*parts, Markup("{}").format(result.text[position:])])


def _image(result: Extraction) -> list[Markup]:
    """The image, with the regions that the answers attended to most where they were explained."""
    if result.source is None or not result.image_read:
        return []
    boxes: list[tuple[Box, str]] = []
    if result.explanation is not None:
        answers = zip(result.entities, result.explanation.entities, strict=False)
        boxes = [(attention.regions[0].box, entity.text) for entity, attention in answers if attention.regions]
    source = Path(result.source) if isinstance(result.source, str) else result.source
    try:
        shown = embed(
            source if isinstance(source, Path | bytes) else source.copy(), f"Image of post {result.id}", boxes
        )
    except InputError as error:
        return [Markup(_NOTE).format(f"the image cannot be shown any more: {error.reason}")]
    picture = Markup(
        '<div style="position:relative;width:240px;margin:10px 0 0"><img src="{}" alt="{}" style="width:100%;margin:0">'
        "{}</div>"
    )
    return [picture.format(shown.uri, shown.alt, _frames(shown))]


def _frames(shown: Embedded) -> Markup:
    frame = Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="#fff" stroke-width="3"/>'
        '<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="{}" stroke-width="1.5"/>'
        '<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/><text x="{}" y="{}" fill="#fff" font-size="11">{}</text>'
    )
    teal = COLOURS["teal"][0]
    drawn = []
    for tag in shown.tags:
        box = (tag.x, tag.y, tag.width, tag.height)
        ground = (tag.tag_x, tag.tag_y, tag.tag_width, tag.tag_height)
        drawn.append(frame.format(*box, *box, teal, *ground, teal, tag.tag_x + 5, tag.tag_y + 12.5, tag.text))
    view = Markup('<svg viewBox="0 0 {} {}" style="position:absolute;inset:0;width:100%;height:100%">{}</svg>')
    return view.format(OVERLAY, shown.view_height, Markup("").join(drawn)) if drawn else Markup("")

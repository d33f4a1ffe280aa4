"""Triples as a small graph: entities in a row in the order of the text, relations as arrows between and over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_NAME, _LABEL = 7.6, 6.4
"""Width of a character of a name and of a label, in SVG units: an upper mean over common fonts."""

NODE_HEIGHT = 42.0
_MARGIN = 2.0
_LEVEL = 30.0
_PORT = 14.0


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An arrow to draw: from node `head` to node `tail`, its label and its verdict ("right", "wrong", "open")."""

    head: int
    tail: int
    label: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Node:
    """A drawn entity; `x`, `y` is the upper left corner."""

    text: str
    type: str
    style: str
    x: float
    y: float
    width: float
    height: float = NODE_HEIGHT


@dataclass(frozen=True, slots=True)
class Arrow:
    """A drawn relation: SVG path data, and the middle of its label; `over`: the label interrupts the line."""

    path: str
    label: str
    verdict: str
    label_x: float
    label_y: float
    label_width: float
    over: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """A laid-out graph with its size."""

    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
    width: float
    height: float


def lay_out(entities: Sequence[tuple[str, str, str]], edges: Sequence[GraphEdge]) -> Graph | None:
    """Place entities in a row and arrows between them.

    A relation between neighbours is a straight arrow in the gap between them; any other, and a second one between the
    same two, is an arc above the row, higher the farther it reaches.

    Args:
        entities: (text, type, style) of each node.
        edges: Relations by the nodes' indices.

    Returns:
        The graph; None if there is no edge.
    """
    if not edges:
        return None
    # Entities without a relation have their place in the text; here they would only stretch the row.
    used = sorted({index for edge in edges for index in (edge.head, edge.tail)})
    place = {index: position for position, index in enumerate(used)}
    straight: dict[int, GraphEdge] = {}
    arcs: list[GraphEdge] = []
    for edge in edges:
        gap = min(place[edge.head], place[edge.tail])
        if abs(place[edge.head] - place[edge.tail]) == 1 and gap not in straight:
            straight[gap] = edge
        else:
            arcs.append(edge)
    arcs.sort(key=lambda edge: abs(place[edge.head] - place[edge.tail]))
    top = _MARGIN + (_LEVEL * len(arcs) + 10 if arcs else 0)
    nodes: list[Node] = []
    x = _MARGIN
    for position, index in enumerate(used):
        text, kind, style = entities[index]
        width = round(max(_NAME * len(text), _LABEL * len(kind)) + 26, 1)
        nodes.append(Node(text, kind, style, round(x, 1), round(top, 1), width))
        x += width
        if position < len(used) - 1:
            x += _label_width(straight[position].label) + 34 if position in straight else 40.0
    arrows = [_straight(straight[gap], nodes[gap], nodes[gap + 1], place) for gap in sorted(straight)]
    ports = _ports([(place[edge.head], place[edge.tail]) for edge in arcs], nodes)
    for level, (edge, (start, end)) in enumerate(zip(arcs, ports, strict=True), start=1):
        arrows.append(_arc(edge, start, end, top, top - _LEVEL * level))
    # A label above the row may be wider than what it spans.
    reach = max([x + _MARGIN, *(arrow.label_x + arrow.label_width / 2 + _MARGIN for arrow in arrows)])
    return Graph(tuple(nodes), tuple(arrows), round(reach, 1), round(top + NODE_HEIGHT + _MARGIN, 1))


def _label_width(label: str) -> float:
    return round(_LABEL * len(label) + 14, 1)


def _straight(edge: GraphEdge, left: Node, right: Node, place: dict[int, int]) -> Arrow:
    y = left.y + NODE_HEIGHT / 2
    start, end = left.x + left.width + 3, right.x - 4
    if place[edge.head] > place[edge.tail]:
        start, end = right.x - 3, left.x + left.width + 4
    middle = (left.x + left.width + right.x) / 2
    path = f"M{start:g} {y:g}L{end:g} {y:g}"
    return Arrow(path, edge.label, edge.verdict, round(middle, 1), y - 8, _label_width(edge.label), False)


def _ports(arcs: Sequence[tuple[int, int]], nodes: Sequence[Node]) -> list[tuple[float, float]]:
    """Where each arc (head, tail) leaves and enters: side by side on a node, such that nested arcs do not cross.

    Args:
        arcs: The nodes' positions in the row, innermost arc first.
        nodes: The row.
    """
    ends: dict[int, list[tuple[int, int, int]]] = {}
    for level, (head, tail) in enumerate(arcs):
        for node, other in ((head, tail), (tail, head)):
            # From left to right: arcs from the left, inner ones first; then arcs to the right, outer ones first.
            ends.setdefault(node, []).append((int(other > node), -level if other > node else level, level))
    at: dict[tuple[int, int], float] = {}
    for node, found in ends.items():
        for slot, (_, _, level) in enumerate(sorted(found)):
            centre = nodes[node].x + nodes[node].width / 2
            at[node, level] = round(centre + _PORT * (slot - (len(found) - 1) / 2), 1)
    return [(at[head, level], at[tail, level]) for level, (head, tail) in enumerate(arcs)]


def _arc(edge: GraphEdge, start: float, end: float, row: float, y: float) -> Arrow:
    """An arc at height `y` over a row of nodes that begins at `row`."""
    bend = 10 if end > start else -10
    path = (
        f"M{start:g} {row - 2:g}L{start:g} {y + 10:g}Q{start:g} {y:g} {start + bend:g} {y:g}"
        f"L{end - bend:g} {y:g}Q{end:g} {y:g} {end:g} {y + 10:g}L{end:g} {row - 4:g}"
    )
    width = _label_width(edge.label)
    middle = max((start + end) / 2, width / 2 + _MARGIN)
    return Arrow(path, edge.label, edge.verdict, round(middle, 1), y, width, True)

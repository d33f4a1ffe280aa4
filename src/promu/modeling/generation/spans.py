"""The spans of a post as a trie over word pieces: what a name in an answer may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Span = tuple[int, int]
"""Word indices, end exclusive."""

Detours = dict[int, float]
"""Of nodes above spans that must not be written: pieces to the nearest span that may, infinite where there is none."""


class SpanTrie:
    """All spans of a post up to a length. Node 0 is the root.

    Spans with the same pieces (a word that comes twice, two emoji that the tokenizer does not know) share a node and
    are told apart by number, in the order of the text.

    Args:
        words: The pieces of each word.
        longest: Words that a span has at most.

    Attributes:
        children: By node, the next node by piece.
        ends: By node, the spans that end there.
        nearest: By node, how many pieces it takes from there to the end of a span.
        node_of: The node at which a span ends; spans without a piece are not there.
        lengths: Pieces of each span, the shortest first.
    """

    def __init__(self, words: Sequence[tuple[int, ...]], longest: int) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.ends: list[list[Span]] = [[]]
        self.node_of: dict[Span, int] = {}
        self._parents = [-1]
        self.lengths: list[int] = []
        for start in range(len(words)):
            self._add(words, start, min(len(words), start + longest))
        self.lengths.sort()
        self.nearest: list[float] = [math.inf] * len(self.children)
        for node in reversed(range(len(self.children))):  # what is further down was made later
            self.nearest[node] = self._nearest(node, frozenset(), self.nearest)

    def _add(self, words: Sequence[tuple[int, ...]], start: int, stop: int) -> None:
        node = depth = 0
        for end in range(start, stop):
            for piece in words[end]:
                follower = self.children[node].get(piece)
                if follower is None:
                    follower = self.children[node][piece] = len(self.children)
                    self.children.append({})
                    self.ends.append([])
                    self._parents.append(node)
                node, depth = follower, depth + 1
            if node:
                self.ends[node].append((start, end + 1))
                self.node_of[start, end + 1] = node
                self.lengths.append(depth)

    def _nearest(self, node: int, forbidden: frozenset[Span], nearest: Mapping[int, float] | list[float]) -> float:
        if any(span not in forbidden for span in self.ends[node]):
            return 0
        return 1 + min((nearest[below] for below in self.children[node].values()), default=math.inf)

    def detours(self, forbidden: frozenset[Span]) -> Detours:
        """What changes in `nearest` when some spans must not be written."""
        changed: set[int] = set()
        for span in forbidden:
            node = self.node_of.get(span, -1)
            while node >= 0 and node not in changed:
                changed.add(node)
                node = self._parents[node]
        found: Detours = {}
        for node in sorted(changed, reverse=True):
            around = {below: found.get(below, self.nearest[below]) for below in self.children[node].values()}
            found[node] = self._nearest(node, forbidden, around)
        return found

    def number(self, span: Span) -> int:
        """Which of the spans with its pieces it is, from 1.

        Raises:
            KeyError: It is longer than `longest`, or has no piece.
        """
        return self.ends[self.node_of[span]].index(span) + 1

"""The spans of a post as a trie over word pieces: what a name in an answer may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Span = tuple[int, int]
"""Word indices, end exclusive."""

Blocked = dict[int, int]
"""Nodes of the trie, and how many of the spans below each must not be written."""


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
        below: By node, how many spans end there or further down.
        node_of: The node at which a span ends; spans without a piece are not there.
        depth: Pieces of the longest name.
    """

    def __init__(self, words: Sequence[tuple[int, ...]], longest: int) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.ends: list[list[Span]] = [[]]
        self.below: list[int] = [0]
        self.node_of: dict[Span, int] = {}
        self._parents = [-1]
        self.depth = 0
        for start in range(len(words)):
            self._add(words, start, min(len(words), start + longest))

    def _add(self, words: Sequence[tuple[int, ...]], start: int, stop: int) -> None:
        node, path = 0, [0]
        for end in range(start, stop):
            for piece in words[end]:
                follower = self.children[node].get(piece)
                if follower is None:
                    follower = self.children[node][piece] = len(self.children)
                    self.children.append({})
                    self.ends.append([])
                    self.below.append(0)
                    self._parents.append(node)
                node = follower
                path.append(node)
            if node:
                self.ends[node].append((start, end + 1))
                self.node_of[start, end + 1] = node
                for above in path:
                    self.below[above] += 1
        self.depth = max(self.depth, len(path) - 1)

    def block(self, spans: Iterable[Span]) -> Blocked:
        """What the nodes need to know so that none of `spans` is written, nor a beginning that only leads there."""
        blocked: Blocked = {}
        for span in spans:
            node = self.node_of.get(span, -1)
            while node >= 0:
                blocked[node] = blocked.get(node, 0) + 1
                node = self._parents[node]
        return blocked

    def number(self, span: Span) -> int:
        """Which of the spans with its pieces it is, from 1.

        Raises:
            KeyError: It is longer than `longest`, or has no piece.
        """
        return self.ends[self.node_of[span]].index(span) + 1

"""The figure of KECPM's published string scorer, so that it can stand beside ours under its own name.

What is known of it: it writes a post's quintuples as one line of text, splits the line at ";", compares strings, and
gives the published test set 99.53 against itself. This module is written from that description and from the data, and
gives that figure: of the 640 quintuples two have a name with ";" in it; each falls into two pieces, so that 642
pieces are predicted, 638 are right and 640 are gold. How the scorer treats what the data cannot show (case, blanks,
names that occur twice) is not known; strings are compared as they are here, and equal ones are counted one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from promu.evaluation.counts import Counts
from promu.modeling.generation.inventory import type_words
from promu.schema import Post, Quintuple, quintuples


def score_strings(gold: Sequence[Post], predicted: Sequence[Post]) -> Counts:
    """Micro figures of strings: pieces of the predicted line between ";" against the gold's quintuples.

    Args:
        gold: Posts with their labels.
        predicted: The same posts with predicted labels.
    """
    correct = pieces_in_all = gold_in_all = 0
    for expected, found in zip(gold, predicted, strict=True):
        strings = Counter(quintuple_string(expected, item) for item in quintuples(expected))
        line = "; ".join(quintuple_string(found, item) for item in quintuples(found))
        pieces = Counter(piece.strip() for piece in line.split(";") if piece.strip())
        correct += (strings & pieces).total()
        pieces_in_all += pieces.total()
        gold_in_all += strings.total()
    return Counts(correct, pieces_in_all, gold_in_all)


def quintuple_string(post: Post, item: Quintuple) -> str:
    """A quintuple as the published prompts write it: The relation between A (person) and B (person) is "peer"."""
    head, tail = (
        f"{' '.join(post.tokens[slice(*span)])} ({type_words(str(kind))})"
        for span, kind in ((item.head, item.head_type), (item.tail, item.tail_type))
    )
    return f'The relation between {head} and {tail} is "{type_words(item.relation)}"'

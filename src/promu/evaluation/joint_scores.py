"""Scores of joint extraction on canonical quintuples, by spans (METHOD: KECPM's score).

A quintuple is right when both spans, both types, the relation and the order of its two ends are. Strings are not
compared, so a name that holds a separator, or that occurs twice in a post, costs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from promu.evaluation.counts import Counts, check_aligned, counts_by_group, counts_by_label, mean, split_by_group
from promu.evaluation.significance import PostCounts, post_counts
from promu.modeling.inventory import type_words
from promu.schema import Post, Quintuple, quintuples


def score_strings(gold: Sequence[Post], predicted: Sequence[Post]) -> Counts:
    """Micro figures of strings: pieces of the predicted line between ";" against the gold's quintuples."""
    correct = pieces_in_all = gold_in_all = 0
    for expected, actual in zip(gold, predicted, strict=True):
        strings = Counter(quintuple_string(expected, item) for item in quintuples(expected))
        line = "; ".join(quintuple_string(actual, item) for item in quintuples(actual))
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


@dataclass(frozen=True, slots=True)
class RepeatedTexts:
    """Gold texts that come again with other labels: no system can be right about each of them.

    Beside the numbers of these texts and of their posts, `merged` are the micro figures when posts of one text are
    taken as one post with all of their quintuples.
    """

    texts: int
    posts: int
    merged: Counts


@dataclass(frozen=True, slots=True)
class JointScores:
    """Scores of joint extraction.

    Attributes:
        micro: Over all quintuples, with the order of head and tail: the main figure.
        undirected: The same with head and tail exchangeable.
        entities: Spans with types of the entities that are in a quintuple.
        relations: Head span, tail span and relation, types left out.
        strings: What the published scorer counts (`promu.evaluation.joint_scores`).
        per_relation: By relation, most frequent in the gold first; known relations that are on neither side have zeros.
        macro_all: Mean F1 over all relations known: of the gold, of the predictions, and those given.
        macro_present: Mean F1 over the relations that occur in the gold.
        repeated: Texts that the gold has several times.
        posts: How many posts were scored.
        per_group: `micro` within each group of posts; empty without groups.
    """

    micro: Counts
    undirected: Counts
    entities: Counts
    relations: Counts
    strings: Counts
    per_relation: dict[str, Counts]
    macro_all: float
    macro_present: float
    repeated: RepeatedTexts
    posts: int
    per_group: dict[str, Counts] = field(default_factory=dict)

    def table(self) -> dict[str, Counts]:
        """The rows of a table: all ways of counting, then each relation."""
        return {
            "all": self.micro,
            "either direction": self.undirected,
            "entities only": self.entities,
            "relations only": self.relations,
            **self.per_relation,
        }

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them; precision, recall and f1 of `micro` at the top."""
        return {
            **self.micro.to_dict(),
            "posts": self.posts,
            "undirected": self.undirected.to_dict(),
            "entities": self.entities.to_dict(),
            "relations": self.relations.to_dict(),
            "macro_f1": {"all": self.macro_all, "present": self.macro_present},
            "published_string_scorer": self.strings.to_dict(),
            "per_relation": {name: counts.to_dict() for name, counts in self.per_relation.items()},
            "per_group": {name: counts.to_dict() for name, counts in self.per_group.items()},
            "repeated_texts": {**asdict(self.repeated), "merged": self.repeated.merged.to_dict()},
        }


def score_joint(
    gold: Sequence[Post],
    predicted: Sequence[Post],
    relations: Iterable[str] = (),
    groups: Mapping[str, str] | None = None,
) -> JointScores:
    """Score the quintuples of each post.

    Args:
        gold: Posts with their labels; pairs that are `None` count for nothing.
        predicted: The same posts in the same order, with predicted labels.
        relations: Relations that count in `macro_all` though neither side has them, such as those of the training set.
        groups: Group name by gold post id, for figures by group.

    Raises:
        InputError: The posts do not line up, or one has no group.
    """
    check_aligned(gold, predicted)
    sides = [quintuples(post) for post in gold], [quintuples(post) for post in predicted]

    def count(parts: Callable[[Quintuple], list[Hashable]]) -> Counts:
        """Counts over all posts of what `parts` makes of a quintuple."""
        return Counts.of_posts(
            *([[part for item in items for part in parts(item)] for items in side] for side in sides)
        )

    per_relation = counts_by_label(*sides, lambda item: item.relation, relations)
    return JointScores(
        micro=Counts.of_posts(*sides),
        undirected=count(lambda item: [(frozenset(_ends(item)), item.relation)]),
        entities=count(_ends),
        relations=count(lambda item: [(item.head, item.tail, item.relation)]),
        strings=score_strings(gold, predicted),
        per_relation=per_relation,
        macro_all=mean([counts.f1 for counts in per_relation.values()]),
        macro_present=mean([counts.f1 for counts in per_relation.values() if counts.gold]),
        repeated=_repeated(gold, *sides),
        posts=len(gold),
        per_group=counts_by_group(split_by_group(gold, groups), *sides),
    )


def joint_counts(gold: Sequence[Post], predicted: Sequence[Post]) -> PostCounts:
    """(N, 3) correct, predicted and gold quintuples of each post, for `compare_runs`.

    Raises:
        InputError: The posts do not line up.
    """
    check_aligned(gold, predicted)
    return post_counts(map(quintuples, gold), map(quintuples, predicted))


def _ends(item: Quintuple) -> list[Hashable]:
    return [(item.head, item.head_type), (item.tail, item.tail_type)]


def _repeated(
    posts: Sequence[Post], gold: Sequence[list[Quintuple]], predicted: Sequence[list[Quintuple]]
) -> RepeatedTexts:
    rows: dict[tuple[str, ...], list[int]] = {}
    for row, post in enumerate(posts):
        rows.setdefault(post.tokens, []).append(row)
    merged = (
        [[item for row in members for item in side[row]] for members in rows.values()] for side in (gold, predicted)
    )
    several = [members for members in rows.values() if len({frozenset(gold[row]) for row in members}) > 1]
    return RepeatedTexts(len(several), sum(map(len, several)), Counts.of_posts(*merged))

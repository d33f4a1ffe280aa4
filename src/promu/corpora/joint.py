"""Joint sets: posts with all their entities and typed, directed relations, out of any set of labelled posts.

A relation with the spans and types of its two ends is a quintuple (head, head type, tail, tail type, relation); the
quintuples of a post are what joint extraction has to find. MNRE-style files hold one pair of entities a line, so their
lines are grouped into posts here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promu.corpora.background import read_with_background
from promu.corpora.formats import find_format
from promu.corpora.jmere import Background
from promu.corpora.mnre import relation_types
from promu.errors import InputError
from promu.schema import Post, Quintuple, quintuples, with_quintuples


@dataclass(frozen=True, slots=True)
class JointSet:
    """Posts with quintuples, what they came with, and what was left out on the way.

    Attributes:
        posts: Each with one quintuple or more; entities that are in none are left out.
        background: Captions and knowledge of each post; empty ones where the file has none.
        none_pairs: Pairs that were `None`.
        empty_posts: Posts that had no quintuple.
        repeated_pairs: Quintuples that a post had twice.
        retyped_spans: Spans that a post's quintuples give two types; both are kept.
        relabelled_pairs: Pairs of spans that a post gives several relations; all are kept.
    """

    posts: list[Post]
    background: list[Background]
    none_pairs: int = 0
    empty_posts: int = 0
    repeated_pairs: int = 0
    retyped_spans: int = 0
    relabelled_pairs: int = 0

    def left_out(self) -> dict[str, int]:
        """What a reader should be told, by what it is; zeros are not there."""
        counts = {
            "pairs without a relation, left out": self.none_pairs,
            "posts without any relation, left out": self.empty_posts,
            "repeated quintuples, left out": self.repeated_pairs,
            "spans with two types, kept": self.retyped_spans,
            "pairs with several relations, kept": self.relabelled_pairs,
        }
        return {name: count for name, count in counts.items() if count}


def read_joint(path: str | Path, format: str = "jmere") -> JointSet:
    """Read a labelled set as a joint one.

    Args:
        path: A file.
        format: One with relations: jmere, mnre (lines are grouped into posts, and a relation's name is the last part
            of its label, whose types go to the entities), or posts.

    Raises:
        InputError: the file cannot be read, or no post has a relation.
    """
    path = Path(path)
    entry = find_format(format, "posts")
    posts, background = read_with_background(path, format)
    if entry.pair_per_post:
        posts = group_pairs(posts)
        background = [Background((), ())] * len(posts)
    joint = _cleaned(posts, background)
    if not joint.posts:
        raise InputError(f"none of its {len(posts):,} posts has a relation; is this a joint set?", path)
    return joint


def group_pairs(posts: Sequence[Post]) -> list[Post]:
    """MNRE's pairs grouped into posts by id and words, in order of first mention; `None` pairs stay among them."""
    groups: dict[tuple[str, tuple[str, ...]], list[Quintuple]] = {}
    first: dict[tuple[str, tuple[str, ...]], Post] = {}
    for post in posts:
        key = (post.id, post.tokens)
        first.setdefault(key, post)
        for relation in post.relations:
            head, tail = post.entities[relation.head], post.entities[relation.tail]
            head_type, tail_type = relation_types(relation.type)
            name = relation.type if head_type is None else relation.type.rpartition("/")[2]
            item = Quintuple((head.start, head.end), head_type, (tail.start, tail.end), tail_type, name)
            groups.setdefault(key, []).append(item)
    return [with_quintuples(post, groups.get(key, ())) for key, post in first.items()]


def _cleaned(posts: Sequence[Post], background: Sequence[Background]) -> JointSet:
    kept, beside = [], []
    none_pairs = empty = repeated = retyped = relabelled = 0
    for post, known in zip(posts, background, strict=True):
        found = quintuples(post)
        none_pairs += len(post.relations) - len(found)
        distinct = list(dict.fromkeys(found))
        repeated += len(found) - len(distinct)
        if not distinct:
            empty += 1
            continue
        typed = {end for item in distinct for end in ((item.head, item.head_type), (item.tail, item.tail_type))}
        retyped += len(typed) - len({span for span, _ in typed})
        relabelled += len(distinct) - len({(item.head, item.tail) for item in distinct})
        kept.append(with_quintuples(post, distinct))
        beside.append(known)
    return JointSet(kept, beside, none_pairs, empty, repeated, retyped, relabelled)

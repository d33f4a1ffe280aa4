"""Files of labelled posts as a task learns them: in which format, and for relations one pair of entities a post.

Every task has a published format (CoNLL, MNRE, JMERE). Posts as JSON lines serve all of them: they hold whole posts, so
that each becomes one example of entities, and as many of relations as it has ordered pairs of entities.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

from promu.corpora.formats import FORMATS, Format, find_format
from promu.errors import InputError, counted
from promu.schema import NO_RELATION, Post, Relation, Scheme

logger = logging.getLogger(__name__)

PUBLISHED = {"ner": "conll", "re": "mnre", "joint": "jmere", "gmner": "gmner"}
"""The format of a task's published sets."""


def task_format(task: str, path: str | Path, format: str | None = None, published: str | None = None) -> Format:
    """The format of a task's file: the one named, else `posts` where the name ends in .jsonl, else the published one.

    Args:
        task: `ner`, `re`, `joint` or a task of an extension.
        path: The file; it need not be there.
        format: A name in `FORMATS`; None decides by the file's name.
        published: The format of the task's published sets; None is that in `PUBLISHED`.

    Raises:
        InputError: no such format, or not one that the task learns from.

    Example:
        ```python
        from promu.corpora.labelled import task_format

        assert task_format("ner", "train.txt").name == "conll"
        assert task_format("ner", "train.jsonl").name == "posts"
        ```
    """
    by_name = "posts" if Path(path).suffix.lower() == ".jsonl" else published or PUBLISHED[task]
    entry = find_format(format or by_name, "posts")
    if task not in entry.tasks:
        names = ", ".join(name for name, one in FORMATS.own.items() if task in one.tasks)
        reason = f"the task {task!r} does not learn from the format {entry.name!r}; use {names}"
        raise InputError(f"{reason} (promu convert makes posts of it)", path)
    return entry


def read_labelled(
    task: str,
    path: str | Path,
    format: str | None = None,
    *,
    published: str | None = None,
    scheme: Scheme = "auto",
) -> list[Post]:
    """Read a file of labelled posts as a task learns them.

    For relations (`re`) each post has one relation: from a format that holds whole posts it is made for every ordered
    pair of entities, see `to_pairs`. What a task cannot learn is logged with its count.

    Args:
        task, path, format, published: As `task_format`.
        scheme: Of the tags in CoNLL files; a format without tags takes none but `auto`.

    Raises:
        InputError: as `task_format`, `Format.with_scheme` and the format's reader; for relations, no post has two
            entities.
    """
    entry = task_format(task, path, format, published).with_scheme(scheme)
    posts: list[Post] = list(entry.read(Path(path), None))
    if task != "re" or entry.pair_per_post:
        return posts
    pairs = to_pairs(posts)
    if not pairs:
        raise InputError("no post has two entities, so there is no pair to learn relations from", path)
    for reason, count in unlearnable_relations(posts).items():
        logger.warning("%s: %s cannot be learned: %s", path, counted(count, "relation"), reason)
    return pairs


def write_labelled(
    task: str, path: str | Path, posts: Iterable[Post], format: str | None = None, *, published: str | None = None
) -> None:
    """Write what `read_labelled` gave, with labels of any origin, so that it gives it back; atomic.

    Raises:
        InputError: as `task_format` and the format's writer.
    """
    entry = task_format(task, path, format, published)
    assert entry.write is not None
    whole = task != "re" or entry.pair_per_post
    entry.write(Path(path), posts if whole else from_pairs(posts))


def to_pairs(posts: Iterable[Post]) -> list[Post]:
    """One post for each ordered pair of entities, with the pair's relation, `None` where the post names none.

    Entities of the same words make no pair. Of several relations of a pair the first counts. All else of a post stays.

    Example:
        ```python
        from promu import Entity, Post, Relation
        from promu.corpora.labelled import to_pairs

        names = (Entity(0, 1, "PER"), Entity(2, 3, "LOC"))
        post = Post("1", ("Ann", "in", "Rome"), entities=names, relations=(Relation(0, 1, "in"),))
        assert [pair.relations[0].type for pair in to_pairs([post])] == ["in", "None"]
        ```
    """
    pairs = []
    for post in posts:
        related = {(relation.head, relation.tail): relation for relation in reversed(post.relations)}
        spans = [(entity.start, entity.end) for entity in post.entities]
        for ends in permutations(range(len(spans)), 2):
            if spans[ends[0]] != spans[ends[1]]:
                relation = related.get(ends) or Relation(*ends, NO_RELATION)
                pairs.append(replace(post, relations=(relation,)))
    return pairs


def from_pairs(pairs: Iterable[Post]) -> list[Post]:
    """Whole posts of consecutive pairs, as `to_pairs` made them; a pair whose relation is `None` leaves no trace."""
    posts: list[Post] = []
    seen: set[tuple[int, int]] = set()
    for pair in pairs:
        (relation,) = pair.relations
        ends = (relation.head, relation.tail)
        same = posts and replace(posts[-1], relations=()) == replace(pair, relations=())
        if not same or ends in seen:
            posts.append(replace(pair, relations=()))
            seen = set()
        seen.add(ends)
        if relation.type != NO_RELATION:
            posts[-1] = replace(posts[-1], relations=(*posts[-1].relations, relation))
    return posts


def unlearnable_relations(posts: Iterable[Post]) -> Counter[str]:
    """How many relations `to_pairs` leaves out, by the reason."""
    reasons: Counter[str] = Counter()
    for post in posts:
        pairs: set[tuple[int, int]] = set()
        for relation in post.relations:
            head, tail = post.entities[relation.head], post.entities[relation.tail]
            if (head.start, head.end) == (tail.start, tail.end):
                reasons["head and tail are the same words"] += 1
            elif (relation.head, relation.tail) in pairs:
                reasons["their pair has another, which counts"] += 1
            pairs.add((relation.head, relation.tail))
    return reasons


def rename_types(posts: Sequence[Post], types: Mapping[str, str], path: str | Path | None = None) -> list[Post]:
    """Posts with other names for the types of their entities: of a file that names them differently than a model.

    Args:
        types: Name in the posts -> name that is wanted.
        path: The file, for the error.

    Raises:
        InputError: No entity has a type that is to be renamed.

    Example:
        ```python
        from promu import Entity, Post
        from promu.corpora.labelled import rename_types, restore_types

        posts = [Post("1", ("Oscars",), entities=(Entity(0, 1, "OTHER"),))]
        (found,) = rename_types(posts, {"OTHER": "MISC"})
        assert found.entities[0].type == "MISC" and restore_types([found], {"OTHER": "MISC"}) == posts
        ```
    """
    found = {entity.type for post in posts for entity in post.entities}
    if absent := sorted(set(types) - found):
        known = ", ".join(sorted(kind for kind in found if kind is not None))
        raise InputError(f"no entity here has the type {absent[0]!r}, which types names; there are {known}", path)
    return [_with_types(post, types) for post in posts]


def restore_types(posts: Sequence[Post], types: Mapping[str, str]) -> list[Post]:
    """The reverse of `rename_types`; what two types have been renamed to stays as it is."""
    names = list(types.values())
    return [_with_types(post, {new: old for old, new in types.items() if names.count(new) == 1}) for post in posts]


def _with_types(post: Post, types: Mapping[str, str]) -> Post:
    entities = (replace(one, type=types.get(one.type or "", one.type)) for one in post.entities)
    return replace(post, entities=tuple(entities)) if types else post

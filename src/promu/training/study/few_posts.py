"""A few of the training posts: the learning curve's data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from promu.corpora.jmere import read_jmere_background, write_jmere
from promu.errors import InputError
from promu.schema import Post, quintuples
from promu.training.tasks import TASKS, Task

FILE = "posts.txt"


def write_few_posts(task: str, train: Path, out: Path, count: int, seed: int) -> int:
    """Write `count` of the posts of `train` to `out/posts.txt`; returns how many.

    Joint posts keep their captions and knowledge.

    Raises:
        InputError: There are fewer, or so few are asked for that a label would have no post.
    """
    posts = TASKS[task].read(train)
    rows = few_posts(TASKS[task], posts, count, seed)
    chosen = [posts[row] for row in rows]
    out.mkdir(parents=True, exist_ok=True)
    if task == "joint":
        background = read_jmere_background(train)
        write_jmere(out / FILE, chosen, [background[row] for row in rows])
    else:
        TASKS[task].write(out / FILE, chosen)
    return len(chosen)


def few_posts(task: Task, posts: Sequence[Post], count: int, seed: int) -> list[int]:
    """The rows of `count` posts by chance, each label being on one at least: a model cannot be asked for others.

    A larger count of the same seed holds the posts of a smaller one.

    Raises:
        InputError: As `write_few_posts`.
    """
    if count > len(posts):
        raise InputError(f"{count} training posts are asked for and there are {len(posts)}; ask for fewer")
    order = np.random.default_rng(seed).permutation(len(posts)).tolist()
    seen = _labels(task, [])
    first: list[int] = []
    for index in order:
        own = _labels(task, [posts[index]])
        if own - seen:
            first.append(index)
            seen |= own
    if len(first) > count:
        raise InputError(
            f"{count} training posts are too few to hold all {len(seen)} labels; ask for {len(first)} at least"
        )
    taken = set(first)
    chosen = [*first, *(index for index in order if index not in taken)][:count]
    return sorted(chosen)


def _labels(task: Task, posts: Sequence[Post]) -> set[str]:
    """The labels of posts, where joint extraction would refuse to learn from posts without any."""
    if task is TASKS["joint"] and not any(quintuples(post) for post in posts):
        return set()
    return set(task.labels(posts))

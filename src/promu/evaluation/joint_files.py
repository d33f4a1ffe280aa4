"""Gold and predicted quintuples out of files, ready to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promu.corpora.formats import read_posts
from promu.errors import InputError
from promu.evaluation.counts import check_aligned
from promu.evaluation.files import Files
from promu.schema import Post


def read_joint_files(gold: Path, predictions: Sequence[Path], format: str = "jmere") -> Files:
    """Read files of posts with their relations, JMERE or JSON lines of posts.

    Raises:
        InputError: A file cannot be read, the posts do not line up, or the gold has no relation at all.
    """
    expected = read_posts(gold, format)
    if not any(post.relations for post in expected):
        raise InputError("no post of the gold has a relation, so there is nothing to score against", gold)
    return Files(expected, [_aligned(expected, read_posts(path, format), path) for path in predictions])


def _aligned(gold: Sequence[Post], posts: list[Post], path: Path) -> list[Post]:
    try:
        check_aligned(gold, posts)
    except InputError as error:
        raise InputError(error.reason, path) from None
    return posts

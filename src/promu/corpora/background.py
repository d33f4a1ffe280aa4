"""Posts with the captions and knowledge that a published file carries about them."""

from __future__ import annotations

from pathlib import Path

from promu.corpora.formats import read_posts
from promu.corpora.jmere import Background, read_jmere_background
from promu.schema import Post


def read_with_background(path: Path, format: str) -> tuple[list[Post], list[Background]]:
    """Posts, and the captions and knowledge of each, which only the format jmere has.

    Raises:
        InputError: The file cannot be read in that format.
    """
    posts = read_posts(path, format)
    if format == "jmere":
        return posts, read_jmere_background(path)
    return posts, [Background((), ())] * len(posts)

"""Files of knowledge, written by `promu knowledge generate` or published; a post's record is found by id and text."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from promu.corpora.fields import Record, Text, read_record
from promu.corpora.formats import read_with_background
from promu.corpora.jmere import Background
from promu.errors import InputError
from promu.files import filled_lines, parse_json_object, read_line_records, write_lines
from promu.kecpm.knowledge_questions import PostKnowledge, PostText
from promu.llm.exemplars import text_identity
from promu.schema import Post

logger = logging.getLogger(__name__)

_Key = tuple[str, str]
"""Id and text: posts share images, and thus ids."""


class _Line(Record):
    """A line of a file; `about` and what follows are there for people who read it."""

    id: Text
    text: Text
    knowledge: tuple[str, ...]
    captions: tuple[str, ...] = ()
    about: Any = None
    first: Any = None
    exemplars: Any = None
    state: Any = None
    reason: Any = None


def write_knowledge(
    path: Path, posts: Sequence[PostText], results: Sequence[PostKnowledge], exemplars: Sequence[Sequence[str]]
) -> None:
    """Write one line a post, atomically.

    Args:
        path: The file.
        posts: The posts.
        results: What came of each.
        exemplars: Ids of the exemplars in the prompt of each.
    """
    lines = []
    for post, result, shown in zip(posts, results, exemplars, strict=True):
        record = {
            "id": post.id,
            "text": post.text,
            "captions": list(post.captions),
            "knowledge": [fact.sentence for fact in result.knowledge],
            "about": [fact.about for fact in result.knowledge],
            "first": [fact.sentence for fact in result.first],
            "exemplars": list(shown),
            "state": result.state,
        }
        if result.state != "answered" and result.faults:
            record["reason"] = f"{result.faults[-1].kind}: {result.faults[-1].reason}"
        lines.append(json.dumps(record, ensure_ascii=False))
    write_lines(path, lines)


def read_knowledge(path: str | Path) -> dict[_Key, list[Background]]:
    """Read a file of knowledge: ours, or a published one with its captions, as a JSON list or as JSON lines.

    Returns:
        Captions and knowledge by id and text; where a post occurs more than once, in the order of the file.

    Raises:
        InputError: The file is missing, empty or malformed.
    """
    path = Path(path)
    records: Iterable[tuple[_Key, Background]]
    if _is_published(path):
        published = zip(*read_with_background(path, "jmere"), strict=True)
        records = ((_key(post.id, post.tokens), background) for post, background in published)
    else:
        records = read_line_records(path, None, _parse, "posts with knowledge")
    by_post: dict[_Key, list[Background]] = {}
    for key, background in records:
        by_post.setdefault(key, []).append(background)
    return by_post


def knowledge_for(posts: Sequence[Post], path: str | Path) -> list[Background | None]:
    """The captions and knowledge of each post, None where the file has none of it.

    Posts are found by id and text; the second post of the same id and text gets the second record, if there is one.

    Raises:
        InputError: As `read_knowledge`, or the file has nothing of any of the posts.
    """
    by_post = read_knowledge(path)
    used: dict[_Key, int] = {}
    backgrounds: list[Background | None] = []
    for post in posts:
        key = _key(post.id, post.tokens)
        records = by_post.get(key)
        number = used[key] = used.get(key, -1) + 1
        backgrounds.append(None if records is None else records[min(number, len(records) - 1)])
    missing = sum(background is None for background in backgrounds)
    if posts and missing == len(posts):
        raise InputError(
            f"the file has knowledge of none of the {len(posts)} posts; is it that of another split?", path
        )
    if missing:
        logger.warning("%s: no knowledge of %d of %d posts is recorded", path, missing, len(posts))
    return backgrounds


def _is_published(path: Path) -> bool:
    """Whether the first line begins a JSON list or is a published record; what is wrong with it is for its reader."""
    first = next((line for _, line in filled_lines(path, []) if line is not None), "").lstrip()
    if first.startswith("["):
        return True
    try:
        return "token" in parse_json_object(first)
    except InputError:
        return False


def _key(id: str, tokens: Sequence[str]) -> _Key:
    return id, text_identity(tokens)


def _parse(line: str) -> tuple[_Key, Background]:
    record = read_record(_Line, parse_json_object(line), "the line", within=True)
    return _key(record.id, [record.text]), Background(record.captions, record.knowledge)

"""Knowledge in files: what `promu knowledge generate` writes, and the published few-shot files that carry it.

Our line is `{"id", "text", "captions", "knowledge", "about", "first", "exemplars", "state"}`, one a post in the order
of the posts; `reason` is added where there is none. A line needs id, text and knowledge only, so that files can be
written by hand.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from promu.corpora.background import read_with_background
from promu.corpora.jmere import Background
from promu.errors import InputError
from promu.files import filled_lines, parse_json_object, read_line_records, shorten, write_lines
from promu.knowledge.exemplar_choice import text_identity
from promu.knowledge.generation import PostKnowledge
from promu.knowledge.knowledge_prompts import Described
from promu.schema import Post

logger = logging.getLogger(__name__)

_KEYS = ("id", "text", "captions", "knowledge", "about", "first", "exemplars", "state", "reason")

_Key = tuple[str, str]
"""Id and text: posts share pictures, and thus ids."""


def write_knowledge(
    path: str | Path,
    posts: Sequence[Described],
    found: Sequence[PostKnowledge],
    exemplars: Sequence[Sequence[str]],
) -> None:
    """Write one line a post, atomically.

    Args:
        path: The file.
        posts: The posts.
        found: What came of each.
        exemplars: Ids of the exemplars that each was shown.
    """
    write_lines(
        path, [json.dumps(_record(*each), ensure_ascii=False) for each in zip(posts, found, exemplars, strict=True)]
    )


def read_recorded(path: str | Path) -> dict[_Key, list[Background]]:
    """Read a file of knowledge: ours, or a published one with its captions, as a JSON list or as JSON lines.

    Returns:
        Captions and knowledge by id and text; where a post occurs more than once, in the order of the file.

    Raises:
        InputError: The file is missing, empty or malformed.
    """
    path = Path(path)
    pairs: Iterable[tuple[_Key, Background]]
    if _is_published(path):
        published = zip(*read_with_background(path, "jmere"), strict=True)
        pairs = ((_key(post.id, post.tokens), each) for post, each in published)
    else:
        pairs = read_line_records(path, None, lambda line: _parse(parse_json_object(line)), "posts with knowledge")
    found: dict[_Key, list[Background]] = {}
    for key, background in pairs:
        found.setdefault(key, []).append(background)
    return found


def knowledge_for(posts: Sequence[Post], path: str | Path) -> list[Background | None]:
    """The recorded captions and knowledge of each post, None where the file has none of it.

    Posts are known by id and text; the second post of the same id and text gets the second record, if there is one.

    Raises:
        InputError: As `read_recorded`, or the file has nothing of any of the posts.
    """
    recorded = read_recorded(path)
    used: dict[_Key, int] = {}
    result: list[Background | None] = []
    for post in posts:
        key = _key(post.id, post.tokens)
        records = recorded.get(key)
        if records is None:
            result.append(None)
            continue
        number = used.get(key, 0)
        used[key] = number + 1
        result.append(records[min(number, len(records) - 1)])
    missing = sum(background is None for background in result)
    if posts and missing == len(posts):
        raise InputError(
            f"the file has knowledge of none of the {len(posts)} posts; is it that of another split?", path
        )
    if missing:
        logger.warning("%s: no knowledge of %d of %d posts is recorded", path, missing, len(posts))
    return result


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


def _record(post: Described, found: PostKnowledge, exemplars: Sequence[str]) -> dict[str, Any]:
    record = {
        "id": post.id,
        "text": " ".join(post.tokens),
        "captions": list(post.captions),
        "knowledge": [fact.sentence for fact in found.knowledge],
        "about": [fact.about for fact in found.knowledge],
        "first": [fact.sentence for fact in found.first],
        "exemplars": list(exemplars),
        "state": found.state,
    }
    if found.state != "answered" and found.faults:
        record["reason"] = f"{found.faults[-1].kind}: {found.faults[-1].reason}"
    return record


def _parse(record: dict[str, Any]) -> tuple[_Key, Background]:
    unknown = sorted(set(record) - set(_KEYS))
    if unknown:
        raise InputError(f"the line has the unknown key {shorten(unknown[0])}; allowed are {', '.join(_KEYS)}")
    for key in ("id", "text"):
        if not isinstance(record.get(key), str) or not record[key]:
            raise InputError(f"{key} must be a text, found {shorten(record.get(key))}; a line has id, text, knowledge")
    for key in ("captions", "knowledge"):
        value = record.get(key, [] if key == "captions" else None)
        if not isinstance(value, list) or not all(isinstance(sentence, str) for sentence in value):
            raise InputError(f"{key} must be a list of texts, found {shorten(value)}")
    return _key(record["id"], [record["text"]]), Background(
        tuple(record.get("captions", [])), tuple(record["knowledge"])
    )

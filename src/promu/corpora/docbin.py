"""spaCy's training files (`DocBin`, `.spacy`): words, entities and span groups, and what else a post has.

spaCy has no place for relations, images and ids; they lie in each document's user data, as JSON under `promu`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from promu.corpora.char_spans import CharRelation, CharSpan, InsideWord, LeaveOut, Marked, from_post, read_marked
from promu.errors import InputError, first_line, needs_extra
from promu.files import atomic, read_bytes
from promu.schema import Post, apart

GROUP = "sc"
"""The group of spans that spaCy's span categoriser reads; entities that overlap others are written there."""
KEY = "promu"


def read_docbin(
    path: str | Path, problems: list[InputError] | None = None, *, inside_word: InsideWord = "leave-out"
) -> list[Post]:
    """Read a `.spacy` file: spaCy's words, the entities of each document, and the spans of all its groups.

    Raises:
        InputError: spaCy is not installed; the file is none of a `DocBin`; as of every reader (`promu.corpora`).
    """
    path = Path(path)
    spacy = _spacy()
    data = read_bytes(path)
    try:
        docs = list(spacy.tokens.DocBin().from_bytes(data).get_docs(spacy.blank("xx").vocab))
    except (ValueError, LookupError, TypeError, zlib.error) as error:
        raise InputError(
            f"not a file of spaCy's DocBin ({first_line(error)}); save it with DocBin.to_disk", path
        ) from None
    return read_marked(path, problems, enumerate(docs, start=1), _parse, inside_word)


def write_docbin(path: str | Path, posts: Iterable[Post]) -> None:
    """Write a `.spacy` file that `spacy train` reads; atomic. Entities that overlap others go to the group `sc`.

    Raises:
        InputError: spaCy is not installed, or the file cannot be written.
    """
    spacy = _spacy()
    vocab = spacy.blank("xx").vocab
    docs = spacy.tokens.DocBin(store_user_data=True, docs=[_doc(spacy, vocab, post) for post in posts])
    with atomic(path) as temporary:
        temporary.write_bytes(docs.to_bytes())


def _spacy() -> Any:
    try:
        import spacy
        import spacy.tokens
    except ImportError:
        raise needs_extra("the format spacy", "spacy", "spacy") from None
    return spacy


def _parse(doc: Any, line: int, leave_out: LeaveOut) -> Marked:
    try:
        spans = [(span.start_char, span.end_char, span.label_ or None) for span in doc.ents]
        spans += [(one.start_char, one.end_char, one.label_ or None) for group in doc.spans.values() for one in group]
        words = [(token.idx, token.idx + len(token)) for token in doc]
    except (ValueError, LookupError) as error:
        raise InputError(f"document {line} is damaged ({first_line(error)}); save the file again") from None
    try:
        facts: dict[str, Any] = {"id": line, **json.loads(doc.user_data.get(KEY, "{}"))}
        order = [tuple(span) for span in facts.get("entities", ())]
        relations = [CharRelation(tuple(head), tuple(tail), kind) for head, tail, kind in facts.get("relations", ())]
        hash((*order, *relations))  # a list in place of a number
        if not isinstance(facts.get("image"), str | None):
            raise ValueError("its image is no name")
        extra = dict(facts.get("extra", {}))
    except (TypeError, ValueError) as error:
        reason = f"the user data {KEY!r} of document {line} is not what promu writes ({first_line(error)})"
        raise InputError(f"{reason}; leave it out") from None
    distinct = sorted(dict.fromkeys(spans), key=lambda span: order.index(span) if span in order else len(order))
    marked = [CharSpan(*span, key=span) for span in distinct]
    return Marked(str(facts["id"]), doc.text, marked, relations, facts.get("image"), words, extra)


def _doc(spacy: Any, vocab: Any, post: Post) -> Any:
    marked = from_post(post)
    words, blanks, position = list[str](), list[bool](), 0
    for start, end in (*(marked.words or ()), (len(marked.text), len(marked.text))):
        gap = marked.text[position:start]
        if gap.startswith(" ") and words:
            blanks[-1], gap = True, gap[1:]
        for word in filter(None, (gap, marked.text[start:end])):
            words.append(word)
            blanks.append(False)
        position = end
    doc = spacy.tokens.Doc(vocab, words=words, spaces=blanks)
    ends = [(span.start, span.end, span.type) for span in marked.spans]
    flat = set(map(id, apart(post.entities)))
    inner = [doc.char_span(*end) for end, one in zip(ends, post.entities, strict=True) if id(one) in flat]
    rest = [doc.char_span(*end) for end, one in zip(ends, post.entities, strict=True) if id(one) not in flat]
    doc.set_ents(inner)
    if rest:
        doc.spans[GROUP] = rest
    relations = [[ends[one.head], ends[one.tail], one.type] for one in post.relations]
    facts = {
        "id": marked.id,
        "image": marked.image,
        "entities": ends,
        "relations": relations,
        "extra": dict(marked.extra),
    }
    doc.user_data[KEY] = json.dumps(facts)
    return doc

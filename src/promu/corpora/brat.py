"""brat's standoff files: a text in `NAME.txt`, what is marked in it in `NAME.ann`, a document a post.

Text-bound annotations (T) become entities, binary relations (R) relations. Events, attributes, normalisations, notes,
equivalences and spans in several parts have no place in a post; they are left out and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from promu.corpora.char_spans import CharRelation, CharSpan, InsideWord, LeaveOut, Marked, from_post, read_marked
from promu.errors import InputError
from promu.files import atomic, fault, is_blank, read_lines, read_text, shorten, write_text
from promu.schema import Post

_SPAN = re.compile(r"(\S+) (\d+) (\d+)((?:;\d+ \d+)*)")
_RELATION = re.compile(r"(\S+) Arg1:(\S+) Arg2:(\S+)\s*")
_OTHERS = {
    "E": "an event",
    "A": "an attribute",
    "M": "an attribute",
    "N": "a normalisation",
    "#": "a note",
    "*": "an equivalence",
}


class _Document(NamedTuple):
    name: str
    text: str
    lines: list[tuple[int, str]]


def read_brat(
    path: str | Path, problems: list[InputError] | None = None, *, inside_word: InsideWord = "leave-out"
) -> list[Post]:
    """Read the documents of a folder, in the order of their names (numbers by value), or one document.

    A post's id is the document's name. Problems and errors as of every reader (`promu.corpora`); what is left out is an
    error too, with a kind in `LEFT_OUT`.
    """
    path = Path(path)
    texts = sorted(path.glob("*.txt"), key=lambda file: _by_number(file.stem)) if path.is_dir() else [path]
    if not texts:
        raise InputError("no .txt file is in the folder; name the folder of .txt and .ann files", path)
    posts: list[Post] = []
    if not path.is_dir() and not (read_text(path) and path.with_suffix(".ann").is_file()):
        raise InputError(
            "no .ann file lies beside it, so it is not labelled; name the folder, or a .txt with one", path
        )
    for file in texts:
        if not (notes := file.with_suffix(".ann")).is_file():
            fault(problems, InputError("no .ann file lies beside it, so it is not labelled", file, kind="answer"))
            continue
        try:
            lines = [] if not notes.stat().st_size else list(read_lines(notes, problems))
            filled = [(number, line) for number, line in lines if line is not None and not is_blank(line)]
            document = _Document(file.stem, read_text(file), filled)
        except InputError as error:
            if not path.is_dir():
                raise
            fault(problems, error)
            continue
        posts += read_marked(notes, problems, [(1, document)], _parse, inside_word)
    return posts


def write_brat(path: str | Path, posts: Iterable[Post]) -> None:
    """Write a folder of documents named by the posts' ids; all of them or none.

    The format cannot hold images, scores, untyped entities, blanks in types, and ids that are no file names or not
    different from each other in lower case.
    """
    with atomic(path, folder=True) as building:
        for post in posts:
            marked = from_post(post)
            if (building / f"{marked.id}.txt").exists():
                raise InputError(f"two posts have the id {shorten(marked.id)}; give each its own", path)
            lines = [
                f"T{number}\t{span.type} {span.start} {span.end}\t{' '.join(str(span.text).splitlines())}\n"
                for number, span in enumerate(marked.spans, start=1)
            ]
            lines += [
                f"R{number}\t{one.type} Arg1:T{int(str(one.head)) + 1} Arg2:T{int(str(one.tail)) + 1}\n"
                for number, one in enumerate(marked.relations, start=1)
            ]
            write_text(building / f"{marked.id}.txt", [marked.text])
            write_text(building / f"{marked.id}.ann", lines)


def _parse(document: _Document, line: int, leave_out: LeaveOut) -> Marked:
    marked = Marked(document.name, document.text)
    for number, note in document.lines:
        key, _, rest = note.partition("\t")
        body, _, text = rest.partition("\t")
        if key.startswith("T"):
            match = _SPAN.fullmatch(body)
            if match is None:
                raise InputError(f"line {number}: a T is ID<TAB>TYPE START END<TAB>TEXT, found {shorten(note)}")
            if match[4]:
                what = f"{key}, {shorten(text)}, is a span in several parts; a post holds spans of words without gaps"
                leave_out("discontinuous", what, number)
                continue
            marked.spans.append(CharSpan(int(match[2]), int(match[3]), match[1], key, text or None, number))
        elif key.startswith("R"):
            match = _RELATION.fullmatch(body)
            if match is None:
                leave_out("relation", f"{key} is no relation of Arg1 and Arg2: {shorten(note)}", number)
                continue
            marked.relations.append(CharRelation(match[2], match[3], match[1], number))
        else:
            if key[:1] not in _OTHERS:
                raise InputError(f"line {number}: no annotation of brat begins like this: {shorten(note)}")
            what = _OTHERS[key[:1]]
            leave_out(
                "label of another kind", f"{key} is {what}, which a post has no place for: {shorten(rest)}", number
            )
    return marked


def _by_number(name: str) -> list[tuple[int, int, str]]:
    """A key under which 2 stands before 10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]

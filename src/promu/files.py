"""Reading and writing files: lines with their numbers, strict JSON, and files and folders that are whole or absent.

Readers take an optional list `problems`. Without it the first malformed record raises; with it each malformed
record is appended and skipped. A file that cannot be read at all (missing, empty, UTF-16) raises in both cases.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from promu.errors import InputError, Problems

Record = TypeVar("Record")

MAX_LINE_CHARACTERS = 1_000_000
"""A longer line is not a post (the longest published one has 414 characters) but a damaged or mistaken file."""

_BLANKS = " \t\r\n"
_STARTING = bytes(byte for byte in range(256) if not 0x80 <= byte < 0xC0)
"""The bytes that begin a character in UTF-8."""
_DECODER = json.JSONDecoder(
    parse_constant=lambda name: _refuse_constant(name), object_pairs_hook=lambda pairs: distinct_keys(pairs)
)


def shorten(value: object, limit: int = 60) -> str:
    """`repr` of a value, cut to `limit` characters, for use in error sentences."""
    # Cutting before repr keeps the cost bounded for a value of many megabytes.
    text = repr(value[: limit + 1] if isinstance(value, (str, list, tuple)) else value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def fault(problems: list[InputError] | None, error: InputError) -> None:
    """Raise `error`, or append it to `problems` where a list is given."""
    if problems is None:
        raise error
    problems.append(error)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that exists and is not empty.

    Raises:
        InputError: the file is missing, a folder, unreadable or empty.
    """
    with _readable(path):
        data = path.read_bytes()
    if not data.strip():
        raise _empty(path)
    return data


def checksum(path: str | Path, plain: bool = False) -> str:
    """SHA-256 of a file's bytes; if `plain`, without a byte-order mark and with line feeds for CRLF.

    Raises:
        InputError: The file is missing or unreadable.
    """
    with _readable(path), open(path, "rb") as file:
        if not plain:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()
        for number, line in enumerate(file):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
            digest.update(line.removesuffix(b"\r\n") + b"\n" if line.endswith(b"\r\n") else line)
        return digest.hexdigest()


def data_folder() -> Path:
    """The folder of fetched sets: `PROMU_DATA`, or `promu/data` in the user's cache (`XDG_CACHE_HOME`, `~/.cache`)."""
    if named := os.environ.get("PROMU_DATA"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "promu" / "data"


def absent(path: str | Path) -> InputError:
    """That there is no such file, and how to get it where it belongs to a set that `promu fetch` knows."""
    path = Path(path)
    if path.is_relative_to(data_folder()) and path != data_folder():
        name = path.relative_to(data_folder()).parts[0]
        return InputError(
            f"no such file; fetch it by promu fetch {name} (promu fetch --list says what that lacks)", path
        )
    return InputError("no such file; check the path", path)


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Errors of opening and reading a file as InputError."""
    try:
        yield
    except FileNotFoundError:
        raise absent(path) from None
    except IsADirectoryError:
        raise InputError("is a folder; name one file", path) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error}); check the path and its permissions", path) from None


def _empty(path: Path) -> InputError:
    return InputError("the file is empty; fetch or write it again", path, kind="empty file")


def read_lines(path: Path, problems: list[InputError] | None) -> Iterator[tuple[int, str | None]]:
    """Yield (1-based line number, line), or (number, None) for a line that was appended to `problems`.

    The file is read as the lines are asked for, so that one of any size costs the memory of a line.
    Only the line feed ends a line: tweets hold other characters that `str.splitlines` would break at.
    One carriage return before it, and a byte-order mark at the start, are dropped.

    Raises:
        InputError: as `read_bytes`, though that a file holds nothing but blanks is known at its end only; the file is
            UTF-16; or, without `problems`, a line that is not UTF-8 or too long.
    """
    blank = True
    for number, (raw, characters) in enumerate(_raw_lines(path), start=1):
        blank = blank and not raw.strip()
        if number == 1:
            if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise InputError("the file is UTF-16; save it as UTF-8", path)
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        line = None
        if characters > MAX_LINE_CHARACTERS:
            reason = f"the line has {characters:,} characters, more than {MAX_LINE_CHARACTERS:,}"
            fault(problems, InputError(f"{reason}; is this the right file?", path, number))
        else:
            try:
                line = raw.decode("utf-8").removesuffix("\r")
            except UnicodeDecodeError as error:
                found = f"byte 0x{raw[error.start]:02x} at position {error.start + 1}"
                fault(problems, InputError(f"{found} of the line is not UTF-8; save the file as UTF-8", path, number))
        yield number, line
    if blank:
        raise _empty(path)


def _raw_lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield (bytes without the line feed, how many characters); of a line that is too long only the beginning."""
    limit = 4 * MAX_LINE_CHARACTERS  # bytes: UTF-8 takes four of them for a character at most
    with _readable(path), path.open("rb") as file:
        ended = True  # what follows the last line feed is a line too, be it empty
        while ended:
            raw = chunk = file.readline(limit)
            characters = _characters(chunk.removesuffix(b"\n"))
            while len(chunk) == limit and not chunk.endswith(b"\n"):
                chunk = file.readline(limit)
                characters += _characters(chunk.removesuffix(b"\n"))
            ended = chunk.endswith(b"\n")
            yield raw.removesuffix(b"\n"), characters


def _characters(raw: bytes) -> int:
    """Characters in UTF-8: every byte but those that continue one."""
    return len(raw) if raw.isascii() else len(raw) - len(raw.translate(None, _STARTING))


def is_blank(line: str) -> bool:
    """Whether a line separates records: ASCII blanks only, since a no-break space is a word in Twitter-2015."""
    return not line.strip(_BLANKS)


def read_records(
    path: str | Path,
    problems: list[InputError] | None,
    parse: Callable[[Any], Record],
    what: str,
    numbered: Iterable[tuple[int, Any]] | None = None,
) -> list[Record]:
    """As `read_numbered`, without the numbers."""
    return [record for _, record in read_numbered(path, problems, parse, what, numbered)]


def read_numbered(
    path: str | Path,
    problems: list[InputError] | None,
    parse: Callable[[Any], Record],
    what: str,
    numbered: Iterable[tuple[int, Any]] | None = None,
) -> list[tuple[int, Record]]:
    """Read a file of one record a line, blank lines left out, as (line number, record); as `iterate_records`.

    Args:
        path: The file.
        problems: Where malformed records go; None raises the first, and says how many are like it.
        parse: Turns one raw record (a line) into a record; raises InputError without a place.
        what: The plural noun for a record, for the sentence about a file without any.
        numbered: Line number and raw record of each, where they are not the lines.
    """
    path = Path(path)
    if numbered is None:
        numbered = filled_lines(path, problems)
    found = Problems() if problems is None else problems
    records = list(iterate_records(path, found, numbered, parse, what))
    if isinstance(found, Problems) and problems is None and found:
        raise found.sentences()[0]
    return records


def filled_lines(path: Path, problems: list[InputError] | None) -> Iterator[tuple[int, str | None]]:
    """`read_lines` without the blank ones."""
    return ((number, line) for number, line in read_lines(path, problems) if line is None or not is_blank(line))


def iterate_records(
    path: Path,
    problems: list[InputError] | None,
    numbered: Iterable[tuple[int, Any]],
    parse: Callable[[Any], Record],
    what: str,
) -> Iterator[tuple[int, Record]]:
    """Parse (line number, raw record) pairs, adding path and line to what `parse` raises; None is skipped.

    Raises:
        InputError: as `read_lines`; a malformed record when `problems` is None; no record at all.
    """
    seen = False
    for number, raw in numbered:
        seen = True
        if raw is None:
            continue
        try:
            record = parse(raw)
        except InputError as error:
            fault(problems, error.at(path, number))
        else:
            yield number, record
    if not seen:
        raise InputError(f"the file holds no {what}; is this the right file?", path)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class DuplicateKey(ValueError):
    """A key is twice in one object."""


def distinct_keys(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """The pairs of one object as a dictionary.

    Raises:
        DuplicateKey: A key is there twice: which of the values is meant cannot be known.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DuplicateKey(f"the key {shorten(twice)} is there twice; keep one of them")
    return value


def parse_json(text: str) -> Any:
    """One JSON value.

    Raises:
        InputError: not JSON, NaN or Infinity, an integer of thousands of digits, or nesting too deep.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON ({error.msg} at character {error.pos + 1}: {shorten(text)})") from None
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None


def _not_json(error: Exception, path: Path | None = None, line: int | None = None) -> InputError:
    """What is wrong with a file's JSON."""
    if isinstance(error, DuplicateKey):
        return InputError(str(error), path, line)
    if isinstance(error, json.JSONDecodeError):
        hint = "; one JSON document is expected, not JSON lines" if error.msg == "Extra data" else ""
        return InputError(f"not JSON ({error.msg}){hint}; is the file complete?", path, error.lineno)
    reason = "nested too deeply" if isinstance(error, RecursionError) else error
    return InputError(f"not usable JSON ({reason})", path, line)


def parse_json_object(text: str) -> dict[str, Any]:
    """One JSON object from one line of a JSON-lines file.

    Raises:
        InputError: as `parse_json`, or the value is something else than an object.
    """
    if text.lstrip().startswith("["):
        raise InputError("a JSON list where JSON lines are expected; write one object {…} a line, without [ ] around")
    value = parse_json(text)
    if not isinstance(value, dict):
        raise InputError(f"a JSON object {{…}} is expected, found {shorten(value)}")
    return value


def read_text(path: Path) -> str:
    """The whole text of a UTF-8 file, checked as `read_lines` checks."""
    data = read_bytes(path)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("the file is UTF-16; save it as UTF-8", path)
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8", path, line) from None


def read_json_document(path: Path) -> Any:
    """The single JSON value of a file.

    Raises:
        InputError: as `read_text` and `parse_json`, with the line where the JSON breaks.
    """
    text = read_text(path)
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(error, path) from None


def opening(path: Path) -> str:
    """The first line that is not blank, without blanks before it; what is wrong with a line is for the file's reader.

    Raises:
        InputError: as `read_lines`.
    """
    return next((line for _, line in filled_lines(path, Problems()) if line is not None), "").lstrip()


def json_list(path: Path, text: str, problems: list[InputError] | None) -> Iterator[tuple[int, tuple[int, Any] | None]]:
    """Yield (line number, (index, element)) of a file whose text is a JSON list; None in place of what is not JSON.

    Raises:
        InputError: without `problems`, the list breaks off or is not JSON.
    """
    try:
        for index, (line, value) in enumerate(_elements(text)):
            yield line, (index, value)
    except InputError as error:
        fault(problems, error.at(path, error.line))
        yield error.line or 1, None


def _elements(text: str) -> Iterator[tuple[int, Any]]:
    """Yield (line number, element) of a text that is a JSON list, so that an element's faults can name its line."""
    position = _skip_blanks(text, text.index("[") + 1)
    line, counted = 1, 0
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise _not_json(error, line=line) from None
        yield line, value
        position = _skip_blanks(text, position)
        if text.startswith(",", position):
            position = _skip_blanks(text, position + 1)
        elif not text.startswith("]", position):
            line = text.count("\n", 0, position) + 1
            raise InputError("the JSON list breaks off here; a comma or ] is missing", line=line)
    if not is_blank(text[position + 1 :]):
        raise InputError("text after the end of the JSON list", line=text.count("\n", 0, position) + 1)


_JSON_BLANKS = re.compile(rf"[{_BLANKS}]*")


def _skip_blanks(text: str, position: int) -> int:
    match = _JSON_BLANKS.match(text, position)
    return match.end() if match else position


@contextmanager
def atomic(path: str | Path, folder: bool = False, keep_existing: bool = False) -> Iterator[Path]:
    """Something to write beside `path`, which becomes `path` when this ends well; nothing is left when it does not.

    Args:
        path: What is to be there whole or not at all.
        folder: Whether it is a folder; then its parents are made, and it must not exist, unless empty.
        keep_existing: Whether a file that is there meanwhile stays (`FileExistsError`), instead of being replaced.

    Yields:
        The path to write to: an empty file or folder.

    Raises:
        InputError: `path` is taken, cannot be made or written, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.part")
    if folder:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError("this is there already and not empty; name another folder, or remove it first", path)
        for leftover in path.parent.glob(f".{escape(path.name[:100])}.*.part"):  # of a process that was killed
            shutil.rmtree(leftover)
        make_folder(temporary)
    else:
        if path.is_dir():
            raise InputError("is a folder; name a file to write to", path)
        try:
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise InputError(f"cannot be written ({error.strerror}); does the folder exist?", path) from None
    try:
        yield temporary
        if keep_existing:
            os.link(temporary, path)  # a link, unlike a rename, never replaces
        else:
            os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:  # the write itself: a full disk, a quota
            reason = f"cannot be written ({error.strerror or error}); make room and run the command again"
            raise InputError(reason, path) from None
        raise
    finally:
        if folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def refuse_overwriting(out: str | Path, *inputs: str | Path | None) -> None:
    """Refuse to write where something is read from, under whatever name or link.

    Raises:
        InputError: `out` is one of the files or folders in `inputs`.
    """
    for source in inputs:
        if source is not None and Path(out).exists() and Path(source).exists() and os.path.samefile(out, source):
            raise InputError("this is what is read from; name another place to write to", Path(out))


def share_as_folder(path: Path) -> None:
    """Let everybody read a file who may read its folder: safetensors writes files for their owner alone."""
    path.chmod(path.parent.stat().st_mode & 0o666)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, unless it is there.

    Raises:
        InputError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder cannot be made ({error.strerror}); name one you may write to", path) from None


def write_text(path: str | Path, chunks: Iterable[str]) -> None:
    """Write text, one chunk after the other, whole or not at all.

    Raises:
        InputError: As `atomic`; or whatever producing `chunks` raises.
    """
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(chunks)


def write_lines(path: str | Path, lines: Sequence[str]) -> None:
    """Write lines, each closed by a line feed, whole or not at all."""
    write_text(path, (f"{line}\n" for line in lines))


def write_json(path: str | Path, value: Any) -> None:
    """Write one JSON document, whole or not at all."""
    write_text(path, [json.dumps(value, ensure_ascii=False, indent=1), "\n"])

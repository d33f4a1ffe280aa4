"""Fields of records in published files: pydantic types, and one translation of pydantic's errors into our sentences.

A reader declares a `Record`, calls `read_record`, and checks itself what one field says about another (spans of words).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pydantic
from pydantic import AfterValidator, BeforeValidator, Strict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from promu.corpora.tokenize import normal_form, same_characters
from promu.errors import InputError, counted
from promu.files import fault, is_blank, read_lines, shorten


def _some(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list, found {shorten(value)}")
    if not value:
        raise ValueError("is an empty list; a post has at least one word")
    return value


def _text(value: str) -> str:
    if is_blank(value):
        raise PydanticCustomError("empty", "is empty")
    return sound(value)


def sound(value: str) -> str:
    """A text, which may be empty, if it can be written as UTF-8 and holds no NUL."""
    if "\0" in value:
        raise ValueError(f"holds a NUL character: {shorten(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"holds half of a surrogate pair: {shorten(value)}") from None
    return value


def _caption(value: object) -> object:
    if isinstance(value, str) and is_blank(value):
        raise PydanticCustomError("empty", "is empty", {"kind": "empty caption"})
    return value


def _token(value: str) -> str:
    if any(mark in value for mark in "\t\n\r"):
        raise ValueError(f"holds a tab or a line break: {shorten(value)}")
    return value


def _file_name(value: str) -> str:
    if "/" in value or "\\" in value or value in (".", ".."):
        raise ValueError(f"must be a plain file name without folders, found {shorten(value)}")
    return value


def _image_path(value: str) -> str:
    image = value
    while image.startswith("./"):
        image = image[2:]
    if not image or image.startswith("/") or ".." in image.replace("\\", "/").split("/") or "\n" in image:
        raise ValueError(f"must be a path inside the folder of images, found {shorten(value)}")
    return image


def _span(value: object) -> object:
    # bool is an int to Python, but True is no word index.
    if not isinstance(value, list | tuple) or len(value) != 2 or any(type(index) is not int for index in value):
        raise ValueError(f"must be two integers [start, end], found {shorten(value)}")
    return value


def _score(value: object) -> object:
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"must be a number from 0 to 1, found {shorten(value)}")
    return value


def _box(value: object) -> object:
    # The bound also refuses integers too large to become a float.
    if (
        not isinstance(value, list | tuple)
        or len(value) != 4
        or any(type(number) not in (int, float) or not -1e9 < number < 1e9 for number in value)
        or not (value[0] < value[2] and value[1] < value[3])
    ):
        raise ValueError(f"must be four numbers x0, y0, x1, y1 in pixels, x1 > x0, y1 > y0, found {shorten(value)}")
    return tuple(map(float, value))


def _size(value: object) -> object:
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or any(type(side) is not int or not 0 < side < 10**9 for side in value)
    ):
        raise ValueError(f"must be width and height in pixels, two integers from 1 on, found {shorten(value)}")
    return value


Text = Annotated[str, Strict(), AfterValidator(_text)]
"""A string with something in it that can be written as UTF-8."""
Caption = Annotated[Text, BeforeValidator(_caption), AfterValidator(str.strip)]
"""Text without blanks around it."""
Token = Annotated[Text, AfterValidator(_token)]
"""Text without tab or line break."""
Tokens = Annotated[tuple[Token, ...], BeforeValidator(_some)]
"""A list of one token or more."""
FileName = Annotated[Token, AfterValidator(_file_name)]
"""A plain file name: no folder, since images lie directly in their folder."""
ImagePath = Annotated[Text, AfterValidator(_image_path)]
"""An image's path below the folder of images; a leading ./ is dropped."""
Id = Annotated[Text, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""Text; ids are numbers in one file and strings in another."""
Span = Annotated[tuple[int, int], BeforeValidator(_span)]
"""Two integers; `check_span` says whether they are a span of some words."""
Score = Annotated[float, BeforeValidator(_score)]
"""A number from 0 to 1."""
Box = Annotated[tuple[float, float, float, float], BeforeValidator(_box)]
"""Four numbers (x0, y0, x1, y1) with an area."""
Size = Annotated[tuple[int, int], BeforeValidator(_size)]
"""Width and height of an image in pixels."""

TEXT, TOKEN, TOKENS, FILE_NAME, IMAGE_PATH = (
    TypeAdapter[Any](kind) for kind in (Text, Token, Tokens, FileName, ImagePath)
)


class Record(pydantic.BaseModel):
    """A mapping of a file. Keys that it does not declare are refused, unless it says `extra="ignore"`.

    A misspelt optional key would otherwise be dropped without a word.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: object) -> object:
        required = [name for name, field in cls.model_fields.items() if field.is_required()]
        if not isinstance(value, dict):
            keys = required or list(cls.model_fields)
            raise ValueError(f"must be a mapping with the keys {', '.join(keys)}, found {shorten(value)}")
        missing = [name for name in required if name not in value]
        if missing:
            raise ValueError(f"lacks {', '.join(missing)}; its keys are: {key_names(value)}")
        unknown = [key for key in value if key not in cls.model_fields]
        if unknown and cls.model_config["extra"] == "forbid":
            allowed = ", ".join(cls.model_fields)
            raise ValueError(f"has the unknown key {shorten(unknown[0])}; allowed are {allowed}")
        return value


RecordType = TypeVar("RecordType", bound=Record)


def key_names(record: Mapping[Any, Any]) -> str:
    """The first keys of a record as an error sentence shows them: bare where it is a plain word, else escaped."""
    keys = list(record)[:12]
    plain = (isinstance(key, str) and key.isidentifier() and len(key) <= 40 for key in keys)
    return ", ".join(key if bare else shorten(key, 40) for key, bare in zip(keys, plain, strict=True)) or "none"


def read_record(kind: type[RecordType], value: object, what: str, within: bool = False) -> RecordType:
    """A record of a file, checked; error sentences call it `what`, also about a field if `within` (no line names it).

    Raises:
        InputError: The first field that is wrong, its value, and what is allowed; with a `kind` if the field gives one.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _input_error(error, what, within) from None


def check_field(adapter: TypeAdapter[Any], value: object, what: str) -> Any:
    """A single value, checked by one of the adapters above; raises as `read_record`."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise _input_error(error, what, True) from None


def _input_error(error: ValidationError, what: str, within: bool) -> InputError:
    problem = error.errors(include_url=False)[0]
    place = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in problem["loc"]).removeprefix(".")
    if place and within:
        place = f"{what}{place}" if place.startswith("[") else f"{place} of {what}"
    reason = problem["msg"].removeprefix("Value error, ")
    if " should " in reason:  # pydantic's own: "Input should be ...", "List should have ..."
        reason = f"must {reason.partition(' should ')[2]}, found {shorten(problem['input'])}"
    return InputError(f"{place or what} {reason}", kind=problem.get("ctx", {}).get("kind"))


def check_span(span: tuple[int, int], tokens: tuple[str, ...], what: str) -> tuple[int, int]:
    """The span, if it is one of these words, end exclusive.

    Raises:
        InputError: It is empty or negative, or ends past the last word.
    """
    start, end = span
    if not 0 <= start < end <= len(tokens):
        reason = f"is no span of the {counted(len(tokens), 'word')}; spans count words from 0, end exclusive"
        raise InputError(f"{what} [{shorten(start)}, {shorten(end)}] {reason}")
    return start, end


def check_name(name: str, tokens: tuple[str, ...], span: tuple[int, int], what: str) -> None:
    """Check that an entity's written name is the words of its span, which catches spans that are off by one.

    A name in another Unicode normal form is the same name.

    Raises:
        InputError: The words are others.
    """
    words = " ".join(tokens[span[0] : span[1]])
    if not same_characters(name, words):
        raise InputError(f"{what} is {shorten(name)}, but the words at [{span[0]}, {span[1]}] are {shorten(words)}")


def other_form(name: str, tokens: tuple[str, ...], span: tuple[int, int]) -> str | None:
    """What is to be said of a name that is the words of its span in another Unicode normal form; None of any other."""
    words = " ".join(tokens[span[0] : span[1]])
    if name == words:
        return None
    return f"names are {normal_form(name)} where their words are {normal_form(words)}, and read as these words"


def stem(file_name: str) -> str:
    """An image's file name without its last suffix; a leading dot starts no suffix."""
    head, dot, _ = file_name.rpartition(".")
    return head if dot and head else file_name


def csv_rows(
    path: Path, check_header: Callable[[list[str]], None], remedy: str, problems: list[InputError] | None = None
) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yield (first line of the row, row by column), None for a row that has been reported.

    Args:
        path: A file in UTF-8.
        check_header: Raises `InputError` where the names of the columns will not do; path and line are added.
        remedy: What to do about a row that is no CSV or has too few or too many columns.
        problems: Where broken rows go.

    Raises:
        InputError: The header will not do, names a column twice, or a row is broken and `problems` is None.
    """
    # csv wants whole lines; one that is not UTF-8 has been reported, and an empty line is skipped by csv
    lines = (f"{line}\n" if line is not None else "\n" for _, line in read_lines(path, problems))
    # strict: without it one stray quotation mark silently swallows every row up to the next
    rows = csv.reader(lines, strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            fault(problems, InputError(f"not CSV ({error}); {remedy}", path, start))
            yield start, None
            start = rows.line_num + 1
            continue
        number, start = start, rows.line_num + 1
        if not row:
            continue
        if header is None:
            # a table's row numbers come without a name (pandas)
            header = [name.strip() or f"column {place}" for place, name in enumerate(row, start=1)]
            try:
                check_header(header)
            except InputError as error:
                raise error.at(path, number) from None
            twice = next((name for name in header if header.count(name) > 1), None)
            if twice is not None:
                raise InputError(f"the column {shorten(twice)} is there twice; keep one of them", path, number)
        elif len(row) != len(header):
            columns = f"{counted(len(row), 'column')} where the first line names {len(header)}"
            fault(problems, InputError(f"{columns}; {remedy}", path, number))
            yield number, None
        else:
            yield number, dict(zip(header, row, strict=True))

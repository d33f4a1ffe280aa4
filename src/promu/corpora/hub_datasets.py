"""Posts to and from `datasets.Dataset`, the tables of the Hugging Face hub.

A row is a post: `id`, `text`, `tokens`, `image` (a name, or the image itself), `entities` and `relations` as in JSON
lines of posts. What the hub's own sets have is read too: words under `tokens` and a tag a word under `ner_tags` or
`tags`, as names or as numbers whose names the set declares. Tags are read as those of CoNLL files (`tag_schemes`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from promu.corpora.images import read_image
from promu.corpora.posts import from_record, post_record
from promu.corpora.tag_schemes import find_scheme, tag_entities
from promu.errors import InputError, counted, needs_extra
from promu.files import fault, make_folder, parse_json_object, shorten
from promu.schema import Post, Scheme

if TYPE_CHECKING:
    from datasets import Dataset

TAGS = ("ner_tags", "tags")
"""Columns with a tag a word."""
EXTRA = "extra"
"""The column with the further keys of each post, as JSON, where any has some."""
SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif"}


class Answered(Protocol):
    """What has a post with the answers to it (`Extraction`)."""

    @property
    def post(self) -> Post: ...


def to_dataset(posts: Iterable[Post | Answered], images: str | Path | None = None) -> Dataset:
    """Posts as a dataset, ready for `push_to_hub` or `save_to_disk`; `from_dataset` gives the posts back.

    Args:
        posts: Any posts, or answers of an `Extractor`, of which the posts are taken with what was found.
        images: The folder of their images, which then go into the dataset; None keeps their names alone.

    Raises:
        InputError: The package datasets is not installed; an image is missing.

    Example:
        ```python
        from promu import Entity, Post, from_dataset, to_dataset

        post = Post("1", ("Ann", "in", "Rome"), entities=(Entity(2, 3, "LOC"),))
        assert from_dataset(to_dataset([post])) == [post]
        ```
    """
    datasets = _datasets()
    given = [one if isinstance(one, Post) else one.post for one in posts]
    records = [post_record(post) for post in given]
    text, whole, number = (datasets.Value(kind) for kind in ("string", "int64", "float64"))
    span = {"start": whole, "end": whole, "text": text, "type": text, "char_start": whole, "char_end": whole}
    relation = {"head": whole, "tail": whole, "type": text, "score": number}
    if any(entity.regions is not None for post in given for entity in post.entities):
        span["regions"] = [{"box": [number], "label": text, "score": number}]
    features = {
        "id": text,
        "text": text,
        "tokens": [text],
        "image": text if images is None else datasets.Image(),
        "entities": [{**span, "score": number}],
        "relations": [relation],
    }
    rows = []
    for post, record in zip(given, records, strict=True):
        row = {name: record.get(name) for name in features}
        for name in ("entities", "relations"):
            row[name] = [{key: one.get(key) for key in features[name][0]} for one in record[name]]
        if images is not None and post.image is not None:
            row["image"] = {"path": post.image, "bytes": read_image(Path(images) / post.image)[0]}
        beside = {name: record[name] for name in ("contexts", "image_size") if name in record}
        if further := dict(post.extra) | beside:
            row[EXTRA] = json.dumps(further, ensure_ascii=False)
        rows.append(row)
    if any(EXTRA in row for row in rows):
        features[EXTRA] = text
    columns = {name: [row.get(name) for row in rows] for name in features}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def from_dataset(
    dataset: Dataset | Iterable[Mapping[str, Any]],
    images: str | Path | None = None,
    problems: list[InputError] | None = None,
    *,
    scheme: Scheme = "auto",
) -> list[Post]:
    """The posts of a dataset, or of one split of it.

    Args:
        dataset: Rows as `to_dataset` makes them, or with `tokens` and `ner_tags`, as most sets on the hub.
        images: The folder that images of the dataset are written to; None reads posts without them.
        problems: Where rows that cannot be read go, with the number of the row, from 1, as their line.
        scheme: Of the tags; `auto` finds it out from all rows.

    Raises:
        InputError: A dataset of several splits is given; without `problems`, the first row that cannot be read; the
            dataset holds no row.

    Example:
        ```python
        from promu import from_dataset

        (post,) = from_dataset([{"tokens": ["Ann", "in", "Rome"], "ner_tags": ["B-PER", "O", "B-LOC"]}])
        assert [post.words(entity) for entity in post.entities] == ["Ann", "Rome"]
        ```
    """
    if hasattr(dataset, "keys") and not hasattr(dataset, "features"):
        names = ", ".join(map(str, dataset.keys()))
        raise InputError(
            f"this is a dataset of several splits ({names}); give one, such as dataset[{names.split(', ')[0]!r}]"
        )
    features: Mapping[str, Any] = getattr(dataset, "features", None) or {}
    if "image" in features and type(features["image"]).__name__ == "Image":
        dataset = dataset.cast_column("image", _datasets().Image(decode=False))  # type: ignore[union-attr]
    posts = []
    rows = 0
    folder = None if images is None else Path(images)
    column = next((name for name in TAGS if name in features), None)
    if scheme == "auto" and column is not None and hasattr(dataset, "__len__"):  # what streams is found out by rows
        scheme = find_scheme(_declared_tags(dataset[column], column, features))  # type: ignore[index]
    for rows, row in enumerate(dataset, start=1):
        try:
            if not isinstance(row, Mapping):
                raise InputError(f"a row must be a mapping, found {shorten(row)}")
            posts.append(_post(dict(row), rows, features, folder, scheme))
        except InputError as error:
            fault(problems, error.at(None, rows) if problems is not None else InputError(f"row {rows}: {error.reason}"))
    if not rows:
        raise InputError("the dataset holds no row; is this the right split?")
    return posts


def _post(row: dict[str, Any], number: int, features: Mapping[str, Any], images: Path | None, scheme: Scheme) -> Post:
    extra = row.pop(EXTRA, None)
    image = row.get("image")
    if isinstance(image, Mapping):
        row["image"] = None if images is None else _written(image, str(row.get("id") or number), images)
    elif image is not None and not isinstance(image, str):
        raise InputError(f"image must be a name or an image of the dataset, found {shorten(image)}")
    tags = next((name for name in TAGS if row.get(name) is not None), None)
    if tags is not None and not row.get("entities"):
        names = _tag_names(row.pop(tags), tags, features)
        if isinstance(row.get("tokens"), list) and len(row["tokens"]) != len(names):
            words = counted(len(row["tokens"]), "word")
            raise InputError(f"there are {words} and {counted(len(names), 'tag')} under {tags}; give each word one tag")
        found = tag_entities(names, scheme)
        row["entities"] = [{"start": one.start, "end": one.end, "type": one.type} for one in found]
    further = {} if extra is None else {EXTRA: extra}
    if isinstance(extra, str):
        with suppress(InputError):  # another's column of this name
            further = parse_json_object(extra)
    row = further | {key: value for key, value in row.items() if value is not None}
    for name in ("entities", "relations"):
        row[name] = _mappings(row.get(name) or [], name)
    if row["entities"] and "ner_tags" in row:
        tagged = {
            (one.start, one.end, one.type)
            for one in tag_entities(_tag_names(row["ner_tags"], "ner_tags", features), scheme)
        }
        told = {(one.start, one.end, one.type) for one in from_record(row).entities}
        if tagged != told:
            differ = ", ".join(f"{kind} at [{start}, {end}]" for start, end, kind in sorted(tagged ^ told, key=str))
            raise InputError(f"ner_tags and entities contradict each other ({differ}); leave out one of them")
        del row["ner_tags"]
    return from_record(row, str(number))


def _mappings(listed: Any, name: str) -> list[dict[str, Any]]:
    """A list of mappings, or a mapping of lists, which datasets makes of it; null is as if the key were not there."""
    if isinstance(listed, Mapping) and all(isinstance(values, list) for values in listed.values()):
        if len({len(values) for values in listed.values()}) > 1:
            raise InputError(f"the lists under {name} are not of one length: {shorten(listed)}")
        listed = [dict(zip(listed, values, strict=True)) for values in zip(*listed.values(), strict=True)]
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        raise InputError(f"{name} must be a list of mappings, found {shorten(listed)}")
    return [{key: value for key, value in one.items() if value is not None} for one in listed]


def _declared_tags(rows: Iterable[Any], column: str, features: Mapping[str, Any]) -> Iterator[list[str]]:
    """The tags of each row that has usable ones; what is wrong with another is said when it is read."""
    for tags in rows:
        with suppress(InputError):
            yield _tag_names(tags or (), column, features)


def _tag_names(tags: Sequence[Any], column: str, features: Mapping[str, Any]) -> list[str]:
    inner = getattr(features.get(column), "feature", None)
    if inner is None and isinstance(features.get(column), list):
        inner = features[column][0]
    names = getattr(inner, "names", None)
    if not isinstance(tags, list | tuple):
        raise InputError(f"{column} must be a list with a tag a word, found {shorten(tags)}")
    if all(isinstance(tag, str) for tag in tags):
        return list(tags)
    if names is None or not all(type(tag) is int and 0 <= tag < len(names) for tag in tags):
        raise InputError(f"{column} must be tags, or numbers whose names the dataset declares, found {shorten(tags)}")
    return [names[tag] for tag in tags]


def _written(image: Mapping[str, Any], id: str, folder: Path) -> str | None:
    """The name under which an image of the dataset lies in the folder; written where it is not there."""
    data, path = image.get("bytes"), image.get("path")
    if data is None:
        return None if path is None else Path(str(path)).name
    suffix = next((suffix for start, suffix in SUFFIXES.items() if data.startswith(start)), ".img")
    name = Path(str(path)).name if path else f"{id}{suffix}"
    make_folder(folder)
    if (folder / name).exists() and (folder / name).read_bytes() != data:
        name = f"{id}-{name}"  # an image of this name is of another post
    (folder / name).write_bytes(data)
    return name


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise needs_extra("a table of the Hugging Face hub", "datasets", "datasets") from None
    return datasets

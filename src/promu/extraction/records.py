"""What was extracted, as it is written: JSON lines, Parquet or CSV, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from promu.files import atomic, write_text


def _lines(part: Path) -> Iterator[str]:
    with part.open(encoding="utf-8", newline="") as file:
        yield from file


def _write_json_lines(path: Path, parts: Sequence[Path]) -> int:
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for part in parts:
            for line in _lines(part):
                count += 1
                yield line

    write_text(path, lines())
    return count


def _write_parquet(path: Path, parts: Sequence[Path]) -> int:
    """A row a line, a row group a part. Columns are the keys of all lines.

    Those that came with the posts have the type of their values; what is of several types, a list or an object is
    written as JSON, as is `explanation`.
    """
    import pyarrow as pa
    from pyarrow import parquet

    whole, text, number = pa.int32(), pa.string(), pa.float64()
    span = [("start", whole), ("end", whole), ("text", text), ("type", text), ("score", number)]
    span += [("char_start", whole), ("char_end", whole)]
    if any('"regions"' in line and _grounded(line) for line in chain.from_iterable(map(_lines, parts))):
        span.append(("regions", pa.list_(pa.struct([("box", pa.list_(number)), ("label", text), ("score", number)]))))
    entity = pa.struct(span)
    relation = pa.struct([("head", whole), ("tail", whole), ("type", text), ("score", number)])
    own = {"id": text, "text": text, "tokens": pa.list_(text), "image": text}
    own |= {"entities": pa.list_(entity), "relations": pa.list_(relation)}
    own |= {"far_pairs": whole, "image_read": pa.bool_(), "image_reason": text, "warnings": pa.list_(text)}
    kinds = _further(parts, own, explanation={dict})
    arrow = {frozenset({bool}): pa.bool_(), frozenset({int}): pa.int64(), frozenset({str}): text}
    arrow |= {frozenset({float}): number, frozenset({int, float}): number}
    columns = {key: arrow.get(frozenset(kind)) for key, kind in kinds.items()}
    columns |= {"image_size": pa.list_(whole)} if "image_size" in kinds else {}
    as_json = [key for key, kind in columns.items() if kind is None]
    schema = pa.schema(own | {key: kind or text for key, kind in columns.items()})
    count = 0
    with atomic(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for part in parts:
            rows = [json.loads(line) for line in _lines(part)]
            for row in rows:
                row |= {key: json.dumps(row[key]) for key in as_json if row.get(key) is not None}
            count += len(rows)
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
    return count


def _write_csv(path: Path, parts: Sequence[Path]) -> int:
    """A row a line. Columns are the keys of all lines; what is no plain text is written as JSON, null as nothing."""
    own = ["id", "text", "tokens", "image", "entities", "relations", "far_pairs", "image_read", "image_reason"]
    own.append("warnings")
    columns = [*own, *_further(parts, own)]
    count = 0
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for line in chain.from_iterable(map(_lines, parts)):
            values = (json.loads(line).get(name) for name in columns)
            writer.writerow("" if one is None else one if isinstance(one, str) else _json(one) for one in values)
            count += 1
    return count


def _grounded(line: str) -> bool:
    return any("regions" in entity for entity in json.loads(line)["entities"])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _further(parts: Sequence[Path], own: Container[str], **known: set[type]) -> dict[str, set[type]]:
    """The keys of all lines beside our own, in their order, and the types of their values."""
    kinds: defaultdict[str, set[type]] = defaultdict(set, known)
    for line in chain.from_iterable(map(_lines, parts)):
        for key, value in json.loads(line).items():
            if key not in own:
                kinds[key] |= set() if value is None else {_kind(value)}
    return kinds


def _kind(value: Any) -> type:
    """The type of a value; a whole number that no column of whole numbers can hold counts as an object."""
    return dict if type(value) is int and not -(2**63) <= value < 2**63 else type(value)


SINKS: dict[str, Callable[[Path, Sequence[Path]], int]]
SINKS = {".jsonl": _write_json_lines, ".parquet": _write_parquet, ".csv": _write_csv}
"""By suffix: writes parts (lines of JSON, as `Extraction.to_dict` has them) as one file, and says how many they are."""

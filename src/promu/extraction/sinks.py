"""Where extractions go: JSON lines as they are, or a table of Parquet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.files import write_text

Parts = Iterable[Iterable[str]]
"""Lines of JSON, as `Extraction.to_dict` has them, part by part."""


def write_json_lines(path: Path, parts: Parts) -> int:
    """Write the lines, whole or not at all; returns how many there are."""
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for part in parts:
            for line in part:
                count += 1
                yield line

    write_text(path, lines())
    return count


def write_parquet(path: Path, parts: Parts) -> int:
    """Write a row a line, a row group a part, whole or not at all; returns how many rows there are.

    Columns are the keys of the lines; `explanation` holds JSON.

    Raises:
        InputError: The disk is full, or the folder cannot be written to.
    """
    from pyarrow import Table, parquet

    schema = _schema()
    temporary = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with parquet.ParquetWriter(temporary, schema) as writer:
            for part in parts:
                rows = [_row(json.loads(line)) for line in part]
                count += len(rows)
                if rows:
                    writer.write_table(Table.from_pylist(rows, schema))
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot be written ({reason}); make room and run the command again", path) from None
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _row(record: dict[str, Any]) -> dict[str, Any]:
    if "explanation" in record:
        record["explanation"] = json.dumps(record["explanation"])
    return record


def _schema() -> Any:
    import pyarrow as pa

    whole, text, number = pa.int32(), pa.string(), pa.float64()
    spans = [("start", whole), ("end", whole), ("text", text), ("type", text), ("score", number)]
    entity = pa.struct([*spans, ("char_start", whole), ("char_end", whole)])
    relation = pa.struct([("head", whole), ("tail", whole), ("type", text), ("score", number)])
    return pa.schema(
        [
            ("id", text),
            ("tokens", pa.list_(text)),
            ("entities", pa.list_(entity)),
            ("relations", pa.list_(relation)),
            ("explanation", text),
        ]
    )


SINKS: dict[str, Callable[[Path, Parts], int]] = {".jsonl": write_json_lines, ".parquet": write_parquet}

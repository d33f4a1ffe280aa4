"""The graph as Parquet: a folder of three tables, whose rows name each other by IRI."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promu.errors import InputError
from promu.extraction.graph.rdf import base_of

_ROWS = 20_000
"""Rows in memory at once."""

_COUNTS = [("mentions", pa.int64()), ("posts", pa.int64()), ("score", pa.float64())]
_FORMS = pa.list_(pa.struct([("form", pa.string()), ("mentions", pa.int64())]))
_SPANS = [(f"{end}_{place}", pa.int64()) for end in ("head", "tail") for place in ("start", "end")]
_CHARACTERS = [(f"{end}_char_{place}", pa.int64()) for end in ("head", "tail") for place in ("start", "end")]

SCHEMAS = {
    "entities": pa.schema(
        [*((name, pa.string()) for name in ("iri", "name", "key", "type")), *_COUNTS, ("forms", _FORMS)]
    ),
    "relations": pa.schema([*((name, pa.string()) for name in ("iri", "head", "label", "property", "tail")), *_COUNTS]),
    "evidence": pa.schema(
        [("relation", pa.string()), ("post", pa.string()), *_SPANS, *_CHARACTERS, ("score", pa.float64())]
    ),
}

_QUERIES = {
    "entities": "SELECT iri, name, key, type, mentions, posts, score, id FROM entities ORDER BY iri",
    "relations": (
        "SELECT relations.iri, head.iri, label, property, tail.iri, relations.mentions, relations.posts,"
        " relations.score FROM relations"
        " JOIN entities AS head ON head.id = head JOIN entities AS tail ON tail.id = tail"
        " ORDER BY relations.iri"
    ),
    "evidence": (
        "SELECT relations.iri, posts.name, head_start, head_end, tail_start, tail_end, head_char_start, head_char_end,"
        " tail_char_start, tail_char_end, evidence.score FROM evidence JOIN relations ON relations.id = relation"
        " JOIN posts ON posts.id = post ORDER BY relations.iri, evidence.score DESC, posts.name"
    ),
}


def write_tables(connection: sqlite3.Connection, folder: Path) -> None:
    """Write `entities.parquet`, `relations.parquet` and `evidence.parquet` into a new folder.

    Raises:
        InputError: It cannot be written, because the disk is full for instance.
    """
    folder.mkdir()
    for name, schema in SCHEMAS.items():
        path = folder / f"{name}.parquet"
        tagged = schema.with_metadata({"promu.base": base_of(connection)})
        try:
            with pq.ParquetWriter(path, tagged) as writer:
                rows = connection.execute(_QUERIES[name])
                while some := rows.fetchmany(_ROWS):
                    if name == "entities":
                        some = [(*row, _forms(connection, id)) for *row, id in some]
                    columns = zip(*some, strict=True)
                    writer.write_table(
                        pa.table(
                            [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], tagged
                        )
                    )
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot be written ({reason}); make room and run the command again", path) from None


def _forms(connection: sqlite3.Connection, entity: int) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT form, mentions FROM forms WHERE entity = ? ORDER BY form", (entity,))
    return [{"form": form, "mentions": mentions} for form, mentions in rows]

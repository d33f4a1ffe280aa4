"""From a file of extractions to a graph in the form that was asked for."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from promu.errors import InputError
from promu.extraction.graph.build import GraphSummary, build_graph
from promu.extraction.graph.iris import BASE, check_base
from promu.extraction.graph.rdf import write_jsonld, write_turtle
from promu.extraction.graph.reader import FoundPost, count_posts, read_found_posts
from promu.extraction.graph.tables import write_tables

WRITERS: dict[str, Callable[[sqlite3.Connection, Path], None] | None] = {
    "ttl": write_turtle,
    "jsonld": write_jsonld,
    "sqlite": None,
    "parquet": write_tables,
}
"""What turns the database into each format; None: it is the database itself."""

_EVERY = 1000
"""Posts between two calls of `progress`."""

_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


def write_graph(
    extractions: Sequence[Path],
    out: Path,
    to: str,
    *,
    base: str = BASE,
    properties: Mapping[str, str],
    min_score: float = 0.0,
    problems: list[InputError] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GraphSummary:
    """Merge what `promu extract` wrote into a graph; `out` is there whole afterwards, or as it was before.

    Memory grows with the distinct entities and relations. Beside `out`, room is needed for a SQLite graph on the way.

    Args:
        extractions: Files of JSON lines or Parquet, read one after the other; an id may stand in one place alone.
        out: The file to write; for `parquet` a folder that does not exist yet.
        to: A key of `WRITERS`.
        base: What the graph's own IRIs begin with.
        properties: Relation label -> Wikidata property.
        min_score: Relations found with a lower score are left out and counted; those without a score stay.
        problems: Where malformed lines go, which are then left out; None raises the first.
        progress: Called now and then with (lines or rows read, in all).

    Raises:
        InputError: The input cannot be read, without `problems` any malformed line, or `out` cannot be written.
    """
    check_base(base)
    if not 0 <= min_score <= 1:
        raise InputError(f"the lowest score is {min_score}; scores are from 0 to 1")
    if not out.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", out.parent)
    if out.is_dir():
        raise InputError("is there already, as a folder; remove it or name another place", out)
    if to == "parquet" and out.exists():
        raise InputError("is a file, and Parquet needs a folder for its tables; name another place", out)
    with tempfile.TemporaryDirectory(prefix=f".{out.name[:100]}.", dir=out.parent) as work:
        database = Path(work) / "graph.sqlite"
        try:
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                summary = build_graph(
                    connection,
                    _read(extractions, problems, progress),
                    base=base,
                    properties=properties,
                    min_score=min_score,
                    problems=problems,
                )
                writer, product = WRITERS[to], database
                if writer is not None:
                    product = Path(work) / "graph"
                    writer(connection, product)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _DISK:
                raise
            raise InputError(f"cannot be written ({error}); make room and run the command again", out) from None
        product.replace(out)
    return summary


def _read(
    paths: Sequence[Path], problems: list[InputError] | None, progress: Callable[[int, int], None] | None
) -> Iterator[tuple[Path, int, FoundPost]]:
    """(file, line number, post) of all files in turn."""
    sizes = [0 if progress is None else count_posts(path) for path in paths]
    before = 0
    for path, size in zip(paths, sizes, strict=True):
        for count, (number, found) in enumerate(read_found_posts(path, problems), start=1):
            yield path, number, found
            if progress is not None and count % _EVERY == 0:
                progress(before + number, sum(sizes))
        before += size
    if progress is not None:
        progress(before, before)

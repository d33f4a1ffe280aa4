"""Merging extractions into a graph, in one pass.

In memory are the distinct entities and relations with their counts. Posts and evidence go to the file as they are read.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from promu.corpora.posts import from_record
from promu.errors import InputError
from promu.files import fault, filled_lines, iterate_records, parse_json_object, refuse_overwriting, shorten
from promu.graph import names
from promu.graph.graph_export import write_jsonld, write_tables, write_turtle
from promu.graph.graph_store import INDEXES, TABLES, VERSION
from promu.progress import is_shown, report
from promu.schema import NO_RELATION, Post

GraphFormat = Literal["ttl", "jsonld", "sqlite", "parquet"]

WRITERS: dict[GraphFormat, Callable[[sqlite3.Connection, Path], None] | None] = {
    "ttl": write_turtle,
    "jsonld": write_jsonld,
    "sqlite": None,
    "parquet": write_tables,
}
"""What turns the database into each format; None: it is the database itself."""

_COLUMNS = ("id", "tokens", "entities", "relations")
_PARQUET_ROWS, _EVIDENCE_ROWS, _PROGRESS_POSTS, _CHUNK = 1024, 10_000, 1000, 2**20
_DISK = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """What a graph holds.

    Attributes:
        mentions: Spans in the posts; `entities` are what they were merged into.
        evidence: Relations extracted from posts, without the weak ones; `relations` are what they were merged into.
        weak: Relations extracted from posts that were left out for their score.
        loops: Of `relations`, those of an entity with itself: two spans of one post that were merged.
        unmapped: Rows of evidence of each relation without a Wikidata property.
    """

    posts: int
    mentions: int
    entities: int
    evidence: int
    relations: int
    weak: int
    loops: int
    unmapped: dict[str, int]


def build_graph(
    extractions: Sequence[str | Path],
    out: str | Path,
    to: GraphFormat,
    *,
    base: str = names.BASE,
    properties: Mapping[str, str] | Path | None = None,
    min_score: float = 0.0,
    ids_by_file: bool = False,
    problems: list[InputError] | None = None,
) -> GraphSummary:
    """Merge what `promu extract` wrote into a graph. `out` is written whole or not at all.

    Memory grows with the distinct entities and relations. Beside `out`, room is needed for a temporary SQLite graph.

    Args:
        extractions: Files of JSON lines or Parquet, read one after the other; no post id may occur twice.
        out: The file to write; for `parquet` a folder that does not exist yet.
        base: What the graph's own IRIs begin with.
        properties: Relation label -> Wikidata property, or a file of them (`read_relation_properties`); None is promu's
            own table.
        min_score: Relations with a lower score are left out and counted; those without a score stay.
        ids_by_file: Put the name of its file before the id of each post, `out:1` for 1 in out.jsonl: for files that
            number different posts alike.
        problems: Malformed lines are added here and left out; None raises the first.

    Raises:
        InputError: The input cannot be read, without `problems` any malformed line, or `out` cannot be written.

    Example:
        ```python
        from promu import build_graph, query_graph

        summary = build_graph(["out.jsonl"], "graph.sqlite", "sqlite", min_score=0.5)
        for facts in query_graph("graph.sqlite", "Zorva").entities:
            for link in facts.links:
                print(facts.entity.name, link.label, link.other.name, link.posts)
        ```
    """
    out, paths = Path(out), [Path(path) for path in extractions]
    names.check_base(base)
    if not 0 <= min_score <= 1:
        raise InputError(f"the lowest score is {min_score}; scores are from 0 to 1")
    if not out.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", out.parent)
    refuse_overwriting(out, *paths, properties if isinstance(properties, Path) else None)
    if out.is_dir():
        raise InputError("is there already, as a folder; remove it or name another place", out)
    if to == "parquet" and out.exists():
        raise InputError("is a file, and Parquet needs a folder for its tables; name another place", out)
    if properties is None or isinstance(properties, Path):
        properties = names.read_relation_properties(properties)
    stems = Counter(path.stem for path in set(paths))
    file_names = {path: path.stem if stems[path.stem] == 1 else str(path) for path in paths}
    with tempfile.TemporaryDirectory(prefix=f".{out.name[:100]}.", dir=out.parent) as work:
        database = Path(work) / "graph.sqlite"
        try:
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                builder = _Builder(connection, min_score)
                for path, number, post in _read_all(paths, problems):
                    try:
                        builder.add(post, f"{file_names[path]}:{post.post.id}" if ids_by_file else post.post.id)
                    except InputError as error:
                        fault(problems, error.at(path, number))
                summary = builder.finish(base, properties)
                product = database
                if writer := WRITERS[to]:
                    product = Path(work) / "graph"
                    writer(connection, product)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _DISK:
                raise
            raise InputError(f"cannot be written ({error}); make room and run the command again", out) from None
        product.replace(out)
    return summary


def _read_all(paths: Sequence[Path], problems: list[InputError] | None) -> Iterator[tuple[Path, int, MentionPost]]:
    """(file, line number, post) of all files in turn."""
    sizes = [_count_posts(path) if is_shown() else 0 for path in paths]
    before = 0
    for path, size in zip(paths, sizes, strict=True):
        for count, (number, post) in enumerate(read_extractions(path, problems), start=1):
            yield path, number, post
            if count % _PROGRESS_POSTS == 0:
                report("merging", before + number, sum(sizes))
        before += size
    report("merging", before, before)


@dataclass(frozen=True, slots=True)
class MentionPost:
    """A post with the names of its entities.

    `texts`, `keys` and `characters` are parallel to `post.entities`: each entity as it is written in the text, the
    normalised name of that, and its place in the text, in code points, end exclusive.
    """

    post: Post
    texts: tuple[str, ...]
    keys: tuple[str, ...]
    characters: tuple[Span, ...]


def read_extractions(path: Path, problems: list[InputError] | None = None) -> Iterator[tuple[int, MentionPost]]:
    """Yield (line or row number from 1, post) of JSON lines or of Parquet; the first bytes tell which it is.

    Malformed lines go to `problems`; None raises the first.

    Raises:
        InputError: The file is missing, empty, damaged or holds no post; without `problems` also any malformed line.
    """
    records: Iterator[tuple[int, Any]] = _rows(path) if _is_parquet(path) else filled_lines(path, problems)
    yield from iterate_records(path, problems, records, _mention_post, "posts")


def _count_posts(path: Path) -> int:
    """How many lines or rows a file has; 0 for what cannot be read twice, such as a pipe."""
    if not path.is_file():
        return 0
    if _is_parquet(path):
        with _parquet(path) as file:
            return int(file.metadata.num_rows)
    with path.open("rb") as lines:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(_CHUNK), b""))


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False  # the reader of lines names what is wrong
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot be read as Parquet ({shorten(str(error), 120)}); write it again", path) from None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _parquet(path) as file:
        missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise InputError(f"lacks the columns {', '.join(missing)}; is this what promu extract wrote?", path)
        columns = [name for name in (*_COLUMNS, "text") if name in file.schema_arrow.names]
        batches = file.iter_batches(_PARQUET_ROWS, columns=columns)
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)


def _mention_post(raw: str | dict[str, Any]) -> MentionPost:
    """One post; its words, spans and relations are checked as those of any labelled post."""
    record = parse_json_object(raw) if isinstance(raw, str) else raw
    missing = [key for key in _COLUMNS if record.get(key) is None]
    if missing:
        raise InputError(f"the post lacks {', '.join(missing)}; is this what promu extract wrote?")
    post = from_record({key: record.get(key) for key in (*_COLUMNS, "text")})
    spans = [(entity.start, entity.end, entity.type) for entity in post.entities]
    links = [(relation.head, relation.tail, relation.type) for relation in post.relations]
    for what, items in (("entity", spans), ("relation", links)):
        first: dict[object, int] = {}
        for index, item in enumerate(items):
            if first.setdefault(item, index) != index:  # it would be counted, and cited, twice
                raise InputError(f"{what} {index} repeats {what} {first[item]}: {item}; remove one of them")
    if any(relation.type == NO_RELATION for relation in post.relations):
        raise InputError(f"a relation is of type {NO_RELATION!r}, which means that there is none; leave it out")
    found = [_name(entity, f"entities[{index}]") for index, entity in enumerate(record["entities"])]
    texts, keys, characters = zip(*found, strict=True) if found else ((), (), ())
    return MentionPost(post, texts, keys, characters)


def _name(entity: dict[str, Any], what: str) -> tuple[str, str, Span]:
    """An entity as written, its key, and its place in the text."""
    text, start, end = entity.get("text"), entity.get("char_start"), entity.get("char_end")
    if not isinstance(text, str) or not (key := names.normalise_name(text)):
        raise InputError(f"text of {what} must be a string with something in it, found {shorten(text)}")
    if start is None or end is None:
        raise InputError(f"{what} lacks char_start and char_end; is this what promu extract wrote?")
    return text, key, (start, end)


@dataclass(slots=True)
class _Tally:
    """Counts of one entity or relation; `score` is the best, `last` the number of the latest post."""

    id: int
    mentions: int = 0
    posts: int = 0
    last: int = 0
    score: float | None = None

    def add(self, post: int, score: float | None) -> None:
        self.mentions += 1
        self.posts += post != self.last
        self.last = post
        if score is not None and (self.score is None or score > self.score):
            self.score = score


@dataclass(slots=True)
class _EntityTally(_Tally):
    forms: Counter[str] = field(default_factory=Counter)


class _Builder:
    """Fills an empty database (a connection in autocommit mode) with posts, then with what they were merged into."""

    def __init__(self, connection: sqlite3.Connection, min_score: float) -> None:
        self._connection, self._min_score = connection, min_score
        self._entities: defaultdict[tuple[str, str | None], _EntityTally] = defaultdict(
            lambda: _EntityTally(len(self._entities) + 1)
        )
        self._relations: defaultdict[tuple[int, str, int], _Tally] = defaultdict(
            lambda: _Tally(len(self._relations) + 1)
        )
        self._evidence: list[tuple[Any, ...]] = []
        self._posts = self._weak = 0
        # A file that is not whole has no name yet, so that a journal would only cost time.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + TABLES + "BEGIN;")

    def add(self, mentions: MentionPost, id: str) -> None:
        """Count one post's entities and relations, and write its evidence under this id.

        Raises:
            InputError: A post of this id was added before; this one is not counted.
        """
        post = mentions.post
        strong = [one for one in post.relations if one.score is None or one.score >= self._min_score]
        tokens = json.dumps(post.tokens, ensure_ascii=False) if strong else None
        row = (self._posts + 1, id, tokens)
        # Without a journal a failed insert cannot be undone; an ignored one has done nothing.
        if not self._connection.execute("INSERT OR IGNORE INTO posts VALUES (?, ?, ?)", row).rowcount:
            raise InputError(
                f"a post with the id {shorten(id)} came before; give each post an id of its own, or have the files' "
                "names put before them (ids_by_file=)"
            )
        self._posts += 1
        self._weak += len(post.relations) - len(strong)
        entities = []
        for entity, key, text in zip(post.entities, mentions.keys, mentions.texts, strict=True):
            merged = self._entities[key, entity.type]
            merged.add(self._posts, entity.score)
            merged.forms[text] += 1
            entities.append(merged.id)
        for one in strong:
            relation = self._relations[entities[one.head], one.type, entities[one.tail]]
            relation.add(self._posts, one.score)
            head, tail = post.entities[one.head], post.entities[one.tail]
            words = (head.start, head.end, tail.start, tail.end)
            characters = (*mentions.characters[one.head], *mentions.characters[one.tail])
            self._evidence.append((relation.id, self._posts, *words, *characters, one.score))
        if len(self._evidence) >= _EVIDENCE_ROWS:
            self._write_evidence()

    def _write_evidence(self) -> None:
        self._connection.executemany("INSERT INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._evidence)
        self._evidence.clear()

    def finish(self, base: str, properties: Mapping[str, str]) -> GraphSummary:
        """Write the merged entities and relations, and make the indexes; as `build_graph`."""
        insert = self._connection.execute
        self._write_evidence()
        iris = []  # in the order of the entities' ids, which count from 1
        for (key, type), tally in self._entities.items():
            iris.append(names.entity_iri(base, key, type))
            name = min(tally.forms.items(), key=lambda item: (-item[1], item[0]))[0]
            entity = (tally.id, iris[-1], name, key, type, tally.mentions, tally.posts, tally.score)
            insert("INSERT INTO entities VALUES (?, ?, ?, ?, ?, ?, ?, ?)", entity)
            forms = ((tally.id, form, mentions) for form, mentions in tally.forms.items())
            self._connection.executemany("INSERT INTO forms VALUES (?, ?, ?)", forms)
        unmapped: Counter[str] = Counter()
        for (head, label, tail), count in self._relations.items():
            predicate = names.WIKIDATA + properties[label] if label in properties else names.relation_iri(base, label)
            statement = names.statement_iri(base, iris[head - 1], label, iris[tail - 1])
            counts = (count.mentions, count.posts, count.score)
            relation = (count.id, statement, head, label, predicate, tail, *counts)
            insert("INSERT INTO relations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", relation)
            if label not in properties:
                unmapped[label] += count.mentions
        meta = {"promu graph": VERSION, "base": base, "posts": str(self._posts)}
        self._connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        self._connection.executescript(INDEXES)  # which commits the rows first
        return GraphSummary(
            posts=self._posts,
            mentions=sum(tally.mentions for tally in self._entities.values()),
            entities=len(self._entities),
            evidence=sum(tally.mentions for tally in self._relations.values()),
            relations=len(self._relations),
            weak=self._weak,
            loops=sum(head == tail for head, _, tail in self._relations),
            unmapped=dict(unmapped.most_common()),
        )

"""Posts by the million: split into parts, extracted part by part, joined again.

Beside the output lies, while a run lasts, a folder of parts. `plan.json`, written last of all when the input is split,
says what the run is; part 7 is done when `000007.done.json` is there, which is written after all else of that part.
Every file gets its name when it is whole. So a run that was killed at any moment goes on with the parts that are not
done, and whoever does a part twice writes the same files again.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from promu.errors import InputError
from promu.extraction.bulk_part import BulkSettings
from promu.extraction.bulk_plan import split_into_parts
from promu.extraction.engines import ENGINES
from promu.extraction.sinks import SINKS
from promu.files import write_text

logger = logging.getLogger(__name__)

PART = 256
"""Posts a part: what a kill costs, at most, for each worker."""


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of the posts: `posts` = `extracted` + `dead`.

    Attributes:
        posts: In the input.
        extracted: In the output.
        dead: That could not be read; the file of dead letters has them, with reasons.
        as_text: Of the extracted, read as text because the picture was missing or broken.
        unread: Of the extracted, read without their picture because the model reads text alone.
        cut: Of the extracted, longer than the model takes, and read up to there.
    """

    posts: int
    extracted: int
    dead: int
    as_text: int
    unread: int
    cut: int


def dead_letters(output: Path) -> Path:
    """The file of posts that could not be read: `out.dead.jsonl` beside `out.jsonl`."""
    return output.with_name(f"{output.stem}.dead.jsonl")


def extract_file(
    source: Path,
    output: Path,
    settings: BulkSettings,
    workers: int = 1,
    engine: str = "local",
    progress: Callable[[int, int], None] | None = None,
    prepare: Callable[[], None] | None = None,
    part: int = PART,
) -> BulkResult:
    """Extract from a file of posts of any size, in constant memory; a run that was stopped goes on where it was.

    Args:
        source: Posts in JSON lines, CSV or Parquet (`promu.extraction.sources`).
        output: JSON lines or Parquet, by its suffix; there whole or not at all. Beside it goes `dead_letters(output)`,
            a line `{"number", "id", "reason"}` for each post that could not be read, where there is any.
        settings: What to do with each post.
        workers: Processes, each with models of its own.
        engine: A name in `ENGINES`.
        progress: Called with (posts done, posts in all) after each part.
        prepare: Called first in each worker process; a function that can be pickled.
        part: Posts a part.

    Raises:
        InputError: Input, output, model or settings cannot be used, or not a single post can be read; a worker died.
    """
    if output.suffix.lower() not in SINKS:
        raise InputError(f"extractions are written as {' or '.join(SINKS)}, not {output.suffix!r}", output)
    if workers < 1:
        raise InputError(f"workers is {workers}; at least 1 is needed")
    if not output.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", output.parent)
    parts = output.with_name(output.name + ".parts")
    posts = split_into_parts(source, settings, parts, part)
    count = -(-posts // part)
    totals: Counter[str] = Counter()
    todo = []
    for number in range(count):
        found = _done(parts, number)
        if found is None:
            todo.append(number)
        else:
            totals.update(found)
    if totals:
        logger.info("%d of %d posts were extracted before; the run goes on", totals["posts"], posts)
    if todo:
        for found in ENGINES[engine](settings, parts, todo, workers, prepare):
            totals.update(found)
            if progress is not None:
                progress(totals["posts"], posts)
    return _join(source, parts, output, posts, count, totals)


def _done(parts: Path, number: int) -> dict[str, int] | None:
    try:
        return dict(json.loads((parts / f"{number:06d}.done.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _join(source: Path, parts: Path, output: Path, posts: int, count: int, totals: Mapping[str, int]) -> BulkResult:
    """Output and dead letters out of the parts, which are then removed."""
    names = [f"{number:06d}" for number in range(count)]
    counts = {key: totals.get(key, 0) for key in ("extracted", "dead", "as_text", "unread", "cut")}
    letters = dead_letters(output)
    if not counts["extracted"]:
        with (parts / f"{names[0]}.dead.jsonl").open(encoding="utf-8") as file:
            first = json.loads(file.readline())
        shutil.rmtree(parts)
        raise InputError(f"{first['reason']} (none of the {posts} posts could be read)", source, first["number"])
    if counts["dead"]:
        write_text(letters, (line for name in names for line in _lines(parts / f"{name}.dead.jsonl")))
    else:
        letters.unlink(missing_ok=True)  # those of an earlier run
    written = SINKS[output.suffix.lower()](output, (_lines(parts / f"{name}.out.jsonl") for name in names))
    if written != counts["extracted"] or written + counts["dead"] != posts:
        raise InputError(
            f"{posts} posts went in, but {written} and {counts['dead']} dead letters came out: the parts are damaged; "
            "delete this folder and run again",
            parts,
        )
    shutil.rmtree(parts)
    return BulkResult(posts, **counts)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from file

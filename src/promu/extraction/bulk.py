"""Extraction from files of any size: the input is split into parts, each part is extracted, and the parts are joined.

During a run there is a folder of parts beside the output. `plan.json` describes the run; it is written last when the
input is split. `000007.done.json` marks part 7 as done; it is written after all other files of that part. A file gets
its name only when it is whole. So a killed run goes on with the parts that are not done, and a part that is done twice
gives the same files.

`000007.begun.json` is there while part 7 is in work. Where a run finds it, a process was killed in the middle of that
part, perhaps by one of its posts. The part is then done post by post, each named in that file before it begins. A post
on which a process is killed again is a dead letter from then on.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from promu.cores import usable_cores, use_threads
from promu.corpora.context_files import ContextFile, check_name_of, read_contexts, with_record_contexts
from promu.corpora.sources import read_source
from promu.errors import InputError, counted, needs_extra
from promu.extraction.bulk_part import PART, Begun, BulkSettings, extract_part, letter, lines_of, with_id
from promu.extraction.records import SINKS
from promu.extraction.type_rules import TypeRules
from promu.files import make_folder, refuse_overwriting, write_json, write_text
from promu.progress import mark_stored, report
from promu.runs import refuse_other_settings

logger = logging.getLogger(__name__)

Prepare = Callable[[], None] | None
Done = Iterator[dict[str, int]]
"""The counts of `extract_part`, for each part as it is done."""


COUNTED = ("extracted", "dead", "as_text", "unread", "far", "warned", "encoded", "reused")


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of the posts in the input: `posts` = `extracted` + `dead`.

    Attributes:
        extracted: Posts in the output.
        dead: Could not be read, or the models fail on them; the file of dead letters has them, with reasons.
        as_text: Extracted, but read as text because the image was missing or broken.
        unread: Extracted, but without the image because the model reads text alone.
        far: Extracted, with pairs of entities that are too far apart to be asked about (`Extraction.far_pairs`).
        encoded: How often an image went through a vision encoder; two models that see otherwise each have their own.
        reused: How often it did not, because another post has the same image (`ImageCache`).
        warned: Extracted with a warning (`Extraction.warnings`).
    """

    posts: int
    extracted: int
    dead: int
    as_text: int
    unread: int
    far: int
    warned: int
    encoded: int = 0
    reused: int = 0


def dead_letters(output: Path) -> Path:
    """The file of posts that could not be read: `out.dead.jsonl` beside `out.jsonl`."""
    return output.with_name(f"{output.stem}.dead.jsonl")


def extract_file(
    source: Path,
    output: Path,
    settings: BulkSettings,
    workers: int = 1,
    engine: str = "local",
    prepare: Prepare = None,
    part: int = PART,
) -> BulkResult:
    """Extract from a file of posts of any size, in constant memory; a run that was stopped goes on where it stopped.

    Args:
        source: Posts in JSON lines, CSV or Parquet (`promu.corpora.sources`).
        output: JSON lines, Parquet or CSV, by its suffix; there whole or not at all. Beside it goes
            `dead_letters(output)`, a line `{"number", "id", "reason"}` for each post that could not be read, if any.
        settings: Models, images and options.
        workers: Processes, each with models of its own; `engine`, a name in `ENGINES`, runs them.
        prepare: Called first in each worker process; a function that can be pickled.
        part: Posts in a part.

    Raises:
        InputError: Input, output, model or settings cannot be used, or not a single post can be read; a worker died.
    """
    if output.suffix.lower() not in SINKS:
        raise InputError(f"extractions are written as {', '.join(SINKS)}, not {output.suffix!r}", output)
    if workers < 1:
        raise InputError(f"workers is {workers}; at least 1 is needed")
    if not output.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", output.parent)
    for written in (output, dead_letters(output)):
        refuse_overwriting(written, source)
    if engine == "local" and settings.device is not None:  # the workers of others may have other devices
        from promu.pytorch import find_device

        find_device(settings.device)
    parts = output.with_name(output.name + ".parts")
    posts = _split(source, settings, parts, part)
    names = [f"{number:06d}" for number in range(-(-posts // part))]
    done = {number: parts / f"{name}.done.json" for number, name in enumerate(names)}
    todo = [number for number, file in done.items() if not file.is_file()]
    totals: Counter[str] = Counter()
    for number in done.keys() - todo:
        totals.update(json.loads(done[number].read_text(encoding="utf-8")))
    if totals:
        mark_stored()
        logger.info("%d of %s done before; the run goes on", totals["posts"], counted(posts, "post"))
    if todo:
        for counts in ENGINES[engine](settings, parts, todo, workers, prepare):
            totals.update(counts)
            mark_stored()
            report("extracting", totals["posts"], posts)
    return _join(source, parts, output, posts, names, totals)


def _join(
    source: Path, parts: Path, output: Path, posts: int, names: Sequence[str], totals: Mapping[str, int]
) -> BulkResult:
    """Output and dead letters out of the parts, which are then removed."""
    counts = {key: totals.get(key, 0) for key in COUNTED}
    if not counts["extracted"]:
        first = json.loads(next(lines_of(parts / f"{names[0]}.dead.jsonl")))
        shutil.rmtree(parts)
        raise InputError(f"{first['reason']} (none of {counted(posts, 'post')} could be read)", source, first["number"])
    letters = dead_letters(output)
    if counts["dead"]:
        write_text(letters, (line for name in names for line in lines_of(parts / f"{name}.dead.jsonl")))
    else:
        letters.unlink(missing_ok=True)  # those of an earlier run
    written = SINKS[output.suffix.lower()](output, [parts / f"{name}.out.jsonl" for name in names])
    if written != counts["extracted"] or written + counts["dead"] != posts:
        came = f"{written} and {counted(counts['dead'], 'dead letter')} came out"
        remedy = "the parts are damaged; delete this folder and run again"
        raise InputError(f"{counted(posts, 'post')} went in, but {came}: {remedy}", parts)
    shutil.rmtree(parts)
    return BulkResult(posts, **counts)


_PART_FILES = re.compile(r"\d{6,}\.((in|out|dead)\.jsonl|begun\.json)|\..+\.part")
"""Names of the files that a stopped run leaves behind before a part is done."""


def _split(source: Path, settings: BulkSettings, parts: Path, part: int) -> int:
    """Split the input into parts, unless that was done before; returns the number of posts.

    Raises:
        InputError: The input cannot be used; another run has done parts here; the folder contains files that promu did
            not write; or it cannot be made.
    """
    model = Path(settings.model)
    weights = [file for pattern in ("*.safetensors", "*.onnx") for file in sorted(model.rglob(pattern))]
    given = {**asdict(settings), "config": settings.config.model_dump()}
    plan = {"input": _identity(source), "settings": given, "model": [_identity(one) for one in weights], "part": part}
    if settings.contexts:
        plan["contexts"] = {name: _identity(Path(file)) for name, file in settings.contexts.items()}
    file = parts / "plan.json"
    if file.is_file():
        earlier = json.loads(file.read_text(encoding="utf-8"))
        posts = int(earlier.pop("posts"))
        if earlier == plan:
            return posts
        if next(parts.glob("*.done.json"), None) is not None:
            refuse_other_settings(earlier, plan, parts, "run that was stopped")
        file.unlink()  # for instance its model could not be opened: nothing is lost
    if parts.exists():  # of a run that was stopped before it had a plan
        leftovers = parts.iterdir() if parts.is_dir() else [parts]
        other = next((one for one in leftovers if not _PART_FILES.fullmatch(one.name)), None)
        if other is not None:
            raise InputError("promu did not write this file; move it, or choose another output", other)
        shutil.rmtree(parts)
    records = read_source(source)
    first = next(records, None)  # a file of another format raises before anything is written
    if first is None:
        raise InputError("the file holds no posts; is this the right file?", source)
    records = chain([first], records)
    contexts = {check_name_of(name): read_contexts(file) for name, file in settings.contexts.items()}
    make_folder(parts)
    posts = 0
    try:
        for number, chunk in enumerate(iter(lambda: list(islice(records, part)), [])):
            posts += len(chunk)
            # in ASCII, so that half surrogate pairs get as far as the check of the post
            write_text(
                parts / f"{number:06d}.in.jsonl",
                (json.dumps(_split_line(source, contexts, *item)) + "\n" for item in chunk),
            )
    except InputError:
        shutil.rmtree(parts)
        raise
    write_json(file, {**plan, "posts": posts})
    return posts


def _split_line(
    source: Path, contexts: Mapping[str, ContextFile], number: int, record: dict[str, Any] | InputError
) -> dict[str, Any]:
    if isinstance(record, InputError):
        return letter(number, None, record.reason)  # the number says where
    return {"number": number, "record": with_record_contexts(with_id(record, source, number), contexts)}


def _identity(path: Path) -> dict[str, Any]:
    """Path, size and time of a file: whether it is still the same, without reading it."""
    if not path.is_file():
        raise InputError("no such file; check the path", path)
    facts = path.stat()
    return {"path": str(path.resolve()), "bytes": facts.st_size, "modified": facts.st_mtime_ns}


def run_local(settings: BulkSettings, parts: Path, numbers: Sequence[int], workers: int, prepare: Prepare) -> Done:
    """Parts one after the other in this process, or by `workers` processes."""
    if workers == 1:
        extractor = settings.open()
        yield from (extract_part(extractor, settings, parts, number) for number in numbers)
        return
    settings.open()  # an error of the model is raised once, here
    worker = (settings, parts, max(1, usable_cores() // workers), prepare)
    pool = ProcessPoolExecutor(min(workers, len(numbers)), multiprocessing.get_context("spawn"), _begin, worker)
    try:
        for task in as_completed([pool.submit(_do, number) for number in numbers]):
            yield task.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed (out of memory?); run the same command again, with fewer workers if need be: "
            "it goes on where it stopped"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: Any = None
"""The worker of this process, if it is a worker process."""


def _begin(*worker: Any) -> None:
    global _worker
    _worker = _PartWorker(*worker)
    parent: Any = multiprocessing.parent_process()

    def end(*_: Any) -> None:
        """End at once, which is no fault of the post in work."""
        if Begun.working is not None:
            Begun.working.leave()
        os._exit(1)

    def end_with_parent() -> None:
        """Leave no worker behind when the process that feeds it is killed."""
        parent.join()
        end()

    signal.signal(signal.SIGTERM, end)  # when another worker was killed, the pool ends this one
    threading.Thread(target=end_with_parent, daemon=True).start()


def _do(number: int) -> dict[str, int]:
    return _worker.do(number)


class _PartWorker:
    """A worker process, with its own extractor."""

    def __init__(self, settings: BulkSettings, parts: Path, threads: int, prepare: Prepare) -> None:
        if prepare is not None:
            prepare()
        logging.getLogger(TypeRules.__module__).setLevel(logging.ERROR)  # the process that starts workers has said it
        use_threads(threads)
        self.settings, self.parts = settings, parts
        self.extractor = settings.open()

    def do(self, number: int) -> dict[str, int]:
        return extract_part(self.extractor, self.settings, self.parts, number)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The same for a row of Ray Data."""
        return {"counts": self.do(int(row["part"]))}


def run_ray(settings: BulkSettings, parts: Path, numbers: Sequence[int], workers: int, prepare: Prepare) -> Done:
    """Parts by actors of Ray Data: on the cluster that `RAY_ADDRESS` names, else on this machine.

    Model, images and the folder of parts must have the same path on every machine of the cluster.
    An actor that dies is started again, and its part done again.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise needs_extra("engine ray", "Ray", "ray") from None
    settings.open()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no data about this run leaves the machine
    started = not ray.is_initialized()
    if started:
        # the object store holds numbers of parts and counts only
        here: dict[str, Any] = {"num_cpus": workers, "object_store_memory": 100 * 2**20}
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if os.environ.get("RAY_ADDRESS") else here))
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        # one block for each part: blocks are handed out, and done again after a failure
        data = ray.data.from_items([{"part": number} for number in numbers], override_num_blocks=len(numbers))
        worker: Any = _PartWorker  # Ray's types know functions of a row, not classes of such
        given = (settings, parts.absolute(), 1, prepare)
        actors = ray.data.ActorPoolStrategy(size=min(workers, len(numbers)))
        results = data.map(worker, fn_constructor_args=given, compute=actors, num_cpus=1)
        for row in results.iter_rows():
            yield {key: int(value) for key, value in row["counts"].items() if value is not None}
    finally:
        if started:
            ray.shutdown()


ENGINES: dict[str, Callable[[BulkSettings, Path, Sequence[int], int, Prepare], Done]]
ENGINES = {"local": run_local, "ray": run_ray}

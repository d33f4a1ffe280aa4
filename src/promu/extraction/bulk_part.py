"""One part of a bulk run: its posts to answers and dead letters, and what a process that was killed leaves behind.

`promu.extraction.bulk` splits the input into parts, and says how their files lie in a folder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from promu.corpora.sources import Numbered
from promu.errors import InputError
from promu.extraction.extraction_config import ExtractionConfig
from promu.extraction.extractor import Extractor
from promu.extraction.request import NO_IMAGE, TEXT_ONLY
from promu.extraction.result import Extraction
from promu.files import write_json, write_text
from promu.tasks.model_folder import BackendName, BackendPrecision

PART = 256
"""Posts in a part: a kill costs each worker no more than these."""


@dataclass(frozen=True, slots=True)
class BulkSettings:
    """The models as in `Extractor.from_pretrained`, the folder that the posts' images are named in, and the options.

    `contexts` are files of texts about the posts, by the name that the models read them under.
    """

    model: str
    images: str
    device: str | None = None
    precision: BackendPrecision | None = None
    backend: BackendName | None = None
    config: ExtractionConfig = field(default_factory=ExtractionConfig)
    contexts: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> Extractor:
        return Extractor.from_pretrained(self.model, self.device, self.precision, self.backend, self.config)


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file, as they are."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from file


def with_id(record: dict[str, Any], source: Path, number: int) -> dict[str, Any]:
    """A record with an id: its own, or `posts:27` for line 27 of posts.jsonl, so that files can be put together."""
    return record if record.get("id") is not None else {**record, "id": f"{source.stem}:{number}"}


def letter(number: int, id: object, reason: str) -> dict[str, Any]:
    """A line of dead letters."""
    return {"number": number, "id": id if isinstance(id, str | int) else None, "reason": reason}


def extract_records(
    extractor: Extractor, records: Numbered, images: str | Path, config: ExtractionConfig, window: int = PART
) -> Iterator[tuple[int, dict[str, Any], Extraction | InputError]]:
    """The number of each record, the record, and its answer or why there is none; lazily and in order.

    Args:
        records: As `read_source` gives them.
        images: The folder that their images are named in.
        window: So many are read ahead.
    """
    while chunk := list(islice(records, window)):
        posts = [record for _, record in chunk if not isinstance(record, InputError)]
        problems: list[InputError] = []
        answers = iter(list(extractor.pipe(posts, images=images, problems=problems, config=config)))
        bad = {problem.line: problem.at(problem.path) for problem in problems}
        place = 0
        for number, record in chunk:
            if isinstance(record, InputError):
                yield number, {}, record
            else:
                place += 1
                yield number, record, bad[place] if place in bad else next(answers)


def counts_of(result: Extraction) -> dict[str, int]:
    """What one answer counts as, by the names of `BulkResult`."""
    unread, fine = result.image_reason == TEXT_ONLY, result.image_reason in (None, NO_IMAGE, TEXT_ONLY)
    counts = {"extracted": 1, "as_text": int(not fine), "unread": int(unread), "far": int(result.far_pairs > 0)}
    return {**counts, "warned": int(bool(result.warnings))}


def extract_part(extractor: Extractor, settings: BulkSettings, parts: Path, number: int) -> dict[str, int]:
    """Extract from one part and leave its files behind; returns its counts, as `BulkResult` names them."""
    name = f"{number:06d}"
    items = [json.loads(line) for line in lines_of(parts / f"{name}.in.jsonl")]
    dead = {item["number"]: item for item in items if "reason" in item}
    begun = Begun(parts / f"{name}.begun.json")
    for item in items:
        if item["number"] in begun.killers:
            dead[item["number"]] = letter(item["number"], item["record"].get("id"), KILLED)
    todo = ((item["number"], item["record"]) for item in items if item["number"] not in dead)
    counts: Counter[str] = Counter()
    before = extractor.images.counts()["encode"]

    def lines() -> Iterator[str]:
        given = (extractor, begun.watched(todo), settings.images, settings.config)
        for place, record, result in extract_records(*given, window=1 if begun.careful else PART):
            if isinstance(result, InputError):
                dead[place] = letter(place, record.get("id"), str(result))
                continue
            counts.update(counts_of(result))
            yield json.dumps(result.to_dict(), ensure_ascii=False) + "\n"

    try:
        write_text(parts / f"{name}.out.jsonl", lines())
        write_text(parts / f"{name}.dead.jsonl", (json.dumps(dead[place]) + "\n" for place in sorted(dead)))
        images = extractor.images.counts()["encode"]
        counts.update(encoded=images.misses - before.misses, reused=images.hits - before.hits)
        result = {"posts": len(dead) + counts["extracted"], "dead": len(dead), **counts}
        write_json(parts / f"{name}.done.json", result)
    finally:
        begun.leave()
    return result


KILLED = (
    "the process was killed twice while this post was in work (out of memory, or a crash in a library); "
    "shrink its image or shorten its text"
)
"""The reason of a dead letter on which processes died."""


class Begun:
    """The mark of a part in work, which only a process that was killed leaves behind.

    Attributes:
        careful: Whether one was left behind, so that the part is done post by post.
        killers: The numbers of the posts on which a careful process was killed.
    """

    working: ClassVar[Begun | None] = None
    """That of this process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.careful = file.is_file()
        left = json.loads(file.read_text(encoding="utf-8")) if self.careful else {"killers": [], "post": None}
        self.killers = {*left["killers"], *({left["post"]} - {None})}
        Begun.working = self
        self._write(None)

    def watched(self, records: Numbered) -> Numbered:
        """The records, each noted before it is handed out where the part is done post by post."""
        for number, record in records:
            if self.careful:
                self._write(number)
            yield number, record

    def leave(self) -> None:
        """What stops the process now is none of the posts."""
        Begun.working = None
        if self.killers:
            self._write(None)
        else:
            self.file.unlink(missing_ok=True)

    def _write(self, post: int | None) -> None:
        write_json(self.file, {"killers": sorted(self.killers), "post": post})

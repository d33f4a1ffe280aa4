"""One part of a bulk run: a few hundred posts, from the file they were split off into to files of what was found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.extraction.backends import BackendName, BackendPrecision
from promu.extraction.extractor import Extractor
from promu.extraction.reading import MissingPictures
from promu.files import write_json, write_text


@dataclass(frozen=True, slots=True)
class BulkSettings:
    """What a bulk run does with each post; fields as in `Extractor.from_pretrained` and `Extractor.extract`."""

    model: str
    images: str
    backend: BackendName = "torch"
    device: str | None = None
    precision: BackendPrecision | None = None
    batch_size: int = 32
    missing_pictures: MissingPictures = "error"
    entity_threshold: float = 0.0
    relation_threshold: float = 0.0
    explain: bool = False

    def open(self) -> Extractor:
        """The extractor."""
        return Extractor.from_pretrained(self.model, self.device, self.precision, self.backend)


def extract_part(extractor: Extractor, settings: BulkSettings, parts: Path, number: int) -> dict[str, int]:
    """Extract from one part and leave its files behind; returns its counts, as `BulkResult` names them."""
    name = f"{number:06d}"
    dead: dict[int, dict[str, Any]] = {}
    records: list[tuple[int, dict[str, Any]]] = []
    with (parts / f"{name}.in.jsonl").open(encoding="utf-8") as file:
        for line in file:
            item = json.loads(line)
            if "reason" in item:
                dead[item["number"]] = item
            else:
                records.append((item["number"], item["record"]))
    problems: list[InputError] = []
    found = extractor.extract(
        ({"id": str(place), **record} for place, record in records),
        settings.batch_size,
        images=settings.images,
        missing_pictures=settings.missing_pictures,
        entity_threshold=settings.entity_threshold,
        relation_threshold=settings.relation_threshold,
        explain=settings.explain,
        problems=problems,
    )
    counts: Counter[str] = Counter()

    def lines() -> Iterator[str]:
        for result in found:
            counts.update(extracted=1, as_text=result.picture == "missing", unread=result.picture == "unread")
            counts["cut"] += result.words_read is not None
            yield json.dumps(result.to_dict(), ensure_ascii=False) + "\n"

    write_text(parts / f"{name}.out.jsonl", lines())
    for problem in problems:
        place, record = records[(problem.line or 1) - 1]
        dead[place] = letter(place, record.get("id"), InputError(problem.reason, problem.path))
    write_text(parts / f"{name}.dead.jsonl", (json.dumps(dead[place]) + "\n" for place in sorted(dead)))
    result = {"posts": len(dead) + counts["extracted"], "dead": len(dead), **counts}
    write_json(parts / f"{name}.done.json", result)
    return result


def letter(number: int, id: object, error: InputError) -> dict[str, Any]:
    """A line of dead letters."""
    return {"number": number, "id": id if isinstance(id, str | int) else None, "reason": str(error)}

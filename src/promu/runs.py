"""The folder of a run: whose it is, what came of it, and what only a run that is still going needs."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import promu
from promu.errors import InputError
from promu.files import checksum, parse_json_object, write_json
from promu.hub import weights_checksum

RECIPE = "recipe.json"
RESULT = "result.json"


def check_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Make sure that `out` holds no run, or one of these very settings.

    Raises:
        InputError: The folder holds a run of other settings, or is a file.
    """
    path = out / RECIPE
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"not JSON ({error}); delete the folder and run again", path) from None
        differing = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
        begun = any(file != path for file in out.iterdir())  # a claim alone is worth nothing
        if differing and begun:
            raise InputError(
                f"this folder holds a run with other settings ({', '.join(differing)}); "
                "choose another `out`, or delete it",
                out,
            )
    elif out.exists() and not out.is_dir():
        raise InputError("this is a file; choose another `out`", out)
    elif out.is_dir() and any(out.iterdir()):
        raise InputError("this folder is not empty and holds no run; choose another `out`", out)


def begin(out: Path, settings: Mapping[str, Any]) -> None:
    """Write a run's settings into its folder, or check that the run that is there has the same.

    Raises:
        InputError: As `check_folder`.
    """
    check_folder(out, settings)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECIPE, settings)


def finished_result(out: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a run of these settings left in `out` when it ended; None where it has not.

    Raises:
        InputError: As `check_folder`.
    """
    check_folder(out, settings)
    if not (out / RESULT).is_file():
        return None
    discard_checkpoints(out)
    return dict(json.loads((out / RESULT).read_text(encoding="utf-8")))


def finish(out: Path, result: Mapping[str, Any]) -> None:
    """Keep the result, and drop what only resuming needs."""
    write_json(out / RESULT, result)
    discard_checkpoints(out)


def discard_checkpoints(out: Path) -> None:
    """Remove what a run needs only while it can still be resumed."""
    shutil.rmtree(out / "checkpoints", ignore_errors=True)


logger = logging.getLogger(__name__)

SCORED = "scored.jsonl"


@dataclass(frozen=True, slots=True)
class Scoring:
    """One time that a file of gold was scored.

    Attributes:
        split: `dev`, `test`, or `other` for a file that is neither.
        file, sha256: The file and the checksum of its bytes.
        weights: Checksum of the model's weights, see `weights_checksum`.
        time: When, in UTC, ISO 8601.
        version: The code, see `code_version`.
    """

    split: str
    file: str
    sha256: str
    weights: str
    time: str
    version: str


def record_scoring(run: Path, split: str, file: Path, model: torch.nn.Module) -> None:
    """Add to a run's record that `file` is about to be scored, and warn if the test set was scored before.

    Raises:
        InputError: The file or the record cannot be read.
    """
    earlier = read_scored(run)
    new = Scoring(
        split,
        str(file),
        checksum(file),
        weights_checksum(model.state_dict()),
        datetime.now(UTC).isoformat(timespec="seconds"),
        code_version(),
    )
    with (run / SCORED).open("a", encoding="utf-8") as record:
        record.write(json.dumps(asdict(new), ensure_ascii=False) + "\n")
        record.flush()
        os.fsync(record.fileno())
    before = [scoring for scoring in earlier if scoring.split == new.split == "test"]
    if before:
        others = sum(scoring.weights != new.weights for scoring in before)
        logger.warning(
            "%s: this run's test set was scored %d times before, %d of them with other weights, first on %s (%s); "
            "choose nothing by these figures",
            file,
            len(before),
            others,
            before[0].time,
            run / SCORED,
        )


def record_evaluation(model_folder: Path, file: Path, model: torch.nn.Module) -> None:
    """`record_scoring` for a saved model, where it still lies in the folder of its run; elsewhere nothing is recorded.

    The split is the one under which the run scored a file of these bytes before.

    Raises:
        InputError: As `record_scoring`.
    """
    run = model_folder.resolve().parent
    if not (run / RECIPE).is_file():
        return
    known = {scoring.sha256: scoring.split for scoring in read_scored(run)}
    record_scoring(run, known.get(checksum(file), "other"), file, model)


def read_scored(run: Path) -> list[Scoring]:
    """The record of a run, oldest first; empty where nothing was scored.

    Raises:
        InputError: A line is no such record.
    """
    path = run / SCORED
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(Scoring(**parse_json_object(line)))
        except InputError as error:
            raise error.at(path, number) from None
        except TypeError:
            raise InputError("no record of a scoring; the file is written by promu alone", path, number) from None
    return found


def times_scored(scorings: Sequence[Scoring]) -> dict[str, int]:
    """With how many different weights each split was scored; 1 for a test set that was touched once."""
    weights: dict[str, set[str]] = {}
    for scoring in scorings:
        weights.setdefault(scoring.split, set()).add(scoring.weights)
    return {split: len(found) for split, found in weights.items()}


@lru_cache(maxsize=1)
def code_version() -> str:
    """The package's version and the beginning of a checksum over its sources, such as `0.1.0+3f9ac1d2e4b5`."""
    folder = Path(promu.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{promu.__version__}+{digest.hexdigest()[:12]}"

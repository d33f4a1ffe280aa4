"""The folder of a run: which settings it belongs to, what came of it, and the log of its evaluations."""

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
from typing import TYPE_CHECKING, Any

import promu
from promu.errors import InputError
from promu.files import checksum, make_folder, parse_json_object, write_json

if TYPE_CHECKING:
    import torch

RECIPE = "recipe.json"
RESULT = "result.json"
EVALUATIONS = "evaluations.jsonl"

logger = logging.getLogger(__name__)


def prediction_files(folder: Path, files: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    """Where the predictions for files of gold go in a folder: under the files' names, each in a place of its own.

    Args:
        folder: Where to.
        files: By split. The name of the folder goes before that of the file where a split has several. Where different
            files still have one name, that of the split goes before it: `dev-posts.jsonl`.
    """
    names = {
        split: [Path(path.parent.name if len(of) > 1 else "", path.name) for path in of] for split, of in files.items()
    }
    different = {path.resolve() for of in files.values() for path in of}
    if len({str(name).lower() for of in names.values() for name in of}) < len(different):
        for split, of in names.items():
            several = len({str(name).lower() for name in of}) < len(of)
            mark = [f"{split}-{number}" if several else split for number in range(1, len(of) + 1)]
            names[split] = [name.with_name(f"{one}-{name.name}") for one, name in zip(mark, of, strict=True)]
    return {split: [folder / name for name in of] for split, of in names.items()}


def refuse_other_settings(found: Mapping[str, Any], settings: Mapping[str, Any], folder: Path, what: str) -> None:
    """Make sure that what is in a folder was made with these settings.

    Raises:
        InputError: Some differ; the message names them.
    """
    differing = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
    if differing:
        raise InputError(
            f"this folder holds a {what} with other settings ({', '.join(differing)}); "
            "choose another folder (out), or delete this one",
            folder,
        )


class RunFolder:
    """A folder that belongs to one set of settings; a run of other settings, or of something else, is refused.

    Args:
        path: The folder; `claim` makes it.
        what: What the folder holds, for error messages.
        settings_file: The name of the file that keeps the settings.
    """

    def __init__(self, path: str | Path, what: str = "run", settings_file: str = RECIPE) -> None:
        self.path, self.what = Path(path), what
        self.settings_file = self.path / settings_file

    def check(self, settings: Mapping[str, Any]) -> None:
        """Make sure that the folder is free or belongs to these settings; the settings alone may be replaced.

        Raises:
            InputError: It holds a run of other settings, or something else; or it is a file.
        """
        if self.settings_file.is_file():
            try:
                found = dict(json.loads(self.settings_file.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                reason = f"these are no settings of a {self.what} ({error}); delete the folder and run again"
                raise InputError(reason, self.settings_file) from None
            if any(file != self.settings_file for file in self._files()):
                refuse_other_settings(found, settings, self.path, self.what)
        elif self.path.exists() and not self.path.is_dir():
            raise InputError("this is a file; choose another folder (out)", self.path)
        elif self.path.is_dir() and self._files():
            reason = f"this folder is not empty and holds no {self.what}"
            raise InputError(f"{reason}; choose another folder (out)", self.path)

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Make the folder and write the settings into it, or check that they are those of the run that is there.

        Raises:
            InputError: As `check`, or the folder cannot be made.
        """
        self.check(settings)
        make_folder(self.path)
        for leftover in set(self.path.iterdir()) - set(self._files()):
            leftover.unlink()
        write_json(self.settings_file, settings)

    def result(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a run of these settings left here when it ended; None where it has not.

        Raises:
            InputError: As `check`.
        """
        self.check(settings)
        if not (self.path / RESULT).is_file():
            return None
        self.discard_checkpoints()
        return dict(json.loads((self.path / RESULT).read_text(encoding="utf-8")))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Keep the result, and drop what only resuming needs."""
        write_json(self.path / RESULT, result)
        self.discard_checkpoints()

    def discard_checkpoints(self) -> None:
        """Remove what a run needs only while it can still be resumed."""
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def _files(self) -> list[Path]:
        """What is in the folder, without what a kill left while the settings were written."""
        leftovers = f".{self.settings_file.name}.*.part"
        return [file for file in self.path.iterdir() if not file.match(leftovers)]


@dataclass(frozen=True, slots=True)
class LoggedEvaluation:
    """One time that a file of gold was scored.

    Attributes:
        split: `dev`, `test`, or `other` for a file that is neither.
        file, sha256: The file and the checksum of its bytes.
        weights: Checksum of the model's weights, see `promu.pytorch.weights_checksum`.
        time: When, in UTC, ISO 8601.
        version: The code, see `code_version`.
    """

    split: str
    file: str
    sha256: str
    weights: str
    time: str
    version: str


class EvaluationLog:
    """The log of a run's evaluations, `evaluations.jsonl`: it shows whether the test set was used more than once.

    Args:
        run: The folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / EVALUATIONS

    def add(self, split: str, file: Path, model: torch.nn.Module) -> None:
        """Add that `file` is about to be scored, and warn if the test set was scored before.

        Raises:
            InputError: The file or the log cannot be read.
        """
        from promu.pytorch import weights_checksum  # here, for it imports torch

        earlier = self.read()
        weights, time = weights_checksum(model.state_dict()), datetime.now(UTC).isoformat(timespec="seconds")
        new = LoggedEvaluation(split, str(file), checksum(file), weights, time, code_version())
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(new), ensure_ascii=False) + "\n")
            log.flush()
            os.fsync(log.fileno())
        before = [one for one in earlier if one.split == new.split == "test" and one.sha256 == new.sha256]
        if before:
            logger.warning(
                "%s: this run's test set was scored %d times before, %d of them with other weights, first on %s (%s); "
                "choose nothing by these figures",
                file,
                len(before),
                sum(one.weights != new.weights for one in before),
                before[0].time,
                self.path,
            )

    def read(self) -> list[LoggedEvaluation]:
        """All evaluations, oldest first; empty where nothing was scored.

        Raises:
            InputError: A line is no evaluation.
        """
        if not self.path.is_file():
            return []
        found = []
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                found.append(LoggedEvaluation(**parse_json_object(line)))
            except InputError as error:
                raise error.at(self.path, number) from None
            except TypeError:
                raise InputError("no evaluation; promu alone writes this file", self.path, number) from None
        return found

    def weights_by_split(self) -> dict[str, int]:
        """With how many different weights each split was scored, at most of its files; 1 for a test set used once."""
        weights: dict[tuple[str, str], set[str]] = {}
        for one in self.read():
            weights.setdefault((one.split, one.sha256), set()).add(one.weights)
        counts: dict[str, int] = {}
        for (split, _), found in weights.items():
            counts[split] = max(counts.get(split, 0), len(found))
        return counts


def record_evaluation(model_folder: Path, file: Path, model: torch.nn.Module) -> None:
    """Log an evaluation of a saved model, where it still lies in the folder of its run; elsewhere nothing is logged.

    The split is the one under which the run scored a file of these bytes before. Raises as `EvaluationLog.add`.
    """
    run = model_folder.resolve().parent
    if not (run / RECIPE).is_file():
        return
    log = EvaluationLog(run)
    splits = {one.sha256: one.split for one in log.read()}
    log.add(splits.get(checksum(file), "other"), file, model)


@lru_cache(maxsize=1)
def code_version() -> str:
    """The package's version and the beginning of a checksum over its sources, such as `0.1.0+3f9ac1d2e4b5`."""
    folder = Path(promu.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{promu.__version__}+{digest.hexdigest()[:12]}"

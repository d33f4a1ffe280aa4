"""The folder of a run: whose it is, what came of it, and what only a run that is still going needs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.files import write_json

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

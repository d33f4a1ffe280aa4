"""Folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promu.errors import InputError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to be filled; it becomes `out` when that ends well, and is gone when it does not.

    Yields:
        The folder to fill.

    Raises:
        InputError: `out` is there already and not empty, or cannot be made.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("this is there already and not empty; name another folder, or remove it first", out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise InputError(f"cannot make a folder here ({error.strerror}); name one you may write to", out) from None
    try:
        # mkdtemp makes private folders; give this one the permissions that an ordinary one would have
        umask = os.umask(0)
        os.umask(umask)
        building.chmod(0o777 & ~umask)
        yield building
        os.replace(building, out)
    finally:
        shutil.rmtree(building, ignore_errors=True)

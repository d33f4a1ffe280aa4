"""Arrays on disk that are computed once: made by several processes, filled row by row, gone on with after a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from promu.files import write_json
from promu.modeling.distributed import process_number, processes
from promu.training.group import in_order, wait_for_all

Array = npt.NDArray[Any]


class KeptArray:
    """A memory-mapped array of half-precision rows, and which of them have been computed.

    Args:
        folder: The array has a folder of its own in there, named by what it is made from.
        made_from: All that a row depends on, as JSON data.
        shape: Of the array.
        rows: How many things the array holds something of; its first axis, where that is one row each.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any], shape: tuple[int, ...], rows: int) -> None:
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self.folder = folder / key
        with in_order():
            if not (self.folder / "about.json").is_file():
                self.folder.mkdir(parents=True, exist_ok=True)
                for name, dtype, size in (("values", np.float16, shape), ("seen", np.uint8, (rows,))):
                    np.lib.format.open_memmap(self.folder / f"{name}.npy", "w+", dtype, size).flush()
                write_json(self.folder / "about.json", made_from)
        self.values: Array = np.load(self.folder / "values.npy", mmap_mode="r+")
        self._seen: Array = np.load(self.folder / "seen.npy", mmap_mode="r+")

    def fill(
        self, batch: int, compute: Callable[[list[int]], None], progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Have every row computed that is not there; the processes share the work, and leave together.

        Args:
            batch: Rows that `compute` is given at once.
            compute: Puts rows with these numbers into `values`.
            progress: Called with (rows there, rows in all) of this process's share.
        """
        share = range(process_number(), len(self._seen), processes())
        todo = [row for row in share if not self._seen[row]]
        done = len(share) - len(todo)
        for start in range(0, len(todo), batch):
            rows = todo[start : start + batch]
            compute(rows)
            self._seen[rows] = 1
            done += len(rows)
            if progress is not None:
                progress(done, len(share))
        wait_for_all()

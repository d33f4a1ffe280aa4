"""Every benchmark, as a table and as JSON.

python -m benchmarks.run [--out runs/bench.json] [--only crf --only loader ...] [--threads N] [--quick]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks import cold_start, crf, extract, kecpm, label, loader, machine, pretrain_step, serve
from benchmarks.measure import Row
from rich.console import Console
from rich.table import Table

from promu.files import write_json

BENCHMARKS = {
    "machine": machine.run,
    "pretrain-step": pretrain_step.run,
    "label": label.run,
    "loader": loader.run,
    "crf": crf.run,
    "kecpm": kecpm.run,
    "extract": extract.run,
    "serve": serve.run,
    "cold-start": cold_start.run,
}


def table(rows: list[Row]) -> Table:
    """The rows as a table for people."""
    shown = Table(title="promu benchmarks")
    for column in ("benchmark", "measure", "promu", "reference", "ratio", "in core time", "goal"):
        shown.add_column(column)
    for row in rows:
        ratios = ("" if value is None else f"{value:.2f}" for value in (row.ratio, row.core_ratio))
        shown.add_row(row.benchmark, row.measure, row.ours, row.yardstick, *ratios, row.goal)
    return shown


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmarks that are named, in `words` or on the command line."""
    parser = argparse.ArgumentParser(description="promu's benchmarks")
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    parser.add_argument("--only", action="append", choices=sorted(BENCHMARKS), help="this one (may be repeated)")
    parser.add_argument("--threads", type=int, help="torch's threads; all cores otherwise")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs at all")
    arguments = parser.parse_args(words)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    console = Console(width=140)
    results: dict[str, Any] = {"machine": machine.facts(), "quick": arguments.quick, "benchmarks": {}}
    console.print(json.dumps(results["machine"]))
    rows: list[Row] = []
    for name in arguments.only or BENCHMARKS:
        started = time.perf_counter()
        results["benchmarks"][name], found = BENCHMARKS[name](arguments.quick)
        rows += found
        console.print(f"{name}: {time.perf_counter() - started:.0f} s")
    results["rows"] = [asdict(row) for row in rows]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out, results)
    console.print(table(rows))
    console.print(f"The figures are in {arguments.out}")


if __name__ == "__main__":
    main()

"""Markdown tables out of finished runs: mean and standard deviation over seeds.

python benchmarks/tables.py demo runs/demo-0/report.json runs/demo-1/report.json ...
python benchmarks/tables.py text runs/twitter2017-text-*/result.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from promu.evaluation.counts import summarise

GROUPS = ("text", "image")


def demo_table(reports: list[dict[str, Any]]) -> str:
    """Test F1 of the demo's systems, whole and by what decides the post."""
    lines = [
        "| system | entities | text decides | image decides | relations | text decides | image decides |",
        "|---|---|---|---|---|---|---|",
    ]
    for index, system in enumerate(reports[0]["systems"]):
        cells = [system["name"]]
        for task in ("ner", "re"):
            runs = [report["systems"][index][task] for report in reports]
            cells.append(str(summarise([run["f1"] for run in runs])))
            cells += [str(summarise([run["by_group"][group] for run in runs])) for group in GROUPS]
        lines.append(f"| {' | '.join(cells)} |")
    for task in ("ner", "re"):
        gains = {
            other: summarise([_f1(report, "promu", task) - _f1(report, other, task) for report in reports])
            for other in ("from-scratch", "text-only")
        }
        lines.append(f"\n{task}: promu over from-scratch {gains['from-scratch']}, over text-only {gains['text-only']}")
    lines.append(f"\nseconds a run: {', '.join(str(round(report['seconds'])) for report in reports)}")
    return "\n".join(lines)


def _f1(report: dict[str, Any], name: str, task: str) -> float:
    return float(next(system[task]["f1"] for system in report["systems"] if system["name"] == name))


def text_table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Dev and test F1 of fine-tuning runs, by the recipe's name."""
    lines = ["| recipe | dev F1 | test F1 | seeds | best epochs |", "|---|---|---|---|---|"]
    for name, runs in results.items():
        runs = sorted(runs, key=lambda run: run["seed"])
        dev, test = (summarise([run[split]["f1"] for run in runs]) for split in ("dev", "test"))
        seeds = ", ".join(str(run["seed"]) for run in runs)
        lines.append(f"| `{name}` | {dev} | {test} | {seeds} | {', '.join(str(run['best_epoch']) for run in runs)} |")
    return "\n".join(lines)


def main(kind: str, paths: list[str]) -> None:
    """Print the table of `kind` from these files."""
    read = {path: json.loads(Path(path).read_text(encoding="utf-8")) for path in paths}
    if kind == "demo":
        print(demo_table(list(read.values())))
        return
    by_name: dict[str, list[dict[str, Any]]] = {}
    for path, result in read.items():
        by_name.setdefault(Path(path).parent.name.rsplit("-s", 1)[0], []).append(result)
    print(text_table(by_name))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

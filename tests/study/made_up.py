"""Made-up results of a study's jobs."""

from __future__ import annotations

from typing import Any

from promu.study.exhibit import Measurement

TASKS = {"entities": "ner", "relations": "re"}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


def scored(f1: float, task: str = "ner") -> dict[str, Any]:
    """A fine-tuned model's result: F1 as asked for, of ten posts the first ones right."""
    right = round(f1 / 10)
    per = "per_type" if task == "ner" else "per_relation"
    return {
        "test": {
            "precision": f1 + 1,
            "recall": f1 - 1,
            "f1": f1,
            "per_group": {"text": {"f1": f1 + 5}, "image": {"f1": f1 - 5}},
            per: {"A": {"f1": f1}, "B": {"f1": f1 / 2}, "C": {"f1": 1.0}},
        },
        "train_counts": {"A": 9, "B": 2, "C": 1},
        "post_counts": [[int(index < right), 1, 1] for index in range(10)],
    }


def places(exhibit: str, rows: dict[tuple[str, ...], float], seeds: int = 3, **extra: Any) -> list[Measurement]:
    """Both tasks of these rows over seeds, F1 rising by a point a seed."""
    return [
        Measurement(exhibit, row, task, seed, {**scored(f1 + seed, TASKS[task]), **extra})
        for row, f1 in rows.items()
        for task in TASKS
        for seed in range(seeds)
    ]


def represented(shift: float) -> dict[str, Any]:
    """A model's representations."""
    side = {
        "alignment": 1.0 + shift,
        "uniformity": -2.0,
        "nearest_prompt": 40.0,
        "neighbours": 50.0,
        "fused_neighbours": 60.0,
        "points": [[0.0, 1.0, "dog", False], [1.0, 0.0, "cat", False], [0.5, 0.5, "dog", True]],
    }
    return {"regions": side, "images": side}


def attended(task: str) -> dict[str, Any]:
    """A case study of one post."""
    look = {"answer": "Zorva (PER)", "right": True, "words": [0.2, 0.1], "patches": [[0.1, 0.2], [0.0, 0.05]]}
    case = {
        "id": "1",
        "why": "right with pre-training alone",
        "tokens": ["Zorva", "$tonight"],
        "image": PIXEL,
        "gold": "Zorva (PER)",
        "before": {**look, "right": False},
        "after": look,
    }
    return {"cases": [case], "posts": 10, "right": {"before": 4, "after": 7}}


def everything() -> list[Measurement]:
    """Something of every exhibit."""
    found = places("table1", {("text-only",): 40.0, ("promu",): 70.0})
    found += places("table2", {(f, s): 50.0 for f in ("concat", "mmib") for s in ("without pre-training", "promu")})
    found += places("table3", {(entity, relation): 60.0 for entity in "12" for relation in "ABC"}, seeds=1)
    found += [
        Measurement("figure3", (name,), "", 0, represented(shift)) for name, shift in (("L_CIT", 0.5), ("promu", 0.0))
    ]
    found += places("figure4", {("text-only",): 40.0, ("promu",): 70.0})
    found += [Measurement("figure5", ("promu",), task, 0, attended(task)) for task in TASKS]
    found += places("learning-curve", {("promu", "50"): 50.0, ("promu", "400"): 70.0, ("plain", "50"): 20.0})
    found += places(
        "temperature", {("labels", "0.05"): 70.0, ("labels", "0.2"): 65.0, ("L_CIT", "0.07"): 70.0}, seeds=1
    )
    labels = {"entity_entropy": 1.25, "relation_entropy": 2.0}
    found += [Measurement("temperature", ("labels", value), "labels", 0, labels) for value in ("0.05", "0.2")]
    found.append(Measurement("temperature", ("L_CIT", "0.07"), "pre-training", 0, {"last": {"temperature": 0.06}}))
    found += places(
        "robustness",
        {(kind, how, rate): 60.0 for kind in ("boxes", "nouns") for how in ("soft", "hard") for rate in "01"},
    )
    found += places("transfer", {("without pre-training",): 40.0, ("pre-trained in the other domain",): 50.0})
    return found

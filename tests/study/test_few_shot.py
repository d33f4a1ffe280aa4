"""The exhibits of few posts, on made-up results: which figure stands where, and what is compared with what."""

from __future__ import annotations

from typing import Any

from promu.study.exhibit import Measurement
from promu.study.few_shot import (
    CHECKED,
    CURVE,
    DECODING,
    ERRORS,
    FEW_SHOT_EXHIBITS,
    FIRST,
    GIVEN,
    JOINT,
    KNOWLEDGE,
    NONE,
    PIPELINE,
    SYSTEMS,
    TASK,
    WITH_KNOWLEDGE,
)
from promu.study.run_study import build_sections

EXHIBITS = {exhibit.name: exhibit for exhibit in FEW_SHOT_EXHIBITS}


def scored(f1: float, **more: Any) -> dict[str, Any]:
    """A result of ten posts, of which a tenth of `f1` are right."""
    test = {
        "precision": f1 + 1,
        "recall": f1 - 1,
        "f1": f1,
        "macro_f1": {"present": f1 / 2},
        "entities": {"f1": f1 + 10},
        "per_group": {"text": {"f1": f1 + 5}, "knowledge": {"f1": f1 - 5}},
    }
    return {"test": test, "post_counts": [[int(10 * post < f1), 1, 1] for post in range(10)], **more}


def places(exhibit: str, rows: dict[tuple[str, ...], float], seeds: int = 2) -> list[Measurement]:
    return [Measurement(exhibit, row, TASK, seed, scored(f1)) for row, f1 in rows.items() for seed in range(seeds)]


def tables(measured: list[Measurement]) -> dict[str, list[list[str]]]:
    (section,) = build_sections(measured, {TASK: "joint"}, False, EXHIBITS)
    return {table.name: [list(table.columns), *table.texts()] for table in section.tables}


def test_the_curve_goes_by_system_and_number() -> None:
    rows: dict[tuple[str, ...], float] = {
        (system, posts): 30.0 for posts in ("50", "100") for system in (JOINT, PIPELINE)
    }
    (section,) = build_sections(places(CURVE, rows), {TASK: "joint"}, False, EXHIBITS)
    found = section.tables[0].texts()
    assert [row[:2] for row in found] == [[JOINT, "50"], [JOINT, "100"], [PIPELINE, "50"], [PIPELINE, "100"]]
    assert found[0][2:] == ["30.0 ± 0.0", "15.0 ± 0.0", "40.0 ± 0.0"]
    assert "labelled posts" in section.figures[0].svg and PIPELINE in section.figures[0].svg


def test_systems_are_compared_with_the_joint_model_and_shown_by_group() -> None:
    measured = places(SYSTEMS, {(JOINT,): 60.0, (PIPELINE,): 40.0})
    svg = build_sections(measured, {TASK: "joint"}, False, EXHIBITS)[0].figures[0].svg
    assert all(word in svg for word in (JOINT, PIPELINE, "all posts", "knowledge decides"))
    found = tables(measured)
    assert found[SYSTEMS][0] == ["system", "P", "R", "F1", "entities F1", "text decides", "knowledge decides"]
    assert found[SYSTEMS][2] == [
        PIPELINE,
        *(f"{figure} ± 0.0" for figure in ("41.0", "39.0", "40.0", "50.0", "45.0", "35.0")),
    ]
    assert found[f"{SYSTEMS}-gains"][1][:2] == [PIPELINE, "20.0 ± 0.0"]


def test_knowledge_says_how_much_of_it_is_wrong_and_reflection_is_compared_with_the_rest() -> None:
    rows: dict[tuple[str, ...], float] = {(NONE,): 20.0, (FIRST,): 30.0, (CHECKED,): 40.0, (GIVEN,): 50.0}
    told = [
        Measurement(KNOWLEDGE, (name,), ERRORS, seed, {"sentences": 8, "wrong_share": share})
        for name, share in ((FIRST, 50.0), (CHECKED, 25.0))
        for seed in range(2)
    ]
    found = tables([*told, *places(KNOWLEDGE, rows)])
    assert [(row[0], row[-1]) for row in found[KNOWLEDGE][1:]] == [
        (NONE, "–"), (FIRST, "50.0 ± 0.0"), (CHECKED, "25.0 ± 0.0"), (GIVEN, "–")
    ]  # fmt: skip
    assert [row[1] for row in found[f"{KNOWLEDGE}-gains"][1:]] == ["20.0 ± 0.0", "10.0 ± 0.0", "−10.0 ± 0.0"]


def test_each_run_is_decoded_both_ways() -> None:
    free = scored(20.0)
    result = {
        **scored(30.0),
        "test_unconstrained": {**free["test"], "parsed": 0.4},
        "post_counts_unconstrained": free["post_counts"],
    }
    result["test"]["parsed"] = 1.0
    found = tables(
        [
            Measurement(DECODING, (WITH_KNOWLEDGE,), TASK, 0, result),
            Measurement(DECODING, (WITH_KNOWLEDGE,), TASK, 1, None, "no"),
        ]
    )
    assert [row[:2] + row[4:] for row in found[DECODING][1:]] == [
        [WITH_KNOWLEDGE, "with the grammar", "30.0 (1 of 2 runs)", "100.0 (1 of 2 runs)"],
        [WITH_KNOWLEDGE, "without", "20.0 (1 of 2 runs)", "40.0 (1 of 2 runs)"],
    ]
    assert found[f"{DECODING}-writer-with-knowledge-gains"][1][1] == "10.0 (1 of 2 runs)"

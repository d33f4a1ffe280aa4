"""`promu baseline llm`: entities or relations of posts by a language model, without training."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from promu.cli.console import print_json, print_table, progress_bars
from promu.cli.llm import format_cost, print_plan
from promu.cli.score import print_scores
from promu.llm.llm_settings import BaselineSettings


def llm(
    task: Literal["ner", "re"],
    /,
    *,
    settings: Annotated[BaselineSettings, Parameter(name="*")],
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Ask a language model behind an OpenAI-compatible endpoint for entities or relations, zero- or few-shot.

    The predictions are in the format of the data, for `promu score`.

    Args:
        task: Entities of posts (CoNLL data), or relations of given pairs (MNRE data).
        settings: See each.
        yes: Begin without a limit on the cost.
        dry_run: Show the first prompt and what the run would cost, and send nothing.
        json: Print JSON instead of tables.
    """
    from promu.llm.baseline import plan_baseline, run_baseline

    if dry_run:
        print_plan(plan_baseline(task, settings), json)
        return
    with progress_bars():
        result = run_baseline(task, settings, unlimited=yes)
    if json:
        print_json(result.to_dict())
        return
    print_scores([result.scores])
    usage = result.usage
    shown = {
        "posts": len(result.posts),
        "failed": len(result.failed),
        **result.placed,
        **{f"unusable answers, {kind}": count for kind, count in result.faults.items()},
        **usage["requests"],
        "prompt tokens": usage["tokens"]["prompt"],
        "answer tokens": usage["tokens"]["answer"],
        "cost": format_cost(usage["cost"]),
    }
    print_table(settings.model, ["", ""], [[key, str(value)] for key, value in shown.items()])

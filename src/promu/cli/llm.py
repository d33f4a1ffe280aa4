"""`promu baseline llm` and `promu knowledge`: what asks a language model behind an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from promu.cli.console import print_json, print_table, progress_bars
from promu.errors import counted

if TYPE_CHECKING:
    from promu.llm.client import Plan

baseline_app = App(name="baseline", help="Baselines that are not trained: a language model answers the same posts.")


# by its path, as its settings are a pydantic object, which `promu --help` need not import
baseline_app.command(
    "promu.cli.llm_baseline:llm",
    name="llm",
    help="Ask a language model behind an OpenAI-compatible endpoint for entities or relations, zero- or few-shot.",
)

knowledge_app = App(
    name="knowledge", help="Background knowledge about posts (KECPM): exemplars, questions, self-reflection."
)


@knowledge_app.command(name="pool")
def pool(train: Path, /, *, out: Path, format: str = "jmere", json: bool = False) -> None:
    """Make a pool of worked exemplars from training posts: one readable JSON line each, to be edited by hand.

    Args:
        train: File of labelled training posts, with captions and knowledge where it has them.
        out: The pool.
        format: Of the training posts.
        json: Print JSON instead of a line.
    """
    from promu.corpora.formats import read_with_background
    from promu.files import refuse_overwriting
    from promu.llm.exemplars import make_pool, write_pool

    refuse_overwriting(out, train)
    exemplars = make_pool(*read_with_background(train, format))
    write_pool(out, exemplars)
    if json:
        print_json({"exemplars": len(exemplars), "out": str(out)})
    else:
        print(f"{counted(len(exemplars), 'exemplar')}: {out}")


@knowledge_app.command(name="generate")
def generate(
    recipe: str,
    /,
    *,
    set: Annotated[list[str] | None, Parameter(negative=())] = None,
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Get background knowledge for every post of a recipe: answer, self-reflection, revised answer.

    Started again, it goes on where it stopped; no question is asked twice.

    Args:
        recipe: A YAML file.
        set: key=value, wins over the recipe.
        yes: Begin without a limit on the cost (provider.max_cost).
        dry_run: Show the first prompt and what the run would cost, and send nothing.
        json: Print JSON instead of tables.
    """
    from promu.kecpm.knowledge import generate_knowledge, plan_knowledge

    with progress_bars():
        if dry_run:
            print_plan(plan_knowledge(recipe, set or ()), json)
            return
        result = generate_knowledge(recipe, set or (), unlimited=yes)
    record = result.to_dict()
    if json:
        print_json(record)
        return
    usage = result.usage
    sent = {"cost": "nothing was sent"} if usage is None else {**usage["requests"], "cost": format_cost(usage["cost"])}
    faults = {f"unusable answers, {kind}": count for kind, count in record["faults"].items()}
    shown = {"posts": record["posts"], **record["states"], **record["sentences"], **faults, **sent}
    print_table("knowledge", ["", ""], [[key, str(value)] for key, value in shown.items()])
    print("\n".join(record["files"]))


def print_plan(plan: Plan, json: bool) -> None:
    """Show the first prompt of a run and what the run would send."""
    from promu.llm.client import HOW

    if json:
        print_json(plan.to_dict())
        return
    for message in plan.first_prompt:
        print(f"[{message.role}]\n{message.text}")
        for image in message.images:
            print(f"(image {image.path}, sent as {image.size[0]} x {image.size[1]} JPEG)")
        print()
    print(f"{plan}\n{HOW}")


def format_cost(cost: float | None) -> str:
    """Money as it is shown."""
    return "no prices given" if cost is None else f"{cost:.4f}"

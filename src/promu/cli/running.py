"""`promu pretrain` and `promu finetune`: run a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from promu.cli.console import print_json, print_table, progress_bars

Overrides = Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)]


def pretrain(recipe: str, /, *, overrides: Overrides = None, json: bool = False) -> None:
    """Pre-train the backbone: corpus, tokenizer, teacher, soft pseudo-labels, joint losses.

    Under torchrun (torchrun --nproc-per-node 2 -m promu.cli pretrain RECIPE) several processes train together. Started
    again after it was stopped, it goes on where it was; finished, it only shows its figures.

    Args:
        recipe: A recipe file, or the name of one that comes with promu.
        overrides: Settings that win over the recipe's, as key=value, such as training.epochs=4.
        json: Print JSON instead of a table.
    """
    from promu.quiet import quiet

    quiet()
    from promu.modeling.distributed import process_number
    from promu.training.group import start_group
    from promu.training.pretrain import pretrain as run
    from promu.training.recipe import PretrainRecipe
    from promu.training.recipe_file import find_recipe, load_recipe

    settings = load_recipe(find_recipe(recipe), PretrainRecipe, overrides or ())
    start_group()
    if process_number():  # the first process speaks for all
        run(settings)
        return
    with progress_bars() as progress:
        result = run(settings, progress)
    model = Path(settings.out) / "model"
    if json:
        print_json({**result, "model": str(model)})
        return
    print_table("caption pairs", ["", "count"], ((name, f"{result[name]:,}") for name in _COUNTS))
    last = result["last"]
    losses = {name: last[name] for name in ("loss", "itm", "cit", "coe", "cir", "mlm") if name in last}
    print_table(f"losses at step {last['step']}", ["", "loss"], ((name, f"{v:.4f}") for name, v in losses.items()))
    if result["dev"]:
        figures = {name.removeprefix("eval_"): v for name, v in result["dev"].items() if name.startswith("eval_")}
        print_table("on dev", ["", "figure"], ((name, f"{value:.3f}") for name, value in figures.items()))
    print(f"{result['seconds']:.0f} s\nmodel: {model}\nreport: {model.parent / 'report.html'}")


def finetune(recipe: str, /, *, overrides: Overrides = None, json: bool = False) -> None:
    """Fine-tune for entities, for relations, or for both at once; the best epoch on dev is kept and tested once.

    Started again after it was stopped, it goes on where it was; finished, it only shows its figures.

    Args:
        recipe: A recipe file, or the name of one that comes with promu.
        overrides: Settings that win over the recipe's, as key=value, such as training.lr=1e-4.
        json: Print JSON instead of a table.
    """
    from promu.quiet import quiet

    quiet()
    from promu.training.finetune import finetune as run
    from promu.training.recipe import FinetuneRecipe
    from promu.training.recipe_file import find_recipe, load_recipe

    settings = load_recipe(find_recipe(recipe), FinetuneRecipe, overrides or ())
    with progress_bars() as progress:
        result = run(settings, progress)
    model = Path(settings.out) / "model"
    if json:
        print_json({**result, "model": str(model)})
        return
    rows = []
    for split in ("dev", "test"):
        if split in result:
            rows.append(_row(split, result["posts"][split], result[split]))
            rows += [
                _row(f"{split}, {group} decides" if group in _DECIDERS else f"{split}, {group}", None, figures)
                for group, figures in result[split].get("per_group", {}).items()
            ]
    title = f"{settings.task}, seed {result['seed']}, best dev epoch {result['best_epoch']:g}"
    print_table(title, ["", "posts", "precision", "recall", "F1"], rows)
    for split, counts in result["pictures"].items():
        print(f"{split}: {_pictures(counts, result['posts'][split])}")
    if "test" in result:
        weights = result["scored"]["test"]
        print(
            "test was scored with the chosen weights alone"
            if weights == 1
            else f"test was scored with {weights} different weights"
        )
    print(f"{result['seconds']:.0f} s\nmodel: {model}")


_COUNTS = ("pairs", "matched", "pictures", "nouns", "relations")
_DECIDERS = ("text", "picture")


def _row(name: str, posts: int | None, figures: Mapping[str, Any]) -> list[str]:
    numbers = [f"{figures[key]:.2f}" for key in ("precision", "recall", "f1")]
    return [name, "" if posts is None else str(posts), *numbers]


def _pictures(counts: Mapping[str, Any], posts: int) -> str:
    """What became of the pictures of a split."""
    if counts["policy"] == "none":
        return f"all {posts} posts were read as text, without pictures"
    parts = [f"{counts['with picture']} of {posts} posts were read with their picture"]
    for fault in ("missing", "broken"):
        if counts[f"picture {fault}"]:
            parts.append(f"{counts[f'picture {fault}']} as text, their picture being {fault}")
    if counts["no picture named"]:
        parts.append(f"{counts['no picture named']} as text, naming no picture")
    return "; ".join(parts)

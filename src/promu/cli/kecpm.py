"""`promu kecpm`: train a text-to-text model to write quintuples with background knowledge, and let it write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from promu.cli.console import note, print_json, print_table, progress_bar, progress_bars

app = App(name="kecpm", help="Joint extraction by a text-to-text model that reads background knowledge (KECPM).")


@app.command(name="train")
def train(
    recipe: str,
    /,
    *,
    overrides: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
    json: bool = False,
) -> None:
    """Train once for each seed of the recipe; the best epoch on dev is kept and tested once.

    Test is scored with decoding constrained by the grammar and without. Started again after it was stopped, it goes on
    where it was; finished, it only shows its figures.

    Args:
        recipe: A recipe file, or the name of one that comes with promu.
        overrides: Settings that win over the recipe's, as key=value, such as prompt.mode=text.
        json: Print JSON instead of tables.
    """
    from promu.quiet import quiet

    quiet()
    from promu.training.generation.recipe import GenerationRecipe
    from promu.training.generation.train import train_writers
    from promu.training.recipe_file import find_recipe, load_recipe

    settings = load_recipe(find_recipe(recipe), GenerationRecipe, overrides or ())
    with progress_bars() as progress:
        summary = train_writers(settings, progress)
    if json:
        print_json(summary)
        return
    rows = []
    for seed, run in summary["runs"].items():
        for split, name in (("dev", "dev"), ("test", "test"), ("test_unconstrained", "test, unconstrained")):
            figures = [run[split][key] for key in ("precision", "recall", "f1")]
            shown = [f"{figure:.2f}" for figure in (*figures, run[split]["macro_f1"]["present"])]
            rows.append([f"seed {seed}, {name}", *shown, f"{100 * run[split]['parsed']:.1f} %"])
        if run["unsaid_quintuples"]:
            note(f"seed {seed}: {run['unsaid_quintuples']} quintuples of train cannot be said in an answer")
    print_table("quintuples", ["", "precision", "recall", "F1", "macro F1", "parsed"], rows)
    for split, name in (("test", "test"), ("test_unconstrained", "test, unconstrained")):
        mean = summary[split]["f1"]
        spread = "" if mean["std"] is None else f" ± {mean['std']:.2f}"
        print(f"{name}: F1 {mean['mean']:.2f}{spread} over {mean['n']} seeds")
    print(f"models and predictions: {settings.out}/seed-*")


@app.command(name="predict")
def predict(
    model: Path,
    data: Path,
    /,
    *,
    predictions: Path,
    knowledge: Path | None = None,
    unconstrained: bool = False,
    beams: int | None = None,
    batch_size: int | None = None,
    json: bool = False,
) -> None:
    """Write the quintuples of posts, with the captions and the knowledge that their file carries.

    Args:
        model: The model folder of a run.
        data: A JMERE file; labels in it are not looked at.
        predictions: The file to write, JMERE too, for `promu score joint`.
        knowledge: Folder of what `promu knowledge generate` wrote, in place of what the file carries.
        unconstrained: Let the model write anything; what does not parse is counted and left out.
        beams: Beams, if other than in training.
        batch_size: Posts at once, if other than in training.
        json: Print JSON instead of a line.
    """
    from promu.quiet import quiet

    quiet()
    from promu.corpora.jmere import write_jmere
    from promu.errors import InputError
    from promu.training.generation.examples import read_described
    from promu.training.generation.train import load_writer

    for name, value in (("--beams", beams), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; at least 1 is needed")
    described = read_described(data, knowledge)
    writer = load_writer(model)
    changed = {name: value for name, value in (("beams", beams), ("batch_size", batch_size)) if value is not None}
    writer.decoding = writer.decoding.model_copy(update=changed)
    with progress_bar(f"reading {data.name}") as advance:
        answered, parsed = writer.answer(described.posts, writer.prompts(described), not unconstrained, advance)
    write_jmere(predictions, answered)
    found = sum(len(post.relations) for post in answered)
    if json:
        print_json({"posts": len(answered), "quintuples": found, "parsed": parsed, "predictions": str(predictions)})
        return
    print(f"{predictions}: {found} quintuples in {len(answered)} posts; {100 * parsed:.1f} % of the answers parse")

"""`promu kecpm`: train the joint text-to-text model, and write its quintuples."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from promu.cli.console import print_json, print_table, progress_bars
from promu.cli.train import Json, Overrides, RecipeName, format_figures
from promu.errors import counted

app = App(name="kecpm", help="Joint extraction by a text-to-text model that reads background knowledge (KECPM).")


@app.command(name="train")
def train(recipe: RecipeName, /, *, overrides: Overrides = None, json: Json = False) -> None:
    """Train once for each seed of the recipe; the best epoch on dev is kept and tested once.

    Test is scored with decoding constrained by the grammar and without. Started again after it was stopped, it goes on
    where it was; finished, it only shows its figures.
    """
    from promu.kecpm.train_kecpm import train_kecpm

    with progress_bars():
        summary = train_kecpm(recipe, overrides or ())
    if json:
        print_json(summary)
        return
    tests = {"test": "test", "test_unconstrained": "test, unconstrained"}
    rows = []
    for seed, run in summary["runs"].items():
        for split, name in {"dev": "dev", **tests}.items():
            scores = run[split]
            more = [f"{scores['macro_f1']['present']:.2f}", f"{100 * scores['parsed']:.1f} %"]
            rows.append([f"seed {seed}, {name}", *format_figures(scores), *more])
    print_table("quintuples", ["", "precision", "recall", "F1", "macro F1", "parsed"], rows)
    for split, name in tests.items():
        mean = summary[split]["f1"]
        spread = "" if mean["std"] is None else f" ± {mean['std']:.2f}"
        print(f"{name}: F1 {mean['mean']:.2f}{spread} over {counted(mean['n'], 'seed')}")


@app.command(name="predict")
def predict(
    model: Path,
    data: Path,
    /,
    *,
    out: Path,
    knowledge: Path | None = None,
    unconstrained: bool = False,
    beams: int | None = None,
    batch_size: int | None = None,
    json: Json = False,
) -> None:
    """Write the quintuples of posts, with the captions and the knowledge that their file carries.

    Args:
        model: The model folder of a run.
        data: A JMERE file; labels in it are not looked at.
        out: The file to write, JMERE too, for `promu score joint`.
        knowledge: Folder of what `promu knowledge generate` wrote, in place of what the file carries.
        unconstrained: Let the model write anything; what does not parse is counted and left out.
        beams: Beams, if other than in training.
        batch_size: Posts at once, if other than in training.
    """
    from promu.corpora.jmere import write_jmere
    from promu.files import refuse_overwriting
    from promu.kecpm.train_kecpm import predict_kecpm

    refuse_overwriting(out, data)
    with progress_bars():
        posts, parsed = predict_kecpm(model, data, knowledge, not unconstrained, beams, batch_size)
    write_jmere(out, posts)
    count = sum(len(post.relations) for post in posts)
    if json:
        shown = {"posts": len(posts), "quintuples": count, "parsed": parsed}
        print_json({**shown, "predictions": str(out)})
        return
    found = f"{counted(count, 'quintuple')} in {counted(len(posts), 'post')}"
    print(f"{out}: {found}; {100 * parsed:.1f} % of the answers parse")

"""`promu demo`: the whole method on the drawn corpus, or a first model of real posts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from promu.errors import InputError


def demo(
    *,
    out: Path | None = None,
    seed: int = 0,
    real: bool = False,
    overrides: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
    json: bool = False,
) -> None:
    """Run the whole method on the built-in drawn corpus and write a report; or make a first model for real posts.

    It draws a world of captioned images, trains a teacher, labels the images and pre-trains. Then it fine-tunes and
    tests three systems (text-only, from-scratch, promu), and extracts entities and relations from unseen posts.
    With --real it fetches the published sets Twitter-2015, Twitter-2017 and MNRE, trains one model for entities and
    relations (recipe real-posts), exports it in eight bits, and tries it on a few posts. Started again, both go on
    where they stopped.

    Args:
        out: Folder of the run: runs/demo, with report.html, report.json, model/ and corpus/; with --real runs/real,
            with run/ and model/.
        seed: Seed of the world, the teacher and the models.
        real: Train on published posts in place of drawn ones.
        overrides: With --real, settings that win over the recipe's, as key=value, such as training.epochs=4.
        json: Print JSON instead of a table.
    """
    if overrides and not real:
        raise InputError("--set changes the recipe of --real; the drawn demo is what it is")
    from promu.hub import quiet

    quiet()
    if real:
        _real(out or Path("runs/real"), seed, overrides or [], json)
    else:
        _drawn(out or Path("runs/demo"), seed, json)


def _drawn(out: Path, seed: int, json: bool) -> None:
    from promu.cli.console import note, print_json, print_table
    from promu.cli.reproduce import show_progress
    from promu.study.demo_study import run_demo

    if not (out / "report.json").exists():  # the last file of a run
        note("this takes about twelve minutes on two cores; stopped, the same command goes on where it was")
    with show_progress():
        data = run_demo(out, seed)
    files = {"model": str(out / "model"), "report": str(out / "report.html")}
    if json:
        systems = {system.name: {"ner": system.ner.f1, "re": system.re.f1} for system in data.systems}
        print_json({"seed": seed, "test_f1": systems, **files})
        return
    print_table(
        f"Test F1 on the drawn corpus, seed {seed}",
        ["system", "entities", "relations"],
        [(system.name, f"{system.ner.f1:.1f}", f"{system.re.f1:.1f}") for system in data.systems],
    )
    print(f"model:  {files['model']}\nreport: {files['report']}")
    print("next:   promu recipes lists recipes for posts of your own; the report says more")


def _real(out: Path, seed: int, overrides: list[str], json: bool) -> None:
    from promu.cli.console import note, print_json, print_table, progress_bars
    from promu.study.real_demo import described, run_real_demo

    note("this takes about half an hour on two cores; stopped, the same command goes on where it was")
    with progress_bars():
        done = run_real_demo(out, seed, overrides)
    posts = [described(one) for one in done.extractions]
    if json:
        print_json({"seed": seed, "test_f1": done.test_f1(), "model": str(done.model), "posts": posts})
        return
    rows = [(name, f"{f1:.1f}") for name, f1 in done.test_f1().items()]
    print_table(f"Test F1, text alone, seed {seed}", ["file", "F1"], rows)
    for post in posts:
        print(f"\n{post['text']}")
        print("  " + (", ".join(f"{text} {kind}" for text, kind in post["entities"].items()) or "no entities"))
        for triple in post["triples"]:
            print(f"  {triple}")
    print(f"\nmodel: {done.model}\ntry it: promu serve --model {done.model} --backend onnx")

"""`promu demo`: run the demo study and print its scores."""

from __future__ import annotations

from pathlib import Path


def demo(*, out: Path = Path("runs/demo"), seed: int = 0, json: bool = False) -> None:
    """Run the whole method on the built-in drawn corpus and write a report.

    It draws a world of captioned images, trains a teacher, labels the images and pre-trains. Then it fine-tunes and
    tests three systems (text-only, from-scratch, promu), and extracts entities and relations from unseen posts.
    Started again, it goes on where it stopped.

    Args:
        out: Folder of the run, with report.html, report.json, model/ and corpus/.
        seed: Seed of the world, the teacher and the models.
        json: Print JSON instead of a table.
    """
    from promu.cli.console import note, print_json, print_table
    from promu.cli.reproduce import show_progress
    from promu.hub import quiet
    from promu.study.demo_study import run_demo

    quiet()
    note("this takes about eleven minutes on two cores; stopped, the same command goes on where it was")
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

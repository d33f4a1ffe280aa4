"""`promu pretrain`, `finetune` and `label`: run a recipe and show what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from promu.cli.console import print_json, print_table, progress_bars
from promu.errors import counted

if TYPE_CHECKING:
    from promu.alignment.label_health import Agreement, LabelHealth, SideHealth

_SETTINGS = "Settings that win over the recipe's, as key=value, such as training.epochs=4."
RecipeName = Annotated[str, Parameter(help="A recipe file, or the name of one that comes with promu.")]
Overrides = Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True, help=_SETTINGS)]
Json = Annotated[bool, Parameter(help="Print JSON instead of lines and tables.")]


def _load(recipe: str, kind: str, overrides: list[str] | None) -> Any:
    """The recipe of this kind; the libraries that are loaded from here on say nothing of their own."""
    from promu.hub import quiet

    quiet()
    from promu.config import load_recipe
    from promu.training import recipe as kinds

    return load_recipe(recipe, getattr(kinds, kind), overrides or ())


def pretrain(recipe: RecipeName, /, *, overrides: Overrides = None, json: Json = False) -> None:
    """Pre-train the backbone: corpus, tokenizer, teacher, soft pseudo-labels, joint losses.

    Under torchrun (torchrun --nproc-per-node 2 -m promu.cli pretrain RECIPE) several processes train together. Started
    again after it was stopped, it goes on where it was; finished, it only shows its figures.
    """
    settings = _load(recipe, "PretrainRecipe", overrides)
    from promu.modeling.distributed import join_group, process_number
    from promu.training.pretrain import pretrain as run

    join_group()
    if process_number():  # the first process prints for all
        run(settings)
        return
    with progress_bars():
        result: Mapping[str, Any] = run(settings)
    model = Path(settings.out) / "model"
    if json:
        print_json({**result, "model": str(model)})
        return
    counts = ("pairs", "matched", "images", "nouns", "relations")
    print_table("caption pairs", ["", "count"], ((name, f"{result[name]:,}") for name in counts))
    last = result["last"]
    losses = {name: last[name] for name in ("loss", "itm", "cit", "coe", "cir", "mlm") if name in last}
    print_table(f"losses at step {last['step']}", ["", "loss"], ((name, f"{v:.4f}") for name, v in losses.items()))
    if result["dev"]:
        figures = {name.removeprefix("eval_"): v for name, v in result["dev"].items() if name.startswith("eval_")}
        print_table("on dev", ["", "figure"], ((name, f"{value:.3f}") for name, value in figures.items()))
    print(f"{result['seconds']:.0f} s\nmodel: {model}\nreport: {model.parent / 'report.html'}")


def finetune(recipe: RecipeName, /, *, overrides: Overrides = None, json: Json = False) -> None:
    """Fine-tune for entities, for relations, or for both at once; the best epoch on dev is chosen and tested once.

    Started again after it was stopped, it goes on where it was; finished, it only shows its figures.
    """
    settings = _load(recipe, "FinetuneRecipe", overrides)
    from promu.training.finetune import finetune as run

    with progress_bars():
        result: Mapping[str, Any] = run(settings)
    model = Path(settings.out) / "model"
    if json:
        print_json({**result, "model": str(model)})
        return
    of_tasks: Mapping[str, Mapping[str, Any]] = result.get("tasks") or {settings.task: result}
    for task, one in of_tasks.items():
        print_task(task, f"seed {result['seed']}, best dev epoch {result['best_epoch']:g}", one)
    if "tasks" in result:
        chosen = {"mean": "mean F1 of the tasks", "minimum": "lower F1 of the tasks"}
        figure = chosen.get(result["dev"]["is"], f"F1 of {result['dev']['is']}")
        print(f"one model; its epoch was chosen by the {figure} on dev, {result['dev']['f1']:.2f}")
    if "test" in result["scored"]:
        weights = result["scored"]["test"]
        print(f"test was scored with {'the chosen weights alone' if weights == 1 else f'{weights} different weights'}")
    print(f"{result['seconds']:.0f} s\nmodel: {model}")


def print_task(task: str, title: str, result: Mapping[str, Any]) -> None:
    """The figures of one task, of single files and groups too, and what of the gold and the images was not read."""
    row = "pair" if task == "re" else "post"  # of entities: a post has as many rows as pairs
    rows = []
    for split in filter(result.get, ("dev", "test")):
        rows.append([split, str(result["posts"][split]), *format_figures(result[split])])
        rows += [[f"{split}, {file}", "", *format_figures(one)] for file, one in result[split].get("files", {}).items()]
        for group, figures in result[split].get("per_group", {}).items():
            decides = " decides" if group in ("text", "image") else ""
            rows.append([f"{split}, {group}{decides}", "", *format_figures(figures)])
    print_table(f"{task}, {title}", ["", f"{row}s", "precision", "recall", "F1"], rows)
    from promu.tasks.reachable_gold import LongPosts

    for split, long in result["long_posts"].items():
        if long["posts"]:
            print(f"{split}: {LongPosts(**long).sentence()}")
    for split, counts in result["images"].items():
        print(f"{split}: {_images(counts, result['posts'][split], row)}")


def format_figures(scores: Mapping[str, Any]) -> list[str]:
    """Precision, recall and F1 as the cells of a row."""
    return [f"{scores[key]:.2f}" for key in ("precision", "recall", "f1")]


def _images(counts: Mapping[str, Any], rows: int, row: str) -> str:
    """What became of the images of a split."""
    if counts["policy"] == "none":
        return f"{counted(rows, f'{row} was', f'{row}s were')} read as text, without images"
    parts = [f"read with the image: {counts['with image']} of {counted(rows, row)}"]
    reasons = {"image missing": "the image being missing", "image broken": "the image being broken"}
    reasons["no image named"] = "naming no image"
    return "; ".join(parts + [f"{counts[kind]} as text, {reason}" for kind, reason in reasons.items() if counts[kind]])


def label(
    recipe: RecipeName,
    /,
    *,
    overrides: Overrides = None,
    shard: str = "0/1",
    show: int = 0,
    seed: int = 0,
    health: bool = False,
    json: Json = False,
) -> None:
    """Label the corpus of a pre-training recipe: each region with nouns, each image with relations.

    Started again after it was stopped, it goes on where it was. Several processes can share the work, each started
    with another --shard.

    Args:
        shard: I/N: this process labels every N-th image from the I-th on, I from 0 to N-1.
        show: How many images to draw with their regions and labels into OUT/labels.html.
        seed: Which images are drawn.
        health: Measure the labels and say which failure they look like, and what to turn.
    """
    share = parse_shard(shard)
    settings = _load(recipe, "PretrainRecipe", overrides)
    from promu.training.prepare import label_recipe

    with progress_bars():
        store, corpus = label_recipe(settings, shard=share)
    header = store.header
    facts: dict[str, Any] = {"store": str(store.folder), "images": corpus.images, "labelled": len(store)}
    facts |= {"nouns": len(header.nouns), "relations": len(header.relations)}
    if show > 0:
        from promu.report.label_report import write_label_page

        facts["page"] = str(Path(settings.out) / "labels.html")
        write_label_page(Path(facts["page"]), store, corpus, show, seed)
    measured = None
    if health:
        from promu.alignment.label_health import label_health
        from promu.alignment.synonyms import read_synonyms

        measured = label_health(store, corpus, read_synonyms(settings.labels.synonyms))
    if json:
        print_json(facts if measured is None else {**facts, "health": measured.to_dict()})
        return
    print(
        f"{len(store):,} of {counted(corpus.images, 'image')} with labels: {counted(len(header.nouns), 'noun')}, "
        f"{counted(len(header.relations), 'relation')}, temperature {header.temperature:.3g}"
    )
    if measured is not None:
        _print_health(measured)
    print(f"labels: {store.folder}")
    if "page" in facts:
        print(f"page: {facts['page']}")


def parse_shard(text: str) -> tuple[int, int]:
    """I/N to (I, N); raises `InputError` where it is something else, or I is not below N."""
    from promu.errors import InputError

    number, slash, processes = text.partition("/")
    if not (slash and number.isdecimal() and processes.isdecimal() and int(number) < int(processes)):
        raise InputError(f"--shard must be I/N with I from 0 to N-1, such as 0/2 and 1/2, found {text!r}")
    return int(number), int(processes)


def _print_health(health: LabelHealth) -> None:
    sides = {"regions' nouns": health.entities, "images' relations": health.relations}
    known = {name: side for name, side in sides.items() if side is not None}
    rows = [[name, *(figure(side) for side in known.values())] for name, figure in _HEALTH.items()]
    print_table("health of the labels", ["", *known], rows)
    if health.captions is not None:
        print(f"a caption names {_agreement(health.captions)}")
    if health.detector is not None:
        mixed = f"; it is mixed into the labels at {health.detector_weight:g}" if health.detector_weight else ""
        print(f"the detector's category is named by {_agreement(health.detector)}{mixed}")
    print(f"with a region: {health.images - health.without_regions:,} of {counted(health.images, 'image')}")
    for finding in health.findings:
        print(f"finding: {finding}")
    if health.healthy:
        print("the labels look healthy")


def _agreement(agreement: Agreement) -> str:
    return (
        f"the first noun of {agreement.top1:.1%} of regions (by chance {agreement.chance1:.1%}), "
        f"one of the first five of {agreement.top5:.1%} (by chance {agreement.chance5:.1%})"
    )


_HEALTH: dict[str, Callable[[SideHealth], str]] = {
    "labels": lambda side: f"{side.labels:,}",
    "candidates": lambda side: f"{side.candidates}",
    "entropy, nats": lambda side: f"{side.entropy:.2f}",
    "of its largest value": lambda side: f"{side.entropy_share:.0%}",
    "first candidate's probability": lambda side: f"{side.top_probability:.2f}",
    "information gain, of maximum": lambda side: f"{side.information_gain:.0%}",
    "candidates in use, by weight": lambda side: f"{side.effective:.0f}",
    "never first": lambda side: f"{len(side.never)}",
    "often first": lambda side: f"{len(side.often)}",
    "most often first": lambda side: "{} ({:.0%})".format(*side.top[0]),
}

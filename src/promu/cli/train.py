"""`promu pretrain` and `promu finetune`: run a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from promu.cli.console import print_json, print_table, progress_bars

if TYPE_CHECKING:
    from promu.alignment.label_health import Agreement, LabelHealth, SideHealth

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
    from promu.hub import quiet

    quiet()
    from promu.config import load_recipe
    from promu.modeling.distributed import join_group, process_number
    from promu.training.pretrain import pretrain as run
    from promu.training.recipe import PretrainRecipe

    settings = load_recipe(recipe, PretrainRecipe, overrides or ())
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
    print_table("caption pairs", ["", "count"], ((name, f"{result[name]:,}") for name in _COUNTS))
    last = result["last"]
    losses = {name: last[name] for name in ("loss", "itm", "cit", "coe", "cir", "mlm") if name in last}
    print_table(f"losses at step {last['step']}", ["", "loss"], ((name, f"{v:.4f}") for name, v in losses.items()))
    if result["dev"]:
        figures = {name.removeprefix("eval_"): v for name, v in result["dev"].items() if name.startswith("eval_")}
        print_table("on dev", ["", "figure"], ((name, f"{value:.3f}") for name, value in figures.items()))
    print(f"{result['seconds']:.0f} s\nmodel: {model}\nreport: {model.parent / 'report.html'}")


def finetune(recipe: str, /, *, overrides: Overrides = None, json: bool = False) -> None:
    """Fine-tune for entities, for relations, or for both at once; the best epoch on dev is chosen and tested once.

    Started again after it was stopped, it goes on where it was; finished, it only shows its figures.

    Args:
        recipe: A recipe file, or the name of one that comes with promu.
        overrides: Settings that win over the recipe's, as key=value, such as training.lr=1e-4.
        json: Print JSON instead of a table.
    """
    from promu.hub import quiet

    quiet()
    from promu.config import load_recipe
    from promu.training.finetune import finetune as run
    from promu.training.recipe import FinetuneRecipe

    settings = load_recipe(recipe, FinetuneRecipe, overrides or ())
    with progress_bars():
        result: Mapping[str, Any] = run(settings)
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
    for split, counts in result["images"].items():
        print(f"{split}: {_images(counts, result['posts'][split])}")
    if "test" in result:
        weights = result["scored"]["test"]
        print(
            "test was scored with the chosen weights alone"
            if weights == 1
            else f"test was scored with {weights} different weights"
        )
    print(f"{result['seconds']:.0f} s\nmodel: {model}")


_COUNTS = ("pairs", "matched", "images", "nouns", "relations")
_DECIDERS = ("text", "image")


def _row(name: str, posts: int | None, figures: Mapping[str, Any]) -> list[str]:
    numbers = [f"{figures[key]:.2f}" for key in ("precision", "recall", "f1")]
    return [name, "" if posts is None else str(posts), *numbers]


def _images(counts: Mapping[str, Any], posts: int) -> str:
    """What became of the images of a split."""
    if counts["policy"] == "none":
        return f"all {posts} posts were read as text, without images"
    parts = [f"{counts['with image']} of {posts} posts were read with their image"]
    for fault in ("missing", "broken"):
        if counts[f"image {fault}"]:
            parts.append(f"{counts[f'image {fault}']} as text, their image being {fault}")
    if counts["no image named"]:
        parts.append(f"{counts['no image named']} as text, naming no image")
    return "; ".join(parts)


def label(
    recipe: str,
    /,
    *,
    overrides: Overrides = None,
    shard: str = "0/1",
    show: int = 0,
    seed: int = 0,
    health: bool = False,
    json: bool = False,
) -> None:
    """Label the corpus of a pre-training recipe: each region with nouns, each image with relations.

    Started again after it was stopped, it goes on where it was. Several processes can share the work, each started
    with another --shard.

    Args:
        recipe: A recipe file, or the name of one that comes with promu.
        overrides: Settings that win over the recipe's, as key=value, such as labels.temperature=0.05.
        shard: I/N: this process labels every N-th image from the I-th on, I from 0 to N-1.
        show: How many images to draw with their regions and labels into OUT/labels.html.
        seed: Which images are drawn.
        health: Measure the labels and say which failure they look like, and what to turn.
        json: Print JSON instead of lines and tables.
    """
    from promu.hub import quiet

    number, processes = parse_shard(shard)
    quiet()
    from promu.config import load_recipe
    from promu.training.prepare import label_recipe
    from promu.training.recipe import PretrainRecipe

    settings = load_recipe(recipe, PretrainRecipe, overrides or ())
    with progress_bars():
        store, corpus = label_recipe(settings, shard=(number, processes))
    page = None
    if show > 0:
        from promu.report.label_report import write_label_page

        page = Path(settings.out) / "labels.html"
        write_label_page(page, store, corpus, show, seed)
    measured = None
    if health:
        from promu.alignment.label_health import label_health
        from promu.alignment.synonyms import read_synonyms

        measured = label_health(store, corpus, read_synonyms(settings.labels.synonyms))
    if json:
        print_json(
            {
                "store": str(store.folder),
                "images": corpus.images,
                "labelled": len(store),
                "nouns": len(store.header.nouns),
                "relations": len(store.header.relations),
                **({} if page is None else {"page": str(page)}),
                **({} if measured is None else {"health": measured.to_dict()}),
            }
        )
        return
    print(
        f"{len(store):,} of {corpus.images:,} images have labels: {len(store.header.nouns)} nouns, "
        f"{len(store.header.relations)} relations, temperature {store.header.temperature:.3g}"
    )
    if measured is not None:
        _print_health(measured)
    print(f"labels: {store.folder}")
    if page is not None:
        print(f"page: {page}")


def parse_shard(text: str) -> tuple[int, int]:
    """I/N to (I, N).

    Raises:
        InputError: It is something else, or I is not below N.
    """
    from promu.errors import InputError

    number, slash, processes = text.partition("/")
    if not (slash and number.isdecimal() and processes.isdecimal() and int(number) < int(processes)):
        raise InputError(f"--shard must be I/N with I from 0 to N-1, such as 0/2 and 1/2, found {text!r}")
    return int(number), int(processes)


def _print_health(health: LabelHealth) -> None:
    sides = [("regions' nouns", health.entities), ("images' relations", health.relations)]
    known = [(name, side) for name, side in sides if side is not None]
    names = ["labels", "candidates", "entropy, nats", "of its largest value", "first candidate's probability"]
    names += ["information gain, of maximum", "candidates in use, by weight"]
    names += ["never first", "often first", "most often first"]
    columns = [_column(side) for _, side in known]
    rows = [[name, *(column[row] for column in columns)] for row, name in enumerate(names)]
    print_table("health of the labels", ["", *(name for name, _ in known)], rows)
    if health.captions is not None:
        print(f"a caption names {_agreement(health.captions)}")
    if health.detector is not None:
        mixed = f"; it is mixed into the labels at {health.detector_weight:g}" if health.detector_weight else ""
        print(f"the detector's category is named by {_agreement(health.detector)}{mixed}")
    print(f"{health.images - health.without_regions:,} of {health.images:,} images have a region")
    for finding in health.findings:
        print(f"finding: {finding}")
    if health.healthy:
        print("the labels look healthy")


def _agreement(agreement: Agreement) -> str:
    return (
        f"the first noun of {agreement.top1:.1%} of regions (by chance {agreement.chance1:.1%}), "
        f"one of the first five of {agreement.top5:.1%} (by chance {agreement.chance5:.1%})"
    )


def _column(side: SideHealth) -> list[str]:
    name, share = side.top[0]
    return [
        f"{side.labels:,}",
        f"{side.candidates}",
        f"{side.entropy:.2f}",
        f"{side.entropy_share:.0%}",
        f"{side.top_probability:.2f}",
        f"{side.information_gain:.0%}",
        f"{side.effective:.0f}",
        f"{len(side.never)}",
        f"{len(side.often)}",
        f"{name} ({share:.0%})",
    ]


app = App(name="kecpm", help="Joint extraction by a text-to-text model that reads background knowledge (KECPM).")


@app.command(name="train")
def train(recipe: str, /, *, overrides: Overrides = None, json: bool = False) -> None:
    """Train once for each seed of the recipe; the best epoch on dev is kept and tested once.

    Test is scored with decoding constrained by the grammar and without. Started again after it was stopped, it goes on
    where it was; finished, it only shows its figures.

    Args:
        recipe: A recipe file, or the name of one that comes with promu.
        overrides: Settings that win over the recipe's, as key=value, such as prompt.mode=text.
        json: Print JSON instead of tables.
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
            figures = [run[split][key] for key in ("precision", "recall", "f1")]
            shown = [f"{figure:.2f}" for figure in (*figures, run[split]["macro_f1"]["present"])]
            rows.append([f"seed {seed}, {name}", *shown, f"{100 * run[split]['parsed']:.1f} %"])
    print_table("quintuples", ["", "precision", "recall", "F1", "macro F1", "parsed"], rows)
    for split, name in tests.items():
        mean = summary[split]["f1"]
        spread = "" if mean["std"] is None else f" ± {mean['std']:.2f}"
        print(f"{name}: F1 {mean['mean']:.2f}{spread} over {mean['n']} seeds")


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
    from promu.corpora.jmere import write_jmere
    from promu.kecpm.train_kecpm import predict_kecpm

    with progress_bars():
        posts, parsed = predict_kecpm(model, data, knowledge, not unconstrained, beams, batch_size)
    write_jmere(predictions, posts)
    count = sum(len(post.relations) for post in posts)
    if json:
        shown = {"posts": len(posts), "quintuples": count, "parsed": parsed}
        print_json({**shown, "predictions": str(predictions)})
        return
    print(f"{predictions}: {count} quintuples in {len(posts)} posts; {100 * parsed:.1f} % of the answers parse")

"""`promu label`: the teacher's soft pseudo-labels, and whether they are any good."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from promu.cli.console import print_json, print_table, progress_bars

if TYPE_CHECKING:
    from promu.alignment.label_figures import Agreement, SideHealth
    from promu.alignment.label_health import LabelHealth

Overrides = Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)]


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
    """Label the corpus of a pre-training recipe: each region with nouns, each picture with relations.

    Started again after it was stopped, it goes on where it was. Several processes can share the work, each started
    with another --shard.

    Args:
        recipe: A recipe file, or the name of one that comes with promu.
        overrides: Settings that win over the recipe's, as key=value, such as labels.temperature=0.05.
        shard: I/N: this process labels every N-th picture from the I-th on, I from 0 to N-1.
        show: How many pictures to draw with their regions and labels into OUT/labels.html.
        seed: Which pictures are drawn.
        health: Measure the labels and say which failure they look like, and what to turn.
        json: Print JSON instead of lines and tables.
    """
    from promu.quiet import quiet

    number, processes = parse_shard(shard)
    quiet()
    from promu.training.preparation import label_recipe
    from promu.training.recipe import PretrainRecipe
    from promu.training.recipe_file import find_recipe, load_recipe

    settings = load_recipe(find_recipe(recipe), PretrainRecipe, overrides or ())
    with progress_bars() as progress:
        store, corpus = label_recipe(settings, progress, (number, processes))
    page = None
    if show > 0:
        from promu.analysis.label_page import write_label_page

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
                "pictures": corpus.pictures,
                "labelled": len(store),
                "nouns": len(store.header.nouns),
                "relations": len(store.header.relations),
                **({} if page is None else {"page": str(page)}),
                **({} if measured is None else {"health": measured.to_dict()}),
            }
        )
        return
    print(
        f"{len(store):,} of {corpus.pictures:,} pictures have labels: {len(store.header.nouns)} nouns, "
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
    sides = [("regions' nouns", health.entities), ("pictures' relations", health.relations)]
    known = [(name, side) for name, side in sides if side is not None]
    names = ["labels", "candidates", "entropy, nats", "of its largest value", "first candidate's probability"]
    names += [
        "told by a label, of what it could",
        "candidates in use, by weight",
        "never first",
        "often first",
        "most often first",
    ]
    columns = [_column(side) for _, side in known]
    rows = [[name, *(column[row] for column in columns)] for row, name in enumerate(names)]
    print_table("health of the labels", ["", *(name for name, _ in known)], rows)
    if health.captions is not None:
        print(f"a caption says {_agreement(health.captions)}")
    if health.detector is not None:
        own = f"; it speaks in the labels at {health.detector_weight:g}" if health.detector_weight else ""
        print(f"the detector's word is {_agreement(health.detector)}{own}")
    print(f"{health.pictures - health.without_regions:,} of {health.pictures:,} pictures have a region")
    for finding in health.findings:
        print(f"finding: {finding}")
    if health.healthy:
        print("the labels look healthy")


def _agreement(found: Agreement) -> str:
    return (
        f"the first noun of {found.top1:.1%} of regions (by chance {found.chance1:.1%}), one of the first five of "
        f"{found.top5:.1%} (by chance {found.chance5:.1%})"
    )


def _column(side: SideHealth) -> list[str]:
    name, share = side.top[0]
    return [
        f"{side.labels:,}",
        f"{side.candidates}",
        f"{side.entropy:.2f}",
        f"{side.entropy_share:.0%}",
        f"{side.top_probability:.2f}",
        f"{side.information:.0%}",
        f"{side.effective:.0f}",
        f"{len(side.never)}",
        f"{len(side.often)}",
        f"{name} ({share:.0%})",
    ]

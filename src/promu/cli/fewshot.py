"""`promu fewshot`: small training and dev sets for joint extraction, drawn from labelled posts or drawn as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from promu.cli.console import note, print_json, print_table, progress_bar

if TYPE_CHECKING:
    from promu.corpora.fewshot import Fit

app = App(
    name="fewshot", help="Joint few-shot sets: sample them from labelled posts, or draw them in the built-in world."
)


@app.command(name="sample")
def sample(
    data: Path,
    out: Path,
    /,
    *,
    format: Literal["jmere", "mnre", "posts"] = "jmere",
    train: int = 250,
    dev: int = 250,
    seed: int = 17,
    relations: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    json: bool = False,
) -> None:
    """Draw a training and a dev set with the relation distribution of a whole set, every relation present.

    No text is in both. Pairs of an MNRE file are grouped into posts, `None` left out. What is written, `train.json` and
    `val.json` in the folder, are JMERE files, with captions and knowledge where the whole set has them.

    Args:
        data: The whole set.
        out: The folder to make.
        format: Of the whole set.
        train: Posts to train on.
        dev: Posts to choose by; 0 draws none.
        seed: Of the choice.
        relations: Relations that must be there; those of the whole set if not given.
        json: Print JSON instead of a table.
    """
    from promu.corpora.fewshot import sample_few_shot, write_few_shot
    from promu.corpora.joint import read_joint

    joint = read_joint(data, format)
    sets = sample_few_shot(joint.posts, train, dev, seed, relations)
    files = write_few_shot(out, joint, sets)
    if json:
        print_json(
            {
                "seed": seed,
                "whole": {"posts": len(joint.posts), **joint.left_out()},
                "texts_drawn_already": sets.repeats,
                "sets": {split: {"path": str(files[split]), **fit.to_dict()} for split, fit in sets.fits.items()},
            }
        )
        return
    for what, count in joint.left_out().items():
        note(f"{count:,} {what}")
    print_table(
        f"relations in {len(joint.posts):,} posts, and in those drawn (seed {seed})",
        ["", "whole", "share", *(column for split in sets.fits for column in (split, "share"))],
        _rows(sets.fits),
    )
    for split, fit in sets.fits.items():
        print(f"{files[split]}: {fit.posts} posts, Jensen-Shannon divergence {fit.divergence:.4f} bits")
        if fit.absent:
            note(f"{split} lacks {', '.join(fit.absent)}: too few texts have it for both sets")


@app.command(name="draw")
def draw(
    out: Path,
    /,
    *,
    seed: int = 0,
    size: int = 48,
    posts: tuple[int, int, int] = (500, 250, 500),
    undecided: float = 0.6,
    known: float = 0.6,
    relation_phrase: float = 0.3,
    noise: float = 8.0,
    json: bool = False,
) -> None:
    """Draw a joint set in the built-in world: quintuples, pictures, captions, and knowledge from the world's own facts.

    Args:
        out: The folder to make: train.json, val.json, test.json (JMERE), images, regions.json, groups.json.
        seed: Of names, scenes, texts, pictures.
        size: Width and height of a picture in pixels.
        posts: Posts of train, dev and test.
        undecided: Share of posts whose text decides neither types nor relation.
        known: Share of posts whose knowledge tells the relation.
        relation_phrase: Share of captions that tell the relation.
        noise: Standard deviation of the pixel noise, of 255.
        json: Print JSON instead of lines.
    """
    from promu.corpora.newsreel.joint import JointSettings, write_joint

    settings = JointSettings(seed, size, posts, undecided, known, relation_phrase, noise)
    with progress_bar("drawing") as advance:
        counts = write_joint(out, settings, advance)
    if json:
        print_json({"path": str(out), "counts": counts})
        return
    print(f"{out}: drawn, seed {seed}")
    for name, count in counts.items():
        print(f"  {name:<26}  {count:>6,}")


@app.command(name="pipeline")
def pipeline(train: Path, dev: Path, test: Path, out: Path, /, *, json: bool = False) -> None:
    """Write a joint set as CoNLL and MNRE files, so that a pipeline of two models learns from the same posts.

    Each quintuple becomes a pair of MNRE's; every other pair of a post's entities, either way round, is `None`.

    Args:
        train: JMERE file to train on.
        dev: JMERE file to choose by.
        test: JMERE file to test on.
        out: The folder to make: ner/train.txt, valid.txt, test.txt and re/mnre_train.txt, mnre_val.txt, mnre_test.txt.
        json: Print JSON instead of a table.
    """
    from promu.corpora.pipeline import write_pipeline_sets

    counts = write_pipeline_sets({"train": train, "valid": dev, "test": test}, out)
    if json:
        print_json({"path": str(out), "sets": counts})
        return
    columns = ["posts", "entities", "relations", "none_pairs"]
    rows = ([split, *(f"{found[name]:,}" for name in columns)] for split, found in counts.items())
    print_table(str(out), ["", "posts", "entities", "pairs", "None pairs"], rows)
    for split, found in counts.items():
        if found["overlapping_entities"]:
            note(f"{split}: {found['overlapping_entities']} entities overlap others and are not in the CoNLL file")


def _rows(fits: Mapping[str, Fit]) -> Iterator[list[str]]:
    whole = next(iter(fits.values())).whole
    columns = [whole, *(fit.relations for fit in fits.values())]
    sums = [sum(column.values()) for column in columns]
    for name in whole:
        yield [
            name,
            *(
                cell
                for column, total in zip(columns, sums, strict=True)
                for cell in (f"{column.get(name, 0):,}", f"{100 * column.get(name, 0) / total:.1f} %")
            ),
        ]

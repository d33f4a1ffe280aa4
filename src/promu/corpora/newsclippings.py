"""NewsCLIPpings as it is released: annotations that pair captions and images of VisualNews, some of them falsified.

Luo et al., "NewsCLIPpings: Automatic Generation of Out-of-Context Multimodal Media", EMNLP 2021; Liu et al., "Visual
News: Benchmark and Challenges in News Image Captioning", EMNLP 2021. The two are laid out as

    news_clippings/data/merged_balanced/{train,val,test}.json    {"annotations": [{"id", "image_id", "falsified", ...}]}
    news_clippings/data/{person_sbert_text_text,scene_resnet_place,semantics_clip_text_image,semantics_clip_text_text}/
    visual_news/origin/data.json                                  [{"id", "caption", "image_path", "source", ...}]
    visual_news/origin/{bbc,guardian,usa_today,washington_post}/images/0012/345.jpg

`id` names the entry whose caption it is, `image_id` the one whose image; images are named from `origin/` on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import StrictBool

from promu.corpora.fields import Caption, Id, ImagePath, Record, read_record
from promu.errors import InputError, Problems
from promu.files import absent, json_list, read_bytes, read_json_document, read_text, shorten
from promu.schema import CaptionPair

BASE = "data.json"
BASES = ("visual_news/origin", "visualnews/origin", "VisualNews/origin", "origin")
"""Where VisualNews lies in a folder above the annotations, by the names in use."""
TRAIN = "train.json"
SEVERAL = "pair of several subsets"


class _Entry(Record, extra="ignore"):
    id: Id
    caption: Caption
    image_path: ImagePath


class _Annotation(Record, extra="ignore"):
    id: Id
    image_id: Id
    falsified: StrictBool


def read_newsclippings(
    path: str | Path, problems: list[InputError] | None = None, *, base: str | Path | None = None
) -> list[CaptionPair]:
    """Read annotations as caption pairs; `matched` is the opposite of `falsified`.

    What is counted as a problem has a kind: "unknown id" (the base lacks it), "doubled id" (the base has it twice; the
    first counts), "doubled pair" (the same caption and image again in one file), "pair of several subsets" (in another
    file; it is read once and never raised), "true and falsified" (a pair that is called both; the first counts).

    Args:
        path: An annotation file; or a folder, of which every `train.json` is read: that of one subset
            (`merged_balanced`), or of all of them.
        problems: As of every reader (`promu.corpora`), for what is wrong with one annotation or entry.
        base: The VisualNews base; None takes `data.json` beside the annotations, or looks for it (`find_base`).

    Raises:
        InputError: There is no base or no annotation; a file is broken JSON; and as every reader.

    Example:
        ```python
        import json
        from pathlib import Path
        from promu.corpora.newsclippings import read_newsclippings

        entries = [{"id": 7, "caption": "A flood.", "image_path": "./bbc/images/0000/007.jpg"}]
        Path("data.json").write_text(json.dumps(entries))
        Path("val.json").write_text('{"annotations": [{"id": 7, "image_id": 7, "falsified": false}]}')
        assert read_newsclippings("val.json")[0].image == "bbc/images/0000/007.jpg"
        ```
    """
    path = Path(path)
    files = annotation_files(path)
    found: list[InputError] = Problems() if problems is None else problems
    annotations = [(file, *numbered) for file in files for numbered in _annotations(file, found)]
    base = find_base(path, None if base is None else Path(base))
    entries = _read_base(base, found, {key for *_, one in annotations for key in (one.id, one.image_id)})
    pairs: list[CaptionPair] = []
    seen: dict[tuple[str, str], tuple[Path, int, bool]] = {}
    for file, number, annotation in annotations:
        try:
            pair = _pair(annotation, number, entries)
            here = (file, number, annotation.falsified)
            if (earlier := seen.setdefault((annotation.id, annotation.image_id), here)) != here:
                raise _again(annotation, here, earlier)
            pairs.append(pair)
        except InputError as error:
            found.append(error.at(file, 1))  # the position names the record: these files are a single line
    if isinstance(found, Problems) and problems is None:
        for sentence in found.sentences():
            if sentence.kind != SEVERAL:
                raise sentence
    return pairs


def _pair(annotation: _Annotation, number: int, entries: dict[str, _Entry]) -> CaptionPair:
    for key in (annotation.id, annotation.image_id):
        if key not in entries:
            reason = f"annotation {number} names {shorten(key)}, which the VisualNews base does not have"
            raise InputError(reason, kind="unknown id")
    image = entries[annotation.image_id].image_path
    return CaptionPair(image, entries[annotation.id].caption, not annotation.falsified)


def _again(annotation: _Annotation, here: tuple[Path, int, bool], earlier: tuple[Path, int, bool]) -> InputError:
    """What is wrong with a pair that an earlier annotation has: (file, position, falsified) of both."""
    same_file = here[0] == earlier[0]
    where = f"annotation {earlier[1]}" if same_file else f"annotation {earlier[1]} of {earlier[0]}"
    what = f"annotation {here[1]} pairs caption {annotation.id} with image {annotation.image_id} as {where} does"
    if here[2] != earlier[2]:
        return InputError(f"{what}, and only one of them calls it falsified; keep one", kind="true and falsified")
    return InputError(f"{what}; keep one", kind="doubled pair" if same_file else SEVERAL)


def annotation_files(path: Path) -> list[Path]:
    """The annotation file, or of a folder every `train.json` in it, in the order of the subsets' names.

    Raises:
        InputError: There is nothing of that name, or no such file in the folder.
    """
    if not path.exists():
        raise absent(path)
    if not path.is_dir():
        return [path]
    files = sorted(path.rglob(TRAIN))
    if not files:
        raise InputError(f"no {TRAIN} of NewsCLIPpings in this folder; name a subset such as merged_balanced", path)
    return files


def is_newsclippings(path: Path) -> bool:
    """Whether a file holds annotations, or a folder has such a file of its own or of its subfolders."""
    if path.is_dir():
        return any(is_newsclippings(file) for file in (*path.glob(TRAIN), *path.glob(f"*/{TRAIN}")))
    return path.suffix == ".json" and b'"annotations"' in read_bytes(path)[:10_000]


def find_base(path: Path, named: Path | None = None) -> Path:
    """The VisualNews base of annotations at `path`: `data.json` beside them, or in one of `BASES` in a folder above.

    Args:
        path: The annotations, a file or a folder.
        named: The base, if it is known where it should be.

    Raises:
        InputError: It is not there.
    """
    if named is not None:
        places = [named]
    else:
        path = path.absolute()
        beside = (path if path.is_dir() else path.parent) / BASE
        places = [beside, *(parent / folder / BASE for parent in path.parents[:6] for folder in BASES)]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"the VisualNews base is missing; put it beside the annotations or name it, or put visual_news/origin/{BASE} "
        "into a folder above them",
        places[0],
    )


def _annotations(path: Path, problems: list[InputError]) -> Iterator[tuple[int, _Annotation]]:
    """(position in the list, annotation) of a file."""
    document = read_json_document(path)
    listed = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise InputError(f'{{"annotations": [...]}} is expected, found {shorten(document)}', path)
    if not listed:
        raise InputError("the file holds no annotations; is this the right file?", path)
    for number, item in enumerate(listed):
        try:
            yield number, read_record(_Annotation, item, f"annotation {number}", within=True)
        except InputError as error:
            problems.append(error.at(path, 1))


def _read_base(path: Path, problems: list[InputError], wanted: set[str]) -> dict[str, _Entry]:
    """The entries that are asked for, of more than a million: the others are neither checked nor kept in memory.

    A base that breaks off raises in any case: half of one would look like a set with few usable pairs.
    """
    text = read_text(path)
    if not text.lstrip().startswith("["):
        raise InputError("the VisualNews base must be a JSON list", path)
    entries: dict[str, _Entry] = {}
    first: dict[str, int] = {}
    for line, item in json_list(path, text, None):
        assert item is not None
        number, raw = item
        if isinstance(raw, dict) and "id" in raw and str(raw["id"]) not in wanted:
            continue
        try:
            entry = read_record(_Entry, raw, f"base entry {number}", within=True)
            if (earlier := first.setdefault(entry.id, number)) != number:
                what = f"base entry {number} has the id {entry.id} of base entry {earlier}"
                raise InputError(f"{what}, which counts; take one of them away", kind="doubled id")
            entries[entry.id] = entry
        except InputError as error:
            problems.append(error.at(path, line))
    return entries

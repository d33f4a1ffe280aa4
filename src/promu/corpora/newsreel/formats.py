"""The published formats that a drawn corpus is written in: CoNLL with IMGID, MNRE lines, COCO instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promu.corpora.newsreel.lexicon import World
from promu.corpora.newsreel.pictures import DrawnThing
from promu.corpora.newsreel.posts import WrittenPost


def conll(name: str, post: WrittenPost) -> str:
    """One post in CoNLL form: an IMGID line, a line a word, a blank line."""
    tags = ["O"] * len(post.tokens)
    for mention in post.mentions:
        tags[mention.start : mention.end] = [f"B-{mention.type}"] + [f"I-{mention.type}"] * (
            mention.end - mention.start - 1
        )
    lines = [f"{word}\t{tag}\n" for word, tag in zip(post.tokens, tags, strict=True)]
    return f"IMGID:{name}\n{''.join(lines)}\n"


def mnre_line(name: str, post: WrittenPost) -> str:
    """One post as an MNRE line: a Python literal, `pos` end exclusive."""
    head, tail = post.mentions
    row: dict[str, Any] = {
        "token": list(post.tokens),
        "h": {"name": " ".join(post.tokens[head.start : head.end]), "pos": [head.start, head.end]},
        "t": {"name": " ".join(post.tokens[tail.start : tail.end]), "pos": [tail.start, tail.end]},
        "img_id": f"{name}.jpg",
        "relation": post.relation,
    }
    return f"{row!r}\n"


def coco(files: Sequence[str], things: Sequence[Sequence[DrawnThing]], size: int, world: World) -> dict[str, Any]:
    """Gold boxes in the form of COCO instances."""
    category = {kind.name: number for number, kind in enumerate(world.kinds, start=1)}
    annotations: list[dict[str, Any]] = []
    for image, drawn in enumerate(things, start=1):
        for thing in drawn:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category[thing.kind],
                    "bbox": list(thing.box),
                    "area": thing.box[2] * thing.box[3],
                    "iscrowd": 0,
                }
            )
    return {
        "images": [
            {"id": number, "file_name": file, "width": size, "height": size}
            for number, file in enumerate(files, start=1)
        ],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": kind.name, "supercategory": kind.type}
            for number, kind in enumerate(world.kinds, start=1)
        ],
    }

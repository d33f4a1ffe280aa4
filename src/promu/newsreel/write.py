"""Writes a drawn corpus in the published formats: caption CSV, CoNLL with IMGID, MNRE lines, COCO regions."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from promu.errors import InputError
from promu.files import checksum, new_folder
from promu.newsreel.corpus_settings import NewsreelSettings
from promu.newsreel.drawing import DrawnThing, draw_scene
from promu.newsreel.lexicon import World, generator
from promu.newsreel.news import WORLD
from promu.newsreel.scenes import Scene, SceneMaker
from promu.newsreel.texts import PostWriter, WrittenPost, falsify, name_pools, ner_ceiling, re_ceiling, write_caption
from promu.progress import report


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


FORMAT = 3
"""Version of the drawing; raised whenever the same settings would give other bytes."""

CARD = "newsreel.json"
CEILING_POSTS = 4000
"""Posts that the text-only reader of `ceiling` has read before the test."""

SPLITS = ("train", "dev", "test")
NER_FILES = ("train.txt", "valid.txt", "test.txt")
RE_FILES = ("mnre_train.txt", "mnre_val.txt", "mnre_test.txt")


@dataclass(frozen=True)
class NewsreelReport:
    """What was written.

    Attributes:
        path: The corpus folder.
        counts: Number of pairs, falsified pairs, and posts of each file, in all and undecided.
        ner_ceiling: Best entity micro-F1 (0-100) on the test posts for a reader of the text alone.
        re_ceiling: Best relation micro-F1 (0-100, `None` left out) for the same reader.
        reused: Whether the folder already held this very corpus.
    """

    path: Path
    counts: dict[str, int]
    ner_ceiling: float
    re_ceiling: float
    reused: bool = False


def write_newsreel(out: Path, settings: NewsreelSettings | None = None, world: World = WORLD) -> NewsreelReport:
    """Draws a corpus into the folder `out`.

    The whole corpus is built in a temporary folder beside `out` and renamed at the end, so `out` is never half-written.

    Args:
        out: The folder to make. If it already holds the corpus of the same settings, that is reused.
        settings: What to draw; the defaults if None.
        world: The things and words to draw from.

    Raises:
        InputError: `out` is a file, or a folder with something else in it, or cannot be made.
    """
    out = Path(out)
    settings = settings or NewsreelSettings()
    found = _already_there(out, settings, world)
    if found is not None:
        return found
    with new_folder(out) as building:
        drawn = _Writer(building, settings, world).write()
    return NewsreelReport(out, drawn.counts, drawn.ner_ceiling, drawn.re_ceiling)


def _already_there(out: Path, settings: NewsreelSettings, world: World) -> NewsreelReport | None:
    """The report of the same corpus in `out`; None if `out` is free.

    Raises:
        InputError: `out` is taken by something else.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise InputError("is a file, but the drawn corpus needs a folder; name another", out)
    if not any(out.iterdir()):
        return None
    remedy = "name another folder or remove this one first"
    try:
        card = json.loads((out / CARD).read_text(encoding="utf-8"))
        same = card["format"] == FORMAT and card["settings"] == settings.to_dict()
        same = same and card.get("world", WORLD.name) == world.name
        report = NewsreelReport(out, card["counts"], card["ceiling"]["ner"], card["ceiling"]["re"], reused=True)
        sums = dict(card["sha256"])
    except FileNotFoundError:
        raise InputError(f"the folder is not empty and holds no drawn corpus; {remedy}", out) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{CARD} in it is not readable as the card of a drawn corpus; {remedy}", out) from None
    if not same:
        raise InputError(f"the folder holds a drawn corpus of other settings (see its {CARD}); {remedy}", out)
    for name, expected in sums.items():
        file = out / name
        if not file.is_file() or checksum(file) != expected:
            raise InputError(f"is missing or was changed since the corpus was drawn; {remedy}", file)
    return report


class _Writer:
    """Writes one corpus into an empty folder."""

    def __init__(self, folder: Path, settings: NewsreelSettings, world: World) -> None:
        self._folder = folder
        self._settings = settings
        self._world = world
        self._pools = name_pools(settings.seed, frozenset(world.words()))
        self._drawn = 0
        self._total = settings.pairs + sum(settings.ner_posts) + sum(settings.re_posts)
        self._counts: dict[str, int] = {}
        self._texts: list[str] = []
        """The training posts without labels: what a vocabulary may be made from beside the captions."""

    def write(self) -> NewsreelReport:
        """Writes everything, the card last."""
        self._write_pairs()
        ner_test = self._write_task("ner", NER_FILES, self._settings.ner_posts, conll)
        re_test = self._write_task("re", RE_FILES, self._settings.re_posts, mnre_line)
        self._write_text("nouns.txt", "".join(f"{noun}\n" for noun in self._world.nouns()))
        self._write_text("texts.txt", "".join(self._texts))
        self._write_text("relations.txt", "".join(f"{candidate}\n" for candidate in self._world.candidates))
        ner = ner_ceiling(ner_test, self._unpublished("ner"))
        re = re_ceiling(re_test, self._unpublished("re"))
        report = NewsreelReport(self._folder, self._counts, round(ner, 2), round(re, 2))
        files = sorted(path for path in self._folder.rglob("*") if path.suffix in {".txt", ".csv", ".json"})
        card = {
            "format": FORMAT,
            "settings": self._settings.to_dict(),
            **({} if self._world.name == WORLD.name else {"world": self._world.name}),
            "counts": report.counts,
            "ceiling": {"ner": report.ner_ceiling, "re": report.re_ceiling},
            "sha256": {path.relative_to(self._folder).as_posix(): checksum(path) for path in files},
        }
        self._write_text(CARD, json.dumps(card, indent=1) + "\n")
        return report

    def _write_pairs(self) -> None:
        settings = self._settings
        maker = SceneMaker(self._world, generator(settings.seed, "pairs", "scenes"))
        scenes = [maker.any() for _ in range(settings.pairs)]
        rng = generator(settings.seed, "pairs", "captions")
        captions = [
            write_caption(
                scene, self._world, rng, self._pools["train"], settings.dropped_mentions, settings.relation_phrase
            )
            for scene in scenes
        ]
        source, matched = falsify(scenes, captions, generator(settings.seed, "pairs", "falsified"), settings.falsified)
        ids = [f"pair_{index:06d}" for index in range(settings.pairs)]
        self._draw("pairs", ids, scenes, generator(settings.seed, "pairs", "pictures"))
        with (self._folder / "pairs" / "captions.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image", "caption", "matched"))
            for name, index, match in zip(ids, source, matched, strict=True):
                writer.writerow((f"{name}.jpg", captions[index].text, "true" if match else "false"))
        self._counts |= {"pairs": len(ids), "pairs_falsified": matched.count(False)}

    def _write_task(
        self,
        task: str,
        files: tuple[str, str, str],
        counts: tuple[int, int, int],
        line_of: Callable[[str, WrittenPost], str],
    ) -> list[WrittenPost]:
        """Writes the three files of a task with images, regions and groups; returns the test posts."""
        settings = self._settings
        ids: list[str] = []
        posts: list[WrittenPost] = []
        written: list[WrittenPost] = []
        for split, file, count in zip(SPLITS, files, counts, strict=True):
            written = self._posts(task, split, self._pools[split], count)
            names = [f"{task}_{split}_{index:05d}" for index in range(count)]
            self._write_text(f"{task}/{file}", "".join(map(line_of, names, written)))
            if split == "train":
                self._texts += [" ".join(post.tokens) + "\n" for post in written]
            self._counts[f"{task}_{split}"] = count
            self._counts[f"{task}_{split}_undecided"] = sum(not post.decided for post in written)
            ids += names
            posts += written
        self._draw(task, ids, [post.image for post in posts], generator(settings.seed, task, "pictures"))
        groups = {name: "text" if post.decided else "image" for name, post in zip(ids, posts, strict=True)}
        self._write_text(f"{task}/groups.json", json.dumps(groups, indent=0) + "\n")
        return written

    def _posts(self, task: str, split: str, pool: tuple[str, ...], count: int) -> list[WrittenPost]:
        settings = self._settings
        rng = generator(settings.seed, task, split)
        writer = PostWriter(self._world, rng, pool, settings.unrelated, settings.tail)
        write = writer.ner_post if task == "ner" else writer.re_post
        # Exactly the stated share is undecided, wherever it falls.
        decided = rng.permutation(count) >= round(settings.undecided * count)
        return [write(bool(flag)) for flag in decided]

    def _unpublished(self, task: str) -> list[WrittenPost]:
        """Many posts of the same kind that are not published: what the text-only reader of the ceiling has read."""
        return self._posts(task, "ceiling", self._pools["train"], CEILING_POSTS)

    def _draw(self, part: str, ids: Sequence[str], scenes: Sequence[Scene], rng: np.random.Generator) -> None:
        """Draws the images of a part and writes their regions."""
        folder = self._folder / part / "images"
        folder.mkdir(parents=True, exist_ok=True)
        things = []
        for name, scene in zip(ids, scenes, strict=True):
            image, drawn = draw_scene(scene, self._world, rng, self._settings.size, self._settings.noise)
            image.save(folder / f"{name}.jpg", quality=95, subsampling=0)
            things.append(drawn)
            self._drawn += 1
            report("drawing", self._drawn, self._total)
        regions = coco([f"{name}.jpg" for name in ids], things, self._settings.size, self._world)
        self._write_text(f"{part}/regions.json", json.dumps(regions) + "\n")

    def _write_text(self, name: str, text: str) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

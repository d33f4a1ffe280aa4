"""Writes a drawn corpus in the published formats: caption CSV, CoNLL with IMGID, MNRE lines, COCO regions."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from promu.corpora.conll import write_conll
from promu.corpora.mnre import write_mnre
from promu.errors import InputError
from promu.files import atomic, checksum
from promu.newsreel.drawing import DrawnThing, draw_scene
from promu.newsreel.lexicon import World, generator
from promu.newsreel.news import WORLD
from promu.newsreel.noisy_detector import Detection, detect, gold
from promu.newsreel.scenes import Scene, SceneMaker
from promu.newsreel.settings import NewsreelSettings
from promu.newsreel.texts import (
    PostWriter,
    WrittenPost,
    falsify,
    name_pools,
    write_caption,
)
from promu.newsreel.upper_bounds import ARRANGEMENT, IMAGE, KINDS, Reader, decided_by, questions, readers, upper_bounds
from promu.progress import report
from promu.schema import Post, Relation

FORMAT = 5
"""Version of the drawing and its card; raised whenever the same settings would give others."""

CARD = "newsreel.json"

SPLITS = ("train", "dev", "test")
NER_FILES = ("train.txt", "valid.txt", "test.txt")
RE_FILES = ("mnre_train.txt", "mnre_val.txt", "mnre_test.txt")


@dataclass(frozen=True)
class NewsreelReport:
    """What was written.

    Attributes:
        path: The corpus folder.
        counts: Number of pairs, falsified pairs, and posts of each file, in all and ambiguous.
        upper_bounds: By task (`ner`, `re`) and by what a reader sees ("text", "text + kinds",
            "text + kinds + arrangement"), its best micro-F1 (0-100, relation `None` left out) on the test posts.
        reused: Whether the folder already held this very corpus.
    """

    path: Path
    counts: dict[str, int]
    upper_bounds: dict[str, dict[str, float]]
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
    if (drawn := _drawn_before(out, settings, world)) is not None:
        return drawn
    with atomic(out, folder=True) as building:
        drawn = _Writer(building, settings, world).write()
    return replace(drawn, path=out)


def coco(files: Sequence[str], found: Sequence[Sequence[Detection]], size: int, world: World) -> dict[str, Any]:
    """Boxes in the form of COCO instances."""
    numbers = {kind.name: number for number, kind in enumerate(world.kinds, start=1)}
    boxes = ((image, one) for image, of_image in enumerate(found, start=1) for one in of_image)
    return {
        "images": [
            {"id": number, "file_name": file, "width": size, "height": size}
            for number, file in enumerate(files, start=1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": numbers[one.kind],
                "bbox": list(one.box),
                "area": one.box[2] * one.box[3],
                "iscrowd": 0,
                "score": one.score,
            }
            for number, (image, one) in enumerate(boxes, start=1)
        ],
        "categories": [
            {"id": number, "name": kind.name, "supercategory": kind.type}
            for number, kind in enumerate(world.kinds, start=1)
        ],
    }


def _drawn_before(out: Path, settings: NewsreelSettings, world: World) -> NewsreelReport | None:
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
        same = (
            card["format"] == FORMAT
            and card["settings"] == settings.model_dump(mode="json")
            and card["world"] == world.name
        )
        drawn = NewsreelReport(out, card["counts"], card["upper_bounds"], reused=True)
        sums = dict(card["sha256"])
    except FileNotFoundError:
        raise InputError(f"the folder is not empty and holds no drawn corpus; {remedy}", out) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{CARD} in it is not readable as the card of a drawn corpus; {remedy}", out) from None
    if not same:
        raise InputError(f"the folder holds a drawn corpus of other settings (see its {CARD}); {remedy}", out)
    for name, expected in sums.items():
        if not (out / name).is_file() or checksum(out / name) != expected:
            raise InputError(f"is missing or was changed since the corpus was drawn; {remedy}", out / name)
    return drawn


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
        settings, world = self._settings, self._world
        self._write_pairs()
        ner_test = self._write_task("ner", NER_FILES, settings.ner_posts)
        re_test = self._write_task("re", RE_FILES, settings.re_posts)
        self._write_text("nouns.txt", "".join(f"{noun}\n" for noun in world.nouns()))
        self._write_text("texts.txt", "".join(self._texts))
        self._write_text("relations.txt", "".join(f"{candidate}\n" for candidate in world.candidates))
        bounds = {
            task: upper_bounds(self._readers(task), [one for post in test for one in questions(task, post)])
            for task, test in (("ner", ner_test), ("re", re_test))
        }
        files = sorted(path for path in self._folder.rglob("*") if path.suffix in {".txt", ".csv", ".json"})
        card = {
            "format": FORMAT,
            "settings": settings.model_dump(mode="json"),
            "world": world.name,
            "counts": self._counts,
            "upper_bounds": bounds,
            "sha256": {path.relative_to(self._folder).as_posix(): checksum(path) for path in files},
        }
        self._write_text(CARD, json.dumps(card, indent=1) + "\n")
        return NewsreelReport(self._folder, self._counts, bounds)

    def _write_pairs(self) -> None:
        settings, world = self._settings, self._world
        maker = SceneMaker(world, generator(settings.seed, "pairs", "scenes"))
        scenes = [maker.any() for _ in range(settings.pairs)]
        rng = generator(settings.seed, "pairs", "captions")
        shares = settings.dropped_mentions, settings.relation_phrase, settings.arrangement_phrase
        captions = [write_caption(scene, world, rng, self._pools["train"], *shares) for scene in scenes]
        source, matched = falsify(scenes, captions, generator(settings.seed, "pairs", "falsified"), settings.falsified)
        names = [f"pair_{index:06d}.jpg" for index in range(settings.pairs)]
        self._draw("pairs", names, scenes)
        with (self._folder / "pairs" / "captions.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("image", "caption", "matched"))
            for name, index, match in zip(names, source, matched, strict=True):
                writer.writerow((name, captions[index].text, "true" if match else "false"))
        self._counts |= {"pairs": len(names), "pairs_falsified": matched.count(False)}

    def _write_task(self, task: str, files: Sequence[str], counts: Sequence[int]) -> list[WrittenPost]:
        """Writes the three files of a task with images, regions and groups; returns the test posts."""
        (self._folder / task).mkdir()
        every: dict[str, WrittenPost] = {}
        groups: dict[str, str] = {}
        for split, file, count in zip(SPLITS, files, counts, strict=True):
            written = self._posts(task, split, self._pools[split], count)
            ids = [f"{task}_{split}_{index:05d}" for index in range(count)]
            posts = [Post(id, post.tokens, f"{id}.jpg", post.entities) for id, post in zip(ids, written, strict=True)]
            if task == "ner":
                write_conll(self._folder / task / file, posts)
            else:
                related = zip(posts, written, strict=True)
                posts = [replace(post, relations=(Relation(0, 1, one.relation),)) for post, one in related]
                write_mnre(self._folder / task / file, posts)
            if split == "train":
                self._texts += [" ".join(post.tokens) + "\n" for post in written]
            sources = [decided_by(self._readers(task), questions(task, post)) for post in written]
            marks = [IMAGE if source in (KINDS, ARRANGEMENT) else source for source in sources]
            self._counts |= {f"{task}_{split}": count, f"{task}_{split}_image": marks.count(IMAGE)}
            if task == "re":
                self._counts[f"{task}_{split}_arrangement"] = sources.count(ARRANGEMENT)
            groups |= zip(ids, marks, strict=True)
            every |= zip(ids, written, strict=True)
        self._draw(task, [f"{id}.jpg" for id in every], [post.image for post in every.values()])
        self._write_text(f"{task}/groups.json", json.dumps(groups, indent=0) + "\n")
        return written

    def _readers(self, task: str) -> tuple[Reader, ...]:
        settings = self._settings
        return readers(task, self._world.name, settings.ambiguous, settings.unrelated, settings.tail)

    def _posts(self, task: str, split: str, pool: tuple[str, ...], count: int) -> list[WrittenPost]:
        settings = self._settings
        rng = generator(settings.seed, task, split)
        writer = PostWriter(self._world, rng, pool, settings.unrelated, settings.tail)
        write = writer.ner_post if task == "ner" else writer.re_post
        # Exactly the stated share is ambiguous, wherever it falls.
        decided = rng.permutation(count) >= round(settings.ambiguous * count)
        return [write(bool(flag)) for flag in decided]

    def _draw(self, part: str, names: Sequence[str], scenes: Sequence[Scene]) -> None:
        """Draws the images of a part and writes their regions, and what they hold in truth."""
        settings, world = self._settings, self._world
        rng, noise = (generator(settings.seed, part, name) for name in ("pictures", "detector"))
        folder = self._folder / part / "images"
        folder.mkdir(parents=True)
        regions, truth = [], {}
        for name, scene in zip(names, scenes, strict=True):
            things = save_scene(folder / name, scene, world, rng, settings.size, settings.noise)
            regions.append(gold(things) if settings.boxes == "gold" else detect(things, world, noise, settings.size))
            truth[name] = {
                "setting": scene.setting,
                "things": [[thing.kind, list(thing.box)] for thing in things],
                "arrangement": scene.arrangement,
                "relation": scene.relation,
            }
            self._drawn += 1
            report("drawing", self._drawn, self._total)
        self._write_text(f"{part}/regions.json", json.dumps(coco(names, regions, settings.size, world)) + "\n")
        self._write_text(f"{part}/scenes.json", json.dumps(truth) + "\n")

    def _write_text(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text, encoding="utf-8", newline="\n")


def save_scene(
    path: Path, scene: Scene, world: World, rng: np.random.Generator, size: int, noise: float
) -> list[DrawnThing]:
    """Draws a scene into a JPEG file; returns its things (see `draw_scene`)."""
    image, things = draw_scene(scene, world, rng, size, noise)
    image.save(path, quality=95, subsampling=0)
    return things

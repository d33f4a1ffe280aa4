"""What is drawn never changes by accident: checksums of pixels, captions and posts of both worlds and of joint sets."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from promu.newsreel import WORLDS, NewsreelSettings, Scene, draw_scene, write_newsreel
from promu.newsreel.joint_world import write_joint
from promu.newsreel.lexicon import World, generator
from promu.newsreel.scenes import SceneMaker
from promu.newsreel.settings import JointSettings

PIXELS = {"news": "9ae82965c59144a6", "country": "d02a49e9019f1dd5"}
TEXTS = {"news": "46409fc27bbdc7a2", "country": "ff1ce16e88bb0051"}
JOINT = {"news": "7d8210761c702638", "country": "89f95816d73d1765"}


def texts_digest(folder: Path) -> str:
    """Of every text file below a folder: captions, posts, boxes, groups, candidates; the card is about them."""
    digest = sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".txt", ".csv", ".json"} and path.name != "newsreel.json":
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def scenes_of(world: World) -> list[Scene]:
    """Every kind, every setting, and some of each sort of scene."""
    maker = SceneMaker(world, generator(5, "bytes"))
    every = [
        Scene(world.settings[number % len(world.settings)].name, (kind.name,), None, "None")
        for number, kind in enumerate(world.kinds)
    ]
    return [*every, *(maker.any() for _ in range(40)), *(maker.pair(label) for label in world.labels)]


@pytest.mark.parametrize("name", WORLDS)
def test_the_pixels_of_every_kind_and_setting_are_those_that_were(name: str) -> None:
    rng, digest = generator(5, "pixels"), sha256()
    for number, scene in enumerate(scenes_of(WORLDS[name])):
        image, things = draw_scene(scene, WORLDS[name], rng, 48 if number % 3 else 96, 8.0)
        digest.update(image.tobytes() + repr([(thing.kind, thing.box) for thing in things]).encode())
    assert digest.hexdigest()[:16] == PIXELS[name]


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.slow
def test_the_captions_and_posts_are_those_that_were(name: str, tmp_path: Path) -> None:
    settings = NewsreelSettings(seed=11, pairs=80, ner_posts=(40, 10, 20), re_posts=(40, 10, 20), tail=0.3)
    write_newsreel(tmp_path / "drawn", settings, world=WORLDS[name])
    assert texts_digest(tmp_path / "drawn") == TEXTS[name]


@pytest.mark.parametrize("name", WORLDS)
def test_the_joint_posts_are_those_that_were(name: str, tmp_path: Path) -> None:
    write_joint(tmp_path / "joint", JointSettings(seed=11, posts=(30, 10, 20)), world=WORLDS[name])
    assert texts_digest(tmp_path / "joint") == JOINT[name]

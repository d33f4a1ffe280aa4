"""Prepare, then run: what the service does, and beneath everything else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.factories import TEXTS

from promu import ExtractionConfig, Extractor
from promu.errors import InputError
from promu.extraction.request import UnreadableImage
from promu.extraction.result import Extraction
from promu.schema import Entity, Post

TOO_MANY = r"the text has 2 pairs of entities that may be related, at most 1 are looked at; shorten it"


def told(found: Extraction | InputError) -> object:
    """An answer without its scores, whose last digits hang on the batch."""
    assert isinstance(found, Extraction)
    record = found.to_dict()
    for item in record["entities"] + record["relations"]:
        assert 0 < item.pop("score") <= 1
    return record, found.image_reason, found.far_pairs


def test_two_steps_give_what_one_call_gives(extractor: Extractor, images: Path) -> None:
    data = (images / "0.png").read_bytes()
    with Image.open(images / "1.png") as opened, ThreadPoolExecutor(4) as pool:
        opened.load()
        given: list[tuple[Any, Any]] = [
            (TEXTS[0], data),
            (TEXTS[2], None),
            ({"tokens": TEXTS[1].split()}, opened),
            ("Ann", images / "2.png"),
        ]
        expected = [extractor(text, image, id=str(place)) for place, (text, image) in enumerate(given)]
        ready = list(pool.map(lambda place: extractor.prepare(*given[place], id=str(place)), range(4)))
    assert any(found.relations for found in expected)
    configs = (ExtractionConfig(batch_size=size) for size in (1, 3))
    for config in (None, ExtractionConfig(), *configs):
        assert list(map(told, extractor.run(ready, config))) == list(map(told, expected))
    assert list(map(told, extractor.run(ready, batch_size=2))) == list(map(told, expected))
    assert extractor.run([]) == []
    explained = extractor.run(ready[:1], explain=True)[0]
    assert isinstance(explained, Extraction) and explained.explanation is not None


def test_no_file_is_read_that_the_caller_does_not_name(extractor: Extractor, images: Path) -> None:
    post = {"text": TEXTS[0], "image": str(images / "0.png")}
    (found,) = extractor.run([extractor.prepare(post)])
    assert isinstance(found, Extraction) and found.image_reason == "no image"
    assert told(replace(found, post=replace(found.post, image=None))) == told(extractor(TEXTS[0]))


def test_what_is_refused_unread(extractor: Extractor, tiny_models: Path, images: Path) -> None:
    with pytest.raises(InputError, match="text is empty"):
        extractor.prepare(" ")
    with pytest.raises(UnreadableImage, match="48 x 40 pixels, more than 1,919"):
        extractor.prepare("Ann", images / "0.png", max_pixels=1919)
    extractor.prepare("Ann", images / "0.png", max_pixels=1920)
    with pytest.raises(UnreadableImage, match=r"^the image has 0 bytes; fetch it again$"):
        extractor.prepare("Ann", b"")
    assert extractor.finds_entities
    relations = Extractor.from_pretrained(tiny_models / "re", device="cpu")
    assert not relations.finds_entities
    with pytest.raises(InputError, match="has no entities and there is no model to find them"):
        relations.prepare("Ann met Bob")


def pairs_of(found: Extraction, fits: set[tuple[str, str]]) -> int:
    """Ordered pairs of entities whose types go together, counted plainly."""
    types = [str(entity.type).lower() for entity in found.entities]
    return sum((a, b) in fits for i, a in enumerate(types) for j, b in enumerate(types) if i != j)


@pytest.mark.parametrize("kind", ["pipeline", "joint"])
def test_the_limit_of_pairs_refuses_a_post_and_leaves_the_others(
    kind: str, tiny_models: Path, tiny_joint: Path, images: Path
) -> None:
    extractor = Extractor.from_pretrained(tiny_models if kind == "pipeline" else tiny_joint, device="cpu")
    fits = {("loc", "loc"), ("org", "loc"), ("per", "misc"), ("per", "org"), ("per", "per")}
    texts = [*TEXTS, "Ann", f"{TEXTS[0]} {TEXTS[1]}"]
    ready = [extractor.prepare(text, images / "0.png") for text in texts]
    free = [found for found in extractor.run(ready) if isinstance(found, Extraction)]
    pairs = [pairs_of(found, fits) for found in free]
    assert len(set(pairs)) > 2 and min(pairs) == 0, "nothing was tested"
    most = sorted(pairs)[2]
    answers = extractor.run(ready, max_pairs=most)
    assert 0 < sum(isinstance(answer, InputError) for answer in answers) < len(texts)
    for answer, count, before in zip(answers, pairs, free, strict=True):
        if count > most:
            assert isinstance(answer, InputError)
            assert f"has {count:,} pairs of entities that may be related, at most {most:,} are looked" in answer.reason
        else:
            assert told(answer) == told(before)


def test_the_limit_of_pairs_in_one_call_and_in_many(tiny_models: Path) -> None:
    relations = Extractor.from_pretrained(tiny_models / "re", device="cpu")
    tokens = ("Ann", "met", "Bob")
    one = Post("one", tokens, None, (Entity(0, 1, "PER"),))
    two = Post("two", tokens, None, (Entity(0, 1, "PER"), Entity(2, 3, "PER")))
    with pytest.raises(InputError, match=TOO_MANY):
        relations(two, max_pairs=1)
    assert relations(two, max_pairs=2) == relations(two)
    problems: list[InputError] = []
    assert [found.id for found in relations.pipe([one, two, one], max_pairs=1, problems=problems)] == ["one", "one"]
    ((reason, line),) = [(problem.reason, problem.line) for problem in problems]
    assert line == 2 and reason.startswith("the text has 2 pairs")
    with pytest.raises(InputError, match=TOO_MANY):
        list(relations.pipe([one, two], max_pairs=1))
    with pytest.raises(InputError, match="max_pairs is -1; at least 0 is needed"):
        relations(two, max_pairs=-1)

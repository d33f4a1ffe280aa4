"""Building a corpus: which pairs it holds, whatever the set is like; a folder of others is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.alignment.corpus_sets import content, noise, with_, write_rows, write_set
from tests.corpora.test_images import encoded

from promu import progress
from promu.alignment.corpus_build import BUILD, DRAFT, build_corpus
from promu.corpora.shards import PairShards
from promu.errors import InputError


def test_a_plain_set(tmp_path: Path) -> None:
    """Every image keeps its bytes, every pair its place; the bar moves to its end."""
    settings = write_set(tmp_path, 37)
    seen: list[tuple[str, int, int]] = []
    with progress.shown(lambda *step: seen.append(step)):
        result = build_corpus(with_(settings, shard=10), tmp_path / "out")
    shards = PairShards(tmp_path / "out")
    assert [shards.image(index).image for index in range(37)] == [f"{index}.png" for index in range(37)]
    assert shards.image(5).captions == (("thing 5 of kind 0, 0", True), ("thing 5 of kind 0, 1", True))
    assert shards.image(36).data == encoded(noise(36))
    assert (shards.image(0).width, shards.image(0).height) == (24, 16)
    assert (result["read"], result["kept"], result["made"], result["skipped"]["pairs"]) == (74, 74, 0, {})
    assert shards.header["shards"] == 4 and shards.header["settings"]["format"] == "captions"
    images = [done for name, done, _ in seen if name == "images"]
    assert seen[-1] == ("images", 37, 37) and len(images) > 3 and images == sorted(images)
    assert [step[0] for step in seen if step[0] != "images"] == ["reading captions"] * (len(seen) - len(images))
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[:2] == [BUILD, "corpus.json"]
    assert build_corpus(with_(settings, shard=10), tmp_path / "out") == result


def test_held_out_images(tmp_path: Path) -> None:
    """As many as asked for, with all their captions, even those that come later; another seed holds out others."""
    settings = write_set(tmp_path, 30)
    with settings.captions.open("a", encoding="utf-8") as file:
        file.writelines(f"{number}.png,again {number}\r\n" for number in range(30))
    held = []
    for seed in (0, 1):
        out = tmp_path / f"out{seed}"
        result = build_corpus(with_(settings, dev=7, seed=seed), out)
        train, dev = ({row.image for row in PairShards(out / part).captions()} for part in ("train", "dev"))
        assert (len(train), len(dev), train & dev) == (23, 7, set())
        assert sum(part["pairs"] for part in result["parts"].values()) == result["read"] == 90
        assert [part["images_repeated"] for part in result["parts"].values()] == [23, 7]
        held.append(dev)
    assert held[0] != held[1]
    with pytest.raises(InputError, match="name 60 images, and 30 are to be held out; hold out fewer"):
        build_corpus(with_(settings, dev=30), tmp_path / "out")


@pytest.mark.parametrize("how", ["similar", "uniform"])
def test_falsified_pairs_are_made(tmp_path: Path, how: Any) -> None:
    settings = write_set(tmp_path, 40)
    result = build_corpus(with_(settings, falsify=how, share=0.25, dev=10, shard=10), tmp_path / "out")
    own = {f"{number}.png": {f"thing {number} of kind {number % 5}, {each}" for each in (0, 1)} for number in range(40)}
    named: dict[str, set[str]] = {}
    for part, count in (("train", 20), ("dev", 7)):
        shards = PairShards(tmp_path / "out" / part)
        assert shards.header["falsified"] == pytest.approx(count, abs=1 if part == "dev" else 3)
        named[part] = {image.image for image in shards.captions()}
        for image in shards.captions():
            assert {text for text, matched in image.captions if matched} == own[image.image]
            for text in (text for text, matched in image.captions if not matched):
                assert text not in own[image.image]
                assert any(text in own[name] for name in named[part])  # never across the split
        assert shards.image(0).data != b""
        assert not (tmp_path / "out" / part / DRAFT).exists()
    assert (result["parts"]["train"]["made"]["mean_similarity"] is None) == (how == "uniform")


def test_sets_with_falsified_pairs(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    rows = [("0.png", "a", "1"), ("1.png", "b", "0"), ("2.png", "c", "1")]
    write_rows(tmp_path, [("image", "caption", "matched"), *rows])
    build_corpus(settings, tmp_path / "keep")
    assert [pair.matched for pair in PairShards(tmp_path / "keep").pairs()] == [True, False, True]
    result = build_corpus(with_(settings, falsify="none"), tmp_path / "none")
    assert (result["kept"], result["skipped"]["pairs"]) == (2, {"falsified pair, left out": 1})
    with pytest.raises(InputError, match=r"captions.csv:3: this set has falsified pairs already .* --falsify keep"):
        build_corpus(with_(settings, falsify="uniform"), tmp_path / "made")


def test_newsclippings_and_folders(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    base = [{"id": number, "caption": f"caption {number}", "image_path": f"./{number}.png"} for number in range(3)]
    (tmp_path / "data.json").write_text(json.dumps(base))
    links = [(0, 1, True), (1, 2, False), (1, 1, False)]
    annotations = [{"id": a, "image_id": b, "falsified": c} for a, b, c in links]
    (tmp_path / "val.json").write_text(json.dumps({"annotations": annotations}))
    build_corpus(with_(settings, captions=tmp_path / "val.json"), tmp_path / "news")
    rows = {row.image: row.captions for row in PairShards(tmp_path / "news").captions()}
    assert rows == {"1.png": (("caption 0", False), ("caption 1", True)), "2.png": (("caption 1", True),)}

    images = tmp_path / "images"
    (images / "0.txt").write_text("first\n\n second \n")
    (images / "within").mkdir()
    (images / "within" / "a.PNG").write_bytes(encoded(noise(9)))
    (images / "within" / "a.txt").write_text("third\n")
    (images / "1.txt").write_text("\n")
    (images / "5.txt").write_text("of nothing\n")
    folder = with_(settings, captions=images)
    with pytest.raises(InputError, match=r"1.txt: the file is empty"):
        build_corpus(folder, tmp_path / "folder")
    result = build_corpus(with_(folder, missing_images="skip"), tmp_path / "folder")
    rows = {row.image: row.captions for row in PairShards(tmp_path / "folder").captions()}
    assert rows == {"0.png": (("first", True), ("second", True)), "within/a.PNG": (("third", True),)}
    assert result["skipped"]["pairs"] == {"image without caption": 2, "captions without image": 1}
    with pytest.raises(InputError, match=r"with a caption in a .txt file of its name here"):
        build_corpus(with_(folder, captions=tmp_path / "news", missing_images="skip"), tmp_path / "empty")


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    build_corpus(settings, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(
        InputError, match=r"holds a corpus with other settings \(falsify, side\); choose another folder"
    ):
        build_corpus(with_(settings, falsify="none", side=8), tmp_path / "out")
    settings.captions.write_text(settings.captions.read_text() + "0.png,one more\r\n")
    with pytest.raises(InputError, match=r"other settings \(captions_read\)"):
        build_corpus(settings, tmp_path / "out")
    assert content(tmp_path / "out") == before
    with pytest.raises(InputError, match="is not empty and holds no corpus"):
        build_corpus(settings, tmp_path / "images")
    with pytest.raises(InputError, match="this is a file"):
        build_corpus(settings, settings.captions)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"share": 1.0}, "share should be less than or equal to 0.9, found 1"),
        ({"share": 0.0}, "share should be greater than 0"),
        ({"falsify": "often"}, "falsify should be 'keep', 'none', 'similar' or 'uniform', found 'often'"),
        ({"format": "xml"}, "format should be 'auto', 'captions', 'newsclippings' or 'folder', found 'xml'"),
        ({"side": 0}, "side should be greater than or equal to 1, found 0"),
        ({"dev": -1}, "dev should be greater than or equal to 0, found -1"),
        ({"text_encoder": "x"}, "a text encoder serves falsify 'similar' only"),
        ({"images": Path("nowhere")}, "nowhere: no such folder of images"),
        ({"captions": Path("nowhere.csv")}, "nowhere.csv: no such file"),
        ({"detector": "eyes"}, "detector 'eyes' is unknown"),
    ],
)
def test_bad_settings(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    settings = write_set(tmp_path, 1)
    with pytest.raises(InputError, match=sentence):
        build_corpus(with_(settings, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()

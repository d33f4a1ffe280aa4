"""The check of a file or a set, the table of formats, and the names of releases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from promu.corpora.check import check
from promu.corpora.formats import FORMATS, find_format, find_splits, read_posts, write_posts
from promu.corpora.releases import RELEASES, has_stray_inside, identify
from promu.errors import InputError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three posts and a malformed one; of four images one is missing, one truncated, two are the same."""
    (tmp_path / "train.txt").write_text(
        "IMGID:1\nParis\tB-LOC\n\nIMGID:2\nParis\tO\n\nIMGID:3\na\tB-PER\nb\tI-PER\n\nIMGID:4\nc\tO\n\n"
        "IMGID:5\nd\tI-PER\n\n"
    )
    images = tmp_path / "images"
    images.mkdir()
    Image.effect_noise((32, 32), 50).save(images / "1.jpg")
    shutil.copy(images / "1.jpg", images / "2.jpg")
    (images / "3.jpg").write_bytes((images / "1.jpg").read_bytes()[:300])
    return tmp_path


def test_a_file_and_its_images(corpus: Path) -> None:
    report = check(corpus / "train.txt", "conll", corpus / "images")
    (file,) = report.files
    assert (file.records, file.tokens, file.duplicates, file.release) == (4, 5, 1, "unknown")
    assert file.entities == {"LOC": 1, "PER": 1}
    images = file.images
    assert (images.named, images.shared, images.missing, images.broken, images.same_content) == (
        4,
        0,
        1,
        1,
        1,
    )
    assert images.missing_names == ["4.jpg"]
    assert [name for name, _ in images.broken_reasons] == ["3.jpg"]
    assert [problem.line for problem in file.problems] == [15]
    assert not report.ok
    assert report.lines()[-1].startswith(f"{corpus / 'train.txt'}:15: I-PER at the start of a post")
    data = json.loads(json.dumps(report.to_dict()))
    assert data["ok"] is False and data["files"][0]["posts"] == 4
    assert data["files"][0]["images"]["broken_reasons"][0]["image"] == "3.jpg"
    assert data["files"][0]["problems"][0]["line"] == 15


def test_nothing_is_said_of_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("IMGID:1\na\tB-PER\n\nIMGID:2\nb\tO\n")
    (tmp_path / "test.txt").write_text("IMGID:3\nc\tO\n")
    report = check(tmp_path, "conll")
    assert report.lines() == [
        f"{tmp_path / 'train.txt'}: train, 2 posts",
        "  published release: none that promu knows",
        "  tokens: 2",
        "  entities: 1 (PER 1)",
        "  images: 2 named; no folder of images given, none opened",
        "  nothing is wrong",
        f"{tmp_path / 'test.txt'}: test, 1 post",
        "  published release: none that promu knows",
        "  tokens: 1",
        "  entities: none",
        "  images: 1 named; no folder of images given, none opened",
        "  nothing is wrong",
        "train and test share no text and no image (content not compared, none opened)",
    ]
    assert report.to_dict()["files"][0] | {"duplicates": 0, "malformed": 0} == report.to_dict()["files"][0]
    (tmp_path / "test.txt").write_text("IMGID:3\nc\tX\n")
    lines = check(tmp_path / "test.txt", "conll").lines()
    assert "  malformed: 1" in lines and "  nothing is wrong" not in lines


def test_a_folder_is_the_whole_set(corpus: Path) -> None:
    shutil.copy(corpus / "train.txt", corpus / "test.txt")
    (corpus / "valid.txt").write_text("")
    report = check(corpus, "conll")
    assert [file.split for file in report.files] == ["train", "valid", "test"]
    assert "empty" in report.files[1].problems[0].reason
    assert not report.files[0].images.checked


def test_what_splits_share_is_counted_and_shown(corpus: Path) -> None:
    (corpus / "test.txt").write_text("IMGID:9\na\tO\nb\tO\n\nIMGID:2\nnew\tO\n\nIMGID:8\nParis\tO\n\nIMGID:7\nx\tO\n")
    shutil.copy(corpus / "images" / "1.jpg", corpus / "images" / "9.jpg")
    (overlap,) = check(corpus, "conll").overlaps
    assert (overlap.first, overlap.second) == ("train", "test")
    assert (overlap.texts, overlap.of_texts, overlap.images, overlap.of_images) == (2, 4, 1, 4)
    assert overlap.same_content is None
    report = check(corpus, "conll", corpus / "images")
    (overlap,) = report.overlaps
    # 2.jpg is shared by name; 9.jpg has the bytes of 1.jpg, or of its copy 2.jpg
    assert overlap.same_content == 1 and overlap.examples["image"] == ["2.jpg"]
    assert overlap.examples["text"] == ["'a b'", "'Paris'"]
    assert overlap.examples["content"][0].startswith("9.jpg is ")
    text = "\n".join(report.lines())
    assert "train and test share 2 of the latter's 4 texts, 1 of its 4 images by name, 1 more by content" in text
    assert "  same image: 2.jpg" in text
    assert report.to_dict()["overlaps"][0]["splits"] == ["train", "test"]


def test_every_pair_of_splits_is_compared(tmp_path: Path) -> None:
    for split, word in (("train", "a dog"), ("valid", "a dog"), ("test", "a cat")):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"text": word, "id": split}) + "\n")
    found = {(overlap.first, overlap.second): overlap.texts for overlap in check(tmp_path, "posts").overlaps}
    assert found == {("train", "valid"): 1, ("train", "test"): 0, ("valid", "test"): 0}


def test_stand_ins_are_counted(corpus: Path) -> None:
    shutil.copy(corpus / "images" / "1.jpg", corpus / "images" / "17_06_4705.jpg")
    (file,) = check(corpus / "train.txt", "conll", corpus / "images").files
    assert (file.images.same_content, file.images.stand_ins) == (1, 2)


def test_labels_are_shown_by_both_their_names(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text("IMGID:1\na\tB-OTHER\nb\tB-per\nc\tB-DOG\n")
    report = check(tmp_path / "test.txt", "conll")
    assert report.files[0].label_map == {"DOG": "DOG", "OTHER": "MISC", "per": "PER"}
    assert "  labels that the papers name otherwise: OTHER is MISC, per is PER" in report.lines()


def test_many_broken_images_are_all_counted(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("image,caption\n" + "".join(f"{i}.png,x\n" for i in range(50)))
    (tmp_path / "images").mkdir()
    for i in range(25):
        (tmp_path / "images" / f"{i}.png").touch()
    (file,) = check(tmp_path, "captions", tmp_path / "images").files
    assert (file.images.broken, file.images.missing) == (25, 25)
    assert len(file.images.broken_reasons) == len(file.images.missing_names) == 20


def test_what_cannot_be_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown format 'connl'; use one of conll, "):
        check(tmp_path, "connl")
    with pytest.raises(InputError, match="no such file; check the path"):
        check(tmp_path / "absent", "conll")
    with pytest.raises(InputError, match=r"none of train.txt.* is in the folder"):
        check(tmp_path, "conll")
    with pytest.raises(InputError, match="no such folder of images"):
        check(tmp_path, "conll", tmp_path / "absent")


@pytest.mark.parametrize(
    ("folder", "format", "records"),
    [
        ("twitter2015", "conll", [4000, 1000, 3257]),
        ("twitter2017", "conll", [3373, 723, 723]),
        ("mnre", "mnre", [12247, 1624, 1614]),
        ("jmere_fewshot/seed_67", "jmere", [248] * 3 + [230] * 3 + [475] * 3),
        ("flickr8k", "captions", [35455]),
        ("coco_mini", "coco", [80]),
    ],
)
@pytest.mark.slow
def test_published_sets_are_sound_and_named(shared: Path, folder: str, format: str, records: list[int]) -> None:
    report = check(shared / "data" / folder, format)
    assert report.ok
    assert [file.records for file in report.files] == records
    assert all(file.release != "unknown" for file in report.files)


@pytest.mark.slow
def test_twitter_2015_is_named_with_its_oddity(shared: Path) -> None:
    (file,) = check(shared / "data" / "twitter2015" / "train.txt", "conll").files
    assert file.release == "Twitter-2015 original (UMT release), train"
    assert "186 I- tags" in file.notes[0]
    assert has_stray_inside(read_posts(file.path, "conll"))


def test_an_edited_copy_is_no_release(shared: Path, tmp_path: Path) -> None:
    original = shared / "data" / "twitter2015" / "valid.txt"
    assert str(identify(original)) == "Twitter-2015 original (UMT release), valid"
    copy = tmp_path / "valid.txt"
    copy.write_bytes(original.read_bytes().replace(b"\tI-LOC\n", b"\tO\n", 1))
    assert identify(copy) is None
    # What a known file is forgiven, an unknown one is not; the scheme is the way out, and check knows it too.
    with pytest.raises(InputError, match="name the scheme iob1"):
        read_posts(copy, "conll")
    assert len(read_posts(copy, "conll", scheme="iob1")) == 1000
    assert not check(copy, "conll").ok and check(copy, "conll", scheme="iob1").ok
    with pytest.raises(InputError, match="the format 'mnre' has no tags; leave the scheme 'iob1' out"):
        check(copy, "mnre", scheme="iob1")


def test_other_bytes_and_other_labels_are_told_apart(shared: Path, tmp_path: Path) -> None:
    original = (shared / "data" / "twitter2017" / "test.txt").read_text(encoding="utf-8")
    copy = tmp_path / "test.txt"
    for text, said in (
        (original + "\n", "in another layout"),
        (original.replace("-MISC", "-OTHER"), "with other labels: repaired"),
    ):
        copy.write_bytes(text.encode())
        (file,) = check(copy, "conll").files
        assert file.ok
        assert said in file.release and "Twitter-2017 original (UMT release), test" in file.release
    copy.write_text(original.split("\n\n")[0] + "\n")
    assert check(copy, "conll").files[0].release == "unknown"


@pytest.mark.slow
def test_published_sets_share_little_between_splits(shared: Path) -> None:
    found = {
        folder: [(o.texts, o.images) for o in check(shared / "data" / folder, format).overlaps]
        for folder, format in (("twitter2015", "conll"), ("twitter2017", "conll"), ("mnre", "mnre"))
    }
    assert found == {
        "twitter2015": [(2, 0), (4, 0), (3, 0)],
        "twitter2017": [(1, 0), (0, 0), (0, 0)],
        "mnre": [(5, 0), (2, 0), (1, 0)],
    }


def test_releases_are_well_formed() -> None:
    assert all(len(digest) == 64 and int(digest, 16) for digest in RELEASES)
    assert len({str(release) for release in RELEASES.values()}) == len(RELEASES)


def test_the_table_of_formats(tmp_path: Path) -> None:
    assert all(name == entry.name and (entry.splits or name == "brat") for name, entry in FORMATS.items())
    assert all(entry.write is not None for entry in FORMATS.values() if entry.kind == "posts")
    (tmp_path / "posts.jsonl").write_text('{"tokens": ["a"]}\n')
    assert find_splits(tmp_path, "posts") == [("all", tmp_path / "posts.jsonl")]
    posts = read_posts(tmp_path / "posts.jsonl", "posts")
    write_posts(tmp_path / "out.txt", posts, "conll")
    assert (tmp_path / "out.txt").read_text() == "a\tO\n\n"
    with pytest.raises(InputError, match="format 'captions' holds pairs, but posts are needed"):
        read_posts(tmp_path / "posts.jsonl", "captions")
    with pytest.raises(InputError, match="formats with pairs: captions, newsclippings"):
        find_format("mnre", "pairs")
    with pytest.raises(InputError, match="formats with regions: coco"):
        find_format("mnre", "regions")

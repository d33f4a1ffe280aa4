"""The drawn corpus on disk: formats, determinism, truth of the falsified pairs, refusals."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from promu import progress
from promu.corpora.captions import read_captions
from promu.corpora.coco import read_coco
from promu.corpora.conll import read_conll
from promu.corpora.mnre import read_mnre
from promu.errors import InputError
from promu.newsreel import WORLD, WORLDS, NewsreelReport, NewsreelSettings, write_newsreel
from promu.newsreel.lexicon import World, generator
from promu.newsreel.scenes import SceneMaker
from promu.newsreel.texts import (
    NONE_WEIGHT,
    Caption,
    PostWriter,
    falsify,
    is_false_of,
    name_pools,
    write_caption,
)

SMALL = NewsreelSettings(seed=7, pairs=300, ner_posts=(60, 20, 40), re_posts=(50, 20, 40))
TAG = re.compile(r"O|[BI]-(PER|LOC|ORG|MISC)")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NewsreelReport]:
    out = tmp_path_factory.mktemp("drawn") / "newsreel"
    return out, write_newsreel(out, SMALL)


def checksums(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def conll_posts(path: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        if block.strip():
            head, *lines = block.strip("\n").split("\n")
            assert head.startswith("IMGID:")
            yield head.removeprefix("IMGID:"), [(line.split("\t")[0], line.split("\t")[1]) for line in lines]


def mnre_rows(path: Path) -> list[dict]:
    return [ast.literal_eval(line) for line in path.read_text(encoding="utf-8").splitlines()]


def caption_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "pairs" / "captions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(corpus: tuple[Path, NewsreelReport], tmp_path: Path) -> None:
    write_newsreel(tmp_path / "again", SMALL)
    assert checksums(tmp_path / "again") == checksums(corpus[0])


@pytest.mark.parametrize("tail", [0.5, 1.0])
def test_a_tail_makes_each_label_rarer_than_the_one_before_by_zipfs_law(tail: float) -> None:
    writer = PostWriter(WORLD, generator(3, "tail"), name_pools(3)["train"], unrelated=0.15, tail=tail)
    posts = 6000
    for labels, write in (
        ([label for label in WORLD.labels if label != "None"], lambda: [writer.re_post(False).relation]),
        (WORLD.types, lambda: [writer.ner_post(False).entities[0].type]),
    ):
        found = Counter(label for _ in range(posts) for label in write())
        if "None" in found:
            none = found.pop("None") / posts
            assert none == pytest.approx(NONE_WEIGHT / (len(labels) + NONE_WEIGHT), abs=0.02)
        total = found.total()
        weights = [1 / rank**tail for rank in range(1, len(labels) + 1)]
        # the first name of two different ones is more often of a frequent type, so types are held less strictly
        close = 0.02 if labels != WORLD.types else 0.08
        for label, weight in zip(labels, weights, strict=True):
            assert found[label] / total == pytest.approx(weight / sum(weights), abs=close), label
        order = [found[label] for label in labels]
        assert order[0] > 1.5 * order[-1]


@pytest.mark.slow
def test_a_tail_is_drawn_alike_in_every_split_kept_in_the_card_and_known_again(tmp_path: Path) -> None:
    settings = NewsreelSettings(seed=7, pairs=0, ner_posts=(1, 1, 1), re_posts=(400, 400, 400), tail=1.0)
    out = tmp_path / "tailed"
    write_newsreel(out, settings)
    for file in ("mnre_train.txt", "mnre_val.txt", "mnre_test.txt"):
        counts = Counter(row["relation"] for row in mnre_rows(out / "re" / file))
        assert set(counts) == set(WORLD.labels), "even the rarest is there"
        assert counts[WORLD.labels[0]] > 4 * counts[WORLD.labels[12]]
    assert json.loads((out / "newsreel.json").read_text(encoding="utf-8"))["settings"]["tail"] == 1.0
    assert write_newsreel(out, settings).reused
    with pytest.raises(InputError, match="of other settings"):
        write_newsreel(out, settings.model_copy(update={"tail": 0.5}))


@pytest.mark.slow
def test_the_number_of_pairs_does_not_change_the_posts(corpus: tuple[Path, NewsreelReport], tmp_path: Path) -> None:
    few = NewsreelSettings(seed=7, pairs=5, ner_posts=(60, 20, 40), re_posts=(50, 20, 40))
    write_newsreel(tmp_path / "few", few)
    for part in ("ner", "re"):
        assert checksums(tmp_path / "few" / part) == checksums(corpus[0] / part)


def test_another_seed_gives_another_world(corpus: tuple[Path, NewsreelReport], tmp_path: Path) -> None:
    write_newsreel(tmp_path / "other", NewsreelSettings(seed=8, pairs=5, ner_posts=(60, 20, 40), re_posts=(50, 20, 40)))
    assert checksums(tmp_path / "other")["ner/train.txt"] != checksums(corpus[0])["ner/train.txt"]


def test_captions_are_a_csv_with_existing_images(corpus: tuple[Path, NewsreelReport]) -> None:
    out, report = corpus
    rows = caption_rows(out)
    assert list(rows[0]) == ["image", "caption", "matched"]
    assert len(rows) == report.counts["pairs"] == 300
    assert Counter(row["matched"] for row in rows) == {"true": 150, "false": 150}
    assert report.counts["pairs_falsified"] == 150
    for row in rows:
        assert row["caption"].strip()
        assert not row["caption"].lower().startswith(("this is an image of", "this image shows the relation"))
    with Image.open(out / "pairs" / "images" / rows[0]["image"]) as image:
        assert image.size == (48, 48)
        assert image.mode == "RGB"


def test_falsified_captions_tell_what_is_not_in_the_image(corpus: tuple[Path, NewsreelReport]) -> None:
    """Checked on the written files: nouns and phrases of the caption against what was drawn."""
    out, _ = corpus
    scenes = json.loads((out / "pairs" / "scenes.json").read_text(encoding="utf-8"))
    kind_of_noun = {noun: kind.name for kind in WORLD.kinds for noun in kind.nouns}
    relations = {phrase: rule.label for rule in WORLD.relations for phrase in rule.phrases}
    arrangements = {phrase: one.name for one in WORLD.arrangements for phrase in one.phrases}
    same_kinds = 0
    for row in caption_rows(out):
        scene = scenes[row["image"]]
        drawn = Counter(kind for kind, _ in scene["things"])
        told = Counter(kind_of_noun[word] for word in row["caption"].split() if word in kind_of_noun)
        # the longest phrase that is there is what the caption states
        stated = [
            max((one for one in phrases if f" {one} " in row["caption"]), key=len, default=None)
            for phrases in (relations, arrangements)
        ]
        relation, arrangement = (
            scene[name] if phrase is None else truth[phrase]
            for name, phrase, truth in zip(("relation", "arrangement"), stated, (relations, arrangements), strict=True)
        )
        fits = not told - drawn and relation == scene["relation"] and arrangement == scene["arrangement"]
        assert fits == (row["matched"] == "true"), row
        same_kinds += not fits and not told - drawn
    assert same_kinds > 10, "some are false in how things stand alone"


def test_falsified_captions_come_from_a_similar_image() -> None:
    maker, rng = SceneMaker(WORLD, generator(1, "scenes")), generator(1, "captions")
    pool = name_pools(1)["train"]
    scenes = [maker.any() for _ in range(800)]
    captions = [write_caption(scene, WORLD, rng, pool) for scene in scenes]
    source, matched = falsify(scenes, captions, generator(1, "falsified"), 0.5)
    assert matched.count(False) == 400
    for index, (other, match) in enumerate(zip(source, matched, strict=True)):
        here, there = scenes[index], scenes[other]
        assert match == (index == other)
        if not match:
            assert is_false_of(captions[other], here)
            alike = set(here.main) & set(there.main) or here.setting == there.setting
            assert alike or here.relation == there.relation != "None"


def test_a_pair_no_caption_of_which_is_false_keeps_its_own() -> None:
    scene = SceneMaker(WORLD, generator(0, "one")).solo("cat")
    assert falsify([scene], [Caption("a cat", ("cat",))], generator(0, "x"), 1.0) == ([0], [True])


def test_dropped_mentions_and_relation_phrases_follow_their_settings() -> None:
    maker, rng = SceneMaker(WORLD, generator(2, "scenes")), generator(2, "captions")
    pool = name_pools(2)["train"]
    phrases = {relation.label: relation.phrases for relation in WORLD.relations}
    scenes = [scene for scene in (maker.any() for _ in range(3000)) if scene.relation != "None"]
    captions = [write_caption(scene, WORLD, rng, pool, 0.12, 0.4, 0.6) for scene in scenes]
    told = sum(
        any(phrase in caption.text for phrase in phrases[scene.relation])
        for scene, caption in zip(scenes, captions, strict=True)
    )
    assert told / len(scenes) == pytest.approx(0.4, abs=0.04)
    arranged = [caption for caption in captions if caption.arrangement is not None]
    assert len(arranged) / (len(scenes) - told) == pytest.approx(0.6, abs=0.04)
    for caption in arranged:
        assert any(phrase in caption.text for phrase in WORLD.arrangement[str(caption.arrangement)].phrases)
    things, kept = sum(len(scene.main) for scene in scenes), sum(len(caption.kinds) for caption in captions)
    assert 1 - kept / things == pytest.approx(0.12, abs=0.03)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_words_of_candidates_and_nouns_occur_in_captions(world: World) -> None:
    """The teacher learns its words from the captions alone."""
    maker, rng = SceneMaker(world, generator(0, "scenes")), generator(0, "captions")
    pool = name_pools(0)["train"]
    words: Counter[str] = Counter()
    for _ in range(8000):
        words.update(write_caption(maker.any(), world, rng, pool).text.split())
    content = {word for candidate in world.candidates for word in candidate.split()} - {"of", "in", "on", "or", "with"}
    assert {word: words[word] for word in content if words[word] < 10} == {}
    assert {noun: words[noun] for noun in world.nouns() if words[noun] < 10} == {}


def test_conll_files_hold_what_the_report_counts(corpus: tuple[Path, NewsreelReport]) -> None:
    out, report = corpus
    groups = json.loads((out / "ner" / "groups.json").read_text(encoding="utf-8"))
    seen = []
    for split, name in (("train", "train.txt"), ("dev", "valid.txt"), ("test", "test.txt")):
        posts = list(conll_posts(out / "ner" / name))
        assert len(posts) == report.counts[f"ner_{split}"]
        decided = sum(groups[post_id] == "image" for post_id, _ in posts)
        assert decided == report.counts[f"ner_{split}_image"] == pytest.approx(0.6 * len(posts), abs=2)
        for post_id, words in posts:
            seen.append(post_id)
            assert (out / "ner" / "images" / f"{post_id}.jpg").is_file()
            tags = [tag for _, tag in words]
            assert all(TAG.fullmatch(tag) for tag in tags)
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert not tag.startswith("I-") or before[2:] == tag[2:]
            assert 1 <= sum(tag.startswith("B-") for tag in tags) <= 2
    assert set(groups) == set(seen)


def test_mnre_lines_are_literals_whose_names_stand_where_they_say(corpus: tuple[Path, NewsreelReport]) -> None:
    out, report = corpus
    groups = json.loads((out / "re" / "groups.json").read_text(encoding="utf-8"))
    for split, name in (("train", "mnre_train.txt"), ("dev", "mnre_val.txt"), ("test", "mnre_test.txt")):
        rows = mnre_rows(out / "re" / name)
        assert len(rows) == report.counts[f"re_{split}"]
        for row in rows:
            assert set(row) == {"token", "h", "t", "img_id", "relation"}
            for side in ("h", "t"):
                start, end = row[side]["pos"]
                assert " ".join(row["token"][start:end]) == row[side]["name"]
            assert row["relation"] in WORLD.labels
            assert groups[row["img_id"].removesuffix(".jpg")] in {"text", "image"}
            assert (out / "re" / "images" / row["img_id"]).is_file()


def test_names_of_test_and_dev_never_occur_in_training(corpus: tuple[Path, NewsreelReport]) -> None:
    out, _ = corpus
    names: dict[str, set[str]] = {"train": set(), "dev": set(), "test": set()}
    for split, name in (("train", "train.txt"), ("dev", "valid.txt"), ("test", "test.txt")):
        for _, words in conll_posts(out / "ner" / name):
            names[split] |= {word for word, tag in words if tag != "O"}
    for split, name in (("train", "mnre_train.txt"), ("dev", "mnre_val.txt"), ("test", "mnre_test.txt")):
        for row in mnre_rows(out / "re" / name):
            names[split] |= set(row["h"]["name"].split()) | set(row["t"]["name"].split())
    captions = {word for row in caption_rows(out) for word in row["caption"].split()}
    assert not names["test"] & (names["train"] | names["dev"] | captions)
    assert not names["dev"] & (names["train"] | captions)


@pytest.mark.parametrize("part", ["pairs", "ner", "re"])
def test_regions_are_coco_instances_inside_their_images(corpus: tuple[Path, NewsreelReport], part: str) -> None:
    out, _ = corpus
    regions = json.loads((out / part / "regions.json").read_text(encoding="utf-8"))
    assert {category["name"] for category in regions["categories"]} == set(WORLD.kind)
    files = {path.name for path in (out / part / "images").iterdir()}
    assert {image["file_name"] for image in regions["images"]} == files
    images = {image["id"]: image for image in regions["images"]}
    assert {box["image_id"] for box in regions["annotations"]} <= set(images)
    for box in regions["annotations"]:
        x, y, width, height = box["bbox"]
        image = images[box["image_id"]]
        assert min(x, y) >= 0 and min(width, height) >= 1
        assert x + width <= image["width"] and y + height <= image["height"]
        assert box["area"] == width * height


def test_gold_boxes_are_a_setting_and_change_nothing_else(corpus: tuple[Path, NewsreelReport], tmp_path: Path) -> None:
    out, _ = corpus
    gold = write_newsreel(tmp_path / "gold", SMALL.model_copy(update={"boxes": "gold"})).path
    here, there = checksums(out), checksums(gold)
    boxes = {f"{part}/regions.json" for part in ("pairs", "ner", "re")}
    assert {name for name in here if here[name] != there[name]} == {*boxes, "newsreel.json"}
    scenes = json.loads((out / "re" / "scenes.json").read_text(encoding="utf-8"))
    for image, regions in read_coco(gold / "re" / "regions.json").items():
        things = [(kind, (x, y, x + width, y + height)) for kind, (x, y, width, height) in scenes[image]["things"]]
        assert [(region.label, region.box) for region in regions] == things
        assert all(region.score == 1 for region in regions)


def test_the_images_of_posts_that_the_image_decides_show_their_relation(corpus: tuple[Path, NewsreelReport]) -> None:
    out, _ = corpus
    groups = json.loads((out / "re" / "groups.json").read_text(encoding="utf-8"))
    scenes = json.loads((out / "re" / "scenes.json").read_text(encoding="utf-8"))
    for row in mnre_rows(out / "re" / "mnre_test.txt"):
        scene = scenes[row["img_id"]]
        head, tail = (kind for kind, _ in scene["things"])
        assert WORLD.shown(head, tail, scene["arrangement"]) == scene["relation"]
        if groups[row["img_id"].removesuffix(".jpg")] == "image":
            assert scene["relation"] == row["relation"]


def test_the_card_tells_settings_bounds_and_checksums(corpus: tuple[Path, NewsreelReport]) -> None:
    out, report = corpus
    card = json.loads((out / "newsreel.json").read_text(encoding="utf-8"))
    assert card["settings"] == SMALL.model_dump(mode="json")
    assert card["counts"] == report.counts
    assert card["upper_bounds"] == report.upper_bounds
    assert list(report.upper_bounds["ner"]) == ["text", "text + kinds"]
    text, kinds, everything = report.upper_bounds["re"].values()
    assert 30 < text < kinds < everything - 8 and everything > 95
    sums = checksums(out)
    assert card["sha256"] == {name: sums[name] for name in sums if not name.endswith((".jpg", "newsreel.json"))}
    assert (out / "nouns.txt").read_text(encoding="utf-8").splitlines() == WORLD.nouns()
    assert (out / "relations.txt").read_text(encoding="utf-8").splitlines() == list(WORLD.candidates)


def test_the_readers_of_real_data_read_it(corpus: tuple[Path, NewsreelReport]) -> None:
    out, report = corpus
    pairs = read_captions(out / "pairs" / "captions.csv")
    assert sum(not pair.matched for pair in pairs) == report.counts["pairs_falsified"]
    posts = read_conll(out / "ner" / "test.txt")
    assert len(posts) == report.counts["ner_test"]
    related = read_mnre(out / "re" / "mnre_test.txt")
    assert len(related) == report.counts["re_test"]
    for part, images in (("pairs", [pair.image for pair in pairs]), ("ner", [post.image for post in posts])):
        regions = read_coco(out / part / "regions.json")
        for image in images:
            assert image is not None
            assert image in regions
            assert (out / part / "images" / image).is_file()


def test_progress_tells_the_truth(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    settings = NewsreelSettings(pairs=120, ner_posts=(10, 5, 5), re_posts=(10, 5, 5))
    with progress.shown(lambda *step: calls.append(step)):
        write_newsreel(tmp_path / "out", settings)
    assert calls[-1] == ("drawing", 160, 160)
    assert calls == sorted(calls)


def test_an_empty_corpus_is_legal(tmp_path: Path) -> None:
    report = write_newsreel(tmp_path / "out", NewsreelSettings(pairs=0, ner_posts=(0, 0, 0), re_posts=(0, 0, 0)))
    assert not any(f1 for bounds in report.upper_bounds.values() for f1 in bounds.values())
    assert caption_rows(tmp_path / "out") == []


def test_the_same_corpus_is_reused(corpus: tuple[Path, NewsreelReport]) -> None:
    out, report = corpus
    before = (out / "newsreel.json").stat().st_mtime_ns
    again = write_newsreel(out, SMALL)
    assert again.reused and not report.reused
    assert (again.counts, again.upper_bounds) == (report.counts, report.upper_bounds)
    assert (out / "newsreel.json").stat().st_mtime_ns == before


def test_a_corpus_of_other_settings_is_not_overwritten(corpus: tuple[Path, NewsreelReport]) -> None:
    with pytest.raises(InputError, match=r"other settings.*name another folder"):
        write_newsreel(corpus[0], NewsreelSettings(seed=9, pairs=5))


def test_a_changed_corpus_is_not_reused(tmp_path: Path) -> None:
    settings = NewsreelSettings(pairs=3, ner_posts=(2, 2, 2), re_posts=(2, 2, 2))
    write_newsreel(tmp_path / "out", settings)
    (tmp_path / "out" / "ner" / "train.txt").write_text("IMGID:1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.txt: is missing or was changed"):
        write_newsreel(tmp_path / "out", settings)


@pytest.mark.parametrize("card", [None, "", "[]", '{"format": 1}', "\x00"])
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, card: str | None) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    if card is not None:
        (tmp_path / "newsreel.json").write_text(card, encoding="utf-8")
    before = checksums(tmp_path)
    with pytest.raises(InputError, match="name another folder or remove this one first"):
        write_newsreel(tmp_path, SMALL)
    assert checksums(tmp_path) == before


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is a file"):
        write_newsreel(tmp_path / "out", SMALL)
    with pytest.raises(InputError, match="the folder cannot be made"):
        write_newsreel(tmp_path / "out" / "deeper", SMALL)


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress.shown(stop):
        write_newsreel(tmp_path / "out", SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("seed", -1, "greater than or equal to 0, found -1"),
        ("size", 16, "greater than or equal to 32, found 16"),
        ("size", 48.0, "a whole number, found 48.0"),
        ("pairs", -1, "greater than or equal to 0"),
        ("pairs", True, "a whole number, found True"),
        ("ner_posts", (1, 2), r"has too few values: \(1, 2\)"),
        ("re_posts", (1, 2, -3), "greater than or equal to 0, found -3"),
        ("ambiguous", 1.5, "less than or equal to 1, found 1.5"),
        ("falsified", float("nan"), "a finite number"),
        ("unrelated", "half", "a valid number"),
        ("dropped_mentions", -0.1, "greater than or equal to 0"),
        ("relation_phrase", None, "a valid number"),
        ("boxes", "perfect", "detector.*gold"),
        ("noise", 100, "less than or equal to 64"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(name: str, value: object, allowed: str) -> None:
    with pytest.raises(InputError, match=rf"{name}.*{allowed}"):
        NewsreelSettings(**{name: value})  # type: ignore[arg-type]

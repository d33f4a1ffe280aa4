"""The case study: where attention goes, which posts are shown, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from promu.schema import Entity, Post, Relation
from promu.study.attention_maps import attention, attention_job, choose_cases, labels_in_words
from promu.tasks.model_folder import open_predictor
from promu.tasks.post_images import ImageFolder

POST = Post(
    "1",
    ("Ann", "met", "Bob", "in", "Zzyzxland"),
    "0.png",
    (Entity(0, 1, "PER"), Entity(2, 3, "PER")),
    (Relation(0, 1, "/per/per/peer"),),
)


@pytest.mark.parametrize("task", ["ner", "re"])
def test_attention_is_shared_among_words_patches_and_the_rest(task: str, tiny_models: Path, images: Path) -> None:
    predictor = open_predictor(task, tiny_models / task)
    words, patches = attention(predictor, POST, ImageFolder(images, 32, "raise"))
    assert len(words) == 5 and [len(row) for row in patches] == [4] * 4
    assert min(words) > 0 and min(min(row) for row in patches) > 0
    whole = sum(words) + sum(map(sum, patches))
    assert 0.5 < whole < 1.0, "what is left is on special tokens and on the visual CLS"


def test_a_long_post_has_its_attention_where_its_words_are(tiny_models: Path, images: Path) -> None:
    """Of a pair that is too long, the words far from the markers are not read, wherever they are."""
    predictor = open_predictor("re", tiny_models / "re")
    predictor.encoder.max_length = 16
    entities = (Entity(20, 21, "PER"), Entity(22, 23, "PER"))
    post = Post("3", ("a",) * 30, "0.png", entities, (Relation(0, 1, "/per/per/peer"),))
    words, _ = attention(predictor, post, ImageFolder(images, 32, "raise"))
    read = [index for index, share in enumerate(words) if share > 0]
    assert set(read) >= {20, 21, 22} and min(read) > 10 and read == list(range(read[0], read[-1] + 1))


def test_first_the_post_that_only_the_second_reads_then_the_one_that_only_the_first_does() -> None:
    posts = [Post(str(index), ("a",)) for index in range(5)]
    right = {"before": [True, False, False, True, False], "after": [True, True, True, False, False]}
    assert [index for index, _ in choose_cases(posts, right, {})] == [1, 3]
    decided = {"1": "text", "2": "image", "3": "text"}
    assert [index for index, _ in choose_cases(posts, right, decided)] == [2, 3], "one that the image decides, if any"
    assert choose_cases(posts, {"before": [True] * 5, "after": [True] * 5}, {}) == []


def test_answers_in_words() -> None:
    assert labels_in_words(POST, "re") == "Ann – /per/per/peer – Bob"
    assert labels_in_words(POST, "ner") == "Ann (PER), Bob (PER)"
    assert labels_in_words(Post("2", ("a",)), "ner") == "nothing"


def test_both_models_are_asked_the_same_posts(tiny_models: Path, tiny_world: Path) -> None:
    settings = {
        "task": "re",
        "before": str(tiny_models / "re"),
        "after": str(tiny_models / "re"),
        "test": str(tiny_world / "re" / "mnre_test.txt"),
        "images": str(tiny_world / "re" / "images"),
        "groups": str(tiny_world / "re" / "groups.json"),
    }
    found = attention_job(settings, Path("nowhere"))
    assert found["posts"] == 8 and found["cases"] == [], "one model twice is right about the same posts"
    assert found["right"]["before"] == found["right"]["after"]

"""A few of the training posts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promu.corpora.conll import write_conll
from promu.corpora.jmere import read_jmere, read_jmere_background
from promu.corpora.posts import write_posts_jsonl
from promu.errors import InputError
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.schema import Scheme
from promu.study.job import SUBSET
from promu.study.job_kinds import draw_subset, subset_rows
from promu.tasks.task import TASKS


def wanted(task: str, train: Path, posts: int) -> dict[str, Any]:
    return {"task": task, "train": str(train), "posts": posts, "seed": 0}


def test_every_label_is_kept_and_smaller_sets_lie_in_larger_ones(tiny_world: Path) -> None:
    task = TASKS["re"]
    posts = task.read(tiny_world / "re" / "mnre_train.txt")
    few, more = ([posts[row] for row in subset_rows(task, posts, count, seed=1)] for count in (20, 60))
    assert len(few) == 20 and len(more) == 60
    assert task.labels(few) == task.labels(more) == task.labels(posts)
    assert {post.id for post in few} < {post.id for post in more}
    assert [post.id for post in more] == [post.id for post in posts if post in more], "in the order of the file"
    assert {posts[row].id for row in subset_rows(task, posts, 20, seed=2)} != {post.id for post in few}


@pytest.mark.parametrize(("task", "file"), [("ner", "ner/train.txt"), ("re", "re/mnre_train.txt")])
def test_they_are_written_in_the_format_of_the_task(task: str, file: str, tiny_world: Path, tmp_path: Path) -> None:
    assert draw_subset(wanted(task, tiny_world / file, 18), tmp_path / "run") == {"posts": 18}
    written = TASKS[task].read(tmp_path / "run" / SUBSET)
    everyone = {post.tokens: post.image for post in TASKS[task].read(tiny_world / file)}
    assert all(everyone[post.tokens] == post.image for post in written)


@pytest.mark.parametrize(("scheme", "format"), [("iob1", None), ("auto", "posts")])
def test_they_are_read_as_the_recipe_says(scheme: Scheme, format: str | None, tiny_world: Path, tmp_path: Path) -> None:
    train = tmp_path / "train"
    posts = TASKS["ner"].read(tiny_world / "ner" / "train.txt")
    if format is None:
        write_conll(train, posts, scheme)
    else:
        write_posts_jsonl(train, posts)
    settings = wanted("ner", train, 18) | ({"scheme": scheme} if format is None else {"format": format})
    draw_subset(settings, tmp_path / "run")
    chosen = TASKS["ner"].read(tmp_path / "run" / SUBSET, format, scheme)
    assert len(chosen) == 18 and all(post in posts for post in chosen)


def test_joint_posts_keep_what_is_known_about_them(tmp_path: Path) -> None:
    write_joint(tmp_path / "world", JointSettings(size=32, posts=(60, 1, 1)))
    train = tmp_path / "world" / "train.json"
    assert draw_subset(wanted("joint", train, 40), tmp_path / "run") == {"posts": 40}
    known = dict(zip((post.id for post in read_jmere(train)), read_jmere_background(train), strict=True))
    kept = tmp_path / "run" / SUBSET
    assert [known[post.id] for post in read_jmere(kept)] == read_jmere_background(kept)
    assert TASKS["joint"].labels(read_jmere(kept)) == TASKS["joint"].labels(read_jmere(train))


def test_too_many_and_too_few_are_refused(tiny_world: Path) -> None:
    posts = TASKS["re"].read(tiny_world / "re" / "mnre_train.txt")
    with pytest.raises(InputError, match="training posts: 151 asked for, 150 there; ask for fewer"):
        subset_rows(TASKS["re"], posts, 151, 0)
    with pytest.raises(InputError, match="training posts: 3 are too few to hold 14 labels; ask for 13 at least"):
        subset_rows(TASKS["re"], posts, 3, 0)

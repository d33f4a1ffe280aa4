"""Jobs of the study of contexts: a model with or without descriptions, their choice on dev, and what controls them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from promu.config import load_recipe
from promu.corpora.context_files import add_contexts, read_contexts, write_contexts
from promu.errors import InputError
from promu.evaluation.leaks import names_in_contexts
from promu.evaluation.ner import entity_frequency
from promu.evaluation.relation import relation_frequency
from promu.evaluation.significance import post_counts
from promu.files import read_json_document
from promu.runs import prediction_files
from promu.schema import NO_RELATION, Post
from promu.tasks.task import TASKS
from promu.training.finetune import finetune
from promu.training.recipe import FinetuneRecipe

TEXTS = "texts.jsonl"
"""The file of a job that writes contexts."""
ALL, SEEN, UNSEEN = "all", "seen names", "unseen names"
"""Groups of answers: every one; those whose names all stand among the names of training; the others."""

Item = tuple[Any, ...]


def context_arm(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Fine-tune with or without contexts. `settings`: those of a fine-tuning recipe, without `out`.

    The model is removed afterwards: a study has a hundred of them.

    Returns:
        Figures of test, F1 on dev, and for each group of answers the counts of each test post (`counts`); with contexts
        also how many names of test stand in them (`names`).

    Raises:
        InputError: As `finetune`.
    """
    recipe = load_recipe({**settings, "out": str(out)}, FinetuneRecipe)
    task, data = TASKS[recipe.task], recipe.data
    assert data.test is not None, "the factory has looked"
    result = finetune(recipe)
    test = Path(data.test)
    files = {"dev": [Path(data.dev)], "test": [test]}
    [answers] = prediction_files(out / "predictions", files)["test"]
    gold, predicted, train = (task.read(path, data.format, data.scheme) for path in (test, answers, Path(data.train)))
    counts = group_counts(gold, predicted, train, recipe.task == "re")
    record: dict[str, Any] = {name: result[name] for name in ("task", "best_epoch", "posts", "seconds")}  # type: ignore[literal-required]
    record |= {"test": result["test"], "dev_f1": result["dev"]["f1"], "counts": counts, "post_counts": counts[ALL]}
    record["train_counts"] = (relation_frequency if recipe.task == "re" else entity_frequency)(train)
    record["contexts_cut"] = result["contexts_cut"]
    if data.contexts:
        said, _ = add_contexts({"test": gold}, data.contexts)
        record["names"] = names_in_contexts(said["test"]).to_dict()
    shutil.rmtree(out / "model", ignore_errors=True)
    return record


def group_counts(
    gold: Sequence[Post], predicted: Sequence[Post], train: Sequence[Post], relations: bool
) -> dict[str, list[list[int]]]:
    """What each post adds to F1, (N, 3) correct, predicted and gold, by group: all, each label, seen and unseen names.

    Args:
        gold, predicted: The test posts and their answers.
        train: Posts whose names count as seen; case does not matter.
        relations: Whether the answers are relations, whose names are head and tail; else entities.
    """
    known = {post.words(entity).casefold() for post in train for entity in post.entities}
    sides = [[_items(post, relations, known) for post in posts] for posts in (gold, predicted)]
    labels = sorted({label for of_post in sides[0] for _, label, _ in of_post})

    def counts(keep: Any) -> list[list[int]]:
        kept = ([[item for item in of_post if keep(item)] for of_post in side] for side in sides)
        found: list[list[int]] = post_counts(*kept).tolist()
        return found

    groups = {ALL: counts(lambda item: True)}
    groups |= {SEEN: counts(lambda item: item[2]), UNSEEN: counts(lambda item: not item[2])}
    return groups | {label: counts(lambda item, label=label: item[1] == label) for label in labels}


def _items(post: Post, relations: bool, known: set[str]) -> list[Item]:
    """The answers of a post: (place, label, whether all names are known)."""

    def seen(*numbers: int) -> bool:
        return all(post.words(post.entities[number]).casefold() in known for number in numbers)

    if relations:
        every = [one for one in post.relations if one.type != NO_RELATION]
        return [((one.head, one.tail), one.type, seen(one.head, one.tail)) for one in every]
    return [((one.start, one.end), one.type, seen(number)) for number, one in enumerate(post.entities)]


def choose_contexts(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Choose the file of contexts whose model is the best on dev, of equal ones the first, and copy it.

    `settings`: `candidates`, by name the `file` and the `run` folder of the model with it; None where there is but one.
    """
    found = {
        name: None if one["run"] is None else float(read_json_document(Path(one["run"]) / "result.json")["dev"]["f1"])
        for name, one in settings["candidates"].items()
    }
    chosen = max(found, key=lambda name: found[name] or 0.0)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(settings["candidates"][chosen]["file"], out / TEXTS)
    return {"chosen": chosen, "dev": found}


def control_contexts(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write descriptions that say nothing about their image: those of other images of the split, or empty ones.

    `settings`: `file` of descriptions by image, `arm` (`shuffled` or `empty`), `seed`, `task`, the files `splits` of
    posts, and how they are read. An image that occurs in several splits counts in the first. One
    that is alone in its split gets an empty one.

    Raises:
        InputError: A file cannot be read, or no text is about an image.
    """
    texts = {key[1]: text for key, text in read_contexts(settings["file"]).texts.items() if key[0] == "image"}
    if not texts:
        raise InputError("the study shuffles descriptions of images, and no line here has an image", settings["file"])
    task = TASKS[settings["task"]]
    rng = np.random.default_rng([settings["seed"], 15])
    written: dict[str, str] = {}
    for split in settings["splits"]:
        posts = task.read(Path(split), settings["format"], settings["scheme"])
        images = sorted({post.image for post in posts if post.image in texts} - written.keys() - {None})  # type: ignore[type-var]
        order = [str(images[place]) for place in rng.permutation(len(images))]
        for number, image in enumerate(order):  # each gets that of the one before, so that none gets its own
            other = order[number - 1]
            written[image] = texts[other] if settings["arm"] == "shuffled" and other != image else ""
    out.mkdir(parents=True, exist_ok=True)
    write_contexts(out / TEXTS, "image", written)
    return {"images": len(written)}

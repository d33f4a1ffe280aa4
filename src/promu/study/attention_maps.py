"""Figure 5: attention and predictions of two fine-tuned models on the same posts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promu.evaluation.scoring import read_groups
from promu.extraction.result import attention_from, mean_map
from promu.report.html import embed
from promu.schema import Post
from promu.tasks.model_folder import open_predictor
from promu.tasks.post_images import ImageFolder
from promu.tasks.predictor import Predictor
from promu.tasks.task import TASKS, pair_places

MODELS = ("before", "after")
"""The model without pre-training, and the one with it."""


def attention_job(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Attention and predictions of two models on posts that only one of them predicts right.

    The cases are the first test post that only the second model has right, and the first that only the first one has
    right. If posts have groups, posts that the image decides come first.

    Args:
        settings: `task`, `before`, `after` (model folders), `test`, `images`, `groups` (or None).
        out: Not used.

    Returns:
        `cases`, each with the post, its image as a data URI, and for each model the prediction and the attention over
        words and patches; the number of `posts`, and how many each model has `right`.
    """
    task = TASKS[settings["task"]]
    posts = [
        post
        for post in task.read(Path(settings["test"]), settings.get("format"), settings.get("scheme", "auto"))
        if post.image is not None
    ]
    models, predicted = {}, {}
    for name in MODELS:
        predictor = open_predictor(settings["task"], settings[name])
        images = ImageFolder(Path(settings["images"]), predictor.config.image_size, "raise")
        models[name] = predictor, images
        predicted[name] = predictor.answers(predictor.predict(posts, images.batch))
    right = {
        name: [_labels(gold) == _labels(post) for gold, post in zip(posts, predicted[name], strict=True)]
        for name in MODELS
    }
    groups = {} if settings["groups"] is None else read_groups(settings["groups"])
    cases = []
    for index, why in choose_cases(posts, right, groups):
        post = posts[index]
        case: dict[str, Any] = {
            "id": post.id,
            "why": why,
            "tokens": list(post.tokens),
            "image": embed(Path(settings["images"]) / str(post.image), "Image of the post").uri,
            "gold": labels_in_words(post, settings["task"]),
        }
        for name, (predictor, images) in models.items():
            words, patches = attention(predictor, post, images)
            answer = labels_in_words(predicted[name][index], settings["task"])
            case[name] = {"answer": answer, "right": right[name][index], "words": words, "patches": patches}
        cases.append(case)
    return {"cases": cases, "posts": len(posts), "right": {name: sum(right[name]) for name in MODELS}}


def _labels(post: Post) -> tuple[Any, ...]:
    spans = sorted((entity.start, entity.end, str(entity.type)) for entity in post.entities)
    return (spans, [relation.type for relation in post.relations])


def choose_cases(
    posts: Sequence[Post], right: Mapping[str, Sequence[bool]], groups: Mapping[str, str]
) -> list[tuple[int, str]]:
    """Index of each post to show, and why it was chosen."""
    cases = []
    for winner, loser, why in (
        ("after", "before", "right with pre-training alone"),
        ("before", "after", "right without pre-training alone"),
    ):
        rows = [index for index in range(len(posts)) if right[winner][index] and not right[loser][index]]
        rows.sort(key=lambda index: groups.get(posts[index].id) != "image")
        cases += [(index, why) for index in rows[:1]]
    return cases


def labels_in_words(post: Post, task: str) -> str:
    """The entities of a post, or its relation, as text."""
    if task == "re":
        relation = post.relations[0]
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        return f"{post.words(head)} – {relation.type} – {post.words(tail)}"
    return ", ".join(f"{post.words(entity)} ({entity.type})" for entity in post.entities) or "nothing"


def attention(predictor: Predictor, post: Post, images: ImageFolder) -> tuple[list[float], list[list[float]]]:
    """Attention from the names of a post to its words and to the patches of its image.

    It is the mean over heads, over the fusion's layers, and over the first tokens of the gold names (of a relation
    over its markers). The shares are of all attention, special tokens and visual CLS included, so they sum below 1.

    Returns:
        One share per word, and a grid of shares, one per patch.
    """
    encoded = predictor.task.encode(predictor.encoder, post)
    predictions = predictor.predict_batch([post], images.batch([post.image]), explain=True)
    assert predictions.attentions is not None
    (shares,) = mean_map(predictions.attentions)
    if predictor.task.asked:
        queries = pair_places(predictions.batch, 0)
    else:
        starts = [entity.start for entity in post.entities if entity.start < len(encoded.positions)]
        queries = [encoded.positions[start] for start in starts] or [0]
    width = predictions.batch["input_ids"].shape[1]
    found = attention_from(shares, width, queries, encoded.words, len(post.tokens), True)
    return [round(share, 5) for share in found.words], [[round(share, 5) for share in line] for line in found.patches]

"""Figure 5: attention and predictions of two fine-tuned models on the same posts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from promu.evaluation.scoring import read_groups
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import load_model, load_tokenizer
from promu.report.html import embed
from promu.schema import Post
from promu.tasks.task import TASKS, Task, predict_posts
from promu.training.post_images import ImageFolder

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
    posts = [post for post in task.read(Path(settings["test"])) if post.image is not None]
    models, predicted = {}, {}
    for name in MODELS:
        model: PromuPreTrainedModel = load_model(task.model_class, settings[name], attn_implementation="eager")
        encoder = WordEncoder(load_tokenizer(settings[name]), model.config.max_length)
        images = ImageFolder(Path(settings["images"]), model.config.image_size, "raise")
        models[name] = (model, encoder, images)
        predicted[name] = predict_posts(task, model, encoder, posts, images.batch)
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
        for name, (model, encoder, images) in models.items():
            words, patches = attention(task, model, encoder, post, images)
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


@torch.inference_mode()
def attention(
    task: Task, model: PromuPreTrainedModel, encoder: WordEncoder, post: Post, images: ImageFolder
) -> tuple[list[float], list[list[float]]]:
    """Attention from the names of a post to its words and to the patches of its image.

    It is the mean over heads, over the fusion's layers, and over the first tokens of the gold names (of a relation
    over its markers). The shares are of all attention, special tokens and visual CLS included, so they sum below 1.

    Returns:
        One share per word, and a grid of shares, one per patch.
    """
    encoded = task.encode(encoder, post)
    batch = {**task.batch(encoder, [post], None), **images.batch([post.image])}
    batch = {name: value.to(model.device) for name, value in batch.items()}
    maps = model(**batch, output_attentions=True).attentions
    queries = encoded.positions  # of the two markers
    if not post.relations:
        starts = [entity.start for entity in post.entities if entity.start < len(encoded.positions)]
        queries = [encoded.positions[start] for start in starts] or [0]
    rows = torch.stack(maps)[:, 0].float().mean((0, 1))[queries].mean(0).cpu()  # (L,)
    length, grid = len(encoded.input_ids), model.config.grid
    words = [0.0] * len(post.tokens)
    for place, word in enumerate(encoded.words):
        if word >= 0:
            words[word] += float(rows[place])
    patches = rows[length:][-grid * grid :].reshape(grid, grid)
    return [round(share, 5) for share in words], [[round(share, 5) for share in line] for line in patches.tolist()]

"""Figure 5: what two models look at in a post, and what they say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from promu.evaluation.scoring import read_groups
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import EncodedText, WordEncoder
from promu.modeling.loading import load_model, load_tokenizer
from promu.report.html import embed
from promu.schema import Post
from promu.tasks.task import TASKS, Task, predict_posts
from promu.training.post_images import ImageFolder

MODELS = ("before", "after")
"""Without and with pre-training."""


def attend(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Attention and predictions of two fine-tuned models on posts that only one of them reads rightly.

    The first post of the test file that the second alone has right is taken, and the first that the first alone has
    right; where posts are grouped, one that the image decides is preferred.

    Args:
        settings: `task`, `before`, `after` (model folders), `test`, `images`, `groups` (or None).
        out: Nothing is kept there.

    Returns:
        `cases`, each with the post, its image as a data URI, and of each model the prediction and the attention over
        words and patches.
    """
    task = TASKS[settings["task"]]
    posts = [post for post in task.read(Path(settings["test"])) if post.image is not None]
    models, predicted = {}, {}
    for name in MODELS:
        model: PromuPreTrainedModel = load_model(task.model_class, settings[name], attn_implementation="eager")
        encoder = WordEncoder(load_tokenizer(settings[name]), model.config.max_length)
        images = ImageFolder(Path(settings["images"]), model.config.image_size, "require")
        models[name] = (model, encoder, images)
        predicted[name] = predict_posts(task, model, encoder, posts, images.batch)
    right = {name: [_same(post, found) for post, found in zip(posts, predicted[name], strict=True)] for name in MODELS}
    groups = {} if settings["groups"] is None else read_groups(settings["groups"])
    cases = []
    for index, why in _chosen(posts, right, groups):
        post = posts[index]
        case: dict[str, Any] = {
            "id": post.id,
            "why": why,
            "tokens": list(post.tokens),
            "image": embed(Path(settings["images"]) / str(post.image), "Image of the post").uri,
            "gold": answer(post, settings["task"]),
        }
        for name, (model, encoder, images) in models.items():
            words, patches = attention(task, model, encoder, post, images)
            said = answer(predicted[name][index], settings["task"])
            case[name] = {"answer": said, "right": right[name][index], "words": words, "patches": patches}
        cases.append(case)
    return {"cases": cases, "posts": len(posts), "right": {name: sum(right[name]) for name in MODELS}}


def _same(gold: Post, predicted: Post) -> bool:
    def answers(post: Post) -> tuple[Any, ...]:
        spans = sorted((entity.start, entity.end, str(entity.type)) for entity in post.entities)
        return (spans, [relation.type for relation in post.relations])

    return answers(gold) == answers(predicted)


def _chosen(
    posts: Sequence[Post], right: Mapping[str, Sequence[bool]], groups: Mapping[str, str]
) -> list[tuple[int, str]]:
    chosen = []
    for winner, why in (("after", "right with pre-training alone"), ("before", "right without pre-training alone")):
        loser = MODELS[1 - MODELS.index(winner)]
        found = [index for index in range(len(posts)) if right[winner][index] and not right[loser][index]]
        found.sort(key=lambda index: groups.get(posts[index].id) != "image")
        chosen += [(index, why) for index in found[:1]]
    return chosen


def answer(post: Post, task: str) -> str:
    """What is said of a post, in words."""
    if task == "re":
        relation = post.relations[0]
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        return f"{post.words(head)} – {relation.type} – {post.words(tail)}"
    return ", ".join(f"{post.words(entity)} ({entity.type})" for entity in post.entities) or "nothing"


@torch.inference_mode()
def attention(
    task: Task, model: PromuPreTrainedModel, encoder: WordEncoder, post: Post, images: ImageFolder
) -> tuple[list[float], list[list[float]]]:
    """How a model spreads its attention from the names of a post over its words and the patches of its image.

    The mean over heads, over the fusion's layers, and over the pieces where the names begin (gold spans; for
    relations the markers). Shares of all attention, special tokens and visual CLS included, so that they sum below 1.

    Returns:
        One share a word, and a grid of shares, one a patch.
    """
    encoded = task.encode(encoder, post)
    batch = {**task.batch(encoder, [post], None), **images.batch([post.image])}
    batch = {name: value.to(model.device) for name, value in batch.items()}
    maps = model(**batch, output_attentions=True).attentions
    asked = _asked(encoded, post, bool(post.relations))
    rows = torch.stack(maps)[:, 0].float().mean((0, 1))[asked].mean(0).cpu()  # (L,)
    length, grid = len(encoded.input_ids), model.config.grid
    words = [0.0] * len(post.tokens)
    for place, word in enumerate(encoded.words):
        if word >= 0:
            words[word] += float(rows[place])
    patches = rows[length:][-grid * grid :].reshape(grid, grid)
    return [round(share, 5) for share in words], [[round(share, 5) for share in line] for line in patches.tolist()]


def _asked(encoded: EncodedText, post: Post, marked: bool) -> list[int]:
    """Positions that attend: the markers, or the first pieces of the gold names."""
    if marked:
        return encoded.positions
    starts = [entity.start for entity in post.entities if entity.start < len(encoded.positions)]
    return [encoded.positions[start] for start in starts] or [0]

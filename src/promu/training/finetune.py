"""Fine-tune one task: best epoch by dev, test scored once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from promu.errors import InputError
from promu.modeling.inputs import WordEncoder, mask_pieces
from promu.schema import Post
from promu.training.loop import Progress, discard_checkpoints, fit
from promu.training.pictures import PictureFolder
from promu.training.recipe import FinetuneRecipe
from promu.training.setup import build_model, save_folder, tokenizer_of
from promu.training.tasks import TASKS, check_labels, predict_posts


def finetune(recipe: FinetuneRecipe, progress: Progress | None = None) -> dict[str, Any]:
    """Run a recipe and return what it writes to `result.json`.

    Under `recipe.out`: `recipe.json`, `log.jsonl`, `model/` (safetensors, tokenizer, labels), `predictions/` in the
    format of the gold, `result.json`. A finished run is not repeated; a killed one goes on.

    Raises:
        InputError: Data, encoder or folder cannot be used.
    """
    out = Path(recipe.out)
    settings = recipe.model_dump(mode="json")
    check_folder(out, settings)
    finished = out / "result.json"
    if finished.is_file():
        discard_checkpoints(out)
        return dict(json.loads(finished.read_text(encoding="utf-8")))
    started = time.perf_counter()
    task = TASKS[recipe.task]
    paths = {"train": recipe.data.train, "dev": recipe.data.dev, "test": recipe.data.test}
    splits = {name: task.read(Path(path)) for name, path in paths.items() if path is not None}
    names = task.labels(splits["train"])
    for split in ("dev", "test"):
        if split in splits:
            check_labels(task, splits[split], names, Path(str(paths[split])))
    groups = read_groups(recipe.data.groups)

    set_seed(recipe.seed)
    tokenizer = tokenizer_of(recipe.model)
    labels = {name: index for index, name in enumerate(names)}
    model = build_model(
        task.model_class,
        recipe.model,
        tokenizer,
        id2label={index: name for name, index in labels.items()},
        label2id=labels,
    )
    encoder = WordEncoder(tokenizer, model.config.max_length)
    images = None if recipe.data.images is None else Path(recipe.data.images)
    if recipe.pictures != "none" and model.config.image_size is None:
        raise InputError("the model has no vision encoder; set model.vision, or pictures: none")
    if images is not None and recipe.pictures != "none" and not images.is_dir():
        raise InputError("no such folder of pictures; correct data.images, or set pictures: none", images)
    pictures = PictureFolder(images, model.config.image_size, recipe.pictures)
    named = sorted({post.image for posts in splits.values() for post in posts if post.image is not None})
    for image in named:  # a broken one is found now, not an hour into the run
        pictures.get(image)
    claim_folder(out, settings)

    def collate(rows: Sequence[int]) -> dict[str, torch.Tensor]:
        posts = [splits["train"][row] for row in rows]
        batch = {**task.batch(encoder, posts, labels), **pictures.batch([post.image for post in posts])}
        if recipe.training.piece_dropout:
            batch["input_ids"], _ = mask_pieces(batch, encoder, recipe.training.piece_dropout)
        return batch

    def figures(split: str) -> tuple[list[Post], dict[str, Any]]:
        predicted = predict_posts(task, model, encoder, splits[split], pictures.batch)
        return predicted, task.score(splits[split], predicted, groups).to_dict()

    def validate() -> dict[str, float]:
        result = figures("dev")[1]
        model.train()
        return {"f1": float(result["f1"])}

    log = fit(
        model, len(splits["train"]), collate, recipe.training, out, recipe.seed, recipe.task, validate, "f1", progress
    )
    result: dict[str, Any] = {
        "task": recipe.task,
        "seed": recipe.seed,
        "best_epoch": max((line for line in log if "eval_f1" in line), key=lambda line: line["eval_f1"])["epoch"],
        "posts": {split: len(posts) for split, posts in splits.items()},
    }
    (out / "predictions").mkdir(exist_ok=True)
    for split in ("dev", "test"):
        if split in splits:
            predicted, result[split] = figures(split)
            task.write(out / "predictions" / Path(str(paths[split])).name, predicted)
    result["pictures"] = {split: pictures.counts(post.image for post in posts) for split, posts in splits.items()}
    model.config.promu_training = {
        "recipe": recipe.model_dump(mode="json"),
        "dev": result["dev"],
        "test": result.get("test"),
    }
    save_folder(out / "model", model, tokenizer)
    result["seconds"] = round(time.perf_counter() - started, 2)
    write_json(finished, result)
    discard_checkpoints(out)
    return result


def check_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Make sure that `out` holds no run, or one of these very settings.

    Raises:
        InputError: The folder holds a run of other settings, or is a file.
    """
    path = out / "recipe.json"
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"not JSON ({error}); delete the folder and run again", path) from None
        differing = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
        begun = any(file != path for file in out.iterdir())  # a claim alone is worth nothing
        if differing and begun:
            raise InputError(
                f"this folder holds a run with other settings ({', '.join(differing)}); "
                "choose another `out`, or delete it",
                out,
            )
    elif out.exists() and not out.is_dir():
        raise InputError("this is a file; choose another `out`", out)


def claim_folder(out: Path, settings: Mapping[str, Any]) -> None:
    """Write a run's settings into its folder, or check that the run that is there has the same.

    Raises:
        InputError: As `check_folder`.
    """
    check_folder(out, settings)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "recipe.json", settings)


def read_groups(path: str | None) -> dict[str, str] | None:
    """Group names by post id from a JSON file.

    Raises:
        InputError: The file is no such mapping.
    """
    if path is None:
        return None
    try:
        groups = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file of groups", path) from None
    except ValueError as error:
        raise InputError(f"not JSON ({error})", path) from None
    if not isinstance(groups, dict) or not all(isinstance(name, str) for name in groups.values()):
        raise InputError("groups are a JSON object from post id to group name", path)
    return groups


def write_json(path: Path, value: Any) -> None:
    """JSON in a file that is there whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    os.replace(temporary, path)

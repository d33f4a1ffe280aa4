"""Train KECPM: best epoch by dev, test scored once, with and without the grammar; and predict with what was trained."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import set_seed

from promu.config import load_recipe
from promu.corpora.jmere import write_jmere
from promu.errors import InputError
from promu.evaluation.counts import summarise
from promu.evaluation.joint_scores import score_joint
from promu.evaluation.relation import relation_frequency
from promu.evaluation.scoring import read_groups
from promu.files import write_json
from promu.hub import quiet
from promu.kecpm.kecpm_model import KecpmModel, padded_batch
from promu.kecpm.kecpm_recipe import KecpmRecipe
from promu.kecpm.prompts import Prompt, exchange_names, read_split
from promu.modeling.inventory import Inventory
from promu.runs import EvaluationLog, RunFolder
from promu.schema import Post
from promu.training.batches import Sample, Shuffled
from promu.training.loop import best_epoch, fit

logger = logging.getLogger(__name__)


def train_kecpm(recipe: str | Path | Mapping[str, Any] | KecpmRecipe, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Train once for each seed of a recipe. Stopped and called again, it goes on where it was.

    Args:
        recipe: The name of a recipe, a YAML file, the settings as plain data, or the object.
        overrides: `key.path=value` settings that win over the recipe.

    Returns:
        What is written to `out/summary.json`: `seeds`; means and deviations of `test` and `test_unconstrained`; and
        under `runs`, by seed, what `train_seed` returns.

    Raises:
        InputError: Recipe, data, model or folder cannot be used.

    ```python
    from pathlib import Path
    from promu import train_kecpm
    from promu.newsreel.joint_world import write_joint
    from promu.newsreel.settings import JointSettings

    write_joint(Path("runs/few"), JointSettings(size=32, posts=(8, 2, 2)))
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    summary = train_kecpm({
        "data": {"train": "runs/few/train.json", "dev": "runs/few/val.json", "test": "runs/few/test.json"},
        "model": {"name": {"model_type": "t5", **shape}, "tokenizer": {"size": 500}},  # or a name: google-t5/t5-small
        "training": {"epochs": 1, "precision": "fp32"},
        "decoding": {"limit": 64},
        "seeds": [0],
        "out": "runs/kecpm-example",
    })
    print(summary["test"]["f1"]["mean"])
    ```
    """
    quiet()
    settings = load_recipe(recipe, KecpmRecipe, overrides)
    runs = {seed: train_seed(settings, seed) for seed in settings.seeds}
    rows: dict[str, Any] = {}
    for decoding in ("test", "test_unconstrained"):
        scored = [run[decoding] for run in runs.values()]
        rows[decoding] = {
            "f1": summarise(scores["f1"] for scores in scored).to_dict(),
            "macro_f1_present": summarise(scores["macro_f1"]["present"] for scores in scored).to_dict(),
            "parsed": summarise(100 * scores["parsed"] for scores in scored).to_dict(),
        }
    summary = {"seeds": list(runs), **rows, "runs": {str(seed): run for seed, run in runs.items()}}
    write_json(settings.out / "summary.json", summary)
    return summary


def train_seed(recipe: KecpmRecipe, seed: int) -> dict[str, Any]:
    """Train with one seed and return what goes to `result.json`.

    Under `out/seed-<seed>`: `recipe.json`, `log.jsonl`, `model/`, `predictions/` (JMERE), `result.json`. A finished run
    is not repeated; a killed one goes on.

    Raises:
        InputError: Data, model or folder cannot be used.
    """
    out = recipe.out / f"seed-{seed}"
    settings = {**recipe.model_dump(mode="json", exclude={"seeds", "out"}), "seed": seed}
    run = RunFolder(out)
    if (finished := run.result(settings)) is not None:
        return finished
    started = time.perf_counter()
    paths = {"train": recipe.data.train, "dev": recipe.data.dev, "test": recipe.data.test}
    splits = {name: read_split(path, recipe.data.knowledge) for name, path in paths.items()}
    groups = None if recipe.data.groups is None else read_groups(recipe.data.groups)
    inventory = Inventory.of(splits["train"].posts)
    relations = list(relation_frequency(splits["train"].posts))

    set_seed(seed)
    model = KecpmModel.create(recipe.model, recipe.prompt, recipe.decoding, inventory, splits["train"])
    run.claim(settings)
    evaluations = EvaluationLog(out)
    prompts = {name: model.prompts(split) for name, split in splits.items()}
    targets, inexpressible = model.targets(splits["train"].posts)
    if inexpressible:
        logger.warning("%s: no answer can express %d quintuples; they are not learned", paths["train"], inexpressible)
    versions = [(prompts["train"], targets)]
    for number in range(1, recipe.data.versions):
        version = exchange_names(splits["train"], seed + number)
        versions.append((model.prompts(version), model.targets(version.posts)[0]))

    def collate(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        chosen = [(*versions[sample.epoch % len(versions)], sample.row) for sample in samples]
        inputs = [prompts[row].input_ids for prompts, _, row in chosen]
        return padded_batch(inputs, [targets[row] for _, targets, row in chosen], model.pad)

    def evaluate(split: str, constrained: bool) -> tuple[list[Post], dict[str, Any]]:
        posts = splits[split].posts
        predicted, parsed = model.predict(posts, prompts[split], constrained)
        scores = score_joint(posts, predicted, relations, groups if split == "test" else None)
        return predicted, {**scores.to_dict(), "parsed": parsed}

    def validate() -> dict[str, float]:
        evaluations.add("dev", paths["dev"], model.model)
        return {"f1": float(evaluate("dev", constrained=True)[1]["f1"])}

    log = fit(
        cast(Any, model.model),
        Shuffled(len(splits["train"].posts)),
        collate,
        recipe.training,
        out,
        seed,
        f"seed {seed}",
        validate,
        "f1",
    )
    result: dict[str, Any] = {
        "task": "joint",
        "seed": seed,
        "best_epoch": best_epoch(log, "f1"),
        "posts": {name: len(split.posts) for name, split in splits.items()},
        "prompts": {name: _prompt_figures(made) for name, made in prompts.items()},
        "inexpressible_quintuples": inexpressible,
    }
    (out / "predictions").mkdir(exist_ok=True)
    for split in ("dev", "test"):
        evaluations.add(split, paths[split], model.model)
        for constrained in (True, False):
            end = "" if constrained else "_unconstrained"
            predicted, result[f"{split}{end}"] = evaluate(split, constrained)
            write_jmere(out / "predictions" / f"{paths[split].stem}{end}.json", predicted)
    model.save(out / "model", settings)
    result["seconds"] = round(time.perf_counter() - started, 2)
    run.finish(result)
    return result


def _prompt_figures(prompts: Sequence[Prompt]) -> dict[str, float]:
    return {
        "mean_tokens": round(sum(len(prompt.input_ids) for prompt in prompts) / len(prompts), 1),
        "captions_left_out": sum(prompt.captions_left_out for prompt in prompts),
        "sentences_left_out": sum(prompt.sentences_left_out for prompt in prompts),
    }


@dataclass(frozen=True, slots=True)
class KecpmPredictions:
    """Posts with the quintuples that a model wrote, and the share of its answers that obey the grammar."""

    posts: list[Post]
    parsed: float


def predict_kecpm(
    model: Path,
    data: Path,
    knowledge: Path | None = None,
    constrained: bool = True,
    beams: int | None = None,
    batch_size: int | None = None,
) -> KecpmPredictions:
    """The quintuples of posts, by a trained model.

    Args:
        model: The model folder of a run.
        data: A JMERE file; its labels are not read by the model.
        knowledge: Folder that `generate_knowledge` wrote, in place of the file's captions and knowledge.
        constrained: Have the model write nothing but what the grammar allows; otherwise what does not parse is left
            out.
        beams: Beams, if other than in training.
        batch_size: Posts a batch, if other than in training.

    Raises:
        InputError: Model or data cannot be used, or a number is below 1.
    """
    changed = {name: value for name, value in (("beams", beams), ("batch_size", batch_size)) if value is not None}
    for name, value in changed.items():
        if value < 1:
            raise InputError(f"{name} is {value}; at least 1 is needed")
    quiet()
    split = read_split(data, knowledge)
    trained = KecpmModel.load(model)
    trained.decoding = trained.decoding.model_copy(update=changed)
    return KecpmPredictions(*trained.predict(split.posts, trained.prompts(split), constrained))

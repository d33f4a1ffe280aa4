"""Train KECPM: best epoch by dev, test scored once, with and without the grammar; and predict with what was trained.

A small model can be pre-trained by denoising, in place of a published one. It learns to restore unlabelled texts, each
shown twice with other words missing and in another order, much as BART does (Lewis et al. 2020). From random weights a
few hundred labelled posts do not teach a model to copy a name, nor to find in one sentence what another states about
it; this does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import set_seed

from promu.config import load_recipe
from promu.corpora.jmere import write_jmere
from promu.errors import InputError, counted
from promu.evaluation.counts import summarise
from promu.evaluation.joint_scores import score_joint
from promu.evaluation.relation import relation_frequency
from promu.evaluation.scoring import read_groups
from promu.files import write_json
from promu.hub import quiet
from promu.kecpm.decoding import padded, padded_batch
from promu.kecpm.grammar import AGAIN, AND, NOTHING, OPEN, GrammarTokenizer
from promu.kecpm.kecpm_model import KecpmModel, seq2seq_for
from promu.kecpm.kecpm_recipe import DecodingSettings, KecpmRecipe, Seq2SeqSettings
from promu.kecpm.prompts import Prompt, exchange_names, read_split
from promu.modeling.inventory import Inventory
from promu.modeling.loading import save_folder
from promu.runs import EvaluationLog, RunFolder, prediction_files
from promu.schema import Post
from promu.training.batches import Sample, Shuffled, rng_of
from promu.training.loop import best_epoch, fit
from promu.training.recipe import TokenizerSettings, TrainingSettings
from promu.training.tokenizers import train_text_to_text

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

    write_joint(Path("runs/few"), JointSettings(size=32, posts=(24, 8, 8)))
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    summary = train_kecpm({
        "data": {"train": "runs/few/train.json", "dev": "runs/few/val.json", "test": "runs/few/test.json"},
        "model": {"name": {"model_type": "t5", **shape}, "tokenizer": {"size": 500}},  # or a name: google-t5/t5-small
        "training": {"epochs": 1, "precision": "fp32"},
        "decoding": {"limit": 96},
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
    is not repeated; a killed one goes on. `unreachable_quintuples` says of each split how many of its quintuples no
    answer can give: `inexpressible` ones, those `past the limit` of an answer's tokens, and `of` how many.

    Raises:
        InputError: Data, model or folder cannot be used; the run diverged.
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
    try:
        inventory = Inventory.of(splits["train"].posts)
    except InputError as error:
        raise error.at(paths["train"]) from None
    relations = list(relation_frequency(splits["train"].posts))

    set_seed(seed)
    model = KecpmModel.create(recipe, inventory, splits["train"])
    unreachable = {name: model.unreachable(split.posts) for name, split in splits.items()}
    for name, counts in unreachable.items():
        lost = {reason: count for reason, count in counts.items() if reason != "of" and count}
        reasons = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        if name == "dev" and not counts["of"]:
            raise InputError(
                "no post has a relation, so that no epoch is better than another; name another", paths[name]
            )
        if lost:
            logger.warning("%s: of %s no answer can give %s", paths[name], counted(counts["of"], "quintuple"), reasons)
            if name == "dev" and sum(lost.values()) == counts["of"]:
                logger.warning("%s: F1 is 0 in every epoch, so that the first is kept; choose by another", paths[name])
    run.claim(settings)
    evaluations = EvaluationLog(out)
    prompts = {name: model.prompts(split) for name, split in splits.items()}
    versions = [(prompts["train"], model.targets(splits["train"].posts))]
    for number in range(1, recipe.data.versions):
        version = exchange_names(splits["train"], seed + number)
        versions.append((model.prompts(version), model.targets(version.posts)))

    def collate(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        chosen = [(*versions[sample.epoch % len(versions)], sample.row) for sample in samples]
        labels = padded([targets[row] for _, targets, row in chosen], -100)  # which the loss skips
        return {**padded_batch([prompts[row].input_ids for prompts, _, row in chosen], model.pad), "labels": labels}

    def evaluate(split: str, constrained: bool) -> tuple[list[Post], dict[str, Any]]:
        posts = splits[split].posts
        predicted, parsed = model.predict(posts, prompts[split], constrained)
        scores = score_joint(posts, predicted, relations, groups if split == "test" else None)
        return predicted, {**scores.to_dict(), "parsed": parsed}

    def validate() -> dict[str, float]:
        evaluations.add("dev", paths["dev"], model.model)
        return {"f1": float(evaluate("dev", constrained=True)[1]["f1"])}

    rows = Shuffled(len(splits["train"].posts))
    log = fit(cast(Any, model.model), rows, collate, recipe.training, out, seed, f"seed {seed}", validate, "f1")
    result: dict[str, Any] = {
        "task": "joint",
        "seed": seed,
        "best_epoch": best_epoch(log, "f1"),
        "posts": {name: len(split.posts) for name, split in splits.items()},
        "prompts": {name: _prompt_figures(made) for name, made in prompts.items()},
        "unreachable_quintuples": unreachable,
    }
    (out / "predictions").mkdir(exist_ok=True)
    written = prediction_files(
        out / "predictions", {split: [paths[split].with_suffix(".json")] for split in ("dev", "test")}
    )
    for split, (file,) in written.items():
        evaluations.add(split, paths[split], model.model)
        for constrained in (True, False):
            end = "" if constrained else "_unconstrained"
            predicted, result[f"{split}{end}"] = evaluate(split, constrained)
            write_jmere(file.with_stem(f"{file.stem}{end}"), predicted)
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


def predict_kecpm(
    model: Path,
    data: Path,
    knowledge: Path | None = None,
    constrained: bool = True,
    beams: int | None = None,
    batch_size: int | None = None,
) -> tuple[list[Post], float]:
    """Posts with the quintuples that a trained model writes, and the share of its answers that obey the grammar.

    Args:
        model: The model folder of a run.
        data: A JMERE file; its labels are not read by the model.
        knowledge: Folder that `generate_knowledge` wrote, in place of the file's captions and knowledge.
        constrained: Write nothing but what the grammar allows; otherwise what does not parse is left out.
        beams, batch_size: If other than in training.

    Raises:
        InputError: Model, data or a number cannot be used.
    """
    changed = {name: value for name, value in (("beams", beams), ("batch_size", batch_size)) if value is not None}
    quiet()
    split = read_split(data, knowledge)
    trained = KecpmModel.load(model)
    trained.decoding = DecodingSettings(**{**trained.decoding.model_dump(), **changed})
    return trained.predict(split.posts, trained.prompts(split), constrained)


_MISSING = 0.3  # share of words that are replaced by the unknown token
_SHOWN = 2  # how often each text is shown
_TEXTS = 2  # texts at a time, at most

_PROMPT = f"{OPEN} {AND} {AGAIN} {NOTHING} Relations: Types: Text: Caption: Knowledge:"


def train_denoiser(
    texts: Sequence[str], model: Seq2SeqSettings, training: TrainingSettings, seed: int, out: Path
) -> dict[str, Any]:
    """Train a model from random weights to restore texts, and save it with its tokenizer under `out/model`.

    A finished run is not repeated; a killed one goes on. Returns how many `texts`, and the `loss` of the last steps.

    Raises:
        InputError: The settings name a model that exists, or the folder cannot be used.
    """
    if not isinstance(model.name, dict) or not isinstance(model.tokenizer, TokenizerSettings):
        remedy = "give its configuration and tokenizer size"
        raise InputError(f"a model that is pre-trained here starts from random weights; {remedy}")
    settings = {"texts": len(texts), "model": model.model_dump(mode="json"), "seed": seed}
    settings["training"] = training.model_dump(mode="json")
    run = RunFolder(out)
    if (finished := run.result(settings)) is not None:
        return finished
    set_seed(seed)
    size = model.tokenizer
    tokenizer = train_text_to_text([*[_PROMPT] * size.min_frequency, *texts], size.size, size.min_frequency)
    reader = seq2seq_for(model.name, tokenizer)
    run.claim(settings)
    words_to_ids = GrammarTokenizer(tokenizer)
    unknown, pad = int(tokenizer.unk_token_id), int(tokenizer.pad_token_id)  # type: ignore[arg-type]

    def example(sample: Sample) -> tuple[list[int], list[int]]:
        rng = rng_of(seed, sample)
        rows = [sample.row, *rng.integers(len(texts), size=int(rng.integers(_TEXTS))).tolist()]
        order = rng.permutation(np.repeat(np.arange(len(rows)), _SHOWN)).tolist()
        words = [[words_to_ids.word(word) for word in texts[row].split()] for row in rows]
        shown = [[unknown] if rng.random() < _MISSING else word for place in order for word in words[place]]
        whole = [word for text in words for word in text]
        return [*chain(*shown), words_to_ids.end], [*chain(*whole), words_to_ids.end]

    def collate(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        shown, whole = zip(*map(example, samples), strict=True)
        return {**padded_batch(shown, pad), "labels": padded(whole, -100)}

    log = fit(cast(Any, reader), Shuffled(len(texts)), collate, training, out, seed, "denoising")
    save_folder(out / "model", cast(Any, reader), tokenizer)
    result = {"texts": len(texts), "loss": next(line["loss"] for line in reversed(log) if "loss" in line)}
    run.finish(result)
    return result

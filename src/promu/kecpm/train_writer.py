"""Train a model that writes quintuples: best epoch by dev, test scored once, with and without the grammar."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase, set_seed

from promu.corpora.jmere import write_jmere
from promu.errors import InputError
from promu.evaluation.counts import summarise
from promu.evaluation.joint_scores import score_joint
from promu.evaluation.relation import relation_frequency
from promu.evaluation.scoring import read_groups
from promu.files import write_json
from promu.hub import best_device, resolve
from promu.kecpm.decoding import load_seq2seq
from promu.kecpm.grammar import AGAIN, AND, NOTHING, OPEN
from promu.kecpm.kecpm_recipe import DecodingSettings, GenerationRecipe, PromptSettings, WriterSettings
from promu.kecpm.prompts import Described, Prompt, Writer, read_described, renamed
from promu.modeling.inventory import Inventory, type_words
from promu.modeling.loading import load_tokenizer, read_json_object, save_folder
from promu.runs import begin, finish, finished_result, record_scoring
from promu.schema import Post
from promu.training.batches import Sample, Shuffled
from promu.training.loop import best_epoch, fit
from promu.training.recipe import TokenizerSettings
from promu.training.tokenizers import train_text_to_text

logger = logging.getLogger(__name__)

SETTINGS = "generation"
"""Under which name a saved model's configuration holds what it was trained to read and write."""


def train_writers(recipe: GenerationRecipe) -> dict[str, Any]:
    """Run a recipe, once a seed, and return what it writes to `out/summary.json`.

    Raises:
        InputError: Data, model or folder cannot be used.
    """
    runs = {seed: train_writer(recipe, seed) for seed in recipe.seeds}
    rows: dict[str, Any] = {}
    for decoding in ("test", "test_unconstrained"):
        scored = [run[decoding] for run in runs.values()]
        rows[decoding] = {
            "f1": summarise(scores["f1"] for scores in scored).to_dict(),
            "macro_f1_present": summarise(scores["macro_f1"]["present"] for scores in scored).to_dict(),
            "parsed": summarise(100 * scores["parsed"] for scores in scored).to_dict(),
        }
    summary = {"seeds": list(runs), **rows, "runs": {str(seed): run for seed, run in runs.items()}}
    write_json(Path(recipe.out) / "summary.json", summary)
    return summary


def train_writer(recipe: GenerationRecipe, seed: int) -> dict[str, Any]:
    """Train with one seed and return what goes to `result.json`.

    Under `out/seed-<seed>`: `recipe.json`, `log.jsonl`, `model/`, `predictions/` (JMERE), `result.json`. A finished run
    is not repeated; a killed one goes on.

    Raises:
        InputError: Data, model or folder cannot be used.
    """
    out = Path(recipe.out) / f"seed-{seed}"
    settings = {**recipe.model_dump(mode="json", exclude={"seeds", "out"}), "seed": seed}
    if (finished := finished_result(out, settings)) is not None:
        return finished
    started = time.perf_counter()
    paths = {"train": Path(recipe.data.train), "dev": Path(recipe.data.dev), "test": Path(recipe.data.test)}
    knowledge = None if recipe.data.knowledge is None else Path(recipe.data.knowledge)
    splits = {name: read_described(path, knowledge) for name, path in paths.items()}
    groups = None if recipe.data.groups is None else read_groups(recipe.data.groups)
    inventory = Inventory.of(splits["train"].posts)
    known = list(relation_frequency(splits["train"].posts))

    set_seed(seed)
    writer = _make(recipe.model, recipe.prompt, recipe.decoding, inventory, splits["train"])
    begin(out, settings)
    prompts = {name: writer.prompts(split) for name, split in splits.items()}
    targets, unsaid = writer.targets(splits["train"].posts)
    if unsaid:
        logger.warning("%s: %d quintuples cannot be said in an answer and are not learned", paths["train"], unsaid)
    versions = [(prompts["train"], targets)]
    for number in range(1, recipe.data.versions):
        version = renamed(splits["train"], seed + number)
        versions.append((writer.prompts(version), writer.targets(version.posts)[0]))

    def collate(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        chosen = [(*versions[sample.epoch % len(versions)], sample.row) for sample in samples]
        read = [prompts[row].ids for prompts, _, row in chosen]
        return writer.batch(read, [targets[row] for _, targets, row in chosen])

    def figures(split: str, constrained: bool) -> tuple[list[Post], dict[str, Any]]:
        posts = splits[split].posts
        predicted, parsed = writer.answer(posts, prompts[split], constrained)
        scores = score_joint(posts, predicted, known, groups if split == "test" else None)
        return predicted, {**scores.to_dict(), "parsed": parsed}

    def validate() -> dict[str, float]:
        record_scoring(out, "dev", paths["dev"], writer.model)
        return {"f1": float(figures("dev", constrained=True)[1]["f1"])}

    log = fit(
        cast(Any, writer.model),
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
        "unsaid_quintuples": unsaid,
    }
    (out / "predictions").mkdir(exist_ok=True)
    for split in ("dev", "test"):
        record_scoring(out, split, paths[split], writer.model)
        for constrained in (True, False):
            name = split if constrained else f"{split}_unconstrained"
            predicted, result[name] = figures(split, constrained)
            end = "" if constrained else "_unconstrained"
            write_jmere(out / "predictions" / f"{paths[split].stem}{end}.json", predicted)
    _save(out / "model", writer, settings)
    result["seconds"] = round(time.perf_counter() - started, 2)
    finish(out, result)
    return result


def load_writer(folder: Path) -> Writer:
    """A model that `train_writer` saved.

    Raises:
        InputError: The folder holds none.
    """
    config = read_json_object(folder / "config.json")
    saved = config.get(SETTINGS)
    if not isinstance(saved, dict):
        raise InputError(
            "this model was not trained to write quintuples; name one that promu kecpm train saved", folder
        )
    return Writer(
        load_seq2seq(str(folder)).to(best_device()),  # type: ignore[arg-type]
        load_tokenizer(str(folder)),
        Inventory.from_list(saved["triples"]),
        PromptSettings.model_validate(saved["prompt"]),
        DecodingSettings.model_validate(saved["decoding"]),
    )


def _make(
    model: WriterSettings,
    prompt: PromptSettings,
    decoding: DecodingSettings,
    inventory: Inventory,
    train: Described,
) -> Writer:
    tokenizer = _tokenizer(model, inventory, train)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    start = {"decoder_start_token_id": tokenizer.pad_token_id}
    writes = load_seq2seq(model.name, vocab_size=len(tokenizer), **ids, **start)
    if writes.get_input_embeddings().num_embeddings < len(tokenizer):  # type: ignore[operator]
        writes.resize_token_embeddings(len(tokenizer))
    return Writer(writes.to(best_device()), tokenizer, inventory, prompt, decoding)  # type: ignore[arg-type]


def _tokenizer(model: WriterSettings, inventory: Inventory, train: Described) -> PreTrainedTokenizerBase:
    if isinstance(model.tokenizer, TokenizerSettings):
        phrases = [f"{OPEN} {AND} {AGAIN} {NOTHING} is", *map(type_words, (*inventory.types, *inventory.relations))]
        texts = [" ".join(post.tokens) for post in train.posts]
        for known in train.background:
            texts += [*known.captions, *known.knowledge]
        # what answers are written with is in each of them, so it is worth whole pieces
        repeated = phrases * model.tokenizer.min_frequency
        return train_text_to_text([*repeated, *texts], model.tokenizer.size, model.tokenizer.min_frequency)
    name = model.tokenizer or (model.name if isinstance(model.name, str) else None)
    if name is None:
        raise InputError("model.tokenizer is missing; a model from random weights needs one by name, or its size")
    return load_tokenizer(resolve(name))


def _prompt_figures(prompts: Sequence[Prompt]) -> dict[str, float]:
    return {
        "mean_pieces": round(sum(len(prompt.ids) for prompt in prompts) / len(prompts), 1),
        "captions_left_out": sum(prompt.captions_left_out for prompt in prompts),
        "sentences_left_out": sum(prompt.sentences_left_out for prompt in prompts),
    }


def _save(folder: Path, writer: Writer, settings: dict[str, Any]) -> None:
    saved = {
        "triples": [list(triple) for triple in writer.phrases.inventory.triples],
        "prompt": writer.prompt.model_dump(mode="json"),
        "decoding": writer.decoding.model_dump(mode="json"),
        "recipe": settings,
    }
    setattr(writer.model.config, SETTINGS, saved)
    save_folder(folder, cast(Any, writer.model), writer.tokenizer)

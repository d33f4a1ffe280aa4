"""Fine-tune for one task or several: best epoch by dev, test scored once, and a record that proves it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NotRequired, TypedDict, cast

from transformers import PreTrainedTokenizerBase, set_seed

from promu.alignment.candidates import read_text_lines
from promu.config import load_recipe
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.initial_model import build_model, tokenizer_of
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import save_folder
from promu.modeling.multi_task import PromuForMultiTask
from promu.pytorch import weights_checksum
from promu.report.run_report import write_run_report
from promu.runs import EvaluationLog, RunFolder
from promu.schema import Post
from promu.tasks.familiarity import Familiarity
from promu.tasks.torch_predictor import TorchPredictor
from promu.training.batches import MixedOrder, Order, Sample, Shuffled, rng_of, shares
from promu.training.loop import best_epoch, fit
from promu.training.recipe import FinetuneRecipe, MultiTaskRecipe, TaskData, TogetherSettings, TokenizerSettings
from promu.training.task_run import TaskRun
from promu.training.tokenizers import train_wordpiece

logger = logging.getLogger(__name__)


def _trained(settings: TokenizerSettings, posts: Sequence[Post]) -> PreTrainedTokenizerBase:
    """A vocabulary of the training posts, each text once, and of the further files."""
    texts = list(dict.fromkeys(" ".join(post.tokens) for post in posts))
    texts += [line for file in settings.texts for line in read_text_lines(Path(file))]
    return train_wordpiece(texts, settings.size, settings.min_frequency)


class FinetuneResult(TypedDict):
    """What came of a fine-tuning run, as in its `result.json`.

    Attributes:
        best_epoch: The epoch whose weights were chosen on dev; a fraction where dev is scored within epochs.
        data: By split, the file, its checksum, and the release that it is known as; a list of those of several files.
        contexts: By name, for how many posts there is a text (`promu.corpora.context_files.ContextCounts`).
        contexts_cut: By split, how many posts have longer contexts than the model reads.
        beyond_the_model: By split, how many answers of the gold the model cannot give, by the reason.
        unknown_labels: By split, labels that training lacks, with their numbers. They are scored.
        long_posts: By split, posts that are longer than the model reads, what of the gold is lost by that, and the F1
            with and without it (`promu.tasks.reachable_gold.LongPosts`).
        calibration: As `calibrate` returns it.
        thresholds: As `fit_threshold` returns it.
        held_out: Of a run that holds labels out, which they are, and the scores of `model` and of `nearest_name` on
            those of test alone.
        dev, test: Scores, of several files also those of each (`files`); no `test` where the recipe names no test file.
        weights: Checksum of the chosen weights.
        scored: With how many different weights each split was scored.
        images: By split, how many posts were read with an image, and as text for which reason.
        seconds: How long the run took.
        tasks: Of a run for several tasks, all of the above that is a task's own, by its name; then `task` is the list
            of them, and `dev` has the F1 that has chosen the epoch.
    """

    task: str | list[str]
    seed: int
    best_epoch: float
    posts: dict[str, int]
    data: dict[str, Any]
    beyond_the_model: dict[str, dict[str, int]]
    unknown_labels: dict[str, dict[str, int]]
    contexts: dict[str, dict[str, Any]]
    contexts_cut: dict[str, int]
    long_posts: dict[str, dict[str, Any]]
    calibration: dict[str, Any]
    thresholds: dict[str, Any]
    dev: dict[str, Any]
    test: NotRequired[dict[str, Any]]
    held_out: NotRequired[dict[str, Any]]
    weights: str
    scored: dict[str, int]
    images: dict[str, dict[str, int]]
    seconds: float
    tasks: NotRequired[dict[str, dict[str, Any]]]


def finetune(recipe: str | Path | Mapping[str, Any] | FinetuneRecipe, overrides: Sequence[str] = ()) -> FinetuneResult:
    """Fine-tune for one task, or one model for several: the best epoch is chosen on dev, test is scored at the end.

    Under the recipe's `out`: `recipe.json`, `log.jsonl`, `model/` (safetensors, tokenizer, labels), `predictions/` in
    the format of the gold (by task, where there are several), `evaluations.jsonl` (what was scored when, by which
    weights), `result.json`, `report.html`.
    A killed run goes on where it was; a finished one returns its result.

    Args:
        recipe: Name of a recipe that ships with promu, YAML file, settings, or the object.
        overrides: `key.path=value` settings that win over the recipe's.

    Raises:
        InputError: The recipe is not legal, or data, encoder or folder cannot be used.

    Example:
        ```python
        import promu

        result = promu.finetune("newsreel-ner", ["training.epochs=1"])
        print(result["test"]["f1"])
        both = promu.finetune("newsreel-multi", ["training.epochs=1"])
        print(both["tasks"]["ner"]["test"]["f1"], both["tasks"]["re"]["test"]["f1"])
        ```
    """
    recipe = load_recipe(recipe, FinetuneRecipe, overrides)
    out = Path(recipe.out)
    settings = recipe.model_dump(mode="json")
    run = RunFolder(out)
    if (finished := run.result(settings)) is not None:
        return cast(FinetuneResult, finished)
    started = time.perf_counter()
    several = recipe if isinstance(recipe, MultiTaskRecipe) else None
    data: dict[str, TaskData] = {}
    if several is None:
        data[recipe.task] = TaskData(**recipe.data.model_dump())
    else:
        data |= {name: several.data[name] for name in several.task}
    prompts = recipe.prompts if recipe.labels == "prompts" else None
    tasks = {name: TaskRun(name, files, prompts, recipe.seed) for name, files in data.items()}

    set_seed(recipe.seed)
    learned = [post for task in tasks.values() for post in task.posts["train"]]
    tokenizer = tokenizer_of(recipe.model) if recipe.tokenizer is None else _trained(recipe.tokenizer, learned)
    model, parts = _build(recipe, tasks, tokenizer)
    encoder = WordEncoder.of(tokenizer, model.config)
    for name, task in tasks.items():
        task.use(TorchPredictor(task.task, parts[name], encoder), encoder, recipe.images)
    run.claim(settings)
    evaluations = EvaluationLog(out)
    sizes = [len(task.posts["train"]) for task in tasks.values()]
    order: Order = Shuffled(sizes[0])
    if several:
        order = MixedOrder(sizes, _rows(several.together, dict(zip(tasks, sizes, strict=True))))

    def collate(samples: Sequence[Sample]) -> dict[str, Any]:
        rows = [sample.row for sample in samples]
        batches, first, rng = {}, 0, rng_of(recipe.seed, samples[0])
        for (name, task), size in zip(tasks.items(), sizes, strict=True):
            if own := [row - first for row in rows if first <= row < first + size]:
                batches[name] = task.batch(own, rng)
            first += size
        return batches if several else batches[recipe.task]

    def validate() -> dict[str, float]:
        found = {}
        for name, task in tasks.items():
            answers = task.predictor.answers(task.predict("dev", evaluations))
            found[name] = float(task.figures("dev", answers)["f1"])
        model.train()
        if several is None:
            return {"f1": found[recipe.task]}
        return {"f1": _chosen_figure(several.together, found), **{f"f1_{name}": one for name, one in found.items()}}

    stage = recipe.task if several is None else "+".join(tasks)
    log = fit(model, order, collate, recipe.training, out, recipe.seed, stage, validate, "f1")
    if not max(line.get("eval_f1", 0.0) for line in log):
        logger.warning("no epoch finds anything right on dev, so that the first was kept; train longer or otherwise")
    found = {
        name: task.finish(out / "predictions" / (name if several else ""), evaluations) for name, task in tasks.items()
    }
    _record(model, settings, found)
    if any(task.held_out is not None and task.held_out.test for task in tasks.values()):
        set_seed(recipe.seed)
        _, plain = _build(recipe, tasks, tokenizer)
        for name, task in tasks.items():
            if task.held_out is not None and task.held_out.test:
                found[name]["held_out"] = task.zero_shot(TorchPredictor(task.task, plain[name], encoder))
    dev = [post.tokens for task in tasks.values() for post in task.posts["dev"]]
    familiarity = Familiarity.of((post.tokens for post in learned), dev)
    save_folder(out / "model", model, tokenizer, None if familiarity is None else familiarity.save)
    shared: dict[str, Any] = {
        "task": recipe.task,
        "seed": recipe.seed,
        "best_epoch": best_epoch(log, "f1"),
        "weights": weights_checksum(model.state_dict()),
        "scored": evaluations.weights_by_split(),
        "seconds": round(time.perf_counter() - started, 2),
    }
    if several is None:
        result = {**shared, **found[recipe.task]}
    else:
        figure = _chosen_figure(several.together, {name: float(one["dev"]["f1"]) for name, one in found.items()})
        result = {**shared, "dev": {"f1": figure, "is": several.together.chosen_by}, "tasks": found}
    run.finish(result)
    write_run_report(out)
    return cast(FinetuneResult, result)


def _build(
    recipe: FinetuneRecipe, tasks: Mapping[str, TaskRun], tokenizer: PreTrainedTokenizerBase
) -> tuple[PromuPreTrainedModel, dict[str, PromuPreTrainedModel]]:
    """The model at its start, and its part for each task: itself, where there is one."""
    labels = [label for task in tasks.values() for label in task.labels]
    named: dict[str, Any] = {"id2label": dict(enumerate(labels))}
    named["label2id"] = {label: row for row, label in named["id2label"].items()}
    named["contexts"] = list(dict.fromkeys(name for task in tasks.values() for name in task.contexts))
    prompted = {name: task.prompted.fields if task.prompted else {} for name, task in tasks.items()}
    if not isinstance(recipe, MultiTaskRecipe):
        ((name, task),) = tasks.items()
        model = build_model(task.task.model_class, recipe.model, tokenizer, **named, **prompted[name])
        return model, {name: model}
    heads = {name: {"labels": task.labels, **prompted[name]} for name, task in tasks.items()}
    shared = build_model(PromuForMultiTask, recipe.model, tokenizer, tasks=heads, **named)
    shared.loss_weights = dict(recipe.together.loss_weights)
    return shared, {name: shared.for_task(name) for name in tasks}


def _rows(together: TogetherSettings, sizes: Mapping[str, int]) -> list[int]:
    """How many rows an epoch has of each task."""
    if together.sampling == "proportional":
        return list(sizes.values())
    weights = [1.0 if together.sampling == "equal" else together.sampling[name] for name in sizes]
    return shares(list(sizes.values()), weights)


def _chosen_figure(together: TogetherSettings, f1: Mapping[str, float]) -> float:
    """The figure on dev by which the epoch is chosen."""
    if together.chosen_by in f1:
        return f1[together.chosen_by]
    return fmean(f1.values()) if together.chosen_by == "mean" else min(f1.values())


def _record(model: PromuPreTrainedModel, settings: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> None:
    """Put what a model was trained with, and what it reaches, into its configuration."""
    measured = {
        name: {"posts": one["posts"], "calibration": one["calibration"], "dev": one["dev"], "test": one.get("test")}
        for name, one in found.items()
    }
    if isinstance(model, PromuForMultiTask):
        for name in found:
            model.config.store_task(name, model.for_task(name).config)
        model.config.promu_training = {"recipe": settings, "tasks": measured}
    else:
        ((_, one),) = measured.items()
        model.config.promu_training = {"recipe": settings, **one}

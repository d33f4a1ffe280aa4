"""Fine-tune one task: best epoch by dev, test scored once, and a record that proves it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import torch
from transformers import PreTrainedTokenizerBase, set_seed

from promu.alignment.candidates import read_text_lines
from promu.config import load_recipe
from promu.corpora.releases import release_name
from promu.errors import InputError
from promu.evaluation.calibration import expected_calibration_error, fit_temperature, log_loss
from promu.evaluation.scoring import read_groups
from promu.evaluation.thresholds import Point, best_threshold, thinned_curve
from promu.files import checksum
from promu.hub import weights_checksum
from promu.modeling.initial_model import build_model, tokenizer_of
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import save_folder
from promu.report.run_report import write_run_report
from promu.runs import EvaluationLog, RunFolder
from promu.schema import Post
from promu.tasks.post_images import ImageFolder
from promu.tasks.predictor import Predictions, Predictor, TorchPredictor
from promu.tasks.reachable_gold import check_gold, longest_possible, reach
from promu.tasks.task import TASKS
from promu.training.batches import Sample, Shuffled
from promu.training.loop import best_epoch, fit
from promu.training.recipe import FinetuneRecipe, TokenizerSettings
from promu.training.tokenizers import train_wordpiece

logger = logging.getLogger(__name__)


def calibrate(predictor: Predictor, predictions: Mapping[str, Sequence[Predictions]]) -> dict[str, Any]:
    """Fit `config.score_temperature` of a model on `dev` and say how far scores are off, before and after.

    The temperature is the one at which the scores of the answers (predicted spans or relations) predict best, by log
    loss, which answers are right. Without an answer on dev it stays 1.

    Args:
        predictor: The temperature is set in its configuration.
        predictions: Of gold posts, by the name of the split; `dev` at least.

    Returns:
        `temperature` and, for each split, `answers`, `ece_before` and `ece_after`: expected calibration error in 15
        bins, None without answers.
    """
    task = predictor.task
    # a temperature changes no answer, so that each is decoded once
    decoded = {name: [(batch, task.decode(predictor, batch)) for batch in given] for name, given in predictions.items()}

    def judged(name: str, temperature: float) -> tuple[list[float], list[bool]]:
        predictor.config.score_temperature = temperature
        pairs: list[tuple[float, bool]] = []
        for batch, answers in decoded[name]:
            for gold, answer in zip(batch.posts, task.add_scores(predictor, batch, answers), strict=True):
                pairs += task.judge(gold, answer)
        return [score for score, _ in pairs], [right for _, right in pairs]

    before = {name: judged(name, 1.0) for name in predictions}
    temperature = fit_temperature(lambda value: log_loss(*judged("dev", value))) if before["dev"][0] else 1.0
    result: dict[str, Any] = {"temperature": temperature}
    for name, first in before.items():
        result[name] = {
            "answers": len(first[0]),
            "ece_before": expected_calibration_error(*first),
            "ece_after": expected_calibration_error(*judged(name, temperature)),
        }
    predictor.config.score_temperature = temperature
    return result


def fit_threshold(
    predictor: Predictor, gold: Mapping[str, Sequence[Post]], answers: Mapping[str, Sequence[Post]]
) -> dict[str, Any]:
    """Set the lowest score of a model's answers to what gives the best F1 on `dev`; scores must be calibrated.

    Args:
        predictor: `config.entity_threshold` is set, or `config.relation_threshold`, by its task. Nothing but extraction
            uses it: the published figures are of all answers.
        gold: By split, `dev` at least.
        answers: The same posts with scored answers.

    Returns:
        The threshold under its name, and for each split `precision`, `recall` and `f1` with it; `curve` has the points
        of dev (threshold, precision, recall, F1).
    """
    task = predictor.task
    points = {name: task.curve(posts, answers[name]) for name, posts in gold.items()}
    threshold = best_threshold(points["dev"])
    setattr(predictor.config, task.threshold, threshold)
    result: dict[str, Any] = {task.threshold: threshold}
    for name, of_split in points.items():
        kept = [point for point in of_split if point.threshold >= threshold]
        result[name] = kept[-1]._asdict() if kept else Point(threshold, 0.0, 0.0, 0.0)._asdict()
        del result[name]["threshold"]
    return {**result, "curve": [list(point) for point in thinned_curve(points["dev"])]}


def _trained(settings: TokenizerSettings, posts: Sequence[Post]) -> PreTrainedTokenizerBase:
    """A vocabulary of the training posts, each text once, and of the further files."""
    texts = list(dict.fromkeys(" ".join(post.tokens) for post in posts))
    texts += [line for file in settings.texts for line in read_text_lines(Path(file))]
    return train_wordpiece(texts, settings.size, settings.min_frequency)


class FinetuneResult(TypedDict):
    """What came of a fine-tuning run, as in its `result.json`.

    Attributes:
        best_epoch: The epoch whose weights were chosen on dev; a fraction where dev is scored within epochs.
        data: By split, the file, its checksum, and the release that it is known as.
        beyond_the_model: By split, how many answers of the gold the model cannot give, by the reason.
        unknown_labels: By split, labels that training lacks, with their numbers. They are scored.
        long_posts: By split, posts that are longer than the model reads, what of the gold is lost by that, and the F1
            with and without it (`promu.tasks.reachable_gold.LongPosts`).
        calibration: As `calibrate` returns it.
        thresholds: As `fit_threshold` returns it.
        dev, test: Scores; no `test` where the recipe names no test file.
        weights: Checksum of the chosen weights.
        scored: With how many different weights each split was scored.
        images: By split, how many posts were read with an image, and as text for which reason.
        seconds: How long the run took.
    """

    task: str
    seed: int
    best_epoch: float
    posts: dict[str, int]
    data: dict[str, dict[str, str]]
    beyond_the_model: dict[str, dict[str, int]]
    unknown_labels: dict[str, dict[str, int]]
    long_posts: dict[str, dict[str, Any]]
    calibration: dict[str, Any]
    thresholds: dict[str, Any]
    dev: dict[str, Any]
    test: NotRequired[dict[str, Any]]
    weights: str
    scored: dict[str, int]
    images: dict[str, dict[str, int]]
    seconds: float


def finetune(recipe: str | Path | Mapping[str, Any] | FinetuneRecipe, overrides: Sequence[str] = ()) -> FinetuneResult:
    """Fine-tune one task: the best epoch is chosen on dev, test is scored once at the end.

    Under the recipe's `out`: `recipe.json`, `log.jsonl`, `model/` (safetensors, tokenizer, labels), `predictions/` in
    the format of the gold, `evaluations.jsonl` (what was scored when, by which weights), `result.json`, `report.html`.
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
        ```
    """
    recipe = load_recipe(recipe, FinetuneRecipe, overrides)
    out = Path(recipe.out)
    settings = recipe.model_dump(mode="json")
    run = RunFolder(out)
    if (finished := run.result(settings)) is not None:
        return cast(FinetuneResult, finished)
    started = time.perf_counter()
    task = TASKS[recipe.task]
    files = {"train": recipe.data.train, "dev": recipe.data.dev, "test": recipe.data.test}
    paths = {split: Path(file) for split, file in files.items() if file is not None}
    splits = {split: task.read(path, recipe.data.format, recipe.data.scheme) for split, path in paths.items()}
    try:
        names = task.labels(splits["train"])
    except InputError as error:
        raise error.at(paths["train"]) from None
    groups = None if recipe.data.groups is None else read_groups(recipe.data.groups)

    set_seed(recipe.seed)
    tokenizer = tokenizer_of(recipe.model) if recipe.tokenizer is None else _trained(recipe.tokenizer, splits["train"])
    labels = {name: index for index, name in enumerate(names)}
    model = build_model(task.model_class, recipe.model, tokenizer, id2label=dict(enumerate(names)), label2id=labels)
    encoder = WordEncoder.of(tokenizer, model.config)
    reached = {split: reach(task, posts, encoder, names) for split, posts in splits.items()}
    check_gold(task, splits, paths, reached)
    for split, one in reached.items():
        if one.long.lost:
            logger.warning("%s: %s; %s", paths[split], one.long.sentence(), longest_possible(model.config))
    predictor = TorchPredictor(task, model, encoder)
    folder = None if recipe.data.images is None else Path(recipe.data.images)
    if recipe.images != "none" and model.config.image_size is None:
        raise InputError("the model has no vision encoder; set model.vision, or images: none")
    if folder is not None and recipe.images != "none" and not folder.is_dir():
        raise InputError("no such folder of images; correct data.images, or set images: none", folder)
    images = ImageFolder(folder, model.config.image_size, recipe.images)
    named = sorted({post.image for posts in splits.values() for post in posts if post.image is not None})
    for image in named:  # a broken one stops the run now, not after an hour
        images.get(image)
    run.claim(settings)
    evaluations = EvaluationLog(out)

    def collate(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        posts = [splits["train"][sample.row] for sample in samples]
        return {**task.batch(encoder, posts, labels), **images.batch([post.image for post in posts])}

    def predict(split: str) -> list[Predictions]:
        evaluations.add(split, paths[split], model)
        model.eval()
        return list(predictor.predict(splits[split], images.batch))

    def figures(split: str, predictions: Sequence[Predictions]) -> tuple[list[Post], dict[str, Any]]:
        predicted = predictor.answers(predictions)
        return predicted, task.score(splits[split], predicted, groups, names).to_dict()

    def validate() -> dict[str, float]:
        result = figures("dev", predict("dev"))[1]
        model.train()
        return {"f1": float(result["f1"])}

    order = Shuffled(len(splits["train"]))
    log = fit(model, order, collate, recipe.training, out, recipe.seed, recipe.task, validate, "f1")
    if not max(line.get("eval_f1", 0.0) for line in log):
        logger.warning("no epoch finds anything right on dev, so that the first was kept; train longer or otherwise")
    predictions = {split: predict(split) for split in splits if split != "train"}
    calibration = calibrate(predictor, predictions)
    (out / "predictions").mkdir(exist_ok=True)
    scores, answers = {}, {}
    long = {"train": reached["train"].long.to_dict()}
    for split, of_split in predictions.items():
        answers[split], scores[split] = figures(split, of_split)
        long[split] = reached[split].score(task, answers[split], scores[split]["f1"]).to_dict()
        task.write(out / "predictions" / paths[split].name, answers[split], recipe.data.format)
    thresholds = fit_threshold(predictor, {split: splits[split] for split in answers}, answers)
    counts = {split: len(posts) for split, posts in splits.items()}
    trained = {"recipe": settings, "posts": counts, "calibration": calibration}
    model.config.promu_training = {**trained, "dev": scores["dev"], "test": scores.get("test")}
    save_folder(out / "model", model, tokenizer)
    result = FinetuneResult(
        task=recipe.task,
        seed=recipe.seed,
        best_epoch=best_epoch(log, "f1"),
        posts=counts,
        data={
            split: {"file": str(path), "sha256": checksum(path), "release": release_name(path, splits[split])}
            for split, path in paths.items()
        },
        beyond_the_model={split: one.beyond for split, one in reached.items()},
        unknown_labels={split: one.unknown for split, one in reached.items()},
        long_posts=long,
        calibration=calibration,
        thresholds=thresholds,
        dev=scores["dev"],
        weights=weights_checksum(model.state_dict()),
        scored=evaluations.weights_by_split(),
        images={split: images.counts(post.image for post in posts) for split, posts in splits.items()},
        seconds=round(time.perf_counter() - started, 2),
    )
    if "test" in scores:
        result["test"] = scores["test"]
    run.finish(result)
    write_run_report(out)
    return result

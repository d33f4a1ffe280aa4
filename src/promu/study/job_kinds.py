"""The kinds of jobs: each is a function of (settings, folder) that returns its result as JSON data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from promu.alignment.label_health import SideTally
from promu.config import load_recipe
from promu.corpora.captions import read_captions
from promu.corpora.jmere import read_jmere, read_jmere_background, write_jmere
from promu.corpora.joint_sets import write_pipeline_sets
from promu.corpora.shards import PairShards
from promu.errors import InputError, counted
from promu.evaluation.joint_scores import joint_counts
from promu.evaluation.ner import entity_counts, entity_frequency
from promu.evaluation.relation import relation_counts, relation_frequency
from promu.extraction.evaluate_model import evaluate
from promu.files import read_text
from promu.kecpm.kecpm_recipe import KecpmRecipe, Seq2SeqSettings
from promu.kecpm.train_kecpm import train_denoiser, train_seed
from promu.modeling.inputs import WordEncoder
from promu.newsreel import WORLDS, NewsreelSettings, write_newsreel
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.runs import RunFolder, prediction_files
from promu.schema import Post, quintuples
from promu.study.attention_maps import attention_job
from promu.study.context_jobs import choose_contexts, context_arm, control_contexts
from promu.study.embeddings import embeddings_job
from promu.study.job import SUBSET
from promu.study.mock_llm import ErrorRates, write_mock_knowledge
from promu.study.noise import flip_matched, misplace_boxes, shuffle_nouns
from promu.tasks.predictor import Task
from promu.tasks.task import TASKS
from promu.training.feature_cache import texts_of, views_of
from promu.training.finetune import finetune
from promu.training.prepare import prepare, prepare_sources, train_teacher
from promu.training.pretrain import pretrain, student
from promu.training.recipe import FinetuneRecipe, PretrainRecipe, TrainingSettings

JobFunction = Callable[[Mapping[str, Any], Path], dict[str, Any]]

STORES = ("labels", "labels-dev")
FEATURES = "features"
COUNTS = {
    "ner": (entity_frequency, entity_counts),
    "re": (relation_frequency, relation_counts),
    "joint": (relation_frequency, joint_counts),
}
"""By task: the frequency of each label in posts, and what each post adds to the F1 score."""


def draw(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Draw a corpus. `settings`: those of `NewsreelSettings`, and the name of the `world`."""
    values = dict(settings)
    world = WORLDS[values.pop("world")]
    report = write_newsreel(out, NewsreelSettings(**values), world)
    return {"counts": report.counts, "upper_bounds": report.upper_bounds}


def build_corpus(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Build corpus, nouns and tokenizer of a pre-training recipe. `settings`: its `data` and `tokenizer`."""
    unused = {"teacher": {"name": "unused"}, "model": {"text": "unused"}}
    sources = prepare_sources(_pretrain_recipe({**settings, **unused}, out))
    return {"pairs": len(sources.corpus), "matched": int(sources.corpus.matched.sum())}


def teach(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Train the teacher of a pre-training recipe."""
    recipe = _pretrain_recipe(settings, out)
    sources = prepare_sources(recipe)
    train_teacher(recipe, sources.corpus, sources.tokenizer)
    return {}


def label(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write the label stores of a pre-training recipe, and the features that frozen encoders give for its corpus.

    The features are the same for all runs on these labels, so they are computed here, once. Returns the mean entropy
    in nats and the mean top probability of the labels, for nouns (`entity_`) and relations.
    """
    recipe = _pretrain_recipe(settings, out)
    ready = prepare(recipe)
    model = student(recipe, ready)
    encoder = WordEncoder.of(ready.tokenizer, model.config)
    views_of(model.promu, ready.corpus, recipe.views, out / FEATURES, recipe.seed)
    texts_of(model.promu, encoder, ready.corpus, out / FEATURES)
    store = ready.store
    tallies = {"entity": SideTally(store.header.nouns), "relation": SideTally(store.header.relations)}
    for image in store.images():
        labels = store[image]
        tallies["entity"].add(labels.entities)
        tallies["relation"].add(labels.relation)
    figures: dict[str, Any] = {}
    for name, tally in tallies.items():
        if (health := tally.result()) is not None:
            figures |= {f"{name}_entropy": health.entropy, f"{name}_top": health.top_probability}
    return figures


def add_noise(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Copy a corpus or label stores with errors. `settings`: `errors` (their kind), `rate`, `seed`, `source`."""
    source, rate, seed = Path(settings["source"]), settings["rate"], settings["seed"]
    if settings["errors"] == "nouns":
        return shuffle_nouns(source, out, rate, seed)
    change = {"boxes": misplace_boxes, "matched": flip_matched}[settings["errors"]]
    return change(PairShards(source), out, rate, seed)


def pre_train(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Run a pre-training recipe with labels and features of other jobs.

    Beside the recipe, `settings` name the folders `stores` (with label stores) and `features`.
    """
    values = dict(settings)
    stores, features = Path(values.pop("stores")), Path(values.pop("features")) / FEATURES
    recipe = _pretrain_recipe(values, out)
    RunFolder(out).claim(recipe.model_dump(mode="json"))
    for name in STORES:
        for path in (stores / name).glob("*"):  # hard links; after a kill the next call links the rest
            if not (out / name / path.name).exists():
                (out / name).mkdir(parents=True, exist_ok=True)
                os.link(path, out / name / path.name)
    if features.is_dir() and not (out / FEATURES).exists():
        (out / FEATURES).symlink_to(features.resolve(), target_is_directory=True)
    result: Mapping[str, Any] = pretrain(recipe)
    return {name: result[name] for name in ("pairs", "matched", "last", "seconds")}


def fine_tune(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Run a fine-tuning recipe; returns test figures, label frequencies in training, and counts for each test post.

    Beside the recipe, `settings` may have a `grid`: a list of settings in place of `training`. Each is trained, dev
    chooses, and test is scored once, with the chosen one. The model and the log of `out` are then links to it. The
    result says which was `chosen`, and what the `grid` had on dev.
    """
    values = dict(settings)
    grid = values.pop("grid", [])
    recipe = load_recipe({**values, "out": str(out)}, FinetuneRecipe)
    if recipe.data.test is None:
        raise InputError("the study scores on test posts; set data.test in the fine-tuning recipe")
    test, task = Path(recipe.data.test), TASKS[recipe.task]
    read = partial(task.read, format=recipe.data.format, scheme=recipe.data.scheme)
    if grid:
        result, predicted = _best_on_dev(recipe, grid, out)
    else:
        result = dict(finetune(recipe))
        predicted = read(
            prediction_files(out / "predictions", {"dev": [Path(recipe.data.dev)], "test": [test]})["test"][0]
        )
    frequency, count = COUNTS[recipe.task]
    names = ("task", "best_epoch", "posts", "test", "images", "seconds", "chosen", "grid")
    return {
        **{name: result[name] for name in names if name in result},
        "dev_f1": result["dev"]["f1"],
        "train_counts": frequency(read(Path(recipe.data.train))),
        "post_counts": count(read(test), predicted).tolist(),
    }


TRIED = "tried"
"""Folder of the models of a grid, by their number."""


def _best_on_dev(
    recipe: FinetuneRecipe, grid: Sequence[Mapping[str, Any]], out: Path
) -> tuple[dict[str, Any], list[Post]]:
    """Train with each of these settings, and score test with the best on dev (of equal ones the first).

    Returns:
        The result of its run, with that of test, and the posts of test as it predicts them.
    """
    without_test = recipe.data.model_copy(update={"test": None})
    results: list[dict[str, Any]] = []
    for number, training in enumerate(grid):
        one = TrainingSettings(**training)
        update = {"data": without_test, "training": one, "out": str(out / TRIED / str(number))}
        results.append(dict(finetune(recipe.model_copy(update=update))))
    best = max(range(len(grid)), key=lambda number: results[number]["dev"]["f1"])
    for number in range(len(grid)):
        if number != best:
            shutil.rmtree(out / TRIED / str(number) / "model", ignore_errors=True)
    for name in ("model", "log.jsonl"):
        (out / name).unlink(missing_ok=True)  # relative links, so that the folder can be moved
        (out / name).symlink_to(Path(TRIED, str(best), name))
    result, data = results[best], recipe.data
    assert data.test is not None
    images, missing = (None, "text-only") if recipe.images == "none" else (data.images, recipe.images)
    options: dict[str, Any] = {
        "images": images,
        "missing_images": missing,
        "groups": data.groups,
        "format": data.format,
        "scheme": data.scheme,
    }
    found = evaluate(out / "model", data.test, recipe.task, **options)
    (out / "predictions").mkdir(exist_ok=True)
    TASKS[recipe.task].write(out / "predictions" / Path(data.test).name, found.predictions, data.format)
    figures = [
        {"lr": training["lr"], "epochs": training["epochs"], "dev_f1": one["dev"]["f1"]}
        for training, one in zip(grid, results, strict=True)
    ]
    result |= {
        "test": found.scores.to_dict(),
        "posts": {**result["posts"], "test": len(found.predictions)},
        "images": {**result["images"], "test": {"with image": found.with_image, "as text": found.as_text}},
        "chosen": {name: figures[best][name] for name in ("lr", "epochs")},
        "grid": figures,
        "seconds": sum(one["seconds"] for one in results),
    }
    return result, found.predictions


def _pretrain_recipe(settings: Mapping[str, Any], out: Path) -> PretrainRecipe:
    return load_recipe({**settings, "out": str(out)}, PretrainRecipe)


def reading(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of a job's settings says how its files are read."""
    return {name: settings[name] for name in ("format", "scheme") if name in settings}


def draw_subset(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Choose some of a task's training posts.

    `settings`: `task`, `train` (file), `posts` (how many), `seed`; also `format` and `scheme` where they are not the
    default. Posts of JMERE keep their captions and knowledge.

    Raises:
        InputError: `train` has fewer posts, or so few posts cannot hold all labels.
    """
    task, train = TASKS[settings["task"]], Path(settings["train"])
    posts = task.read(train, **reading(settings))
    rows = subset_rows(task, posts, settings["posts"], settings["seed"])
    chosen = [posts[row] for row in rows]
    out.mkdir(parents=True, exist_ok=True)
    if settings["task"] == "joint" and settings.get("format", "jmere") == "jmere":
        background = read_jmere_background(train)
        write_jmere(out / SUBSET, chosen, [background[row] for row in rows])
    else:
        task.write(out / SUBSET, chosen, settings.get("format"))
    return {"posts": len(chosen)}


def subset_rows(task: Task, posts: Sequence[Post], count: int, seed: int) -> list[int]:
    """Draw `count` posts such that each label occurs at least once; returns their rows in the order of the file.

    A larger subset of the same seed contains the smaller one.

    Raises:
        InputError: As `draw_subset`.
    """
    if count > len(posts):
        raise InputError(f"training posts: {count} asked for, {len(posts)} there; ask for fewer")
    order = np.random.default_rng(seed).permutation(len(posts)).tolist()
    joint = task is TASKS["joint"]  # which itself refuses posts without any quintuple
    covered = set() if joint else set(task.labels([]))
    first: list[int] = []  # posts with a label that no earlier post has
    for index in order:
        post = posts[index]
        labels = set() if joint and not quintuples(post) else set(task.labels([post]))
        if labels - covered:
            first.append(index)
            covered |= labels
    if len(first) > count:
        named = counted(len(covered), "label")
        raise InputError(f"training posts: {count} are too few to hold {named}; ask for {len(first)} at least")
    needed = set(first)
    return sorted([*first, *(index for index in order if index not in needed)][:count])


def draw_joint(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Draw a joint set. `settings`: those of `JointSettings`."""
    shutil.rmtree(out, ignore_errors=True)  # left by a job that was killed after drawing
    return asdict(write_joint(out, JointSettings(**settings)))


def split_joint(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Split a joint set into the two sets of a pipeline. `settings`: a file by each name of `joint_sets.FILES`."""
    shutil.rmtree(out, ignore_errors=True)
    return write_pipeline_sets({name: Path(path) for name, path in settings.items()}, out)


def denoise(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Train a text-to-text `model` to restore `captions` (a CSV file) and, half as often, `posts` (lines of text)."""
    captions = sorted({pair.caption for pair in read_captions(settings["captions"])})
    posts = read_text(Path(settings["posts"])).splitlines()
    texts = captions + posts * max(1, len(captions) // (2 * len(posts)))
    model = load_recipe(settings["model"], Seq2SeqSettings)
    training = load_recipe(settings["training"], TrainingSettings)
    return train_denoiser(texts, model, training, settings["seed"], out)


def mock_knowledge(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Let the mock LLM write knowledge about joint posts. `settings`: `files`, its `errors`, and `reflection`."""
    files = [Path(file) for file in settings["files"]]
    return write_mock_knowledge(files, out, ErrorRates(**settings["errors"]), settings["reflection"])


def train_text_writer(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Train a text-to-text model by a recipe with one `seed`; returns test figures with and without the grammar."""
    values = dict(settings)
    seed = values.pop("seed")
    recipe = load_recipe({**values, "out": str(out)}, KecpmRecipe)
    result = train_seed(recipe, seed)
    test = Path(recipe.data.test)
    gold = read_jmere(test)
    files = {"dev": [Path(recipe.data.dev).with_suffix(".json")], "test": [test.with_suffix(".json")]}
    file = prediction_files(out / f"seed-{seed}" / "predictions", files)["test"][0]
    counts = {
        f"post_counts{end}": joint_counts(gold, read_jmere(file.with_stem(f"{file.stem}{end}"))).tolist()
        for end in ("", "_unconstrained")
    }
    names = ("best_epoch", "posts", "prompts", "unreachable_quintuples", "test", "test_unconstrained", "seconds")
    return {**{name: result[name] for name in names}, "dev_f1": result["dev"]["f1"], **counts}


def score_pipeline(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Score two models, entities first and relations second, on a joint set.

    `settings`: model folders `ner` and `re`, the joint set `test`, its `images` and `groups` (or None). Links to both
    models and `predictions.json` are written to `out`.
    """
    models = out / "model"
    models.mkdir(parents=True, exist_ok=True)
    for name in ("ner", "re"):
        if not (models / name).exists():
            (models / name).symlink_to(Path(settings[name]).resolve(), target_is_directory=True)
    task, test = TASKS["joint"], Path(settings["test"])
    result = evaluate(models, test, "joint", images=settings["images"], groups=settings["groups"])
    task.write(out / "predictions.json", result.predictions)
    counts = joint_counts(task.read(test), result.predictions)
    return {"test": result.scores.to_dict(), "post_counts": counts.tolist()}


KINDS: dict[str, JobFunction] = {
    "draw": draw,
    "corpus": build_corpus,
    "teacher": teach,
    "labels": label,
    "noise": add_noise,
    "pretrain": pre_train,
    "subset": draw_subset,
    "finetune": fine_tune,
    "embeddings": embeddings_job,
    "attention": attention_job,
    "draw-joint": draw_joint,
    "split": split_joint,
    "denoise": denoise,
    "knowledge": mock_knowledge,
    "writer": train_text_writer,
    "pipeline": score_pipeline,
    "context-arm": context_arm,
    "choose-contexts": choose_contexts,
    "control-contexts": control_contexts,
}

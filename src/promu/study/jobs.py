"""What the cells do, by kind: each a function of (settings, folder) that gives its result as JSON data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promu.alignment.label_health import SideTally
from promu.alignment.label_store import LabelStore
from promu.config import load_recipe
from promu.corpora.captions import read_captions
from promu.corpora.jmere import read_jmere
from promu.corpora.joint_sets import write_pipeline_sets
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.evaluation.joint_scores import joint_counts, score_joint
from promu.evaluation.ner import entity_counts, entity_frequency
from promu.evaluation.relation import relation_counts, relation_frequency
from promu.evaluation.scoring import read_groups
from promu.extraction.extractor import Extractor
from promu.extraction.pipeline import pipeline_answers
from promu.files import read_text
from promu.kecpm.denoise import train_denoiser
from promu.kecpm.kecpm_recipe import GenerationRecipe, WriterSettings
from promu.kecpm.train_writer import train_writer
from promu.modeling.inputs import WordEncoder
from promu.newsreel import WORLDS, NewsreelSettings, write_newsreel
from promu.newsreel.joint_world import JointSettings, write_joint
from promu.runs import begin
from promu.study.attention_maps import attend
from promu.study.embeddings import represent
from promu.study.few_shot import write_few_posts
from promu.study.mock_llm import Errors, write_stand_in_knowledge
from promu.study.noise import misplace_boxes, mistake_matches, mistake_nouns
from promu.tasks.task import TASKS
from promu.training.feature_cache import texts_of, views_of
from promu.training.finetune import finetune
from promu.training.prepare import Prepared, prepare, start, train_teacher
from promu.training.pretrain import pretrain, student
from promu.training.recipe import FinetuneRecipe, PretrainRecipe, TrainingSettings

Job = Callable[[Mapping[str, Any], Path], dict[str, Any]]


def draw_joint(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A drawn joint set: `settings` are those of `JointSettings`."""
    shutil.rmtree(out, ignore_errors=True)  # of a cell that was killed when it had drawn
    return write_joint(out, JointSettings(**settings))


def split(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A joint set as the two sets of a pipeline: files by split, names of `promu.corpora.joint_sets.FILES`."""
    shutil.rmtree(out, ignore_errors=True)
    return write_pipeline_sets({name: Path(path) for name, path in settings.items()}, out)


def learn_to_read(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A text-to-text `model` that restores `captions` (a CSV file) and, half as often, `posts` (lines of text)."""
    captions = sorted({pair.caption for pair in read_captions(settings["captions"])})
    posts = read_text(Path(settings["posts"])).splitlines()
    texts = captions + posts * max(1, len(captions) // (2 * len(posts)))
    model = load_recipe(settings["model"], WriterSettings)
    training = load_recipe(settings["training"], TrainingSettings)
    return train_denoiser(texts, model, training, settings["seed"], out)


def know(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """What a stand-in for a language model writes about joint posts: `files`, its `errors`, and `reflection`."""
    files = [Path(file) for file in settings["files"]]
    return write_stand_in_knowledge(files, out, Errors(**settings["errors"]), settings["reflection"])


def write(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A text-to-text model trained by a recipe with one `seed`: its test figures with the grammar and without."""
    values = dict(settings)
    seed = values.pop("seed")
    recipe = load_recipe({**values, "out": str(out)}, GenerationRecipe)
    result = train_writer(recipe, seed)
    test = Path(recipe.data.test)
    gold, answers = read_jmere(test), out / f"seed-{seed}" / "predictions"
    counts = {
        name: joint_counts(gold, read_jmere(answers / f"{test.stem}{end}.json")).tolist()
        for name, end in (("post_counts", ""), ("post_counts_unconstrained", "_unconstrained"))
    }
    kept = ("best_epoch", "posts", "prompts", "unsaid_quintuples", "test", "test_unconstrained", "seconds")
    return {**{name: result[name] for name in kept}, "dev_f1": result["dev"]["f1"], **counts}


FEW_SHOT_JOBS: dict[str, Job] = {
    "draw-joint": draw_joint,
    "split": split,
    "read": learn_to_read,
    "know": know,
    "write": write,
}

STORES = ("labels", "labels-dev")
FEATURES = "features"
COUNTED = {
    "ner": (entity_frequency, entity_counts),
    "re": (relation_frequency, relation_counts),
    "joint": (relation_frequency, joint_counts),
}
"""By task what says how often each label is in posts, and what each post adds to the figures."""


def draw(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A drawn world: `settings` are those of `NewsreelSettings`, and the name of the `world`."""
    values = dict(settings)
    name = values.pop("world")
    report = write_newsreel(out, NewsreelSettings(**values), WORLDS[name])
    return {"counts": report.counts, "ceiling": {"ner": report.ner_ceiling, "re": report.re_ceiling}}


def teach(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Corpus, nouns, tokenizer and the self-trained teacher of a pre-training recipe."""
    recipe = _pretraining(settings, out)
    begun = start(recipe)
    train_teacher(recipe, begun.corpus, begun.tokenizer)
    return {"pairs": len(begun.corpus), "matched": int(begun.corpus.matched.sum())}


def label(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """The label stores of a pre-training recipe, and what frozen encoders make of its corpus."""
    recipe = _pretraining(settings, out)
    ready = prepare(recipe)
    _keep_encodings(recipe, ready, out)
    return label_figures(ready.store)


def _keep_encodings(recipe: PretrainRecipe, ready: Prepared, out: Path) -> None:
    """Have what never changes in training computed here, once for all runs on these labels."""
    model = student(recipe, ready)
    views_of(model.promu, ready.corpus, recipe.views, out / FEATURES, recipe.seed)
    texts_of(model.promu, WordEncoder(ready.tokenizer, model.config.max_length), ready.corpus, out / FEATURES)


def label_figures(store: LabelStore) -> dict[str, Any]:
    """How sharp the labels of a store are: mean entropy in nats and mean top probability of either side."""
    sides = {"entity": SideTally(store.header.nouns), "relation": SideTally(store.header.relations)}
    for image in store.images():
        labels = store[image]
        sides["entity"].add(labels.entities)
        sides["relation"].add(labels.relation)
    figures: dict[str, Any] = {}
    for name, tally in sides.items():
        if (health := tally.result()) is not None:
            figures |= {f"{name}_entropy": health.entropy, f"{name}_top": health.top_probability}
    return figures


def spoil(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A corpus or a label store with errors put in: `errors` (their kind), `rate`, `seed`, and `source`."""
    source, rate, seed = Path(settings["source"]), settings["rate"], settings["seed"]
    if settings["errors"] == "nouns":
        return mistake_nouns(source, out, rate, seed)
    work = {"boxes": misplace_boxes, "matched": mistake_matches}[settings["errors"]]
    return work(PairShards(source), out, rate, seed)


def pre_train(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A pre-training recipe on label stores and kept encodings that are there already.

    Beside the recipe, `settings` hold the folders `stores` and `features`, each of a cell that has made such.
    """
    values = dict(settings)
    stores, features = Path(values.pop("stores")), Path(values.pop("features")) / FEATURES
    recipe = _pretraining(values, out)
    begin(out, recipe.model_dump(mode="json"))
    for name in STORES:
        if (stores / name).is_dir():
            _link_files(stores / name, out / name)
    if features.is_dir() and not (out / FEATURES).exists():
        (out / FEATURES).symlink_to(features.resolve(), target_is_directory=True)
    result = pretrain(recipe)
    return {name: result[name] for name in ("pairs", "matched", "last", "seconds")}


def _link_files(source: Path, target: Path) -> None:
    """The files of a folder under a second name; what a kill left out comes with the next call."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if not (target / path.name).exists():
            os.link(path, target / path.name)


def few(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A few of a task's training posts."""
    return {
        "posts": write_few_posts(settings["task"], Path(settings["train"]), out, settings["posts"], settings["seed"])
    }


def fine_tune(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A fine-tuning recipe: its test figures, how often each label is in training, and what each test post adds."""
    recipe = load_recipe({**settings, "out": str(out)}, FinetuneRecipe)
    result = finetune(recipe)
    task = TASKS[recipe.task]
    if recipe.data.test is None:
        raise InputError("the study scores on test posts; set data.test in the fine-tuning recipe")
    test = Path(recipe.data.test)
    gold, predicted = task.read(test), task.read(out / "predictions" / test.name)
    frequency, count = COUNTED[recipe.task]
    return {
        **{name: result[name] for name in ("task", "best_epoch", "posts", "test", "images", "seconds")},
        "dev_f1": result["dev"]["f1"],
        "train_counts": frequency(task.read(Path(recipe.data.train))),
        "post_counts": count(gold, predicted).tolist(),
    }


def _pretraining(settings: Mapping[str, Any], out: Path) -> PretrainRecipe:
    return load_recipe({**settings, "out": str(out)}, PretrainRecipe)


JOBS: dict[str, Job] = {
    "draw": draw,
    "teach": teach,
    "label": label,
    "spoil": spoil,
    "pretrain": pre_train,
    "few": few,
    "finetune": fine_tune,
    "represent": represent,
    "attend": attend,
    **FEW_SHOT_JOBS,
}


def score_pipeline(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Score two models one after the other; see `promu.study.jobs` for what jobs are.

    Args:
        settings: Model folders `ner` and `re`, the joint set `test`, its `images` and `groups` (or None).
        out: A folder with links to both models is made there, and `predictions.json`.
    """
    models = out / "model"
    models.mkdir(parents=True, exist_ok=True)
    for name in ("ner", "re"):
        if not (models / name).exists():
            (models / name).symlink_to(Path(settings[name]).resolve(), target_is_directory=True)
    task, test = TASKS["joint"], Path(settings["test"])
    gold = task.read(test)
    images = None if settings["images"] is None else Path(settings["images"])
    predicted, _ = pipeline_answers(Extractor.from_pretrained(models), gold, images)
    task.write(out / "predictions.json", predicted)
    groups = None if settings["groups"] is None else read_groups(settings["groups"])
    scores = score_joint(gold, predicted, groups=groups)
    return {"test": scores.to_dict(), "post_counts": joint_counts(gold, predicted).tolist()}

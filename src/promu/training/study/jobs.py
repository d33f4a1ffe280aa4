"""What the cells do, by kind: each a function of (settings, folder, progress) that gives its result as JSON data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promu.alignment.label_figures import SideTally
from promu.alignment.label_store import LabelStore
from promu.corpora.newsreel import WORLDS, NewsreelSettings, write_newsreel
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.evaluation.joint import joint_counts
from promu.evaluation.ner import entity_counts, entity_frequency
from promu.evaluation.relation import relation_counts, relation_frequency
from promu.modeling.inputs import WordEncoder
from promu.training.finetune import finetune
from promu.training.kept_texts import texts_of
from promu.training.loop import Progress
from promu.training.picture_views import views_of
from promu.training.preparation import Prepared, prepare, start, train_teacher
from promu.training.pretrain import pretrain, student
from promu.training.recipe import FinetuneRecipe, PretrainRecipe
from promu.training.recipe_file import check_recipe
from promu.training.run_folder import begin
from promu.training.study.attending import attend
from promu.training.study.few_posts import write_few_posts
from promu.training.study.few_shot_jobs import FEW_SHOT_JOBS, Job
from promu.training.study.injection import misplace_boxes, mistake_matches, mistake_nouns
from promu.training.study.representing import represent
from promu.training.tasks import TASKS

STORES = ("labels", "labels-dev")
FEATURES = "features"
COUNTED = {
    "ner": (entity_frequency, entity_counts),
    "re": (relation_frequency, relation_counts),
    "joint": (relation_frequency, joint_counts),
}
"""By task what says how often each label is in posts, and what each post adds to the figures."""


def draw(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """A drawn world: `settings` are those of `NewsreelSettings`, and the name of the `world`."""
    values = dict(settings)
    name = values.pop("world")
    report = write_newsreel(
        out, NewsreelSettings(**values), lambda done, total: progress("drawing", done, total), WORLDS[name]
    )
    return {"counts": report.counts, "ceiling": {"ner": report.ner_ceiling, "re": report.re_ceiling}}


def teach(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """Corpus, nouns, tokenizer and the self-trained teacher of a pre-training recipe."""
    recipe = _pretraining(settings, out)
    begun = start(recipe, progress)
    train_teacher(recipe, begun.corpus, begun.tokenizer, progress)
    return {"pairs": len(begun.corpus), "matched": int(begun.corpus.matched.sum())}


def label(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """The label stores of a pre-training recipe, and what frozen encoders make of its corpus."""
    recipe = _pretraining(settings, out)
    ready = prepare(recipe, progress)
    _keep_encodings(recipe, ready, out, progress)
    return label_figures(ready.store)


def _keep_encodings(recipe: PretrainRecipe, ready: Prepared, out: Path, progress: Progress) -> None:
    """Have what never changes in training computed here, once for all runs on these labels."""
    model = student(recipe, ready)
    views_of(model.promu, ready.corpus, recipe.views, out / FEATURES, recipe.seed, progress)
    texts_of(model.promu, WordEncoder(ready.tokenizer, model.config.max_length), ready.corpus, out / FEATURES, progress)


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


def spoil(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """A corpus or a label store with errors put in: `errors` (their kind), `rate`, `seed`, and `source`."""
    source, rate, seed = Path(settings["source"]), settings["rate"], settings["seed"]
    if settings["errors"] == "nouns":
        return mistake_nouns(source, out, rate, seed)
    work = {"boxes": misplace_boxes, "matched": mistake_matches}[settings["errors"]]
    return work(PairShards(source), out, rate, seed)


def pre_train(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
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
    result = pretrain(recipe, progress)
    return {name: result[name] for name in ("pairs", "matched", "last", "seconds")}


def _link_files(source: Path, target: Path) -> None:
    """The files of a folder under a second name; what a kill left out comes with the next call."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if not (target / path.name).exists():
            os.link(path, target / path.name)


def few(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """A few of a task's training posts."""
    return {
        "posts": write_few_posts(settings["task"], Path(settings["train"]), out, settings["posts"], settings["seed"])
    }


def fine_tune(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """A fine-tuning recipe: its test figures, how often each label is in training, and what each test post adds."""
    recipe = check_recipe({**settings, "out": str(out)}, FinetuneRecipe)
    result = finetune(recipe, progress)
    task = TASKS[recipe.task]
    if recipe.data.test is None:
        raise InputError("the study scores on test posts; set data.test in the fine-tuning recipe")
    test = Path(recipe.data.test)
    gold, predicted = task.read(test), task.read(out / "predictions" / test.name)
    frequency, count = COUNTED[recipe.task]
    return {
        **{name: result[name] for name in ("task", "best_epoch", "posts", "test", "pictures", "seconds")},
        "dev_f1": result["dev"]["f1"],
        "train_counts": frequency(task.read(Path(recipe.data.train))),
        "post_counts": count(gold, predicted).tolist(),
    }


def _pretraining(settings: Mapping[str, Any], out: Path) -> PretrainRecipe:
    return check_recipe({**settings, "out": str(out)}, PretrainRecipe)


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

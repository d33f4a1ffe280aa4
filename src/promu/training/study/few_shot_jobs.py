"""What the cells of joint extraction from few posts do, by kind; see `promu.training.study.jobs`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promu.corpora.captions import read_captions
from promu.corpora.jmere import read_jmere
from promu.corpora.newsreel.joint import JointSettings, write_joint
from promu.corpora.pipeline import write_pipeline_sets
from promu.evaluation.joint import joint_counts
from promu.files import read_text
from promu.training.generation.denoise import train_denoiser
from promu.training.generation.recipe import GenerationRecipe, WriterSettings
from promu.training.generation.train import train_writer
from promu.training.loop import Progress
from promu.training.recipe import TrainingSettings
from promu.training.recipe_file import check_recipe
from promu.training.study.stand_in import Errors, write_stand_in_knowledge

Job = Callable[[Mapping[str, Any], Path, Progress], dict[str, Any]]


def draw_joint(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """A drawn joint set: `settings` are those of `JointSettings`."""
    shutil.rmtree(out, ignore_errors=True)  # of a cell that was killed when it had drawn
    return write_joint(out, JointSettings(**settings), lambda done, total: progress("drawing", done, total))


def split(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """A joint set as the two sets of a pipeline: files by split, names of `promu.corpora.pipeline.FILES`."""
    shutil.rmtree(out, ignore_errors=True)
    return write_pipeline_sets({name: Path(path) for name, path in settings.items()}, out)


def learn_to_read(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """A text-to-text `model` that restores `captions` (a CSV file) and, half as often, `posts` (lines of text)."""
    captions = sorted({pair.caption for pair in read_captions(settings["captions"])})
    posts = read_text(Path(settings["posts"])).splitlines()
    texts = captions + posts * max(1, len(captions) // (2 * len(posts)))
    model = check_recipe(settings["model"], WriterSettings)
    training = check_recipe(settings["training"], TrainingSettings)
    return train_denoiser(texts, model, training, settings["seed"], out, progress)


def know(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """What a stand-in for a language model writes about joint posts: `files`, its `errors`, and `reflection`."""
    files = [Path(file) for file in settings["files"]]
    return write_stand_in_knowledge(files, out, Errors(**settings["errors"]), settings["reflection"], progress)


def write(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """A text-to-text model trained by a recipe with one `seed`: its test figures with the grammar and without."""
    values = dict(settings)
    seed = values.pop("seed")
    recipe = check_recipe({**values, "out": str(out)}, GenerationRecipe)
    result = train_writer(recipe, seed, progress)
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

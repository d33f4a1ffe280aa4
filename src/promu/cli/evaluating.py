"""`promu evaluate`: a fine-tuned model on a file of gold, a pre-trained one on caption pairs and gold boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App, Parameter

from promu.cli import measuring
from promu.cli.console import note, print_json, progress_bar
from promu.cli.joint_scoring import print_joint_scores
from promu.cli.scoring import print_entity_scores, print_relation_scores
from promu.errors import InputError

if TYPE_CHECKING:
    from promu.schema import Post

evaluate = App(
    name="evaluate",
    help="Measure a model: fine-tuned ones on gold (ner, re, joint), pre-trained ones on pairs and regions.",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GoldOptions:
    """What `promu evaluate ner`, `re` and `joint` are given beside the model.

    Args:
        data: File with the gold.
        images: Folder of the posts' pictures.
        missing_pictures: What a missing or broken picture does: stop, or have its post read as text.
        groups: JSON file, an object of group name by post id; adds figures by group.
        predictions: Write the model's answers here, in the format of the gold.
        batch_size: Posts a forward pass.
        json: Print JSON instead of tables.
    """

    data: Path
    images: Path | None = None
    missing_pictures: Literal["error", "text-only"] = "error"
    groups: Path | None = None
    predictions: Path | None = None
    batch_size: int = 64
    json: bool = False


@evaluate.command(name="ner")
def evaluate_ner(model: Path, /, options: GoldOptions) -> None:
    """Score a fine-tuned model's entities against gold (CoNLL data).

    Without --images the posts are read as text alone, which is then said.

    Args:
        model: The model folder of a fine-tuning run.
    """
    _evaluate("ner", model, options)


@evaluate.command(name="re")
def evaluate_re(model: Path, /, options: GoldOptions) -> None:
    """Score a fine-tuned model's relations against gold (MNRE data).

    Without --images the posts are read as text alone, which is then said.

    Args:
        model: The model folder of a fine-tuning run.
    """
    _evaluate("re", model, options)


@evaluate.command(name="joint")
def evaluate_joint(model: Path, /, options: GoldOptions) -> None:
    """Score a model's quintuples against gold (JMERE data, or posts in a .jsonl file).

    A joint model finds entities and relations at once. A folder with ner/ and re/ is scored on the same set as a
    pipeline: entities first, then the relation of every pair of them. Without --images the posts are read as text
    alone, which is then said.

    Args:
        model: The model folder of a fine-tuning run, or a folder with joint/, or with ner/ and re/.
    """
    _evaluate("joint", model, options)


evaluate.command(measuring.pairs)
evaluate.command(measuring.regions)


Task = Literal["ner", "re", "joint"]


def _evaluate(task: Task, model: Path, options: GoldOptions) -> None:
    images, predictions = options.images, options.predictions
    if predictions is not None and not predictions.parent.is_dir():
        raise InputError("no such folder to write predictions to; make it first", predictions.parent)
    if images is not None and not images.is_dir():
        raise InputError("no such folder of pictures; correct --images, or leave it out to read text alone", images)
    if options.batch_size < 1:
        raise InputError(f"--batch-size is {options.batch_size}; at least 1 is needed")
    from promu.quiet import quiet

    quiet()
    from promu.evaluation.groups import read_groups
    from promu.training.tasks import TASKS

    within = (model / task).is_dir()  # a folder with ner/ and re/, as `promu extract` takes it
    pipeline = not within and task == "joint" and (model / "ner").is_dir() and (model / "re").is_dir()
    if within:
        model = model / task
    posts = TASKS[task].read(options.data)
    groups = None if options.groups is None else read_groups(options.groups)
    predicted, read, labels = _pipeline(model, posts, options) if pipeline else _predict(task, model, posts, options)
    scores = TASKS[task].score(posts, predicted, groups, labels)
    if predictions is not None:
        TASKS[task].write(predictions, predicted)
    if options.json:
        print_json({**scores.to_dict(), "read": read})
    elif task == "ner":
        print_entity_scores(scores)
    elif task == "re":
        print_relation_scores(scores)
    else:
        print_joint_scores([scores])


def _predict(
    task: Task, model: Path, posts: list[Post], options: GoldOptions
) -> tuple[list[Post], dict[str, int], list[str]]:
    """What one model answers, how the posts were read, and the model's labels."""
    from promu.extraction.folders import open_model
    from promu.training.pictures import PictureFolder
    from promu.training.scored import record_evaluation
    from promu.training.tasks import TASKS, label_names, predict_posts

    images = options.images
    loaded, encoder = open_model(task, model)
    if images is not None and loaded.config.image_size is None:
        raise InputError("this model reads text alone; leave --images out", model)
    labels = label_names(loaded)
    unknown = sorted(set(TASKS[task].labels(posts)) - set(labels))
    if unknown:
        note(
            f"the model cannot give {len(unknown)} labels that the gold has, and misses them all: {', '.join(unknown)}"
        )
    policy: Any = "none"
    if images is not None:
        policy = "require" if options.missing_pictures == "error" else "text-only-when-missing"
    folder = PictureFolder(images, loaded.config.image_size, policy)
    with progress_bar(f"reading {options.data.name}") as advance:
        predicted = predict_posts(TASKS[task], loaded, encoder, posts, folder.batch, options.batch_size, advance)
    read = {"with picture": 0, "as text": 0}
    for post in posts:
        shown = policy != "none" and post.image is not None and post.image not in folder.missing
        read["with picture" if shown else "as text"] += 1
    _tell_reading(read, images, loaded.config.image_size is None, len(folder.missing))
    record_evaluation(model, options.data, loaded)
    return predicted, read, labels


def _pipeline(model: Path, posts: list[Post], options: GoldOptions) -> tuple[list[Post], dict[str, int], list[str]]:
    """The same of two models, one after the other; labels of a joint set they have none."""
    from promu.extraction.extractor import Extractor
    from promu.extraction.pipeline import pipeline_answers

    images = options.images
    extractor = Extractor.from_pretrained(model)
    if images is not None and not extractor.reads_pictures:
        raise InputError("these models read text alone; leave --images out", model)
    with progress_bar(f"reading {options.data.name}") as advance:
        predicted, read = pipeline_answers(
            extractor, posts, images, options.missing_pictures, options.batch_size, advance
        )
    missing = sum(post.image is not None for post in posts) - read["with picture"]
    _tell_reading(read, images, not extractor.reads_pictures, missing)
    return predicted, read, []


def _tell_reading(read: Mapping[str, int], images: Path | None, blind: bool, missing: int) -> None:
    """Say which posts were read without a picture, and why."""
    if read["as text"]:
        why = "the model reads text alone" if blind else "no --images"
        if images is not None:
            why = f"{missing} pictures missing or broken"
        note(f"{read['as text']} of {sum(read.values())} posts were read as text, without a picture ({why})")

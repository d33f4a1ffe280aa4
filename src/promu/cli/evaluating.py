"""`promu evaluate`: a fine-tuned model on a file of gold, a pre-trained one on caption pairs and gold boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cyclopts import App, Parameter

from promu.cli import measuring
from promu.cli.console import note, print_json, progress_bar
from promu.cli.scoring import print_entity_scores, print_relation_scores, read_group_names
from promu.errors import InputError

evaluate = App(
    name="evaluate", help="Measure a model: fine-tuned ones on gold (ner, re), pre-trained ones on pairs and regions."
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GoldOptions:
    """What `promu evaluate ner` and `promu evaluate re` are given beside the model.

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


evaluate.command(measuring.pairs)
evaluate.command(measuring.regions)


def _evaluate(task: Literal["ner", "re"], model: Path, options: GoldOptions) -> None:
    images, predictions = options.images, options.predictions
    if predictions is not None and not predictions.parent.is_dir():
        raise InputError("no such folder to write predictions to; make it first", predictions.parent)
    if images is not None and not images.is_dir():
        raise InputError("no such folder of pictures; correct --images, or leave it out to read text alone", images)
    if options.batch_size < 1:
        raise InputError(f"--batch-size is {options.batch_size}; at least 1 is needed")
    from promu.quiet import quiet

    quiet()
    from promu.extraction.folders import open_model
    from promu.training.pictures import PictureFolder
    from promu.training.scored import record_evaluation
    from promu.training.tasks import TASKS, predict_posts

    if (model / task).is_dir():  # a folder with ner/ and re/, as `promu extract` takes it
        model = model / task
    posts = TASKS[task].read(options.data)
    names = None if options.groups is None else read_group_names(options.groups)
    loaded, encoder = open_model(task, model)
    if images is not None and loaded.config.image_size is None:
        raise InputError("this model reads text alone; leave --images out", model)
    known = set((loaded.config.id2label or {}).values())
    unknown = sorted(set(TASKS[task].labels(posts)) - known)
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
    if read["as text"]:
        why = "the model reads text alone" if loaded.config.image_size is None else "no --images"
        if images is not None:
            why = f"{len(folder.missing)} pictures missing or broken"
        note(f"{read['as text']} of {len(posts)} posts were read as text, without a picture ({why})")
    record_evaluation(model, options.data, loaded)
    scores = TASKS[task].score(posts, predicted, names)
    if predictions is not None:
        TASKS[task].write(predictions, predicted)
    if options.json:
        print_json({**scores.to_dict(), "read": read})
    elif task == "ner":
        print_entity_scores(scores)
    else:
        print_relation_scores(scores)

"""Evaluate fine-tuned models on gold: one model on its own task, or MNER and then MRE as a joint system."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from promu.corpora.context_files import ContextCounts, ContextPlace, add_contexts
from promu.corpora.formats import paper_name
from promu.corpora.labelled import rename_types, restore_types
from promu.errors import InputError
from promu.evaluation.joint_scores import JointScores
from promu.evaluation.leaks import refuse_leaks
from promu.evaluation.ner import NerScores
from promu.evaluation.relation import RelationScores
from promu.evaluation.scoring import read_groups
from promu.evaluation.thresholds import Point, thinned_curve
from promu.extraction.extraction_config import ExtractionConfig
from promu.extraction.extractor import Extractor
from promu.modeling.label_prompts import LabelPrompt
from promu.progress import track
from promu.runs import record_evaluation
from promu.schema import MissingPostImage, Post, Scheme
from promu.tasks.model_folder import find_models, open_predictor
from promu.tasks.post_images import ImageFolder
from promu.tasks.predictor import Predictor
from promu.tasks.reachable_gold import LongPosts, contexts_sentence, reach
from promu.tasks.task import TASKS
from promu.tasks.torch_predictor import TorchPredictor
from promu.tasks.windows import answers_in_windows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model predicts on gold posts, scored.

    Attributes:
        task: `ner`, `re` or `joint`.
        scores: The task's figures.
        predictions: The gold posts, in their order, with predicted answers in place of gold.
        with_image, as_text: How many posts were read with their image, and how many as text.
        missing: How many as text because their image is missing or broken.
        reads_images: Whether the model reads images at all.
        unknown_labels: Labels of the gold that the model cannot predict, with their numbers. They are scored.
        long_posts: Posts that are longer than the model reads, and what of the gold is lost by that.
        threshold: Answers with a lower score were left out (`fitted`: by each model's own); None: all count, as in
            published figures.
        fitted: The model's own threshold, fitted on dev, which extraction uses; None for a system of two models.
        curve: Precision, recall and F1 by threshold, of all answers; empty for a system of two models.
        contexts: By name, for how many posts a file had a text.

    Example:
        ```python
        import promu

        result = promu.evaluate("runs/demo/model/re", "runs/newsreel/re/mnre_test.txt")
        assert result.with_image == 0 and result.as_text == len(result.predictions)
        ```
    """

    task: str
    scores: NerScores | RelationScores | JointScores
    predictions: list[Post]
    with_image: int
    as_text: int
    missing: int
    reads_images: bool
    unknown_labels: dict[str, int]
    long_posts: LongPosts
    threshold: float | str | None = None
    fitted: float | None = None
    curve: Sequence[Point] = ()
    contexts: Mapping[str, ContextCounts] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The scores; under `read` how many posts were read `with image` and `as text`; threshold and curve.

        Also what of the gold the model cannot give: `unknown_labels` and `long_posts`.
        """
        read = {"with image": self.with_image, "as text": self.as_text}
        beyond = {"unknown_labels": self.unknown_labels, "long_posts": self.long_posts.to_dict()}
        thresholds = {"threshold": self.threshold, "fitted_threshold": self.fitted}
        curve = [list(one) for one in self.curve]
        contexts = {name: one.to_dict() for name, one in self.contexts.items()}
        record = {**self.scores.to_dict(), "read": read, **beyond, **thresholds, "curve": curve}
        return {**record, "contexts": contexts} if contexts else record


def evaluate(
    model: str | Path | Predictor | Extractor,
    data: str | Path | Sequence[Post],
    task: str | None = None,
    *,
    format: str | None = None,
    scheme: Scheme = "auto",
    images: str | Path | None = None,
    missing_images: MissingPostImage = "raise",
    groups: Mapping[str, str] | str | Path | None = None,
    batch_size: int = 64,
    threshold: float | Literal["fitted"] | None = None,
    contexts: Mapping[str, ContextPlace] | None = None,
    allow_leaks: bool = False,
    types: Mapping[str, str] | None = None,
) -> Evaluation:
    """Score a fine-tuned model on gold; one whose labels are prompts is asked for the labels of the gold.

    Where the model lies in the folder of its run and `data` is a file, the run's record says afterwards that the file
    was scored.

    Args:
        model: A model folder; a folder with `ner/` and `re/` or `joint/`; a hub name; or a loaded predictor. A folder
            with `ner/` and `re/`, or an `Extractor` of two models, is a joint system too: entities first, then the
            relation of every pair of them.
        data: A file of gold, or posts.
        task: `ner`, `re` or `joint`; None takes that of the model.
        format: The format of the file (a name in `promu.corpora.formats.FORMATS`); None is posts for a .jsonl file,
            else the task's own: CoNLL, MNRE or JMERE.
        scheme: Of the tags in CoNLL files, see `promu.schema.Scheme`.
        images: Folder of the posts' images; None reads text alone.
        missing_images, batch_size: As in `ExtractionConfig`.
        groups: Group name by post id, or a JSON file of them, for figures by group.
        threshold: Answers with a lower score are left out before they are scored; `fitted` is the model's own, with
            which it extracts. None scores all answers, as the literature does. A system of two models takes `fitted` or
            None.
        contexts: File of texts about the posts by name, as `data.contexts` of a recipe. None takes what the posts
            bring.
        allow_leaks: Score although contexts say labels of the gold.
        types: Entity type of the gold -> what the model calls it, where the two name types differently. Predictions
            have the names of the gold.

    Raises:
        InputError: Model, data, images or an argument cannot be used; a context says a label of the gold, or has a name
            that the model does not read.

    Example:
        ```python
        import promu

        result = promu.evaluate("runs/demo/model/ner", "runs/newsreel/ner/test.txt", images="runs/newsreel/ner/images")
        print(result.scores.micro.f1, result.predictions[0].entities)
        ```
    """
    if batch_size < 1:
        raise InputError(f"batch_size= is {batch_size}; at least 1 is needed")
    if isinstance(threshold, float | int) and not 0 <= threshold <= 1:
        raise InputError(f"threshold= is {threshold}; a score is from 0 to 1")
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of images; correct it, or leave it out to read text alone", folder)
    if isinstance(groups, str | Path):
        groups = read_groups(groups)
    opened, name, home = _open(model, task)
    if isinstance(data, str | Path):
        data = Path(data)
        posts = TASKS[name].read(data, format, scheme)
    else:
        posts = list(data)
    encoders = opened.encoders if isinstance(opened, Extractor) else [opened.encoder]
    known = {name for encoder in encoders for name in encoder.contexts}
    counts: dict[str, ContextCounts] = {}
    if contexts:
        if unknown := sorted(set(contexts) - known):
            reads = f"reads the contexts {', '.join(sorted(known))}" if known else "was trained without contexts"
            raise InputError(f"this model {reads}, and not {unknown[0]!r}; give files by the names that it reads", home)
        posts, counts = _with_contexts(posts, contexts)
    if known and not allow_leaks:
        refuse_leaks(posts, remedy="allow_leaks=True, on the command line --allow-leaks")
    types = types or {}
    posts = rename_types(posts, types, data if isinstance(data, Path) else None)
    asked = sorted(TASKS[name].classes(posts))
    if isinstance(opened, Predictor) and opened.config.label_template is not None and asked:
        opened = opened.asking([LabelPrompt(one) for one in asked])
    reads_images = opened.reads_images if isinstance(opened, Extractor) else opened.config.image_size is not None
    if folder is not None and not reads_images:
        raise InputError("this model reads text alone; leave the folder of images out", home)
    labels: tuple[str, ...] = ()
    named = 0 if folder is None else sum(post.image is not None for post in posts)
    fitted: float | None = None
    curve: list[Point] = []
    stride = ExtractionConfig().stride
    if isinstance(opened, Extractor):
        if isinstance(threshold, float | int):
            raise InputError("a system of two models has two thresholds; give threshold='fitted' or none")
        options: dict[str, Any] = {} if threshold else {"entity_threshold": 0.0, "relation_threshold": 0.0}
        predicted, with_image = predict_pipeline(opened, posts, folder, missing_images, batch_size, **options)
    else:
        labels = opened.labels
        reader = ImageFolder(folder, opened.config.image_size, "none" if folder is None else missing_images)
        predicted = answers_in_windows(opened, posts, reader.batch, batch_size, stride)
        fitted = float(getattr(opened.config, opened.task.threshold))
        curve = opened.task.curve(posts, predicted)
        threshold = fitted if threshold == "fitted" else threshold
        if threshold is not None:
            predicted = [opened.task.above(answer, threshold) for answer in predicted]
        with_image = named - sum(post.image in reader.missing for post in posts)
        if home is not None and isinstance(opened, TorchPredictor) and isinstance(data, Path):
            record_evaluation(home, data, opened.model)
    if not TASKS[name].classes(posts):
        logger.warning("no post of this gold has %s, so that F1 is 0 and says nothing", TASKS[name].some)
    reached = reach(TASKS[name], posts, opened.encoder, labels or None, stride)
    if said := contexts_sentence(posts, opened.encoder, reached.contexts_cut) if known else None:
        logger.warning("%s", said)
    scores = TASKS[name].score(posts, predicted, groups, labels)
    long = reached.score(TASKS[name], predicted, float(scores.to_dict()["f1"]))
    as_text, missing = len(posts) - with_image, named - with_image
    predicted = restore_types(predicted, types)
    given = (name, scores, predicted, with_image, as_text, missing, reads_images, reached.unknown, long)
    curve = thinned_curve(curve)
    return Evaluation(*given, threshold=threshold, fitted=fitted, curve=curve, contexts=counts)


def _with_contexts(posts: list[Post], files: Mapping[str, ContextPlace]) -> tuple[list[Post], dict[str, ContextCounts]]:
    splits, counts = add_contexts({"gold": posts}, files)
    return splits["gold"], counts


def _open(
    model: str | Path | Predictor | Extractor, task: str | None
) -> tuple[Predictor | Extractor, str, Path | None]:
    """What predicts, the name of its task, and the folder of a single model that was opened here."""
    if task is not None and task not in TASKS:
        raise InputError(f"there is no task {task!r}; there are {', '.join(TASKS)}")
    if isinstance(model, Extractor):
        if task not in (None, "joint"):
            raise InputError(f"an extractor is scored on the task 'joint', not {task!r}; give one predictor instead")
        return model, "joint", None
    if isinstance(model, Predictor):
        if task not in (None, model.task.name):
            raise InputError(f"this model is for the task {model.task.name!r}, not {task!r}")
        return model, model.task.name, None
    homes = dict(find_models(model))
    if task is None:
        if len(homes) > 1:
            raise InputError(f"holds models for {' and '.join(homes)}; name the task", model)
        task = next(iter(homes))
    if task == "joint" and {"ner", "re"} <= homes.keys():
        return Extractor.from_pretrained(model), task, None
    # where there is none for this task, the error names the task of the one that is there
    home = homes.get(task) or next(iter(homes.values()))
    return open_predictor(task, home), task, home


def predict_pipeline(
    extractor: Extractor,
    posts: Sequence[Post],
    images: Path | None = None,
    missing_images: MissingPostImage = "raise",
    batch_size: int = 32,
    **options: Any,
) -> tuple[list[Post], int]:
    """The posts of a joint set with what two models find in place of gold, and how many were read with their image.

    Relations get a joint set's names, `member_of` for `/per/org/member_of`, and entity types the gold's spelling: a
    model of Twitter's posts says PER and OTHER where a JMERE file has per and misc. A type that the gold lacks is put
    in lower case if all of the gold's are. Nothing else is read of the gold. `options` are further ones of extraction.
    """
    spelling = {paper_name(str(entity.type)): str(entity.type) for post in posts for entity in post.entities}
    lower = all(name.islower() for name in spelling.values())

    def spelled(kind: str) -> str:
        return spelling.get(paper_name(kind)) or (paper_name(kind).lower() if lower else kind)

    bare = [
        Post(post.id, post.tokens, None if images is None else post.image, contexts=post.contexts) for post in posts
    ]
    options |= {"missing_images": missing_images, "batch_size": batch_size}
    extracted = extractor.pipe(bare, images=images, **options)
    predicted, with_image = [], 0
    for post, answer in zip(posts, track(extracted, "reading", len(posts)), strict=True):
        with_image += answer.image_read
        entities = tuple(replace(entity, type=spelled(str(entity.type))) for entity in answer.post.entities)
        relations = tuple(
            replace(one, type=one.type.rpartition("/")[2] if one.type.startswith("/") else one.type)
            for one in answer.post.relations
        )
        predicted.append(replace(post, entities=entities, relations=relations))
    return predicted, with_image

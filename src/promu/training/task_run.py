"""One task of a fine-tuning run: its files, its part of the model, and what comes of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from promu.corpora.context_files import ContextCounts, add_contexts
from promu.corpora.labelled import rename_types, restore_types
from promu.corpora.releases import release_name
from promu.errors import InputError
from promu.evaluation.calibration import expected_calibration_error, fit_temperature, log_loss
from promu.evaluation.leaks import refuse_leaks
from promu.evaluation.scoring import read_groups
from promu.evaluation.thresholds import Point, best_threshold, thinned_curve
from promu.files import checksum
from promu.modeling.inputs import Batch, WordEncoder, tensors
from promu.runs import EvaluationLog, prediction_files
from promu.schema import Post
from promu.tasks.post_images import ImageFolder, ImagePolicy
from promu.tasks.predictor import Predictions, Predictor
from promu.tasks.reachable_gold import Reach, check_gold, contexts_sentence, longest_possible, reach
from promu.tasks.task import TASKS
from promu.tasks.torch_predictor import TorchPredictor
from promu.training.prompted import HeldOut, Prompted, asking, fit_type_thresholds, nearest_names
from promu.training.recipe import PromptSettings, TaskData, TaskFile

logger = logging.getLogger(__name__)


class TaskRun:
    """One task of a run, from its files to its figures.

    Attributes:
        name, task: Of `TASKS`.
        posts: By split, those of all its files, entity types by the names that the model has.
        contexts: By name, for how many of the posts there is a text.
        labels: Of the head, from the training posts.
        predictor: The task's model (`use`).

    Args:
        name: Of the task.
        data: Its files and images.
        prompts: Settings of labels that are prompts; None where they are fixed.
        seed: What decides which labels are held out.

    Raises:
        InputError: A file cannot be read, `types` names what is not there, a context says labels of the gold, or labels
            cannot be held out.
    """

    predictor: TorchPredictor
    images: ImageFolder
    reached: dict[str, Reach]
    known: dict[str, list[list[str]]]
    held_out: HeldOut | None = None

    def __init__(self, name: str, data: TaskData, prompts: PromptSettings | None = None, seed: int = 0) -> None:
        self.name, self.task, self.data, self.files = name, TASKS[name], data, data.files()
        self.posts: dict[str, list[Post]] = {}
        self.parts: dict[str, list[tuple[Path, slice]]] = {}
        for split, files in self.files.items():
            self.posts[split], self.parts[split] = [], []
            for file in files:
                path, first = Path(file.file), len(self.posts[split])
                posts = self.task.read(path, file.format or data.format, data.scheme)
                self.posts[split] += rename_types(posts, file.types, path)
                self.parts[split].append((path, slice(first, len(self.posts[split]))))
        self.contexts: dict[str, ContextCounts] = {}
        if data.contexts:
            self.posts, self.contexts = add_contexts(self.posts, data.contexts)
            for split in self.posts if not data.allow_leaks else ():
                refuse_leaks(self.posts[split], str(self.paths(split)), "in a recipe data.allow_leaks: true")
        for split, files in self.files.items():  # contexts go by the images' names
            for (_, part), file in zip(self.parts[split], files, strict=True):
                self.posts[split][part] = [_moved(post, file, _place) for post in self.posts[split][part]]
        self.prompted = None if prompts is None else Prompted(self.task, prompts)
        if self.prompted is not None:
            self._ask(self.prompted, seed)
        try:
            self.labels = self.task.labels(self.posts["train"])
        except InputError as error:
            raise error.at(self.paths("train")) from None
        self.label_ids = {label: row for row, label in enumerate(self.labels)}
        self.groups = None if data.groups is None else read_groups(data.groups)

    def _ask(self, prompted: Prompted, seed: int) -> None:
        """Find out what each file looks for, and hold out labels with the posts that have them."""
        files = {split: [self.posts[split][part] for _, part in parts] for split, parts in self.parts.items()}
        self.known = prompted.inventories(files)
        names = sorted({name for of_file in self.known["train"] for name in of_file})
        if not (held := prompted.hold_out(names, seed)):
            return
        test = [prompted.task.only(post, held) for post in self.posts.get("test", ())]
        self.held_out = HeldOut(held, test)
        self.known = {
            split: [[name for name in of_file if name not in held] for of_file in known]
            for split, known in self.known.items()
        }
        for split, of_files in files.items():
            left = [prompted.without(posts, held) for posts in of_files]
            ends = np.cumsum([len(posts) for posts in left]).tolist()
            slices = [slice(end - len(posts), end) for end, posts in zip(ends, left, strict=True)]
            self.parts[split] = [(path, part) for (path, _), part in zip(self.parts[split], slices, strict=True)]
            self.posts[split] = [post for posts in left for post in posts]

    def paths(self, split: str) -> Path:
        """The file of a split, or the names of several as messages have them."""
        return Path(", ".join(str(path) for path, _ in self.parts[split]))

    def use(self, predictor: TorchPredictor, encoder: WordEncoder, policy: ImagePolicy) -> None:
        """Take the task's model; look at all gold, and at every image.

        Raises:
            InputError: Gold or an image cannot be used.
        """
        self.predictor, self.encoder = predictor, encoder
        labels = self.labels
        if self.prompted is not None:  # what training lacks can be asked for all the same
            names = {name for known in self.known.values() for of_file in known for name in of_file}
            labels = self.task.labels_of(sorted(names))
        self.reached = {split: reach(self.task, posts, encoder, labels) for split, posts in self.posts.items()}
        check_gold(self.task, self.posts, {split: self.paths(split) for split in self.posts}, self.reached)
        for split, one in self.reached.items():
            if one.long.lost:
                logger.warning("%s: %s; %s", self.paths(split), one.long.sentence(), longest_possible(predictor.config))
            if self.contexts and (said := contexts_sentence(self.posts[split], encoder, one.contexts_cut)):
                logger.warning("%s: %s", self.paths(split), said)
        named = [self.data.images, *(file.images for files in self.files.values() for file in files)]
        folders = [Path(one) for one in named if one is not None]
        if policy != "none" and predictor.config.image_size is None:
            raise InputError("the model has no vision encoder; set model.vision, or images: none")
        absent = [folder for folder in dict.fromkeys(folders) if policy != "none" and not folder.is_dir()]
        if absent and (policy == "raise" or len(absent) == len(set(folders))):
            raise InputError("no such folder of images; correct data.images, or set images: none", absent[0])
        self.images = ImageFolder(next(iter(folders), None), predictor.config.image_size, policy)
        for folder in absent:
            logger.warning("%s: no such folder of images; its posts are read as text", folder)
            shown = (post.image for posts in self.posts.values() for post in posts if post.image is not None)
            inside = (name for name in shown if folder.absolute() in (folders[0].absolute() / name).parents)
            self.images.missing |= dict.fromkeys(inside, "missing image")
        for image in sorted({post.image for posts in self.posts.values() for post in posts if post.image is not None}):
            self.images.get(image)  # a broken one stops the run now, not after an hour

    def batch(self, rows: Sequence[int], rng: np.random.Generator) -> Batch:
        """The training posts of these rows, with labels and images; `rng` draws labels that are prompts."""
        posts = [self.posts["train"][row] for row in rows]
        if self.prompted is None:
            batch = self.task.batch(self.encoder, posts, self.label_ids)
        else:
            of_parts = zip(self.known["train"], self.parts["train"], strict=True)
            every = [(known, part) for known, (_, part) in of_parts]
            known = [next(known for known, part in every if part.start <= row < part.stop) for row in rows]
            batch = self.prompted.batch(self.predictor, posts, self.prompted.draw(posts, known, rng))
        return tensors({**batch, **self.images.batch([post.image for post in posts])})

    def predict(self, split: str, evaluations: EvaluationLog) -> list[Predictions]:
        """Predictions for a split; that its files are scored is logged."""
        for path, _ in self.parts[split]:
            evaluations.add(split, path, self.predictor.model)
        self.predictor.model.eval()
        if self.prompted is None:
            return list(self.predictor.predict(self.posts[split], self.images.batch))
        found = []
        for known, (_, part) in zip(self.known[split], self.parts[split], strict=True):
            asked = asking(self.predictor, known or self.predictor.names)
            for one in asked.predict(self.posts[split][part], self.images.batch):
                found.append(one._replace(rows=[row + part.start for row in one.rows]))
        return found

    def zero_shot(self, plain: TorchPredictor) -> dict[str, Any]:
        """What is found of held-out labels in test, and what is by the nearest name.

        Args:
            plain: The model before its training.
        """
        assert self.held_out is not None
        names, gold = self.held_out
        asked = asking(self.predictor, names)
        answers = asked.answers(asked.predict(gold, self.images.batch))
        by_name = nearest_names(plain, answers, names)
        scores = {"model": answers, "nearest_name": by_name}
        figures = {name: self.task.score(gold, given, None, ()).to_dict() for name, given in scores.items()}
        return {"labels": names, "answers": sum(self.task.classes(gold).values()), **figures}

    def figures(self, split: str, predicted: Sequence[Post]) -> dict[str, Any]:
        """The scores of predicted posts; of several files also those of each, under `files`."""

        def score(part: slice) -> dict[str, Any]:
            figures = self.task.score(self.posts[split][part], predicted[part], self.groups, self.labels)
            found: dict[str, Any] = figures.to_dict()
            return found

        parts = self.parts[split]
        scores = score(slice(None))
        if len(parts) == 1:
            return scores
        names = _short([path for path, _ in parts])
        return {**scores, "files": {name: score(part) for name, (_, part) in zip(names, parts, strict=True)}}

    def finish(self, out: Path, evaluations: EvaluationLog) -> dict[str, Any]:
        """Score dev and test, calibrate, fit the threshold, and write predictions under `out`.

        Returns:
            What `FinetuneResult` has of a task.
        """
        predictions = {split: self.predict(split, evaluations) for split in self.posts if split != "train"}
        calibration = calibrate(self.predictor, predictions)
        out.mkdir(parents=True, exist_ok=True)
        places = prediction_files(out, {split: [path for path, _ in self.parts[split]] for split in predictions})
        scores, answers = {}, {}
        long = {"train": self.reached["train"].long.to_dict()}
        for split, of_split in predictions.items():
            answers[split] = self.predictor.answers(of_split)
            scores[split] = self.figures(split, answers[split])
            long[split] = self.reached[split].score(self.task, answers[split], scores[split]["f1"]).to_dict()
            for (_, part), file, place in zip(self.parts[split], self.files[split], places[split], strict=True):
                place.parent.mkdir(exist_ok=True)
                back = [_moved(post, file, _name) for post in restore_types(answers[split][part], file.types)]
                self.task.write(place, back, file.format or self.data.format)
        thresholds = fit_threshold(self.predictor, {split: self.posts[split] for split in answers}, answers)
        if self.prompted is not None:
            thresholds["types"] = fit_type_thresholds(self.predictor, self.posts["dev"], answers["dev"])
        named = {split: [self._name(path, part, split) for path, part in self.parts[split]] for split in self.posts}
        result = {
            "posts": {split: len(posts) for split, posts in self.posts.items()},
            "data": {split: files[0] if len(files) == 1 else files for split, files in named.items()},
            "beyond_the_model": {split: one.beyond for split, one in self.reached.items()},
            "unknown_labels": {split: one.unknown for split, one in self.reached.items()},
            "contexts": {name: one.to_dict() for name, one in self.contexts.items()},
            "contexts_cut": {split: one.contexts_cut for split, one in self.reached.items()},
            "long_posts": long,
            "calibration": calibration,
            "thresholds": thresholds,
            "images": {split: self.images.counts(post.image for post in posts) for split, posts in self.posts.items()},
        }
        return {**result, **scores}

    def _name(self, path: Path, part: slice, split: str) -> dict[str, str]:
        release = release_name(path, self.posts[split][part])
        return {"file": str(path), "sha256": checksum(path), "release": release}


def _moved(post: Post, file: TaskFile, way: Callable[[str, str], str]) -> Post:
    """A post whose image is named by its place, or again by its name: of a file with a folder of images of its own."""
    if post.image is None or file.images is None:
        return post
    return replace(post, image=way(post.image, os.path.abspath(file.images)))


def _place(image: str, folder: str) -> str:
    return os.path.join(folder, image)


def _name(image: str, folder: str) -> str:
    return os.path.relpath(image, folder)


def _short(paths: Sequence[Path]) -> list[str]:
    """Files' names with those of their folders: sets have files of the same names. Whole paths where these are equal.

    >>> _short([Path("data/a/dev.txt"), Path("data/b/dev.txt")])
    ['a/dev.txt', 'b/dev.txt']
    >>> _short([Path("a/posts/dev.txt"), Path("b/posts/dev.txt")])
    ['a/posts/dev.txt', 'b/posts/dev.txt']
    """
    names = [f"{path.parent.name}/{path.name}".lstrip("/") for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


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
    decoded = {
        name: [(batch, task.decode(batch.by or predictor, batch)) for batch in given]
        for name, given in predictions.items()
    }

    def judged(name: str, temperature: float) -> tuple[list[float], list[bool]]:
        predictor.config.score_temperature = temperature
        pairs: list[tuple[float, bool]] = []
        for batch, answers in decoded[name]:
            for gold, answer in zip(batch.posts, task.add_scores(batch.by or predictor, batch, answers), strict=True):
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

"""`promu.score`: predictions against gold, in files or as posts; and the same in the forms of the published scorers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from promu.corpora.conll import read_conll_file
from promu.corpora.formats import clashing_names
from promu.corpora.gmner import find_boxes
from promu.corpora.labelled import read_labelled, task_format
from promu.corpora.tag_schemes import StrayInside, bio_tags
from promu.errors import InputError
from promu.evaluation.counts import (
    RAREST_RELATIONS,
    RAREST_TYPES,
    Counts,
    Summary,
    TailScores,
    check_aligned,
    score_tail,
    summarise,
    summarise_tables,
)
from promu.evaluation.grounded_scores import GroundedScores, grounded_counts, score_grounded
from promu.evaluation.joint_scores import JointScores, joint_counts, score_joint
from promu.evaluation.ner import NerScores, entity_counts, entity_frequency, score_entities
from promu.evaluation.relation import (
    RelationScores,
    relation_counts,
    relation_frequency,
    relation_pairs,
    score_relations,
)
from promu.evaluation.significance import SAMPLES, Comparison, PostCounts, compare_runs
from promu.files import make_folder, read_json_document, write_json, write_text
from promu.schema import NO_RELATION, Entity, Post, Scheme

logger = logging.getLogger(__name__)

Source = str | Path | Sequence[Post]
"""A file of posts, or the posts."""

Scores = NerScores | RelationScores | JointScores | GroundedScores

Mode = Literal["strict", "default"]

READINGS: dict[Mode, StrayInside] = {"strict": "drop", "default": "begin"}
"""What seqeval's two modes make of an I- tag that continues nothing."""


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """Scores of one system.

    Example:
        ```python
        from promu import score

        report = score("ner", gold="runs/newsreel/ner/test.txt", predictions="runs/newsreel-ner/predictions/test.txt")
        print(f"{report.f1:.1f}", report.runs[0].per_type)
        ```

    Attributes:
        runs: Scores of each run, in the order of the predictions.
        mode: seqeval's mode by which `runs` read the tags; None where both modes give the same scores.
        other_runs: Scores by the other mode; empty where both give the same.
        tail: Scores of the rarest labels, for each run; empty for joint, and where there are no more labels than that.
        comparison: With the other system; None without one.
        predictions, against: The files of both systems.
        rare_in: The file whose frequencies say what is rare.
    """

    runs: list[Scores]
    mode: Mode | None
    other_runs: list[Scores]
    tail: list[TailScores]
    comparison: Comparison | None
    predictions: list[str]
    against: list[str]
    rare_in: str

    @property
    def precision(self) -> Summary:
        """Micro precision, 0 to 100, over the runs."""
        return summarise(run.micro.precision for run in self.runs)

    @property
    def recall(self) -> Summary:
        """Micro recall, 0 to 100, over the runs."""
        return summarise(run.micro.recall for run in self.runs)

    @property
    def f1(self) -> Summary:
        """Micro F1, 0 to 100, over the runs."""
        return summarise(run.micro.f1 for run in self.runs)

    def by_mode(self) -> dict[str, list[Scores]]:
        """The runs by seqeval's mode, the mode that counts first; the mode is "" where there is only one."""
        if self.mode is None:
            return {"": self.runs}
        return {self.mode: self.runs, "default" if self.mode == "strict" else "strict": self.other_runs}

    def unknown_labels(self) -> dict[str, int]:
        """How often labels were predicted, over all runs, that the gold never has."""
        found: Counter[str] = Counter()
        for run in self.runs:
            found.update({name: counts.predicted for name, counts in _per_label(run).items() if not counts.gold})
        return dict(sorted((+found).items()))

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them, ready for JSON; of several runs their means too."""
        (mode, runs), *others = self.by_mode().items()
        record = {**self._runs_to_dict(runs), **({"mode": mode} if mode else {})}
        record |= {other: self._runs_to_dict(scores) for other, scores in others}
        if self.tail:
            tail = self.tail[0].to_dict()
            if len(self.tail) > 1:
                mean = summarise(scores.macro_f1 for scores in self.tail)
                tail = {"runs": [scores.to_dict() for scores in self.tail], "mean": {"macro_f1": mean.to_dict()}}
            record["tail"] = {"counted_in": self.rare_in, **tail}
        if self.comparison is not None:
            record["against"] = {"files": self.against, **self.comparison.to_dict()}
        return record

    def _runs_to_dict(self, runs: Sequence[Scores]) -> dict[str, Any]:
        if len(runs) == 1:
            return runs[0].to_dict()
        each = [{"predictions": file, **scores.to_dict()} for file, scores in zip(self.predictions, runs, strict=True)]
        means = _means([scores.table() for scores in runs])
        beside = {name: summary.to_dict() for name, summary in other_figures(runs).items()}
        if isinstance(runs[0], JointScores):
            means["macro_f1"] = beside
            beside = {}
        return {
            "runs": each,
            "mean": means,
            "mean_per_group": _means([scores.per_group for scores in runs]),
            **{f"mean_{name}": beside[name] for name in ("accuracy", "macro_f1") if name in beside},
        }


def other_figures(runs: Sequence[Scores]) -> dict[str, Summary]:
    """What relation scores and joint scores have beside counts, over the runs, by name."""
    figures: list[dict[str, float]] = []
    for scores in runs:
        if isinstance(scores, RelationScores):
            names = ("accuracy", "macro_precision", "macro_recall", "macro_f1")
            figures.append({name: getattr(scores, name) for name in names})
        elif isinstance(scores, JointScores):
            merged = scores.repeated.merged.f1
            macro = {"all": scores.macro_all, "present": scores.macro_present}
            figures.append({**macro, "strings": scores.strings.f1, "merged": merged})
    return {name: summarise(run[name] for run in figures) for name in (figures[0] if figures else {})}


def _means(tables: Sequence[Mapping[str, Counts]]) -> dict[str, dict[str, Any]]:
    rows = summarise_tables(tables)
    return {row: {name: summary.to_dict() for name, summary in figures.items()} for row, figures in rows.items()}


def _per_label(scores: Scores) -> dict[str, Counts]:
    return scores.per_type if isinstance(scores, NerScores | GroundedScores) else scores.per_relation


def score(
    task: Literal["ner", "re", "joint", "gmner"],
    gold: Source,
    predictions: Source | Sequence[Source],
    *,
    against: Source | Sequence[Source] = (),
    train: Source | None = None,
    groups: str | Path | Mapping[str, str] | None = None,
    rename: Mapping[str, str] | None = None,
    format: str | None = None,
    scheme: Scheme = "auto",
    samples: int = SAMPLES,
) -> ScoreReport:
    """Score predictions against gold.

    Example:
        ```python
        from promu import Entity, Post, score

        gold = [Post("1", ("Ann", "in", "Rome"), entities=(Entity(0, 1, "PER"), Entity(2, 3, "LOC")))]
        predicted = [Post("1", ("Ann", "in", "Rome"), entities=(Entity(0, 1, "PER"),))]
        report = score("ner", gold=gold, predictions=predicted)
        assert (report.precision.mean, report.recall.mean) == (100.0, 50.0)
        ```

    Args:
        task: `ner` scores entities, exact in span and type; `re` one relation for each given pair of entities; `joint`
            quintuples of two typed entities and their relation; `gmner` entities with the region that shows them.
        gold: Posts with their labels: a file, or the posts.
        predictions: The same posts in the same order with predicted labels; several are runs of one system (seeds).
        against: Predictions of another system, to compare with: several runs by a t test over runs and posts, single
            runs by a paired bootstrap over posts (`promu.evaluation.significance.compare_runs`).
        train: Training posts. For ner, gmner and re they say which labels are rare, without them the gold does. For
            joint their relations count in the macro F1 over all relations.
        groups: Group name by post id, or a JSON file of that; adds figures by group.
        rename: New name by old name of entity types in predictions and training posts (ner, gmner).
        format: Of the files; None is posts for a .jsonl file, else the task's own: CoNLL, MNRE, JMERE or GMNER; with
            gmner a .jsonl file is posts in any case.
        scheme: Of the tags in CoNLL files, see `promu.schema.Scheme`.
        samples: Samples of the bootstrap of single runs; their seed is fixed.

    Raises:
        InputError: A file cannot be read, the posts do not line up, a post has no group, or the predictions know a type
            of the gold under another name only.
    """
    ours, others = _several(predictions), _several(against)
    if not ours:
        raise InputError("there are no predictions to score; give those of at least one run")
    group = read_groups(groups) if isinstance(groups, (str, Path)) else groups
    frequency: dict[str, int] = {}
    other_runs: list[Scores] = []
    mode: Mode | None = None
    scorer: Callable[..., Scores]
    counter: Callable[..., PostCounts]
    if task == "ner":
        readings = read_entity_files(gold, [*ours, *others], rename, format, scheme)
        (mode, (posts, found)), (_, (other_posts, other_found)) = readings.items()
        scorer, counter = score_entities, entity_counts
        read = partial(_entity_posts, format=format, scheme=scheme)
        frequency = entity_frequency(posts if train is None else _renamed(_read(train, read), rename or {}))
        other_runs = [score_entities(other_posts, run, group) for run in other_found[: len(ours)]]
    elif task == "gmner":
        read = partial(_grounded_posts, format=format, scheme=scheme)
        for source in (*ours, *others):
            _check_boxes(gold, source, format)
        posts = _read(gold, read)
        found = [_same_names(posts, _renamed(_read(one, read), rename or {}), one) for one in (*ours, *others)]
        scorer, counter = score_grounded, grounded_counts
        frequency = entity_frequency(posts if train is None else _renamed(_read(train, read), rename or {}))
    elif task == "re":
        read = partial(read_labelled, "re", format=format, scheme=scheme)
        posts, found = _aligned_files(gold, [*ours, *others], read)
        scorer, counter = score_relations, relation_counts
        frequency = relation_frequency(posts if train is None else _read(train, read))
    else:
        read = partial(read_labelled, "joint", format=format, scheme=scheme)
        posts, found = _aligned_files(gold, [*ours, *others], read)
        if not any(post.relations for post in posts):
            raise InputError("no post of the gold has a relation, so there is nothing to score against", _place(gold))
        known = [] if train is None else list(relation_frequency(_read(train, read)))
        scorer, counter = partial(score_joint, relations=known), joint_counts
    runs = [scorer(posts, run, groups=group) for run in found[: len(ours)]]
    if runs == other_runs:
        other_runs = []
    comparison = None
    if others:
        counts = [counter(posts, run) for run in found]
        comparison = compare_runs(counts[: len(ours)], counts[len(ours) :], samples=samples)
    rarest = RAREST_TYPES if task in ("ner", "gmner") else RAREST_RELATIONS
    tail = [score_tail(_per_label(scores), frequency, rarest) for scores in runs] if len(frequency) > rarest else []
    names, other_names = ([str(_place(source) or "posts") for source in sources] for sources in (ours, others))
    rare_in = str(_place(gold if train is None else train) or "posts")
    return ScoreReport(runs, mode if other_runs else None, other_runs, tail, comparison, names, other_names, rare_in)


def _several(sources: Source | Sequence[Source]) -> list[Source]:
    if isinstance(sources, (str, Path)) or (len(sources) and isinstance(sources[0], Post)):
        return [sources]  # type: ignore[list-item]
    return list(sources)  # type: ignore[arg-type]


def _place(source: Source) -> str | Path | None:
    """The file, if it is one."""
    return source if isinstance(source, (str, Path)) else None


AlignedPosts = tuple[list[Post], list[list[Post]]]
"""Gold posts, and the same posts as each run predicts them."""


def read_entity_files(
    gold: Source,
    predictions: Sequence[Source],
    rename: Mapping[str, str] | None = None,
    format: str | None = None,
    scheme: Scheme = "auto",
) -> dict[Mode, AlignedPosts]:
    """Read entities by each of seqeval's modes, the mode of the literature's figure first.

    That is `strict` (IOB2). For the published Twitter-2015 files, whose gold begins entities with I- tags, it is
    `default`: the field's scorers count these entities. Other gold with such tags is refused, unless it is IOB1, whose
    entities begin with them: then both modes read them so. The modes differ for CoNLL files alone.

    Args:
        gold: Gold tags.
        predictions: Predicted tags of each run, the same posts in the same order.
        rename: New name by old name of entity types in the predictions.
        format, scheme: Of the files, as in `score`.

    Raises:
        InputError: A file cannot be read, the posts do not line up, or the predictions know a type of the gold under
            another name only.
    """
    read = partial(_entity_posts, format=format, scheme=scheme)
    known = iob1 = False
    if isinstance(gold, (str, Path)) and task_format("ner", gold, format).name == "conll":
        file = read_conll_file(gold, scheme=scheme)
        for note in file.notes:
            logger.info("%s: %s", gold, note)
        known, iob1 = file.known, file.scheme == "iob1" and not file.known
    modes: tuple[Mode, Mode] = ("default", "strict") if known else ("strict", "default")
    files: dict[Mode, AlignedPosts] = {}
    for mode in modes:
        reading = "begin" if iob1 else READINGS[mode]
        expected = _read(gold, partial(read, stray_inside=reading if known or iob1 else None))
        runs = []
        for source in predictions:
            posts = _renamed(_read(source, partial(read, stray_inside=reading)), rename or {})
            runs.append(_same_names(expected, posts, source))
        files[mode] = (expected, runs)
    return files


def _same_names(expected: Sequence[Post], posts: list[Post], source: Source) -> list[Post]:
    """The predicted posts, if they line up and do not know a type of the gold under another name only."""
    for name, other in clashing_names(entity_frequency(posts), entity_frequency(expected)).items():
        raise InputError(
            f"the predictions say {name} where the gold says {other}; if they mean the same, give "
            f"rename= {name}={other}",
            _place(source),
        )
    return _aligned(expected, posts, source)


def _grounded_posts(path: Path, format: str | None, scheme: Scheme) -> list[Post]:
    named = _unless_posts(path, format)
    return read_labelled("gmner", path, named, scheme="auto" if named == "posts" else scheme)


def _unless_posts(path: str | Path, format: str | None) -> str | None:
    """The format of a file of grounded entities: one in .jsonl holds posts, whatever format the others are in."""
    return "posts" if Path(path).suffix.lower() == ".jsonl" else format


def _check_boxes(gold: Source, predictions: Source, format: str | None) -> None:
    """Make sure that predictions do not take their regions from the files of boxes of the gold."""
    if not isinstance(gold, (str, Path)) or not isinstance(predictions, (str, Path)) or Path(gold) == Path(predictions):
        return
    files = [
        one for one in (gold, predictions) if task_format("gmner", one, _unless_posts(one, format)).name != "posts"
    ]
    folders = {find_boxes(one) for one in files}
    if len(files) == 2 and len(folders) == 1 and None not in folders:
        reason = f"its boxes would be those of the gold, in {folders.pop()}"
        raise InputError(f"{reason}; give predictions as posts (.jsonl), or in a folder of their own", predictions)


def _entity_posts(
    path: Path, format: str | None, scheme: Scheme, stray_inside: StrayInside | None = None
) -> list[Post]:
    if task_format("ner", path, format).name == "conll":
        return read_conll_file(path, scheme=scheme, stray_inside=stray_inside).posts
    return read_labelled("ner", path, format, scheme=scheme)


def _aligned_files(gold: Source, predictions: Sequence[Source], read: Callable[[Path], list[Post]]) -> AlignedPosts:
    expected = _read(gold, read)
    return (expected, [_aligned(expected, _read(source, read), source) for source in predictions])


def _read(source: Source, read: Callable[[Path], list[Post]]) -> list[Post]:
    return read(Path(source)) if isinstance(source, (str, Path)) else list(source)


def _aligned(gold: Sequence[Post], posts: list[Post], source: Source) -> list[Post]:
    try:
        check_aligned(gold, posts)
    except InputError as error:
        raise error.at(_place(source)) from None
    return posts


def _renamed(posts: Sequence[Post], names: Mapping[str, str]) -> list[Post]:
    """The posts with other names for their entity types; a type that `names` lacks keeps its own."""

    def renamed(entity: Entity) -> Entity:
        return replace(entity, type=None if entity.type is None else names.get(entity.type, entity.type))

    return [replace(post, entities=tuple(map(renamed, post.entities))) for post in posts]


def read_groups(path: str | Path) -> dict[str, str]:
    """Read group names by post id from a JSON object such as `{"17_06_1": "text", "17_06_2": "image"}`.

    Raises:
        InputError: The file cannot be read, or is no such object.
    """
    value = read_json_document(Path(path))
    if not isinstance(value, dict) or not value:
        raise InputError('must hold one JSON object, {"<post id>": "<group>", ...}, with at least one post', path)
    for name, group in value.items():
        if not isinstance(group, str):
            raise InputError(f"the group of post {name!r} is {group!r}; a group is a string", path)
    return value


UMT_FILE, TAGS_FILE, RELATIONS_FILE = "mtmner_pred.txt", "tags.json", "relations.json"

_READ_AS = {"OTHER": "MISC"}
"""What UMT's and HVPNeT's readers make of a type of the Twitter-2015 files."""


def export_entities(folder: Path, gold: Sequence[Post], predicted: Sequence[Post]) -> list[Path]:
    """Write UMT's file, and the same tags as lists with a number for each.

    `mtmner_pred.txt` has of each post its image's name (or id), words, predicted tags and gold tags, each on a line,
    and an empty line. `tags.json` has `tags` (numbers from 1, as UMT's and HVPNeT's scripts count them), and `words`,
    `true` and `predicted` with a list for each post. The type OTHER is written as MISC, as both scripts read it.

    Returns:
        The files.

    Raises:
        InputError: The posts do not line up, a word holds a blank, or a file cannot be written.
    """
    check_aligned(gold, predicted)
    for post in gold:
        for word in post.tokens:
            if word.split() != [word]:
                raise InputError(f"post {post.id!r}: the word {word!r} holds a blank, which UMT's file cannot show")
    make_folder(folder)
    true, found = ([bio_tags(post) for post in _renamed(posts, _READ_AS)] for posts in (gold, predicted))
    names = dict.fromkeys(["O", *sorted({tag for tags in (*true, *found) for tag in tags})])
    blocks = (
        f"{post.image or post.id}\n{' '.join(post.tokens)}\n{' '.join(ours)}\n{' '.join(right)}\n\n"
        for post, ours, right in zip(gold, found, true, strict=True)
    )
    write_text(folder / UMT_FILE, blocks)
    numbers = {name: number for number, name in enumerate(names, start=1)}
    words = [list(post.tokens) for post in gold]
    write_json(folder / TAGS_FILE, {"tags": numbers, "words": words, "true": true, "predicted": found})
    return [folder / UMT_FILE, folder / TAGS_FILE]


def export_relations(folder: Path, gold: Sequence[Post], predicted: Sequence[Post]) -> list[Path]:
    """Write `relations.json`: `rel2id` (`None` is 0, the others by name), and `true` and `predicted` numbers by pair.

    Returns:
        The file.

    Raises:
        InputError: The pairs do not line up, or the file cannot be written.
    """
    pairs = relation_pairs(gold, predicted)
    names = dict.fromkeys([NO_RELATION, *sorted({name for pair in pairs for name in pair})])
    numbers = {name: number for number, name in enumerate(names)}
    true, found = ([numbers[pair[side]] for pair in pairs] for side in (0, 1))
    make_folder(folder)
    write_json(folder / RELATIONS_FILE, {"rel2id": numbers, "true": true, "predicted": found})
    return [folder / RELATIONS_FILE]

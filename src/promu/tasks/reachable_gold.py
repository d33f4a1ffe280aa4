"""What of a file's gold a model can give: of labels that it knows, in words that it reads.

Fine-tuning, `promu.evaluate` and `promu check` count what is out of reach in the same way. It is never left out of the
gold: the model misses it, and the figures say how many and what they would be without it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from promu.config import LEAST_LENGTH
from promu.corpora.formats import find_format, find_splits
from promu.errors import InputError, counted
from promu.hub import resolve
from promu.modeling.configuration import PromuConfig
from promu.modeling.head_settings import HeadSettings
from promu.modeling.inputs import ENTITY_MARKERS, WordEncoder
from promu.modeling.loading import load_tokenizer
from promu.schema import Post, Scheme
from promu.tasks.gate import EXPERTS, read_gate
from promu.tasks.model_folder import find_models
from promu.tasks.predictor import NOT_READ, UNKNOWN, Task
from promu.tasks.task import TASKS
from promu.tasks.windows import held, windows_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LongPosts:
    """Posts that are longer than a model reads.

    Attributes:
        posts, of_posts: How many are longer, and how many there are.
        lost, of_answers: How many answers of the gold have a word that is not read, and how many there are.
        answers: What they are: entities, pairs or quintuples.
        longest: Tokens of the longest post, special tokens and markers included.
        max_length: Tokens that are read.
        f1, f1_without: The score, in percent, on all gold and without what is lost; None where nothing was predicted.
        in_windows: Whether a longer post is read in overlapping windows; what is lost is then what no window holds.
    """

    posts: int
    of_posts: int
    lost: int
    of_answers: int
    answers: str
    longest: int
    max_length: int
    f1: float | None = None
    f1_without: float | None = None
    in_windows: bool = False

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """All of it in words, without a full stop."""
        together = " together" if self.in_windows else ""
        if not self.posts:
            return f"no post is longer than the {self.max_length} tokens that are read{together}"
        lost = "that no window holds" if self.in_windows else "past them"
        text = (
            f"longer than the {self.max_length} tokens that are read{together}: {self.posts} of "
            f"{counted(self.of_posts, 'post')} (the longest has {self.longest}); {self.answers} {lost}: {self.lost} of "
            f"{self.of_answers}"
        )
        if self.f1 is None or not self.lost:
            return text
        without = "nothing is left without them" if self.f1_without is None else f"{self.f1_without:.2f} without them"
        return f"{text}: F1 {self.f1:.2f}, {without}"


@dataclass(frozen=True, slots=True)
class Reach:
    """What of some gold a model can give.

    Attributes:
        long: Posts that are longer than it reads, and what is lost by that.
        beyond: How many answers of the gold no output can hold, by the reason.
        unknown: Labels of the gold that the model does not know, with their numbers.
        answers: How many answers the gold has.
        readable: The gold without what is lost by length.
        contexts_cut: Of how many posts not all passages of the contexts are read.
    """

    long: LongPosts
    beyond: dict[str, int]
    unknown: dict[str, int]
    answers: int
    readable: list[Post]
    contexts_cut: int = 0

    def score(self, task: Task, predicted: Sequence[Post], f1: float) -> LongPosts:
        """`long` with the score `f1` of predictions, and with their score without what is lost."""
        if not self.long.lost:
            return LongPosts(**{**asdict(self.long), "f1": f1, "f1_without": f1})
        pairs = zip(self.readable, predicted, strict=True)
        # of a post that is one question, nothing is left to be asked where that is lost
        left = [(read, answer) for read, answer in pairs if task.count(read) or not task.asked]
        read, answers = [one for one, _ in left], [one for _, one in left]
        without = float(task.score(read, answers).to_dict()["f1"]) if any(map(task.count, read)) else None
        return LongPosts(**{**asdict(self.long), "f1": f1, "f1_without": without})


def reach(
    task: Task,
    gold: Sequence[Post],
    encoder: WordEncoder,
    labels: Sequence[str] | None = None,
    stride: float | None = None,
) -> Reach:
    """What of gold a model can give; without its `labels`, as far as its length goes.

    Args:
        task: The model's.
        gold: For relation classification each post with its one pair.
        encoder: Its tokenizer and length.
        labels: The names of its labels.
        stride: Where long posts are read in windows (`promu.tasks.windows`), that of the windows; None where what is
            past the first of them is lost.
    """
    in_windows = stride is not None and not task.asked
    beyond: Counter[str] = Counter()
    readable, longer, longest, cut = [], 0, 0, 0
    extra = len(ENTITY_MARKERS) if task.asked and encoder.relation_head == "markers" else 0
    for post in gold:
        text = task.encode(encoder, post)
        tokens = sum(len(encoder.pieces(word)) for word in post.tokens) + 2 + extra
        longer, longest = longer + (tokens > encoder.max_length), max(longest, tokens)
        if stride is not None and in_windows:
            readable.append(held(post, windows_of(encoder, post.tokens, stride)))
        else:
            readable.append(task.readable(post, text))
        cut += text.left_out > 0
        if labels is not None:
            beyond.update(task.beyond(post, text, labels))
    known = None if labels is None else set(task.label_classes(labels))
    classes = task.classes(gold)
    unknown = {} if known is None else {name: count for name, count in sorted(classes.items()) if name not in known}
    answers = sum(map(task.count, gold))
    lost = answers - sum(map(task.count, readable))
    long = LongPosts(longer, len(gold), lost, answers, task.answers, longest, encoder.max_length)
    long = replace(long, in_windows=in_windows)
    return Reach(long, dict(beyond), unknown, answers, readable, cut)


def check_gold(
    task: Task, splits: Mapping[str, Sequence[Post]], paths: Mapping[str, Path], reached: Mapping[str, Reach]
) -> None:
    """Make sure that there is something to learn in `train` and to choose an epoch by in `dev`; log what is odd.

    Raises:
        InputError: `train` or `dev` has no answer, or the gold cannot be used.
    """
    for split, posts in splits.items():
        if reason := task.unusable(posts):
            raise InputError(reason, paths[split])
    classes = {split: task.classes(posts) for split, posts in splits.items()}
    if not classes["train"]:
        raise InputError(f"no post here has {task.some}, so that there is nothing to learn", paths["train"])
    none = f"F1 would be 0 whatever the model finds, and no epoch better than another; name a file that has {task.some}"
    if not classes["dev"]:
        raise InputError(f"no post here has {task.some}: {none}", paths["dev"])
    dev = reached["dev"]
    if sum(dev.beyond.values()) >= dev.answers or set(classes["dev"]) <= set(dev.unknown):
        lost = ", ".join(f"{count} {reason}" for reason, count in dev.beyond.items())
        given = f"the model can give none of the {dev.answers} {task.answers} here ({lost})"
        logger.warning(
            "%s: %s, so that F1 is 0 in every epoch and the first is kept; choose by another", paths["dev"], given
        )
    if "test" in classes and not classes["test"]:
        logger.warning("%s: no post has %s, so that its F1 is 0 and says nothing", paths["test"], task.some)
    if len(classes["dev"]) == 1 < len(classes["train"]):
        (only,), many = classes["dev"], len(classes["train"])
        logger.warning(
            "%s: all is of the one label %s, of %d in training; it alone chooses the epoch", paths["dev"], only, many
        )
    for sentence in task.one_sided(splits["train"]):
        logger.warning("%s: %s", paths["train"], sentence)
    for split, one in reached.items():
        if one.unknown:
            names = ", ".join(f"{name} ({count})" for name, count in one.unknown.items())
            logger.warning(
                "%s: training has no %s; the model misses them all, and they are scored", paths[split], names
            )
        other = {reason: count for reason, count in one.beyond.items() if reason not in (NOT_READ, *UNKNOWN)}
        if other:
            reasons = ", ".join(f"{count} {reason}" for reason, count in other.items())
            logger.warning("%s: no answer can hold some of %d %s: %s", paths[split], one.answers, task.answers, reasons)


def contexts_sentence(posts: Sequence[Post], encoder: WordEncoder, cut: int) -> str | None:
    """What of the contexts that a model reads is missing or cut, without a full stop; None where it is nothing."""
    names, without = ", ".join(encoder.contexts), sum(not encoder.context_words(post.contexts) for post in posts)
    parts, posts_of = [], counted(len(posts), "post")
    if without:
        parts.append(f"without any of the contexts {names} that the model reads: {without:,} of {posts_of}")
    if cut:
        limit = f"the {encoder.context_budget} tokens that are read (context_budget)"
        parts.append(f"with contexts longer than {limit}: {cut:,} of {posts_of}")
    if unread := sorted({name for post in posts for name in post.contexts if name not in encoder.contexts}):
        parts.append(f"the model does not read the contexts {', '.join(unread)}")
    return "; ".join(parts) or None


def check_lengths(
    path: str | Path,
    format: str,
    model: str | Path | None = None,
    tokenizer: str | None = None,
    max_length: int | None = None,
    scheme: Scheme = "auto",
) -> dict[str, LongPosts]:
    """How many posts of a file or a set are longer than a model reads, and what of their gold lies past that.

    Args:
        path: A file, or a folder with the format's usual file names.
        format: A name in `promu.corpora.formats.FORMATS`, of posts.
        model: Folder of a fine-tuned model, whose tokenizer and length count, or of several (`ner/`, `re/`); of a gate,
            those of its first model.
        tokenizer: In its place a tokenizer: folder, hub name, `package:NAME/PATH`.
        max_length: Tokens that are read, special tokens included, where a tokenizer is named; None is 80.
        scheme: Of the tags in CoNLL files.

    Returns:
        By file.

    Raises:
        InputError: A file or the model cannot be used, or the format is not one of posts.

    Example:
        ```python
        from promu.tasks.reachable_gold import check_lengths

        for file, long in check_lengths("runs/newsreel/ner", "conll", "runs/demo/model/ner").items():
            print(file, long.sentence())
        ```
    """
    entry = find_format(format)
    if entry.kind != "posts":
        raise InputError(f"lengths are counted of posts, and {format} holds none; leave model and tokenizer out")
    if (model is None) == (tokenizer is None):
        raise InputError("name either a model or a tokenizer, so that tokens can be counted")
    if max_length is not None and tokenizer is None:
        raise InputError("max_length goes with a tokenizer; a model has its own")
    max_length = 80 if max_length is None else max_length
    if max_length < LEAST_LENGTH:
        raise InputError(f"max_length is {max_length}; at least {LEAST_LENGTH} is needed")
    name = "re" if entry.pair_per_post else "joint" if format == "jmere" else "ner"
    if model is not None:
        homes = dict(find_models(model))
        name = name if name in homes else next(iter(homes))
        model = homes[name]
        model = model / EXPERTS[0] if read_gate(model) is not None else model
        tokenizer = str(model)
    config = PromuConfig(max_length=max_length) if model is None else PromuConfig.from_pretrained(model)
    encoder = WordEncoder(
        load_tokenizer(resolve(str(tokenizer))), config.max_length, relation_head=config.relation_head
    )
    task = TASKS[name]
    path = Path(path)
    files = [file for _, file in find_splits(path, format)] if path.is_dir() else [path]
    return {str(file): reach(task, task.read(file, format, scheme), encoder).long for file in files}


def longest_possible(config: HeadSettings) -> str:
    """What may be done about posts that are longer than a model reads, as the end of a sentence."""
    most = config.max_positions
    if most is None or most > config.max_length:
        limit = "" if most is None else f", to {most} at most"
        return f"train with a larger model.config.max_length{limit}"
    return f"the text encoder has no more than {most} positions; split long posts"

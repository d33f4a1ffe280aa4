"""What the best reader of each source can score on drawn posts, and which sources decide each post: lookup tables.

A source is what a reader may look at: the text, the kinds of the things in the image, how they are arranged, background
knowledge. A reader has a table. It holds how often each answer was right in many other posts of the same settings that
looked the same in the reader's sources. No intention of the one who drew a post is in it.

A reader looks at the text first. Where the text alone leaves one answer, that is the answer. All other texts count as
one, because they are drawn without regard to image and answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from promu.newsreel.country import WORLDS
from promu.newsreel.lexicon import generator
from promu.newsreel.scenes import Scene
from promu.newsreel.texts import PostWriter, WrittenPost, name_pools
from promu.schema import NO_RELATION

TEXT, KINDS, ARRANGEMENT, KNOWLEDGE = "text", "kinds", "arrangement", "knowledge"
IMAGE, NOTHING = "image", "nothing"
"""What decides a post where the kinds or their arrangement do, and where no reader is sure."""

READ_POSTS, READ_SCENES = 16_000, 40_000
"""Posts whose text a reader has read before the test, and images of ambiguous posts that it has seen."""

SEEN = 3
"""How often a reader has to have seen one answer, and no other, to be sure of it."""

Table = dict[Hashable, Counter[str]]
"""How often each answer was right, by what a reader tells apart."""


@dataclass(frozen=True)
class Question:
    """One question about a post: the type of a name, or the relation of two.

    Attributes:
        asked: What is asked for, such as the type of the second of two names.
        answer: The right one.
        seen: What each source shows.
    """

    asked: str
    answer: str
    seen: Mapping[str, Hashable]


class Reader:
    """Answers questions from tables of those it has read.

    Args:
        sources: What it looks at, beside the text.
        posts: Questions about posts.
        scenes: More questions about images of ambiguous posts, whose text is not looked at.
    """

    def __init__(self, sources: Sequence[str], posts: Sequence[Question], scenes: Sequence[Question]) -> None:
        self.sources = tuple(sources)
        self._texts = _table((_text(one), one.answer) for one in posts)
        self._images = _table((self._image(one), one.answer) for one in scenes) if sources else {}
        # for the choice of answers, ambiguous posts weigh what they do among posts
        told: Table = {key: counts for key, counts in self._texts.items() if not sources or _is_sure(counts)}
        share = (len(posts) - sum(counts.total() for counts in told.values())) / max(len(scenes), 1)
        tables = [(key, counts, 1.0) for key, counts in told.items()]
        self._best = _best_for_f1([*tables, *((key, counts, share) for key, counts in self._images.items())])

    def _image(self, question: Question) -> Hashable:
        return question.asked, *(question.seen[source] for source in self.sources)

    def _counts(self, question: Question) -> tuple[Hashable, Counter[str]]:
        """What the reader tells apart here, and the answers to what looked the same."""
        text = self._texts.get(_text(question), Counter())
        if not self.sources or _is_sure(text):
            return _text(question), text
        return self._image(question), self._images.get(self._image(question), Counter())

    def is_sure(self, question: Question) -> bool:
        """Whether all that looked the same had one answer, and that is the right one."""
        counts = self._counts(question)[1]
        return _is_sure(counts) and question.answer in counts

    def answer(self, question: Question) -> str:
        """The answer that gives the best F1, which may be `None` where another is more frequent."""
        return self._best.get(self._counts(question)[0], NO_RELATION)


def _text(question: Question) -> Hashable:
    return question.asked, question.seen[TEXT]


def _table(rows: Iterable[tuple[Hashable, str]]) -> Table:
    table: Table = {}
    for key, answer in rows:
        table.setdefault(key, Counter())[answer] += 1
    return table


def _is_sure(counts: Counter[str]) -> bool:
    return len(counts) == 1 and counts.total() >= SEEN


def upper_bound(reader: Reader, questions: Sequence[Question]) -> float:
    """Micro-F1 (0-100, `None` left out) of the reader on questions."""
    hits = predicted = gold = 0
    for one in questions:
        answer = reader.answer(one)
        gold += one.answer != NO_RELATION
        predicted += answer != NO_RELATION
        hits += answer != NO_RELATION and answer == one.answer
    return 200.0 * hits / (predicted + gold) if predicted + gold else 0.0


def upper_bounds(every: Sequence[Reader], asked: Sequence[Question]) -> dict[str, float]:
    """The upper bound of each reader on questions, by what it sees, such as `text + kinds`."""
    return {" + ".join((TEXT, *reader.sources)): round(upper_bound(reader, asked), 2) for reader in every}


def _best_for_f1(tables: Sequence[tuple[Hashable, Counter[str], float]]) -> dict[Hashable, str]:
    """The answer to each key, such that F1 is best; keys that are best answered with `None` are left out.

    F1 = 2 TP / (predicted + gold) is a ratio of sums, so its best set of answers is found by raising it step by step
    (Dinkelbach): at an F1 of f, a key is worth its most frequent answer exactly if 2 TP > f * predicted.

    Args:
        tables: Keys, how often each answer was right, and the weight of that.
    """
    gold = sum(weight * (counts.total() - counts[NO_RELATION]) for _, counts, weight in tables)
    best = {}  # key -> (true positives, predictions, answer) of its most frequent answer
    for key, counts, weight in tables:
        answers = [(count, answer) for answer, count in counts.items() if answer != NO_RELATION]
        if answers:
            count, answer = max(answers)
            best[key] = (weight * count, weight * counts.total(), answer)
    f1, chosen = -1.0, dict[Hashable, str]()
    while gold:
        rows = {key: row for key, row in best.items() if 2 * row[0] > f1 * row[1]}
        better = 2 * sum(row[0] for row in rows.values()) / (sum(row[1] for row in rows.values()) + gold)
        if better <= f1:
            break
        f1, chosen = better, {key: row[2] for key, row in rows.items()}
    return chosen


READERS = {"ner": ((), (KINDS,)), "re": ((), (KINDS,), (KINDS, ARRANGEMENT))}
"""The sources of the readers of each task, beside the text, from the one that sees least."""


def questions(task: str, post: WrittenPost) -> list[Question]:
    """What is asked about a post: the type of each name (`ner`) or the relation (`re`)."""
    answers = [post.relation] if task == "re" else [str(entity.type) for entity in post.entities]
    nouns = ("",) if task == "re" else post.nouns
    return _asked(answers, [(post.template, noun) for noun in nouns], post.image)


def _asked(answers: Sequence[str], texts: Sequence[Hashable], image: Scene) -> list[Question]:
    seen = {KINDS: tuple(sorted(image.main)), ARRANGEMENT: image.arrangement}
    return [
        Question(f"{place} of {len(answers)}", answer, {TEXT: text, **seen})
        for place, (answer, text) in enumerate(zip(answers, texts, strict=False), start=1)
    ]


@cache
def readers(task: str, world: str, ambiguous: float, unrelated: float, tail: float) -> tuple[Reader, ...]:
    """The readers of a task, from the one that sees least, after many posts of these settings (see `PostWriter`)."""
    rng = generator(0, task, "readers")
    writer = PostWriter(WORLDS[world], rng, name_pools(0)["train"], unrelated, tail)
    if task == "re":
        write, draw, answers = writer.re_post, writer.re_scene, lambda scene: [scene.relation]
    else:
        kinds = WORLDS[world].kind
        write, draw, answers = writer.ner_post, writer.ner_scene, lambda scene: [kinds[one].type for one in scene.main]
    posts = [one for flag in rng.random(READ_POSTS) for one in questions(task, write(bool(flag >= ambiguous)))]
    scenes = [draw() for _ in range(READ_SCENES)]
    seen = [one for scene in scenes for one in _asked(answers(scene), ("",) * len(scene.main), scene)]
    return tuple(Reader(sources, posts, seen) for sources in READERS[task])


def decided_by(every: Sequence[Reader], asked: Sequence[Question]) -> str:
    """The last source of the first reader that is sure of all that is asked about a post; else `nothing`."""
    for reader in every:
        if all(reader.is_sure(one) for one in asked):
            return (TEXT, *reader.sources)[-1]
    return NOTHING

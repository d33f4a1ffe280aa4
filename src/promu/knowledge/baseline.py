"""Zero- and few-shot MNER and MRE by a language model, over the published formats."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from promu.errors import InputError
from promu.knowledge.answers import Fault
from promu.knowledge.baseline_tasks import BaselineTask
from promu.knowledge.client import Client
from promu.knowledge.exemplar_choice import Exemplars
from promu.knowledge.messages import Message, Request
from promu.knowledge.prompt_pictures import PromptPictures
from promu.knowledge.running import run_all
from promu.knowledge.templates import label_lines, load_template
from promu.schema import Post


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """How a model is asked.

    Attributes:
        model: The name the endpoint knows it by.
        shots: Exemplars before each question.
        seed: Of the choice of exemplars.
        max_tokens: Longest answer.
        temperature: 0 for the likeliest answer.
        corrections: How often an unusable answer is asked for again, the fault being said to the model.
        concurrency: Questions under way at once.
    """

    model: str
    shots: int = 0
    seed: int = 0
    max_tokens: int = 512
    temperature: float = 0.0
    corrections: int = 2
    concurrency: int = 8

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InputError("the model's name is empty; give the one that the endpoint knows it by")
        for name, least in (("shots", 0), ("seed", 0), ("max_tokens", 1), ("corrections", 0), ("concurrency", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; at least {least} is needed")
        if not 0 <= self.temperature <= 2:
            raise InputError(f"temperature is {self.temperature}; it lies between 0 and 2")


@dataclass(frozen=True, slots=True)
class Failed:
    """A post without a usable answer."""

    position: int
    id: str
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What came of all questions.

    Attributes:
        posts: Every post with the model's labels; a failed one without entities, or with the relation `None`.
        failed: The posts that no answer could be read for.
        faults: Unusable answers by kind, those made good by a correction too.
        placed: What answers listed, and how much of it is "not in the text" or "already taken" by an earlier entity.
    """

    posts: list[Post]
    failed: list[Failed]
    faults: dict[str, int]
    placed: dict[str, int]


def build_requests(
    task: BaselineTask,
    posts: Sequence[Post],
    train: Sequence[Post],
    labels: Sequence[str],
    pictures: PromptPictures,
    settings: BaselineSettings,
    meanings: Mapping[str, str] | None = None,
) -> list[Request]:
    """One request a post; exemplars stand before the question as turns already taken, with their pictures.

    Args:
        task: MNER or MRE.
        posts: The posts asked about; their labels are not looked at.
        train: Where exemplars come from.
        labels: The labels to choose from.
        pictures: The pictures of both.
        settings: How to ask.
        meanings: What labels mean, by name, beside what is known of the usual ones.

    Raises:
        InputError: There are too few training posts, or a picture cannot be used.
    """
    system = load_template(f"{task.name}.txt", ("labels",))
    opening = Message("system", system.substitute(labels=label_lines(labels, meanings)).strip())
    exemplars = Exemplars(train, lambda post: set(task.labels([post])), settings.shots, settings.seed)
    schema = task.schema(labels)
    requests = []
    for post in posts:
        messages = [opening]
        for exemplar in exemplars.for_post(post):
            messages += [_question(task, exemplar, pictures), Message("assistant", task.solution(exemplar))]
        messages.append(_question(task, post, pictures))
        requests.append(Request(settings.model, tuple(messages), settings.max_tokens, settings.temperature, schema))
    return requests


def predict(
    client: Client,
    task: BaselineTask,
    posts: Sequence[Post],
    requests: Sequence[Request],
    labels: Sequence[str],
    settings: BaselineSettings,
    stopped: threading.Event,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Predictions:
    """Ask about every post.

    Raises:
        InputError: The endpoint cannot be used or the budget is used up; what was answered is in the store, so that
            the same call goes on from there.
    """

    def one(index: int) -> tuple[tuple[Post, Counter[str]] | None, tuple[Fault, ...]]:
        outcome = client.converse(
            requests[index], lambda text: task.answered(posts[index], text, labels), settings.corrections
        )
        return outcome.value, outcome.faults

    predicted: list[Post] = []
    failed: list[Failed] = []
    faults: Counter[str] = Counter()
    placed: Counter[str] = Counter()
    outcomes = run_all(range(len(posts)), one, settings.concurrency, stopped, advance)
    for position, (post, (answer, found)) in enumerate(zip(posts, outcomes, strict=True)):
        faults.update(fault.kind for fault in found)
        if answer is None:
            failed.append(Failed(position, post.id, found))
            predicted.append(task.unanswered(post))
        else:
            predicted.append(answer[0])
            placed.update(answer[1])
    return Predictions(predicted, failed, dict(faults), dict(placed))


def _question(task: BaselineTask, post: Post, pictures: PromptPictures) -> Message:
    return Message("user", task.question(task.ask(post)), pictures.of(post))

"""Zero- and few-shot MNER and MRE by a language model, over the published formats."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from promu.corpora.conll import read_conll, write_conll
from promu.corpora.mnre import read_mnre, write_mnre
from promu.errors import InputError
from promu.files import shorten
from promu.llm.answers import AnswerFault, Fault, Span, json_of, place, places
from promu.llm.client import Client, run_all
from promu.llm.exemplars import Exemplars
from promu.llm.messages import Message, PromptImages, Request, label_lines, load_template
from promu.schema import NO_RELATION, Entity, Post


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model is shown of a post beside its image: the words and, for relations, the two spans in question."""

    tokens: tuple[str, ...]
    pair: tuple[Span, Span] | None = None


@dataclass(frozen=True, slots=True)
class BaselineTask:
    """One task.

    Attributes:
        name: Of its templates, and of `promu score`'s command.
        read, write: The published format.
        labels: The label names that posts use.
        ask: What may be shown of a post.
        question: The text of the question.
        solution: The answer a perfect model would give, for exemplars.
        schema: JSON schema of an answer, given the labels.
        answered: The post with the labels of an answer; counts what of it could not be placed. Raises AnswerFault.
        unanswered: The post as predicted where no answer could be used; it is counted as failed elsewhere.
    """

    name: str
    read: Callable[[Path], list[Post]]
    write: Callable[[Path, Sequence[Post]], None]
    labels: Callable[[Sequence[Post]], list[str]]
    ask: Callable[[Post], Asked]
    question: Callable[[Asked], str]
    solution: Callable[[Post], str]
    schema: Callable[[Sequence[str]], dict[str, Any]]
    answered: Callable[[Post, str, Sequence[str]], tuple[Post, Counter[str]]]
    unanswered: Callable[[Post], Post]


_packaged = cache(load_template)


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    # `strict` structured output wants every property required and none beyond
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _entity_labels(posts: Sequence[Post]) -> list[str]:
    return sorted({entity.type for post in posts for entity in post.entities if entity.type})


def _entity_question(asked: Asked) -> str:
    return _packaged("ner_post.txt", ("text",)).substitute(text=" ".join(asked.tokens)).strip()


def _entity_solution(post: Post) -> str:
    ordered = sorted(post.entities, key=lambda entity: entity.start)
    return json.dumps(
        {"entities": [{"text": post.words(entity), "type": entity.type} for entity in ordered]}, ensure_ascii=False
    )


def _entity_schema(labels: Sequence[str]) -> dict[str, Any]:
    entity = _object({"text": {"type": "string"}, "type": {"type": "string", "enum": list(labels)}})
    return _object({"entities": {"type": "array", "items": entity}})


def _entities(post: Post, text: str, labels: Sequence[str]) -> tuple[Post, Counter[str]]:
    listed = json_of(text).get("entities")
    if not isinstance(listed, list):
        raise AnswerFault("wrong shape", 'the object must have the key "entities" with a list')
    counts: Counter[str] = Counter(entities=len(listed))
    found: list[Entity] = []
    taken: list[Span] = []
    for number, item in enumerate(listed):
        if not isinstance(item, dict) or not isinstance(item.get("text"), str):
            raise AnswerFault("wrong shape", f'entity {number} must be an object with "text" and "type"')
        if item.get("type") not in labels:
            raise AnswerFault(
                "wrong shape",
                f"the type of entity {number} is {shorten(item.get('type'))}; allowed are {', '.join(labels)}",
            )
        spans = places(post.tokens, item["text"])
        span = place(spans, taken)
        if span is None:
            counts["already taken" if spans else "not in the text"] += 1
            continue
        taken.append(span)
        found.append(Entity(*span, item["type"]))
    found.sort(key=lambda entity: entity.start)
    return replace(post, entities=tuple(found), relations=()), counts


def _relation_labels(posts: Sequence[Post]) -> list[str]:
    found = {relation.type for post in posts for relation in post.relations}
    return [NO_RELATION, *sorted(found - {NO_RELATION})]


def _pair(post: Post) -> Asked:
    relation = post.relations[0]
    head, tail = post.entities[relation.head], post.entities[relation.tail]
    return Asked(post.tokens, ((head.start, head.end), (tail.start, tail.end)))


def _relation_question(asked: Asked) -> str:
    assert asked.pair is not None
    opening: dict[int, list[str]] = {}
    closing: dict[int, list[str]] = {}
    for name, (start, end) in zip(("E1", "E2"), asked.pair, strict=True):
        opening.setdefault(start, []).append(f"[{name}]")
        closing.setdefault(end, []).insert(0, f"[/{name}]")
    words: list[str] = []
    for index in range(len(asked.tokens) + 1):
        words += closing.get(index, []) + opening.get(index, []) + list(asked.tokens[index : index + 1])
    head, tail = (" ".join(asked.tokens[start:end]) for start, end in asked.pair)
    template = _packaged("re_post.txt", ("text", "head", "tail"))
    return template.substitute(text=" ".join(words), head=head, tail=tail).strip()


def _relation_solution(post: Post) -> str:
    return json.dumps({"relation": post.relations[0].type}, ensure_ascii=False)


def _relation_schema(labels: Sequence[str]) -> dict[str, Any]:
    return _object({"relation": {"type": "string", "enum": list(labels)}})


def _relation(post: Post, text: str, labels: Sequence[str]) -> tuple[Post, Counter[str]]:
    label = json_of(text).get("relation")
    if not isinstance(label, str) or label not in labels:
        raise AnswerFault("wrong shape", f'"relation" is {shorten(label)}; allowed are {", ".join(labels)}')
    return _with_relation(post, label), Counter(relations=1)


def _with_relation(post: Post, label: str) -> Post:
    return replace(post, relations=(replace(post.relations[0], type=label),))


TASKS: dict[str, BaselineTask] = {
    "ner": BaselineTask(
        name="ner",
        read=read_conll,
        write=write_conll,
        labels=_entity_labels,
        ask=lambda post: Asked(post.tokens),
        question=_entity_question,
        solution=_entity_solution,
        schema=_entity_schema,
        answered=_entities,
        unanswered=lambda post: replace(post, entities=(), relations=()),
    ),
    "re": BaselineTask(
        name="re",
        read=read_mnre,
        write=write_mnre,
        labels=_relation_labels,
        ask=_pair,
        question=_relation_question,
        solution=_relation_solution,
        schema=_relation_schema,
        answered=_relation,
        unanswered=lambda post: _with_relation(post, NO_RELATION),
    ),
}
"""Task name -> BaselineTask."""


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
    images: PromptImages,
    settings: BaselineSettings,
    meanings: Mapping[str, str] | None = None,
) -> list[Request]:
    """One request a post; exemplars stand before the question as turns already taken, with their images.

    Args:
        task: MNER or MRE.
        posts: The posts asked about; their labels are not looked at.
        train: Where exemplars come from.
        labels: The labels to choose from.
        images: The images of both.
        settings: How to ask.
        meanings: What labels mean, by name, beside what is known of the usual ones.

    Raises:
        InputError: There are too few training posts, or an image cannot be used.
    """
    system = load_template(f"{task.name}.txt", ("labels",))
    opening = Message("system", system.substitute(labels=label_lines(labels, meanings)).strip())
    exemplars = Exemplars(train, lambda post: set(task.labels([post])), settings.shots, settings.seed)
    schema = task.schema(labels)
    requests = []
    for post in posts:
        messages = [opening]
        for exemplar in exemplars.for_post(post):
            messages += [_question(task, exemplar, images), Message("assistant", task.solution(exemplar))]
        messages.append(_question(task, post, images))
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
    outcomes = run_all(range(len(posts)), one, settings.concurrency, stopped, f"asking {settings.model}")
    for position, (post, (answer, found)) in enumerate(zip(posts, outcomes, strict=True)):
        faults.update(fault.kind for fault in found)
        if answer is None:
            failed.append(Failed(position, post.id, found))
            predicted.append(task.unanswered(post))
        else:
            predicted.append(answer[0])
            placed.update(answer[1])
    return Predictions(predicted, failed, dict(faults), dict(placed))


def _question(task: BaselineTask, post: Post, images: PromptImages) -> Message:
    return Message("user", task.question(task.ask(post)), images.of(post))

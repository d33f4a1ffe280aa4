"""MNER and MRE as questions to a language model: prompt, schema, and what its answer means.

A question is made of `Asked`, which has no place for a label; so gold cannot reach a prompt of its own post.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from promu.corpora.conll import read_conll, write_conll
from promu.corpora.mnre import read_mnre, write_mnre
from promu.files import shorten
from promu.knowledge.answers import AnswerFault, json_of
from promu.knowledge.spans import Span, place, places
from promu.knowledge.templates import load_template
from promu.schema import NO_RELATION, Entity, Post


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model is shown of a post beside its picture: the words and, for relations, the two spans in question."""

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

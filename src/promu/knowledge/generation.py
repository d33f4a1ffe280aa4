"""Knowledge ingestion (KECPM, stage 2): question, answer, self-reflection, revised answer, for many posts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from promu.knowledge.answers import Fault
from promu.knowledge.client import Client
from promu.knowledge.knowledge_prompts import (
    SCHEMA,
    Described,
    Fact,
    KnowledgePrompts,
    answer_text,
    read_facts,
)
from promu.knowledge.messages import CHARACTERS_PER_TOKEN, Message, Request
from promu.knowledge.running import run_all

State = Literal["answered", "unchecked", "failed", "not recorded"]
"""`unchecked`: no answer to the self-reflection could be used, so the first answer stands; `not recorded`: there is no
endpoint, and the store lacks an answer that is needed."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How a model is asked for knowledge.

    Attributes:
        model: The name the endpoint knows it by.
        reflection: Have the model check and correct its own answer.
        max_tokens, temperature: Of each answer.
        corrections: How often an unusable answer is asked for again.
    """

    model: str
    reflection: bool = True
    max_tokens: int = 700
    temperature: float = 0.0
    corrections: int = 2


@dataclass(frozen=True, slots=True)
class PostKnowledge:
    """What came of one post.

    Attributes:
        state: See `State`.
        knowledge: The facts that stand in the end.
        first: Those of the answer before self-reflection.
        faults: What was wrong with each unusable answer.
        counts: Sentences of all answers, and how many were about another name than one of the post's.
    """

    state: State
    knowledge: tuple[Fact, ...] = ()
    first: tuple[Fact, ...] = ()
    faults: tuple[Fault, ...] = ()
    counts: Counter[str] | None = None


def first_request(prompts: KnowledgePrompts, post: Described, exemplars: Sequence[int], asking: Asking) -> Request:
    """The first question about a post."""
    return Request(asking.model, prompts.question(post, exemplars), asking.max_tokens, asking.temperature, SCHEMA)


def reflection_request(prompts: KnowledgePrompts, first: Request, facts: Sequence[Fact]) -> Request:
    """The question by which a model checks its answer."""
    messages = (*first.messages, Message("assistant", answer_text(facts)), prompts.reflect)
    return Request(first.model, messages, first.max_tokens, first.temperature, SCHEMA)


def reflection_placeholder(prompts: KnowledgePrompts, first: Request) -> Request:
    """A request as long as the reflection on an answer of full length, to estimate by."""
    answer = Message("assistant", "x" * first.max_tokens * CHARACTERS_PER_TOKEN)
    return Request(first.model, (*first.messages, answer, prompts.reflect), first.max_tokens)


def knowledge_of(
    client: Client, prompts: KnowledgePrompts, post: Described, exemplars: Sequence[int], asking: Asking
) -> PostKnowledge:
    """Ask about one post.

    Raises:
        InputError: The endpoint cannot be used, the budget is used up, or the run is stopped.
    """

    def read(text: str) -> tuple[tuple[Fact, ...], Counter[str]]:
        return read_facts(text, post)

    request = first_request(prompts, post, exemplars, asking)
    outcome = client.converse(request, read, asking.corrections)
    if outcome.value is None:
        return PostKnowledge(_failure(outcome.faults), faults=outcome.faults)
    first, counts = outcome.value
    if not asking.reflection:
        return PostKnowledge("answered", first, first, outcome.faults, counts)
    checked = client.converse(reflection_request(prompts, request, first), read, asking.corrections)
    faults = (*outcome.faults, *checked.faults)
    if checked.value is None:
        state: State = "not recorded" if _failure(checked.faults) == "not recorded" else "unchecked"
        return PostKnowledge(state, first, first, faults, counts)
    return PostKnowledge("answered", checked.value[0], first, faults, counts + checked.value[1])


def generate(
    client: Client,
    prompts: KnowledgePrompts,
    posts: Sequence[Described],
    exemplars: Sequence[Sequence[int]],
    asking: Asking,
    concurrency: int,
    stopped: threading.Event,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[PostKnowledge]:
    """Ask about every post, so many at a time.

    Raises:
        InputError: As `knowledge_of`; what was answered is in the store, so that the same call goes on from there.
    """

    def one(index: int) -> PostKnowledge:
        return knowledge_of(client, prompts, posts[index], exemplars[index], asking)

    return run_all(range(len(posts)), one, concurrency, stopped, advance)


def replay(
    client: Client,
    prompts: KnowledgePrompts,
    posts: Sequence[Described],
    exemplars: Sequence[Sequence[int]],
    asking: Asking,
) -> list[PostKnowledge]:
    """What a client without an endpoint knows of every post already."""
    return [knowledge_of(client, prompts, post, chosen, asking) for post, chosen in zip(posts, exemplars, strict=True)]


def _failure(faults: Sequence[Fault]) -> State:
    return "not recorded" if faults[-1].kind == "not recorded" else "failed"

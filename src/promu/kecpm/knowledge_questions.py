"""Knowledge about one post (KECPM, stage 2): question, answer, self-reflection, revised answer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from promu.files import shorten
from promu.kecpm.kecpm_recipe import ProviderSettings
from promu.llm.answers import AnswerFault, Fault, find_spans, json_list
from promu.llm.baseline import object_schema
from promu.llm.client import Client
from promu.llm.exemplars import Exemplar
from promu.llm.messages import CHARACTERS_PER_TOKEN, Message, Request, load_template

LONGEST_SENTENCE = 400
"""Characters of one sentence; a longer one is an essay."""

SENTENCES = 8

_TEXT = {"type": "string"}
SCHEMA = object_schema({"knowledge": {"type": "array", "items": object_schema({"about": _TEXT, "sentence": _TEXT})}})
"""JSON schema of an answer."""


@dataclass(frozen=True, slots=True)
class PostText:
    """What the model is shown of a post; there is no place for a label in it."""

    id: str
    tokens: tuple[str, ...]
    captions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The words as one line."""
        return " ".join(self.tokens)

    @property
    def caption(self) -> str:
        """The captions as one line."""
        return " ".join(self.captions)


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence of background knowledge and the name, in the post's words, that it is about."""

    about: str
    sentence: str


State = Literal["answered", "unchecked", "failed", "not recorded"]
"""`unchecked`: no answer to the self-reflection could be used, so the first answer stands; `not recorded`: there is no
endpoint, and the store lacks an answer that is needed."""


@dataclass(frozen=True, slots=True)
class PostKnowledge:
    """What came of one post.

    Attributes:
        state: See `State`.
        knowledge: The facts that stand in the end.
        first: Those of the answer before self-reflection.
        faults: What was wrong with each unusable answer.
        counts: `sentences` of all answers, and how many were `about another name` than one of the post's.
    """

    state: State
    knowledge: tuple[Fact, ...] = ()
    first: tuple[Fact, ...] = ()
    faults: tuple[Fault, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)


class KnowledgeQuestions:
    """Questions from templates: `knowledge.txt`, and `_exemplar`, `_post` and `_reflect` beside it.

    Args:
        pool: The exemplars that questions refer to by number.
        settings: The model, its parameters, and maybe a folder of templates.

    Raises:
        InputError: A template cannot be used.
    """

    def __init__(self, pool: Sequence[Exemplar], settings: ProviderSettings) -> None:
        templates = settings.templates
        opening = load_template("knowledge.txt", ("sentences",), templates)
        exemplar = load_template("knowledge_exemplar.txt", ("text", "caption", "quintuples", "reasoning"), templates)
        self._post = load_template("knowledge_post.txt", ("exemplars", "text", "caption"), templates)
        self._opening = Message("system", opening.substitute(sentences=SENTENCES).strip())
        self.reflect = Message("user", load_template("knowledge_reflect.txt", (), templates).substitute().strip())
        self._exemplars = [
            exemplar.substitute(
                text=each.text,
                caption=each.caption or "(none)",
                quintuples="; ".join(map(str, each.quintuples)) or "none",
                reasoning=each.reasoning,
            ).strip()
            for each in pool
        ]
        self.settings = settings

    def first(self, post: PostText, exemplars: Sequence[int]) -> Request:
        """The first question about a post, with exemplars by their number in the pool, the most similar last."""
        shown = "\n\n".join(self._exemplars[number] for number in reversed(exemplars))
        question = self._post.substitute(exemplars=shown or "(none)", text=post.text, caption=post.caption or "(none)")
        return self._request((self._opening, Message("user", question.strip())))

    def reflection(self, first: Request, facts: Sequence[Fact]) -> Request:
        """The question by which the model checks its answer."""
        return self._request((*first.messages, Message("assistant", facts_to_json(facts)), self.reflect))

    def longest_reflection(self, first: Request) -> Request:
        """A request as long as the reflection on an answer of full length, to estimate the cost."""
        answer = Message("assistant", "x" * first.max_tokens * CHARACTERS_PER_TOKEN)
        return self._request((*first.messages, answer, self.reflect))

    def _request(self, messages: tuple[Message, ...]) -> Request:
        return Request(self.settings.model or "", messages, self.settings.max_tokens, self.settings.temperature, SCHEMA)


def ask_about_post(
    client: Client, questions: KnowledgeQuestions, post: PostText, exemplars: Sequence[int]
) -> PostKnowledge:
    """Get the knowledge about one post.

    Raises:
        InputError: The endpoint cannot be used, the budget is used up, or the run is stopped.
    """

    def parse(text: str) -> tuple[tuple[Fact, ...], Counter[str]]:
        return parse_facts(text, post)

    settings = questions.settings
    request = questions.first(post, exemplars)
    answer = client.ask_and_parse(request, parse, settings.corrections)
    if answer.value is None:
        state: State = "not recorded" if answer.faults[-1].kind == "not recorded" else "failed"
        return PostKnowledge(state, faults=answer.faults)
    first, counts = answer.value
    if not settings.reflection:
        return PostKnowledge("answered", first, first, answer.faults, counts)
    checked = client.ask_and_parse(questions.reflection(request, first), parse, settings.corrections)
    faults = (*answer.faults, *checked.faults)
    if checked.value is None:
        state = "not recorded" if faults[-1].kind == "not recorded" else "unchecked"
        return PostKnowledge(state, first, first, faults, counts)
    return PostKnowledge("answered", checked.value[0], first, faults, counts + checked.value[1])


def facts_to_json(facts: Sequence[Fact]) -> str:
    """An answer of these facts."""
    return json.dumps({"knowledge": [asdict(fact) for fact in facts]}, ensure_ascii=False)


def parse_facts(text: str, post: PostText) -> tuple[tuple[Fact, ...], Counter[str]]:
    """The facts of an answer about names of the post; others are dropped and counted as "about another name".

    Raises:
        AnswerFault: The answer is no such list, too long, or about other names altogether.
    """
    if len(text) > SENTENCES * 2 * LONGEST_SENTENCE:
        raise AnswerFault("too long", f"the answer has {len(text):,} characters; at most {SENTENCES} short sentences")
    facts: list[Fact] = []
    for number, item in enumerate(json_list(text, "knowledge")):
        about, sentence = (item.get("about"), item.get("sentence")) if isinstance(item, dict) else (None, None)
        if not isinstance(about, str) or not isinstance(sentence, str) or not sentence.strip():
            raise AnswerFault("wrong shape", f'item {number} must be an object of texts "about" and "sentence"')
        if len(sentence) > LONGEST_SENTENCE:
            raise AnswerFault(
                "too long", f"sentence {number} has {len(sentence):,} characters; {LONGEST_SENTENCE} at most"
            )
        facts.append(Fact(about.strip(), " ".join(sentence.split())))
    about_post = tuple(dict.fromkeys(fact for fact in facts if _is_named(fact.about, post)))
    others = [fact.about for fact in facts if not _is_named(fact.about, post)]
    if facts and not about_post:
        raise AnswerFault("off topic", f"none of the names stands in the text: {shorten(others, 200)}")
    return about_post, Counter({"sentences": len(facts), "about another name": len(others)})


def _is_named(name: str, post: PostText) -> bool:
    if find_spans(post.tokens, name):
        return True
    words = " ".join(name.split()).casefold()
    return bool(words) and f" {words} " in f" {' '.join(post.caption.split())} ".casefold()

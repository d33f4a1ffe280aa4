"""Background knowledge as questions to a language model: the first question, its check, and what answers mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.files import shorten
from promu.knowledge.answers import AnswerFault, json_of
from promu.knowledge.messages import Message
from promu.knowledge.pool import Exemplar
from promu.knowledge.spans import places
from promu.knowledge.templates import load_template

LONGEST_SENTENCE = 400
"""Characters of one sentence; a longer one is an essay."""

SENTENCES = 8

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "knowledge": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"about": {"type": "string"}, "sentence": {"type": "string"}},
                "required": ["about", "sentence"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["knowledge"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Described:
    """What a model is shown of a post; there is no place for a label in it."""

    id: str
    tokens: tuple[str, ...]
    captions: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """The captions as one line."""
        return " ".join(self.captions)

    def sentence(self) -> str:
        """Text and caption, as they are compared with those of exemplars."""
        return f"{' '.join(self.tokens)} {self.caption}".strip()


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence of background knowledge and the name, in the post's words, that it is about."""

    about: str
    sentence: str


class KnowledgePrompts:
    """Questions from templates: `knowledge.txt`, and `_exemplar`, `_post` and `_reflect` beside it.

    Args:
        pool: The exemplars that questions refer to by number.
        templates: A user's folder; what it lacks is the package's.

    Raises:
        InputError: A template cannot be used.
    """

    def __init__(self, pool: Sequence[Exemplar], templates: Path | None = None) -> None:
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

    def question(self, post: Described, exemplars: Sequence[int]) -> tuple[Message, ...]:
        """The first question about a post, with exemplars by their number in the pool, the most similar last."""
        shown = "\n\n".join(self._exemplars[number] for number in reversed(exemplars))
        text = self._post.substitute(
            exemplars=shown or "(none)", text=" ".join(post.tokens), caption=post.caption or "(none)"
        )
        return (self._opening, Message("user", text.strip()))


def answer_text(facts: Sequence[Fact]) -> str:
    """What the model is shown as its own answer when it is to check it."""
    listed = [{"about": fact.about, "sentence": fact.sentence} for fact in facts]
    return json.dumps({"knowledge": listed}, ensure_ascii=False)


def read_facts(text: str, post: Described) -> tuple[tuple[Fact, ...], Counter[str]]:
    """The facts of an answer about names of the post; others are dropped and counted as "about another name".

    Raises:
        AnswerFault: The answer is no such list, too long, or about other names altogether.
    """
    if len(text) > SENTENCES * 2 * LONGEST_SENTENCE:
        raise AnswerFault("too long", f"the answer has {len(text):,} characters; at most {SENTENCES} short sentences")
    listed = json_of(text).get("knowledge")
    if not isinstance(listed, list):
        raise AnswerFault("wrong shape", 'the object must have the key "knowledge" with a list')
    facts: list[Fact] = []
    for number, item in enumerate(listed):
        about, sentence = (item.get("about"), item.get("sentence")) if isinstance(item, dict) else (None, None)
        if not isinstance(about, str) or not isinstance(sentence, str) or not sentence.strip():
            raise AnswerFault("wrong shape", f'item {number} must be an object of texts "about" and "sentence"')
        if len(sentence) > LONGEST_SENTENCE:
            raise AnswerFault(
                "too long", f"sentence {number} has {len(sentence):,} characters; {LONGEST_SENTENCE} at most"
            )
        facts.append(Fact(about.strip(), " ".join(sentence.split())))
    known = tuple(dict.fromkeys(fact for fact in facts if _is_named(fact.about, post)))
    strange = [fact.about for fact in facts if not _is_named(fact.about, post)]
    if facts and not known:
        raise AnswerFault("off topic", f"none of the names stands in the text: {shorten(strange, 200)}")
    return known, Counter({"sentences": len(facts), "about another name": len(strange)})


def _is_named(name: str, post: Described) -> bool:
    if places(post.tokens, name):
        return True
    words = " ".join(name.split()).casefold()
    return bool(words) and f" {words} " in f" {' '.join(post.caption.split())} ".casefold()

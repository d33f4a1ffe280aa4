"""A stand-in for a language model, which errs at a set rate: what self-reflection can recover is then known.

It is asked as an endpoint is: the same templates, answers read the same way, kept in the same store.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.corpora.jmere import read_jmere, read_jmere_background
from promu.kecpm.knowledge import (
    Asking,
    Described,
    Fact,
    KnowledgePrompts,
    PostKnowledge,
    answer_text,
    generate,
    write_knowledge,
)
from promu.llm.answer_store import Answer, Store
from promu.llm.answers import places
from promu.llm.budget import Budget
from promu.llm.client import Client
from promu.llm.messages import Request, text_tokens
from promu.newsreel.lexicon import World
from promu.newsreel.news import WORLD
from promu.newsreel.texts import with_article

NAME = "stand-in"
_TEXT = re.compile(r"^Text: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Errors:
    """How often a stand-in is wrong.

    Attributes:
        rate: Share of the facts that its first answer gets wrong.
        recovered: Share of those that it puts right when it is asked to check its answer.
        seed: Of which they are.
    """

    rate: float
    recovered: float
    seed: int


class StandIn:
    """Answers questions about drawn posts with the world's own facts, some of them wrong.

    A wrong fact says another kind of thing, or another relation, of the same names. Which facts are wrong, and which of
    them are put right, depends on nothing but the seed, the text and the fact.

    Args:
        errors: How often it errs.
        world: Whose language it has.
    """

    def __init__(self, errors: Errors, world: World = WORLD) -> None:
        self.errors = errors
        self.kinds = {noun: kind.name for kind in world.kinds for noun in kind.nouns}
        self.phrases = {phrase: rule.label for rule in world.relations for phrase in rule.phrases}
        alternatives = "|".join(sorted(map(re.escape, self.phrases), key=len, reverse=True))
        self._fact = re.compile(
            rf"(?P<about>\S+(?: \S+)?) (?:is an? (?P<noun>\S+)|(?P<phrase>{alternatives}) (?P<tail>.+))\."
        )
        self.facts: dict[str, list[Fact]] = {}

    def learn(self, post: Described, knowledge: Sequence[str]) -> None:
        """Take what is known about the names of a post's text for true; what is known about others is left."""
        matches = [match for sentence in knowledge if (match := self._fact.fullmatch(sentence))]
        about = [match["about"] for match in matches]
        self.facts[" ".join(post.tokens)] = [
            Fact(name, match[0]) for name, match in zip(about, matches, strict=True) if places(post.tokens, name)
        ]

    def complete(self, request: Request) -> Answer:
        """The first answer or, where its own answer stands in the request, that with some of its errors put right."""
        text = _TEXT.findall(request.messages[1].text)[-1]
        told = [message.text for message in request.messages if message.role == "assistant"]
        before = {fact["sentence"] for fact in json.loads(told[-1])["knowledge"]} if told else set()
        said = []
        for fact in self.facts[text]:
            first = self._first(text, fact)
            put_right = first.sentence in before and self._dice("reflection", text, fact) < self.errors.recovered
            said.append(fact if put_right else first)
        content = answer_text(said)
        return Answer(content, None, "stop", request.prompt_tokens(), text_tokens(content), True, NAME, "here", 0.0)

    def _first(self, text: str, fact: Fact) -> Fact:
        """What it says of a fact before it has checked itself."""
        if self._dice("error", text, fact) >= self.errors.rate:
            return fact
        chance = random.Random(f"{self.errors.seed} mistake {text} {fact.sentence}")
        match = self._fact.fullmatch(fact.sentence)
        assert match is not None  # it was learned
        if match["noun"] is not None:
            others = [noun for noun, kind in self.kinds.items() if kind != self.kinds[match["noun"]]]
            return Fact(fact.about, f"{fact.about} is {with_article(chance.choice(others))}.")
        others = [phrase for phrase, label in self.phrases.items() if label != self.phrases[match["phrase"]]]
        return Fact(fact.about, f"{fact.about} {chance.choice(others)} {match['tail']}.")

    def _dice(self, what: str, text: str, fact: Fact) -> float:
        return random.Random(f"{self.errors.seed} {what} {text} {fact.sentence}").random()


def write_stand_in_knowledge(files: Sequence[Path], out: Path, errors: Errors, reflection: bool) -> dict[str, Any]:
    """Have a stand-in asked about every post of drawn joint sets, with self-reflection or without.

    Writes `out/<name of the file>.jsonl` for each, as `promu knowledge generate` does, and keeps requests and answers
    in `out/llm.sqlite`.

    Returns:
        Of the sentences that posts got in the end: how many, and how many of them are wrong.

    Raises:
        InputError: A file cannot be read, or `out` cannot be written to.
    """
    stand_in = StandIn(errors)
    described: list[list[Described]] = []
    for file in files:
        described.append([])
        for post, known in zip(read_jmere(file), read_jmere_background(file), strict=True):
            described[-1].append(Described(post.id, post.tokens, known.captions))
            stand_in.learn(described[-1][-1], known.knowledge)
    out.mkdir(parents=True, exist_ok=True)
    every = [post for posts in described for post in posts]
    stopped = threading.Event()
    with Store(out / "llm.sqlite") as store:
        found = generate(
            Client(store, stand_in, Budget(), stopped),
            KnowledgePrompts([]),
            every,
            [()] * len(every),
            Asking(NAME, reflection),
            1,
            stopped,
        )
    start = 0
    for file, posts in zip(files, described, strict=True):
        part = found[start : start + len(posts)]
        start += len(posts)
        write_knowledge(out / f"{file.stem}.jsonl", posts, part, [()] * len(posts))
    return _figures(every, found, stand_in)


def _figures(posts: Sequence[Described], found: Sequence[PostKnowledge], stand_in: StandIn) -> dict[str, Any]:
    sentences = wrong = 0
    for post, known in zip(posts, found, strict=True):
        true = set(stand_in.facts[" ".join(post.tokens)])
        sentences += len(known.knowledge)
        wrong += sum(fact not in true for fact in known.knowledge)
    return {"sentences": sentences, "wrong": wrong, "wrong_share": 100 * wrong / max(sentences, 1)}

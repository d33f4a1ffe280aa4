"""A mock LLM with a set error rate, so that it is known how much self-reflection can recover.

It is called like an endpoint: with the same templates, the same parsing of answers, and the same store.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from promu.corpora.jmere import read_jmere, read_jmere_background
from promu.kecpm.kecpm_recipe import ProviderSettings
from promu.kecpm.post_knowledge import (
    Fact,
    KnowledgeQuestions,
    PostText,
    ask_about_post,
    facts_to_json,
    write_knowledge,
)
from promu.llm.answers import Answer, AnswerStore, find_spans
from promu.llm.client import Client
from promu.llm.messages import Request, text_tokens
from promu.newsreel.lexicon import World
from promu.newsreel.news import WORLD
from promu.newsreel.texts import with_article
from promu.progress import track

NAME = "mock"
_TEXT = re.compile(r"^Text: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class ErrorRates:
    """The share of the facts that the mock LLM's first answer gets wrong; the share of these that it corrects when it
    is asked to check its answer; and the seed that decides which they are."""

    rate: float
    recovered: float
    seed: int


class MockLLM:
    """Answers questions about drawn posts with facts of the drawn world, some of them wrong.

    A wrong fact names another kind of thing, or another relation between the same names. Which facts are wrong and
    which are corrected depends only on the seed, the text and the fact. It knows the sentences of `world`.
    """

    def __init__(self, errors: ErrorRates, world: World = WORLD) -> None:
        self.errors = errors
        self.kinds = {noun: kind.name for kind in world.kinds for noun in kind.nouns}
        self.phrases = {phrase: rule.label for rule in world.relations for phrase in rule.phrases}
        alternatives = "|".join(sorted(map(re.escape, self.phrases), key=len, reverse=True))
        self._fact = re.compile(
            rf"(?P<about>\S+(?: \S+)?) (?:is an? (?P<noun>\S+)|(?P<phrase>{alternatives}) (?P<tail>.+))\."
        )
        self.facts: dict[str, list[Fact]] = {}

    def learn(self, post: PostText, knowledge: Sequence[str]) -> None:
        """Take these sentences for true. Sentences about names that the text does not have are left out."""
        matches = [match for sentence in knowledge if (match := self._fact.fullmatch(sentence))]
        self.facts[" ".join(post.tokens)] = [
            Fact(match["about"], match[0]) for match in matches if find_spans(post.tokens, match["about"])
        ]

    def complete(self, request: Request) -> Answer:
        """The first answer. If the request contains that answer, some of its errors are corrected."""
        text = _TEXT.findall(request.messages[1].text)[-1]
        answers = [message.text for message in request.messages if message.role == "assistant"]
        before = {fact["sentence"] for fact in json.loads(answers[-1])["knowledge"]} if answers else set()
        stated = []
        for fact in self.facts[text]:
            first = self._first(text, fact)
            corrected = first.sentence in before and self._random("reflection", text, fact) < self.errors.recovered
            stated.append(fact if corrected else first)
        content = facts_to_json(stated)
        return Answer(content, None, "stop", request.prompt_tokens(), text_tokens(content), True, NAME, "here", 0.0)

    def _first(self, text: str, fact: Fact) -> Fact:
        """The fact as the first answer states it."""
        if self._random("error", text, fact) >= self.errors.rate:
            return fact
        rng = random.Random(f"{self.errors.seed} mistake {text} {fact.sentence}")
        match = self._fact.fullmatch(fact.sentence)
        assert match is not None  # `learn` has matched it
        if match["noun"] is not None:
            others = [noun for noun, kind in self.kinds.items() if kind != self.kinds[match["noun"]]]
            return Fact(fact.about, f"{fact.about} is {with_article(rng.choice(others))}.")
        others = [phrase for phrase, label in self.phrases.items() if label != self.phrases[match["phrase"]]]
        return Fact(fact.about, f"{fact.about} {rng.choice(others)} {match['tail']}.")

    def _random(self, purpose: str, text: str, fact: Fact) -> float:
        return random.Random(f"{self.errors.seed} {purpose} {text} {fact.sentence}").random()


def write_mock_knowledge(files: Sequence[Path], out: Path, errors: ErrorRates, reflection: bool) -> dict[str, Any]:
    """Ask the mock LLM about every post of drawn joint sets, with self-reflection or without.

    Writes `out/<name of the file>.jsonl` for each file, as `promu knowledge generate` does. Requests and answers are
    stored in `out/llm.sqlite`.

    Returns:
        Number of final `sentences`, how many of them are `wrong`, and `wrong_share` in percent.

    Raises:
        InputError: A file cannot be read, or `out` cannot be written to.
    """
    mock = MockLLM(errors)
    described: list[list[PostText]] = []
    for file in files:
        described.append([])
        for post, background in zip(read_jmere(file), read_jmere_background(file), strict=True):
            described[-1].append(PostText(post.id, post.tokens, background.captions))
            mock.learn(described[-1][-1], background.knowledge)
    out.mkdir(parents=True, exist_ok=True)
    every = [post for posts in described for post in posts]
    # the address is never used: the mock takes the place of the endpoint
    questions = KnowledgeQuestions([], ProviderSettings(url="http://localhost", model=NAME, reflection=reflection))
    with AnswerStore(out / "llm.sqlite") as store:
        client = Client(store, mock.complete)
        answers = [ask_about_post(client, questions, post, ()) for post in track(every, f"asking {NAME}")]
    rows = zip(every, answers, repeat(()))
    for file, posts in zip(files, described, strict=True):
        write_knowledge(out / f"{file.stem}.jsonl", islice(rows, len(posts)))
    stated = [
        (fact, mock.facts[" ".join(post.tokens)])
        for post, answer in zip(every, answers, strict=True)
        for fact in answer.knowledge
    ]
    wrong = sum(fact not in true for fact, true in stated)
    return {"sentences": len(stated), "wrong": wrong, "wrong_share": 100 * wrong / max(len(stated), 1)}

"""Knowledge about single posts (KECPM, stage 2): question, answer, self-reflection, revised answer, and their files.

A file of knowledge, written by `promu knowledge generate` or published, has a record for each post, which is found by
the post's id and text.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from promu.corpora.fields import Record, Text, read_record
from promu.corpora.formats import read_with_background
from promu.corpora.jmere import Background
from promu.errors import InputError, counted
from promu.files import opening, parse_json_object, read_records, shorten, write_lines
from promu.kecpm.kecpm_recipe import ProviderSettings
from promu.llm.answers import AnswerFault, Fault, find_spans, json_list
from promu.llm.baseline import object_schema
from promu.llm.client import Client
from promu.llm.exemplars import Exemplar, text_identity
from promu.llm.messages import Message, Request, load_template
from promu.schema import Post

logger = logging.getLogger(__name__)

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
    """What came of one post: facts in the end, those `first` before self-reflection, and each unusable answer's fault.

    The `counts` are of `sentences` of all answers, and of those `about another name` than one of the post's.
    """

    state: State
    knowledge: tuple[Fact, ...] = ()
    first: tuple[Fact, ...] = ()
    faults: tuple[Fault, ...] = ()
    counts: Counter[str] = field(default_factory=Counter)


class KnowledgeQuestions:
    """Questions from templates: `knowledge.txt`, and `_exemplar`, `_post` and `_reflect` beside it.

    Questions refer to the exemplars of `pool` by number; the `settings` may name a folder of other templates.

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
        self._exemplars = []
        for each in pool:
            quintuples = "; ".join(map(str, each.quintuples)) or "none"
            values = {"text": each.text, "caption": each.caption or "(none)", "reasoning": each.reasoning}
            self._exemplars.append(exemplar.substitute(values, quintuples=quintuples).strip())
        self.settings = settings

    def first(self, post: PostText, exemplars: Sequence[int]) -> Request:
        """The first question about a post, with exemplars by their number in the pool, the most similar last."""
        shown = "\n\n".join(self._exemplars[number] for number in reversed(exemplars))
        question = self._post.substitute(exemplars=shown or "(none)", text=post.text, caption=post.caption or "(none)")
        return self._request((self._opening, Message("user", question.strip())))

    def reflection(self, first: Request, answer: str) -> Request:
        """The question by which the model checks its answer to the first."""
        return self._request((*first.messages, Message("assistant", answer), self.reflect))

    def _request(self, messages: tuple[Message, ...]) -> Request:
        return Request(self.settings.model or "", messages, self.settings.max_tokens, self.settings.temperature, SCHEMA)


def ask_about_post(
    client: Client, questions: KnowledgeQuestions, post: PostText, exemplars: Sequence[int]
) -> PostKnowledge:
    """Get the knowledge about one post; raises as `Client.ask_and_parse`."""
    settings = questions.settings
    parse = partial(parse_facts, post=post)
    request = questions.first(post, exemplars)
    answer = client.ask_and_parse(request, parse, settings.corrections)
    if answer.value is None:
        state: State = "not recorded" if answer.faults[-1].kind == "not recorded" else "failed"
        return PostKnowledge(state, faults=answer.faults)
    first, counts = answer.value
    if not settings.reflection:
        return PostKnowledge("answered", first, first, answer.faults, counts)
    checked = client.ask_and_parse(questions.reflection(request, facts_to_json(first)), parse, settings.corrections)
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
            reason = f"sentence {number} has {len(sentence):,} characters; {LONGEST_SENTENCE} at most"
            raise AnswerFault("too long", reason)
        facts.append(Fact(about.strip(), " ".join(sentence.split())))
    about_post = tuple(dict.fromkeys(fact for fact in facts if _is_named(fact.about, post)))
    others = [fact.about for fact in facts if fact not in about_post]
    if facts and not about_post:
        raise AnswerFault("off topic", f"none of the names stands in the text: {shorten(others, 200)}")
    return about_post, Counter({"sentences": len(facts), "about another name": len(others)})


def _is_named(name: str, post: PostText) -> bool:
    if find_spans(post.tokens, name):
        return True
    words = " ".join(name.split()).casefold()
    return bool(words) and f" {words} " in f" {' '.join(post.caption.split())} ".casefold()


_Key = tuple[str, str]
"""Id and text: posts share images, and thus ids."""


class _Line(Record):
    """A line of a file; `about` and what follows are there for people who read it."""

    id: Text
    text: Text
    knowledge: tuple[str, ...]
    captions: tuple[str, ...] = ()
    about: Any = None
    first: Any = None
    exemplars: Any = None
    state: Any = None
    reason: Any = None


def write_knowledge(path: Path, rows: Iterable[tuple[PostText, PostKnowledge, Sequence[str]]]) -> None:
    """Write one line a post, atomically: of the post, what came of it, and the ids of the exemplars in its prompt."""
    lines = []
    for post, result, shown in rows:
        record = {"id": post.id, "text": post.text, "captions": post.captions}
        record["knowledge"] = [fact.sentence for fact in result.knowledge]
        record["about"] = [fact.about for fact in result.knowledge]
        record["first"] = [fact.sentence for fact in result.first]
        record |= {"exemplars": shown, "state": result.state}
        if result.state != "answered" and result.faults:
            record["reason"] = f"{result.faults[-1].kind}: {result.faults[-1].reason}"
        lines.append(json.dumps(record, ensure_ascii=False))
    write_lines(path, lines)


def read_knowledge(path: str | Path) -> dict[_Key, list[Background]]:
    """Captions and knowledge by id and text; where a post occurs more than once, in the order of the file.

    The file is one that promu wrote, or a published one with its captions, as a JSON list or as JSON lines.

    Raises:
        InputError: The file is missing, empty or malformed.
    """
    path = Path(path)
    by_post: dict[_Key, list[Background]] = {}
    if _is_published(path):
        for post, background in zip(*read_with_background(path, "jmere"), strict=True):
            by_post.setdefault(_key(post.id, post.tokens), []).append(background)
        return by_post
    for line in read_records(path, None, _parse, "posts with knowledge"):
        background = Background(line.captions, line.knowledge)
        by_post.setdefault(_key(line.id, [line.text]), []).append(background)
    return by_post


def knowledge_for(posts: Sequence[Post], path: str | Path) -> list[Background | None]:
    """The captions and knowledge of each post, None where the file has none of it.

    Posts are found by id and text; the second post of the same id and text gets the second record, if there is one.

    Raises:
        InputError: As `read_knowledge`, or the file has nothing of any of the posts.
    """
    by_post = read_knowledge(path)
    backgrounds: list[Background | None] = []
    for post in posts:
        records = by_post.get(_key(post.id, post.tokens))
        backgrounds.append(None if records is None else records[0] if len(records) == 1 else records.pop(0))
    missing = sum(background is None for background in backgrounds)
    if posts and missing == len(posts):
        reason = (
            f"the file has knowledge of no post here, of {counted(len(posts), 'post')}; is it that of another split?"
        )
        raise InputError(reason, path)
    if missing:
        logger.warning("%s: no knowledge of %d of %s is recorded", path, missing, counted(len(posts), "post"))
    return backgrounds


def _is_published(path: Path) -> bool:
    """Whether the first line begins a JSON list or is a published record; what is wrong with it is for its reader."""
    first = opening(path)
    if first.startswith("["):
        return True
    try:
        return "token" in parse_json_object(first)
    except InputError:
        return False


def _key(id: str, tokens: Sequence[str]) -> _Key:
    return id, text_identity(tokens)


def _parse(line: str) -> _Line:
    return read_record(_Line, parse_json_object(line), "the line", within=True)

"""Knowledge ingestion (KECPM, stage 2): question, answer, self-reflection, revised answer, for many posts."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from promu.corpora.formats import read_with_background
from promu.corpora.jmere import Background
from promu.errors import InputError
from promu.files import filled_lines, parse_json_object, read_line_records, shorten, write_lines
from promu.llm.answers import AnswerFault, Fault, json_of, places
from promu.llm.client import Client, run_all
from promu.llm.exemplars import Exemplar, text_identity
from promu.llm.messages import CHARACTERS_PER_TOKEN, Message, Request, load_template
from promu.schema import Post

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
) -> list[PostKnowledge]:
    """Ask about every post, so many at a time.

    Raises:
        InputError: As `knowledge_of`; what was answered is in the store, so that the same call goes on from there.
    """

    def one(index: int) -> PostKnowledge:
        return knowledge_of(client, prompts, posts[index], exemplars[index], asking)

    return run_all(range(len(posts)), one, concurrency, stopped, f"asking {asking.model}")


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


logger = logging.getLogger(__name__)

_KEYS = ("id", "text", "captions", "knowledge", "about", "first", "exemplars", "state", "reason")

_Key = tuple[str, str]
"""Id and text: posts share images, and thus ids."""


def write_knowledge(
    path: str | Path,
    posts: Sequence[Described],
    found: Sequence[PostKnowledge],
    exemplars: Sequence[Sequence[str]],
) -> None:
    """Write one line a post, atomically.

    Args:
        path: The file.
        posts: The posts.
        found: What came of each.
        exemplars: Ids of the exemplars that each was shown.
    """
    write_lines(
        path, [json.dumps(_record(*each), ensure_ascii=False) for each in zip(posts, found, exemplars, strict=True)]
    )


def read_recorded(path: str | Path) -> dict[_Key, list[Background]]:
    """Read a file of knowledge: ours, or a published one with its captions, as a JSON list or as JSON lines.

    Returns:
        Captions and knowledge by id and text; where a post occurs more than once, in the order of the file.

    Raises:
        InputError: The file is missing, empty or malformed.
    """
    path = Path(path)
    pairs: Iterable[tuple[_Key, Background]]
    if _is_published(path):
        published = zip(*read_with_background(path, "jmere"), strict=True)
        pairs = ((_key(post.id, post.tokens), each) for post, each in published)
    else:
        pairs = read_line_records(path, None, lambda line: _parse(parse_json_object(line)), "posts with knowledge")
    found: dict[_Key, list[Background]] = {}
    for key, background in pairs:
        found.setdefault(key, []).append(background)
    return found


def knowledge_for(posts: Sequence[Post], path: str | Path) -> list[Background | None]:
    """The recorded captions and knowledge of each post, None where the file has none of it.

    Posts are known by id and text; the second post of the same id and text gets the second record, if there is one.

    Raises:
        InputError: As `read_recorded`, or the file has nothing of any of the posts.
    """
    recorded = read_recorded(path)
    used: dict[_Key, int] = {}
    result: list[Background | None] = []
    for post in posts:
        key = _key(post.id, post.tokens)
        records = recorded.get(key)
        if records is None:
            result.append(None)
            continue
        number = used.get(key, 0)
        used[key] = number + 1
        result.append(records[min(number, len(records) - 1)])
    missing = sum(background is None for background in result)
    if posts and missing == len(posts):
        raise InputError(
            f"the file has knowledge of none of the {len(posts)} posts; is it that of another split?", path
        )
    if missing:
        logger.warning("%s: no knowledge of %d of %d posts is recorded", path, missing, len(posts))
    return result


def _is_published(path: Path) -> bool:
    """Whether the first line begins a JSON list or is a published record; what is wrong with it is for its reader."""
    first = next((line for _, line in filled_lines(path, []) if line is not None), "").lstrip()
    if first.startswith("["):
        return True
    try:
        return "token" in parse_json_object(first)
    except InputError:
        return False


def _key(id: str, tokens: Sequence[str]) -> _Key:
    return id, text_identity(tokens)


def _record(post: Described, found: PostKnowledge, exemplars: Sequence[str]) -> dict[str, Any]:
    record = {
        "id": post.id,
        "text": " ".join(post.tokens),
        "captions": list(post.captions),
        "knowledge": [fact.sentence for fact in found.knowledge],
        "about": [fact.about for fact in found.knowledge],
        "first": [fact.sentence for fact in found.first],
        "exemplars": list(exemplars),
        "state": found.state,
    }
    if found.state != "answered" and found.faults:
        record["reason"] = f"{found.faults[-1].kind}: {found.faults[-1].reason}"
    return record


def _parse(record: dict[str, Any]) -> tuple[_Key, Background]:
    unknown = sorted(set(record) - set(_KEYS))
    if unknown:
        raise InputError(f"the line has the unknown key {shorten(unknown[0])}; allowed are {', '.join(_KEYS)}")
    for key in ("id", "text"):
        if not isinstance(record.get(key), str) or not record[key]:
            raise InputError(f"{key} must be a text, found {shorten(record.get(key))}; a line has id, text, knowledge")
    for key in ("captions", "knowledge"):
        value = record.get(key, [] if key == "captions" else None)
        if not isinstance(value, list) or not all(isinstance(sentence, str) for sentence in value):
            raise InputError(f"{key} must be a list of texts, found {shorten(value)}")
    return _key(record["id"], [record["text"]]), Background(
        tuple(record.get("captions", [])), tuple(record["knowledge"])
    )

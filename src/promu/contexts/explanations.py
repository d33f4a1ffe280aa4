"""What a language model says about posts, as contexts (PGIM): one explanation a post, from a chat endpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from promu.corpora.context_files import distinct_posts, read_contexts, write_contexts
from promu.corpora.formats import read_posts
from promu.corpora.tag_schemes import SCHEME
from promu.errors import InputError, counted
from promu.files import refuse_overwriting
from promu.llm.answers import AnswerFault, AnswerStore
from promu.llm.client import Client, ParsedAnswer, Plan, Usage, ask_all
from promu.llm.llm_settings import LlmSettings
from promu.llm.messages import Message, PromptImages, Request, load_template
from promu.schema import MissingPostImage, Scheme

logger = logging.getLogger(__name__)

LONGEST = 4000
"""Characters of an explanation; a longer one is an essay."""


class ExplanationSettings(LlmSettings):
    """Explanations of posts by a model behind an endpoint. What is sent of a post is its text, never a label."""

    url: str = Field(description="Address of the endpoint, as for `promu baseline llm`.")
    model: str = Field(description="The name that the endpoint knows the model by.")
    posts: Path = Field(description="File of posts.")
    out: Path = Field(description="The file of contexts to write; the store of answers is beside it.")
    format: str = Field(default="posts", description="Of the posts.")
    scheme: Scheme = Field(default="auto", description=f"{SCHEME[0].upper()}{SCHEME[1:]}.")
    descriptions: Path | None = Field(default=None, description="File of contexts that say what the images show.")
    images: Path | None = Field(default=None, description="Folder of images that are sent too.")
    image_size: int = Field(default=768, ge=16, description="Most pixels of an image's longer side as sent.")
    missing_images: MissingPostImage = Field(default="raise", description="Missing or broken: stop, or text alone.")
    templates: Path | None = Field(
        default=None, description="Folder with an explain.txt and explain_post.txt of yours."
    )


@dataclass(frozen=True, slots=True)
class ExplanationResult:
    """What came of it: different posts, those without a usable answer by id and reason, what was sent, the file."""

    posts: int
    failed: Mapping[str, str]
    usage: Usage
    out: Path

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"posts": self.posts, "failed": dict(self.failed), **self.usage, "out": str(self.out)}


def plan_explanations(settings: ExplanationSettings) -> Plan:
    """What `explain_posts` would send; nothing is sent. Raises as that does."""
    return _Explanations(settings).plan


def explain_posts(settings: ExplanationSettings, unlimited: bool = False) -> ExplanationResult:
    """Ask a model to explain every post, and write its answers as a file of contexts by the posts' ids.

    Stopped and called again, it goes on where it was: every answer is stored. A post without a usable answer gets no
    context, and is named.

    Args:
        settings: Posts, endpoint, limits.
        unlimited: Begin without `max_cost`.

    Raises:
        InputError: Posts or images cannot be used; there is neither `max_cost` nor `unlimited`; the endpoint cannot be
            used; a limit is reached; or no answer can be used.
    """
    run = _Explanations(settings)

    def ask(client: Client, number: int) -> ParsedAnswer[str]:
        return client.ask_and_parse(run.requests[number], _explanation, settings.corrections)

    answers, usage = ask_all(run.plan, settings, settings.out.parent, list(range(len(run.ids))), ask, unlimited)
    found = dict(zip(run.ids, answers, strict=True))
    texts = {id: answer.value for id, answer in found.items() if answer.value is not None}
    failed = {id: answer.faults[-1].reason for id, answer in found.items() if answer.value is None}
    if not texts:
        raise InputError(f"no answer can be used; the first: {next(iter(failed.values()))}", settings.out)
    if failed:
        first = next(iter(failed))
        logger.warning("%s without a usable answer, such as %r: %s", counted(len(failed), "post"), first, failed[first])
    write_contexts(settings.out, "id", texts)
    return ExplanationResult(len(run.ids), failed, usage, settings.out)


def _explanation(text: str) -> str:
    """The answer as one text; raises AnswerFault."""
    text = "\n".join(line for line in map(str.strip, text.splitlines()) if line)
    if not text:
        raise AnswerFault("empty", "the answer is empty; a short explanation is needed")
    if len(text) > LONGEST:
        raise AnswerFault("too long", f"the answer has {len(text):,} characters; {LONGEST:,} at most")
    return text


class _Explanations:
    """A run before its first request."""

    def __init__(self, settings: ExplanationSettings) -> None:
        refuse_overwriting(settings.out, settings.posts, settings.descriptions)
        if not settings.out.absolute().parent.is_dir():
            raise InputError("no such folder to write to; make it first", settings.out.parent)
        images = PromptImages(settings.images, settings.image_size, settings.missing_images)
        opening = load_template("explain.txt", (), settings.templates).substitute().strip()
        question = load_template("explain_post.txt", ("text", "description"), settings.templates)
        posts = distinct_posts(read_posts(settings.posts, settings.format, scheme=settings.scheme))
        said = None if settings.descriptions is None else read_contexts(settings.descriptions)
        self.ids = list(posts)
        self.requests = []
        for post in posts.values():
            about = None if said is None else said.about(post.id, "".join(post.tokens), post.image)
            values = {"text": " ".join(post.tokens), "description": about or "(none)"}
            messages = (
                Message("system", opening),
                Message("user", question.substitute(values).strip(), images.of(post)),
            )
            self.requests.append(Request(settings.model, messages, settings.max_tokens, settings.temperature))
        left = self.requests
        if (file := settings.store_for(settings.out.parent)).is_file():
            with AnswerStore(file, read_only=True) as store:
                stored = store.get_many([request.key for request in self.requests])
            left = [request for request in self.requests if request.key not in stored]
        self.plan = Plan.of(len(self.ids), len(left), left, settings, self.requests[0].messages)

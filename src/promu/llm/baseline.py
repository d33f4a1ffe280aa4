"""Zero- and few-shot MNER and MRE by a language model, over the published formats."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from promu.corpora.conll import read_conll, write_conll
from promu.corpora.formats import find_splits
from promu.corpora.mnre import read_mnre, write_mnre
from promu.errors import InputError
from promu.evaluation.ner import NerScores, score_entities
from promu.evaluation.relation import RelationScores, score_relations
from promu.files import read_json_document, shorten, write_json
from promu.llm.answer_store import AnswerStore
from promu.llm.answers import AnswerFault, Fault, Span, find_spans, json_list, json_object, next_free_span
from promu.llm.budget import Plan
from promu.llm.client import ParsedAnswer, Usage, open_client
from promu.llm.exemplars import ShuffledExemplars
from promu.llm.llm_settings import BaselineSettings
from promu.llm.messages import Message, PromptImages, Request, label_lines, load_template, request_key
from promu.progress import map_concurrent
from promu.schema import NO_RELATION, Entity, Post

logger = logging.getLogger(__name__)

Labelled = tuple[Post, Counter[str]]
"""A post with the labels of an answer, and counts of what the answer listed and of what could not be placed."""


class EntityTask:
    """Entities of posts (CoNLL data)."""

    name, format = "ner", "conll"
    read, write, score = staticmethod(read_conll), staticmethod(write_conll), staticmethod(score_entities)

    def labels(self, posts: Sequence[Post]) -> list[str]:
        """The label names that posts use."""
        return sorted({entity.type for post in posts for entity in post.entities if entity.type})

    def question(self, post: Post) -> str:
        """The text of the question; it shows no label of the post."""
        return _template("ner_post.txt", ("text",)).substitute(text=" ".join(post.tokens)).strip()

    def solution(self, post: Post) -> str:
        """The answer that a perfect model would give, for exemplars."""
        entities = sorted(post.entities, key=lambda entity: entity.start)
        listed = [{"text": post.words(entity), "type": entity.type} for entity in entities]
        return json.dumps({"entities": listed}, ensure_ascii=False)

    def schema(self, labels: Sequence[str]) -> dict[str, Any]:
        """JSON schema of an answer."""
        entity = object_schema({"text": {"type": "string"}, "type": {"type": "string", "enum": list(labels)}})
        return object_schema({"entities": {"type": "array", "items": entity}})

    def label(self, post: Post, text: str, labels: Sequence[str]) -> Labelled:
        """The post with the labels of an answer; raises AnswerFault."""
        listed = json_list(text, "entities")
        counts: Counter[str] = Counter(entities=len(listed))
        entities: list[Entity] = []
        taken: list[Span] = []
        for number, item in enumerate(listed):
            if not isinstance(item, dict) or not isinstance(item.get("text"), str):
                raise AnswerFault("wrong shape", f'entity {number} must be an object with "text" and "type"')
            if item.get("type") not in labels:
                raise AnswerFault(
                    "wrong shape",
                    f"the type of entity {number} is {shorten(item.get('type'))}; allowed are {', '.join(labels)}",
                )
            spans = find_spans(post.tokens, item["text"])
            span = next_free_span(spans, taken)
            if span is None:
                counts["already taken" if spans else "not in the text"] += 1
                continue
            taken.append(span)
            entities.append(Entity(*span, item["type"]))
        entities.sort(key=lambda entity: entity.start)
        return replace(post, entities=tuple(entities), relations=()), counts

    def unanswered(self, post: Post) -> Post:
        """The post as predicted where no answer could be used."""
        return replace(post, entities=(), relations=())


class RelationTask:
    """Relations of given pairs (MNRE data); its methods are those of `EntityTask`."""

    name, format = "re", "mnre"
    read, write, score = staticmethod(read_mnre), staticmethod(write_mnre), staticmethod(score_relations)

    def labels(self, posts: Sequence[Post]) -> list[str]:
        names = {relation.type for post in posts for relation in post.relations}
        return [NO_RELATION, *sorted(names - {NO_RELATION})]

    def question(self, post: Post) -> str:
        relation = post.relations[0]
        pair = post.entities[relation.head], post.entities[relation.tail]
        opening: dict[int, list[str]] = {}
        closing: dict[int, list[str]] = {}
        for name, entity in zip(("E1", "E2"), pair, strict=True):
            opening.setdefault(entity.start, []).append(f"[{name}]")
            closing.setdefault(entity.end, []).insert(0, f"[/{name}]")
        words: list[str] = []
        for index in range(len(post.tokens) + 1):
            words += closing.get(index, []) + opening.get(index, []) + list(post.tokens[index : index + 1])
        head, tail = map(post.words, pair)
        template = _template("re_post.txt", ("text", "head", "tail"))
        return template.substitute(text=" ".join(words), head=head, tail=tail).strip()

    def solution(self, post: Post) -> str:
        return json.dumps({"relation": post.relations[0].type}, ensure_ascii=False)

    def schema(self, labels: Sequence[str]) -> dict[str, Any]:
        return object_schema({"relation": {"type": "string", "enum": list(labels)}})

    def label(self, post: Post, text: str, labels: Sequence[str]) -> Labelled:
        label = json_object(text).get("relation")
        if not isinstance(label, str) or label not in labels:
            raise AnswerFault("wrong shape", f'"relation" is {shorten(label)}; allowed are {", ".join(labels)}')
        return replace(post, relations=(replace(post.relations[0], type=label),)), Counter(relations=1)

    def unanswered(self, post: Post) -> Post:
        return replace(post, relations=(replace(post.relations[0], type=NO_RELATION),))


BaselineTask = EntityTask | RelationTask
TASKS: dict[str, BaselineTask] = {"ner": EntityTask(), "re": RelationTask()}
"""Task name -> BaselineTask."""

_template = cache(load_template)


def object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an object; `strict` structured output wants every property required and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class FailedPost:
    """A post without a usable answer."""

    position: int
    id: str
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """What a model made of all posts.

    Attributes:
        task, settings: What was asked for.
        posts: Every post with the model's labels; a failed one without entities, or with the relation `None`.
        scores: Of all posts, failed ones too.
        failed: The posts without a usable answer.
        faults: Unusable answers by kind, also those that a correction made good.
        placed: What answers listed, and how much of it is "not in the text" or "already taken" by an earlier entity.
        labels: The labels that the model chose from.
        images: How many posts were sent with an image, how many as text alone, how many images were missing or broken.
        usage: Requests, tokens and money.
        predictions: The file that the posts were written to.
    """

    task: str
    settings: BaselineSettings
    posts: list[Post]
    scores: NerScores | RelationScores
    failed: list[FailedPost]
    faults: dict[str, int]
    placed: dict[str, int]
    labels: list[str]
    images: dict[str, int]
    usage: Usage
    predictions: Path

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; without the posts."""
        return {
            "task": self.task,
            # without the place where a key may stand by mistake
            "settings": self.settings.model_dump(mode="json", exclude={"key_variable"}),
            "posts": len(self.posts),
            "answered": len(self.posts) - len(self.failed),
            "failed": [asdict(failed) for failed in self.failed],
            "faults": self.faults,
            "placed": self.placed,
            "labels": self.labels,
            "images": self.images,
            **self.usage,
            "predictions": str(self.predictions),
            "scores": self.scores.to_dict(),
        }


def plan_baseline(name: Literal["ner", "re"], settings: BaselineSettings) -> Plan:
    """What `run_baseline` would send; nothing is sent.

    Raises:
        InputError: As `run_baseline`.
    """
    return _Baseline(TASKS[name], settings).plan


def run_baseline(name: Literal["ner", "re"], settings: BaselineSettings, unlimited: bool = False) -> BaselineResult:
    """Ask a model about every post, and score its answers.

    Writes `predictions/<name of the data file>` and `result.json` to `settings.out`. Stopped and called again, it goes
    on where it was: every answer is stored.

    Args:
        name: `ner` (CoNLL data) or `re` (MNRE data).
        settings: Posts, exemplars, endpoint, limits.
        unlimited: Begin without `max_cost`.

    Raises:
        InputError: Data or images cannot be used; there is neither `max_cost` nor `unlimited`; the endpoint cannot be
            used; or a limit is reached.
    """
    run = _Baseline(TASKS[name], settings)
    run.plan.check_allowed(settings.max_cost, unlimited)
    settings.out.mkdir(parents=True, exist_ok=True)
    if run.plan.requests:
        logger.info("sending %s", run.plan)
    with open_client(settings, run.store) as client:

        def ask(index: int) -> ParsedAnswer[Labelled]:
            post = run.posts[index]
            return client.ask_and_parse(
                run.requests[index], lambda text: run.task.label(post, text, run.labels), settings.corrections
            )

        answers = map_concurrent(
            range(len(run.posts)), ask, settings.concurrency, client.stopped, f"asking {settings.model}"
        )
        usage = client.usage()
    result = run.result(answers, usage)
    write_json(settings.out / "result.json", result.to_dict())
    return result


class _Baseline:
    """A run before its first request: posts, labels, one request a post, and the plan."""

    def __init__(self, task: BaselineTask, settings: BaselineSettings) -> None:
        self.task, self.settings = task, settings
        self.store = settings.store or settings.out / "llm.sqlite"
        self.images = PromptImages(settings.images, settings.image_size, settings.missing_images)
        self.data, train_file = _data_files(task, settings)
        self.posts = task.read(self.data)
        train = [] if train_file is None else task.read(train_file)
        meanings = None if settings.labels is None else _read_meanings(settings.labels)
        self.labels = task.labels(train) if meanings is None else list(meanings)
        if not self.labels:
            raise InputError("no labels to choose from; give --train with labelled posts, or --labels", train_file)
        if settings.shots and (unknown := ", ".join(sorted(set(task.labels(train)) - set(self.labels)))):
            raise InputError(f"exemplars have labels that --labels lacks: {unknown}; add them", settings.labels)
        if missing := sorted(set(task.labels(self.posts)) - set(self.labels)):
            logger.warning("the model is not offered %d labels that the gold has: %s", len(missing), ", ".join(missing))
        self.requests = build_requests(task, self.posts, train, self.labels, self.images, settings, meanings)
        keys = [request_key(request.to_json()) for request in self.requests]
        stored: set[str] = set()
        if self.store.is_file():
            with AnswerStore(self.store, read_only=True) as store:
                stored = set(store.get_many(list(dict.fromkeys(keys))))
        left = [request for key, request in zip(keys, self.requests, strict=True) if key not in stored]
        complete = len(self.requests) - len(left)
        self.plan = Plan.of(len(self.posts), complete, left, settings, self.requests[0].messages)

    def result(self, answers: Sequence[ParsedAnswer[Labelled]], usage: Usage) -> BaselineResult:
        """Write and score the predictions."""
        predicted: list[Post] = []
        failed: list[FailedPost] = []
        placed: Counter[str] = Counter()
        for position, (post, answer) in enumerate(zip(self.posts, answers, strict=True)):
            if answer.value is None:
                failed.append(FailedPost(position, post.id, answer.faults))
                predicted.append(self.task.unanswered(post))
            else:
                predicted.append(answer.value[0])
                placed.update(answer.value[1])
        if failed:
            logger.warning(
                f"{len(failed)} of {len(predicted)} posts have no usable answer and count as if nothing was found in "
                f"them; result.json names each with its reason, the first is post {failed[0].position + 1}: "
                f"{failed[0].faults[-1].reason}"
            )
        file = self.settings.out / "predictions" / self.data.name
        file.parent.mkdir(exist_ok=True)
        self.task.write(file, predicted)
        return BaselineResult(
            task=self.task.name,
            settings=self.settings,
            posts=predicted,
            scores=self.task.score(self.posts, predicted),
            failed=failed,
            faults=dict(Counter(fault.kind for answer in answers for fault in answer.faults)),
            placed=dict(placed),
            labels=self.labels,
            images=self.images.counts(self.posts),
            usage=usage,
            predictions=file,
        )


def build_requests(
    task: BaselineTask,
    posts: Sequence[Post],
    train: Sequence[Post],
    labels: Sequence[str],
    images: PromptImages,
    settings: BaselineSettings,
    meanings: Mapping[str, str] | None = None,
) -> list[Request]:
    """One request a post; exemplars stand before the question as earlier turns, with their images.

    Args:
        task: MNER or MRE.
        posts: The posts asked about; their labels are not shown.
        train: Where exemplars come from.
        labels: The labels to choose from.
        images: The images of both.
        settings: Model, exemplars, and parameters of the answer.
        meanings: Meaning by label, beside those that come with the package.

    Raises:
        InputError: There are too few training posts, or an image cannot be used.
    """
    system = load_template(f"{task.name}.txt", ("labels",))
    opening = Message("system", system.substitute(labels=label_lines(labels, meanings)).strip())
    exemplars = ShuffledExemplars(train, lambda post: set(task.labels([post])), settings.shots, settings.seed)
    schema = task.schema(labels)

    def question(post: Post) -> Message:
        return Message("user", task.question(post), images.of(post))

    requests = []
    for post in posts:
        messages = [opening]
        for exemplar in exemplars.for_post(post):
            messages += [question(exemplar), Message("assistant", task.solution(exemplar))]
        messages.append(question(post))
        requests.append(Request(settings.model, tuple(messages), settings.max_tokens, settings.temperature, schema))
    return requests


def _data_files(task: BaselineTask, settings: BaselineSettings) -> tuple[Path, Path | None]:
    """The file asked about and the training file."""
    data, train = settings.data, settings.train
    if data.is_dir():
        splits = dict(find_splits(data, task.format))
        if settings.split not in splits:
            raise InputError(f"the folder has no {settings.split} split, only {', '.join(splits)}", data)
        data, train = splits[settings.split], train or splits.get("train")
    if train is None and (settings.shots or settings.labels is None):
        raise InputError("labels and exemplars come from training posts; give --train, or --labels and no --shots")
    return data, train


def _read_meanings(path: Path) -> dict[str, str]:
    meanings = read_json_document(path)
    if not isinstance(meanings, dict) or not meanings or not all(isinstance(text, str) for text in meanings.values()):
        raise InputError(f"an object of meaning by label is expected, found {shorten(meanings)}", path)
    return meanings

"""Zero- and few-shot MNER and MRE by a language model, over the published formats."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from promu.corpora.context_files import add_contexts
from promu.corpora.formats import find_splits
from promu.corpora.labelled import read_labelled, write_labelled
from promu.errors import InputError, counted
from promu.evaluation.leaks import refuse_leaks
from promu.evaluation.ner import NerScores, score_entities
from promu.evaluation.relation import RelationScores, score_relations
from promu.files import read_json_document, shorten, write_json
from promu.llm.answers import AnswerFault, AnswerStore, Fault, Span, find_spans, json_list, json_object, next_free_span
from promu.llm.client import Client, ParsedAnswer, Plan, Usage, ask_all
from promu.llm.exemplars import shuffled_exemplars
from promu.llm.llm_settings import BaselineSettings
from promu.llm.messages import Message, PromptImages, Request, label_lines, load_template
from promu.schema import NO_RELATION, Entity, Post

logger = logging.getLogger(__name__)

Labelled = tuple[Post, Counter[str]]
"""A post with the labels of an answer, and counts of what the answer listed and of what could not be placed."""


class EntityTask:
    """Entities of posts (CoNLL data)."""

    name, format = "ner", "conll"
    read, write = staticmethod(partial(read_labelled, "ner")), staticmethod(partial(write_labelled, "ner"))
    score = staticmethod(score_entities)

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
                reason = f"the type of entity {number} is {shorten(item.get('type'))}; allowed are {', '.join(labels)}"
                raise AnswerFault("wrong shape", reason)
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
    read, write = staticmethod(partial(read_labelled, "re")), staticmethod(partial(write_labelled, "re"))
    score = staticmethod(score_relations)

    def labels(self, posts: Sequence[Post]) -> list[str]:
        names = {relation.type for post in posts for relation in post.relations}
        return [NO_RELATION, *sorted(names - {NO_RELATION})]

    def question(self, post: Post) -> str:
        head, tail = (post.entities[index] for index in (post.relations[0].head, post.relations[0].tail))
        words = list(post.tokens)
        for name, entity in (("E2", tail), ("E1", head)):  # the last is outside where they begin or end together
            words[entity.start] = f"[{name}] {words[entity.start]}"
            words[entity.end - 1] += f" [/{name}]"
        template = _template("re_post.txt", ("text", "head", "tail"))
        return template.substitute(text=" ".join(words), head=post.words(head), tail=post.words(tail)).strip()

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
TOOLS = {"caption": "Caption of the image", "objects": "Objects in the image", "ocr": "Text in the image"}
"""How a prompt calls what a tool says; another tool is called by its name."""
OF_TOOLS = (
    "Below the text stands what tools have found in the image. Tools err, and their words are no part of the text: "
    "what you copy comes from the text alone."
)
"""What the system message says of tools."""

_template = cache(load_template)


def object_schema(properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an object; `strict` structured output wants every property required and no other."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """What a model made of all posts.

    Attributes:
        posts: Every post with the model's labels; a failed one without entities, or with the relation `None`.
        scores: Of all posts, failed ones too.
        failed: What was wrong with each answer, by the position of a post without a usable one.
        faults: Unusable answers by kind, also those that a correction made good.
        placed: What answers listed, and how much of it is "not in the text" or "already taken" by an earlier entity.
        labels: The labels that the model chose from.
        images: How many posts were sent with an image, how many as text alone, how many images were missing or broken.
        tools: How many posts were sent with the text of each tool.
        predictions: The file that the posts were written to.
    """

    task: str
    settings: BaselineSettings
    posts: list[Post]
    scores: NerScores | RelationScores
    failed: dict[int, tuple[Fault, ...]]
    faults: dict[str, int]
    placed: dict[str, int]
    labels: list[str]
    images: dict[str, int]
    tools: dict[str, int]
    usage: Usage
    predictions: Path

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; without the posts."""
        failed = [
            {"position": position, "id": self.posts[position].id, "faults": list(map(asdict, faults))}
            for position, faults in self.failed.items()
        ]
        return {
            # without the place where a key may stand by mistake
            "settings": self.settings.model_dump(mode="json", exclude={"key_variable"}),
            **{name: getattr(self, name) for name in ("task", "faults", "placed", "labels", "images", "tools")},
            "posts": len(self.posts),
            "answered": len(self.posts) - len(failed),
            "failed": failed,
            **self.usage,
            "predictions": str(self.predictions),
            "scores": self.scores.to_dict(),
        }


def plan_baseline(name: Literal["ner", "re"], settings: BaselineSettings) -> Plan:
    """What `run_baseline` would send; nothing is sent. Raises as that does."""
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
    result_file = settings.out / "result.json"
    if result_file.is_file():
        earlier = read_json_document(result_file)
        if (earlier["task"], earlier["settings"]["data"]) != (name, str(settings.data)):
            reason = f"this folder holds the answers about {earlier['settings']['data']}"
            raise InputError(f"{reason}; name another folder, out=", settings.out)

    def ask(client: Client, index: int) -> ParsedAnswer[Labelled]:
        parse = partial(run.task.label, run.posts[index], labels=run.labels)
        return client.ask_and_parse(run.requests[index], parse, settings.corrections)

    result = run.result(*ask_all(run.plan, settings, settings.out, list(range(len(run.posts))), ask, unlimited))
    write_json(result_file, result.to_dict())
    return result


class _Baseline:
    """A run before its first request: posts, labels, one request a post, and the plan."""

    def __init__(self, task: BaselineTask, settings: BaselineSettings) -> None:
        self.task, self.settings = task, settings
        self.images = PromptImages(settings.images, settings.image_size, settings.missing_images)
        self.data, train_file = _data_files(task, settings)
        read = partial(task.read, format=settings.format, scheme=settings.scheme)
        self.posts = read(self.data)
        train = [] if train_file is None else read(train_file)
        meanings = None if settings.labels is None else _read_meanings(settings.labels)
        self.labels = task.labels(train) if meanings is None else list(meanings)
        if not self.labels:
            raise InputError("no labels to choose from; give train= with labelled posts, or labels=", train_file)
        if settings.shots and (unknown := ", ".join(sorted(set(task.labels(train)) - set(self.labels)))):
            raise InputError(f"exemplars have labels that labels= lacks: {unknown}; add them", settings.labels)
        if missing := sorted(set(task.labels(self.posts)) - set(self.labels)):
            logger.warning(
                "the gold has %s that the model is not offered: %s", counted(len(missing), "label"), ", ".join(missing)
            )
        asked, shown = self.posts, train
        self.tools: dict[str, int] = {}
        if settings.tools:
            splits, _ = add_contexts({"asked": asked, "shown": shown}, dict(settings.tools))
            asked, shown = splits["asked"], splits["shown"]
            refuse_leaks([*asked, *shown], str(self.data), "leave the tool out")
            self.tools = {name: sum(name in post.contexts for post in asked) for name in settings.tools}
        self.requests = build_requests(task, asked, shown, self.labels, self.images, settings, meanings)
        stored: Collection[str] = ()
        if (file := settings.store_for(settings.out)).is_file():
            with AnswerStore(file, read_only=True) as store:
                stored = store.get_many([request.key for request in self.requests])
        left = [request for request in self.requests if request.key not in stored]
        self.plan = Plan.of(len(self.posts), len(left), left, settings, self.requests[0].messages)

    def result(self, answers: Sequence[ParsedAnswer[Labelled]], usage: Usage) -> BaselineResult:
        """Write and score the predictions."""
        predicted: list[Post] = []
        failed: dict[int, tuple[Fault, ...]] = {}
        placed: Counter[str] = Counter()
        for position, (post, answer) in enumerate(zip(self.posts, answers, strict=True)):
            labelled, counts = answer.value or (self.task.unanswered(post), Counter[str]())
            predicted.append(labelled)
            placed.update(counts)
            if answer.value is None:
                failed[position] = answer.faults
        if failed:
            first = min(failed)
            posts = counted(len(predicted), "post")
            logger.warning(
                f"{len(failed)} of {posts} without a usable answer, counted as if nothing was found in them; "
                f"result.json names each with its reason, the first is post {first + 1}: "
                f"{failed[first][-1].reason}"
            )
        file = self.settings.out / "predictions" / self.data.name
        file.parent.mkdir(exist_ok=True)
        self.task.write(file, predicted, self.settings.format)
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
            tools=self.tools,
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

    Labels of `posts` are not shown; exemplars come from `train`. The `labels` are those to choose from; `meanings` add
    to the meanings that come with the package.

    Raises:
        InputError: There are too few training posts, or an image cannot be used.
    """
    system = load_template(f"{task.name}.txt", ("labels",))
    opening = Message(
        "system",
        system.substitute(labels=label_lines(labels, meanings)).strip() + (f"\n\n{OF_TOOLS}" if settings.tools else ""),
    )
    exemplars = shuffled_exemplars(train, lambda post: set(task.labels([post])), settings.shots, settings.seed)
    schema = task.schema(labels)

    def question(post: Post) -> Message:
        said = [
            f"{TOOLS.get(name, name)}: {' '.join(text.split())}"
            for name in settings.tools
            if (text := post.contexts.get(name))
        ]
        return Message("user", "\n".join([task.question(post), *said]), images.of(post))

    requests = []
    for post in posts:
        messages = [opening]
        for exemplar in exemplars(post):
            messages += [question(exemplar), Message("assistant", task.solution(exemplar))]
        messages.append(question(post))
        requests.append(Request(settings.model, tuple(messages), settings.max_tokens, settings.temperature, schema))
    return requests


def _data_files(task: BaselineTask, settings: BaselineSettings) -> tuple[Path, Path | None]:
    """The file asked about and the training file."""
    data, train = settings.data, settings.train
    if data.is_dir():
        splits = dict(find_splits(data, settings.format or task.format))
        if settings.split not in splits:
            raise InputError(f"the folder has no {settings.split} split, only {', '.join(splits)}", data)
        data, train = splits[settings.split], train or splits.get("train")
    if train is None and (settings.shots or settings.labels is None):
        raise InputError("labels and exemplars come from training posts; give train=, or labels= and no shots=")
    return data, train


def _read_meanings(path: Path) -> dict[str, str]:
    meanings = read_json_document(path)
    if not isinstance(meanings, dict) or not meanings or not all(isinstance(text, str) for text in meanings.values()):
        raise InputError(f"an object of meaning by label is expected, found {shorten(meanings)}", path)
    return meanings

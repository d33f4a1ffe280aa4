"""`promu baseline llm`: what a language model makes of the posts, without training."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App, Parameter

from promu.cli.console import note, print_json, print_table, progress_bar
from promu.cli.scoring import print_entity_scores, print_relation_scores
from promu.errors import InputError

if TYPE_CHECKING:
    from promu.evaluation.ner import NerScores
    from promu.evaluation.relation import RelationScores
    from promu.knowledge.baseline import Predictions
    from promu.knowledge.budget import Budget, Prices
    from promu.knowledge.client import Client
    from promu.knowledge.endpoint import EndpointSettings
    from promu.knowledge.estimate import Estimate
    from promu.knowledge.messages import Request
    from promu.schema import Post

app = App(name="baseline", help="What systems that promu does not train make of the same data.")
llm = App(name="llm", help="Ask a language model behind an OpenAI-compatible endpoint, zero- or few-shot.")
app.command(llm)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LlmOptions:
    """What `promu baseline llm ner` and `promu baseline llm re` are given.

    Args:
        data: File with the gold, or the folder of a whole set, of which --split is asked about.
        endpoint: Its address, such as http://localhost:8000/v1. The key comes from the environment.
        model: The name the endpoint knows the model by.
        out: Folder for predictions/, result.json and, unless --store says otherwise, llm.sqlite.
        split: Which split of a folder.
        train: Training file: labels and exemplars come from it. By default the train split of a folder.
        labels: JSON file, an object of meaning by label, in place of the labels of the training posts.
        shots: Exemplars before each question.
        seed: Of the choice of exemplars.
        images: Folder of the posts' pictures; without it the posts are asked about by their text alone.
        picture_size: Pixels of a picture's longer side as sent, at most.
        missing_pictures: What a missing or broken picture does: stop, or have its post asked about as text.
        store: SQLite file of answers, shared by runs; nothing in it is asked for again.
        key_variable: Environment variable with the endpoint's key.
        max_tokens: Longest answer.
        temperature: 0 for the likeliest answer.
        corrections: How often an unusable answer is asked for again, the fault being said to the model.
        concurrency: Questions under way at once.
        timeout: Seconds without a byte after which a request is tried again.
        patience: Seconds that faults of the endpoint are waited out before the run stops.
        price_prompt: Money per million tokens of prompts.
        price_answer: Money per million tokens of answers.
        max_cost: Most money that this run may spend; lets it begin.
        max_requests: Most requests that this run may send.
        yes: Begin without a limit on the cost.
        dry_run: Show the first prompt and what the run would cost, and ask nothing.
        json: Print JSON instead of tables.
    """

    data: Path
    endpoint: str
    model: str
    out: Path
    split: Literal["train", "valid", "test"] = "test"
    train: Path | None = None
    labels: Path | None = None
    shots: int = 0
    seed: int = 0
    images: Path | None = None
    picture_size: int = 768
    missing_pictures: Literal["error", "text-only"] = "error"
    store: Path | None = None
    key_variable: str = "PROMU_LLM_KEY"
    max_tokens: int = 512
    temperature: float = 0.0
    corrections: int = 2
    concurrency: int = 8
    timeout: float = 120.0
    patience: float = 600.0
    price_prompt: float | None = None
    price_answer: float | None = None
    max_cost: float | None = None
    max_requests: int | None = None
    yes: bool = False
    dry_run: bool = False
    json: bool = False


@llm.command(name="ner")
def llm_ner(options: LlmOptions) -> None:
    """Entities of posts (CoNLL data), written so that `promu score ner` reads them."""
    _ask("ner", options)


@llm.command(name="re")
def llm_re(options: LlmOptions) -> None:
    """Relations of given pairs (MNRE data), written so that `promu score re` reads them."""
    _ask("re", options)


def _ask(name: Literal["ner", "re"], options: LlmOptions) -> None:
    from promu.knowledge.baseline import BaselineSettings, build_requests, predict
    from promu.knowledge.baseline_tasks import TASKS
    from promu.knowledge.budget import Budget
    from promu.knowledge.client import Client
    from promu.knowledge.endpoint import Endpoint, EndpointSettings
    from promu.knowledge.prompt_pictures import PromptPictures
    from promu.knowledge.store import Store

    task = TASKS[name]
    endpoint = EndpointSettings(options.endpoint, options.key_variable, options.timeout, options.patience)
    settings = BaselineSettings(
        options.model,
        options.shots,
        options.seed,
        options.max_tokens,
        options.temperature,
        options.corrections,
        options.concurrency,
    )
    prices = _prices(options)
    budget = Budget(prices, options.max_cost, options.max_requests)
    pictures = PromptPictures(options.images, options.picture_size, options.missing_pictures)
    data, train_file = _files(name, options)
    posts = task.read(data)
    train = [] if train_file is None else task.read(train_file)
    meanings = None if options.labels is None else _meanings(options.labels)
    labels = list(meanings) if meanings is not None else task.labels(train)
    if not labels:
        raise InputError("no labels to choose from; give --train with labelled posts, or --labels", train_file)
    _check_labels(task.labels(train) if options.shots else [], task.labels(posts), labels, options)
    requests = build_requests(task, posts, train, labels, pictures, settings, meanings)
    store_path = options.store or options.out / "llm.sqlite"
    expected = _estimate(requests, store_path, prices)
    if options.dry_run:
        _show_plan(requests, expected, endpoint, options)
        return
    _allow(expected, options)
    options.out.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    with Store(store_path) as store, Endpoint(endpoint, budget, stopped) as line:
        client = Client(store, line, budget, stopped)
        with progress_bar(f"asking {options.model}") as advance:
            answers = predict(client, task, posts, requests, labels, settings, stopped, advance)
        result = {
            "task": name,
            "data": str(data),
            "train": None if train_file is None else str(train_file),
            "model": options.model,
            "endpoint": endpoint.address,
            "shots": options.shots,
            "seed": options.seed,
            "temperature": options.temperature,
            "labels": labels,
            "pictures": {**pictures.counts(posts), "longest side": options.picture_size},
            **_record(answers, client, budget, dict(line.retries)),
        }
    _finish(name, options, posts, answers, data, result)


def _finish(
    name: Literal["ner", "re"],
    options: LlmOptions,
    posts: list[Post],
    answers: Predictions,
    data: Path,
    result: dict[str, Any],
) -> None:
    """Write predictions and result, score and print."""
    from promu.evaluation.ner import NerScores
    from promu.files import write_json
    from promu.knowledge.baseline_tasks import TASKS

    predictions = options.out / "predictions" / data.name
    predictions.parent.mkdir(exist_ok=True)
    TASKS[name].write(predictions, answers.posts)
    scores = _scores(name, posts, answers.posts)
    result = {**result, "predictions": str(predictions), "scores": scores.to_dict()}
    write_json(options.out / "result.json", result)
    if answers.failed:
        note(
            f"{len(answers.failed)} of {len(posts)} posts have no usable answer and count as if nothing was found in "
            f"them; result.json names each with its reason, the first is post {answers.failed[0].position + 1}: "
            f"{answers.failed[0].faults[-1].reason}"
        )
    if options.json:
        print_json(result)
        return
    if isinstance(scores, NerScores):
        print_entity_scores(scores)
    else:
        print_relation_scores(scores)
    cost = result["cost"]
    shown = {
        "posts": len(posts),
        "failed": len(answers.failed),
        **result["placed"],
        **{f"unusable answers, {kind}": count for kind, count in answers.faults.items()},
        **result["requests"],
        "prompt tokens": result["tokens"]["prompt"],
        "answer tokens": result["tokens"]["answer"],
        "cost": "no prices given" if cost is None else f"{cost:.4f}",
    }
    print_table(options.model, ["", ""], [[key, str(value)] for key, value in shown.items()])


def _scores(name: Literal["ner", "re"], gold: list[Post], predicted: list[Post]) -> NerScores | RelationScores:
    from promu.evaluation.ner import score_entities
    from promu.evaluation.relation import score_relations

    return score_entities(gold, predicted) if name == "ner" else score_relations(gold, predicted)


def _record(answers: Predictions, client: Client, budget: Budget, retries: dict[str, int]) -> dict[str, Any]:
    """What a run did, ready for JSON."""
    return {
        "posts": len(answers.posts),
        "answered": len(answers.posts) - len(answers.failed),
        "failed": [
            {
                "position": failed.position,
                "id": failed.id,
                "faults": [{"kind": fault.kind, "reason": fault.reason} for fault in failed.faults],
            }
            for failed in answers.failed
        ],
        "faults": answers.faults,
        "placed": answers.placed,
        "requests": {"sent": budget.sent, **client.counts, **{f"repeated, {why}": n for why, n in retries.items()}},
        "tokens": {"prompt": budget.prompt_tokens, "answer": budget.completion_tokens},
        "cost": budget.cost,
    }


def _prices(options: LlmOptions) -> Prices | None:
    from promu.knowledge.budget import Prices

    if (options.price_prompt is None) != (options.price_answer is None):
        raise InputError("give both --price-prompt and --price-answer, or neither")
    if options.price_prompt is None or options.price_answer is None:
        if options.max_cost is not None:
            raise InputError("--max-cost needs --price-prompt and --price-answer, money per million tokens")
        return None
    return Prices(options.price_prompt, options.price_answer)


def _files(name: str, options: LlmOptions) -> tuple[Path, Path | None]:
    """The file asked about and the training file."""
    from promu.corpora.formats import find_splits

    data, train = options.data, options.train
    if data.is_dir():
        splits = dict(find_splits(data, "conll" if name == "ner" else "mnre"))
        if options.split not in splits:
            raise InputError(f"the folder has no {options.split} split, only {', '.join(splits)}", data)
        data, train = splits[options.split], train or splits.get("train")
    if train is None and (options.shots or options.labels is None):
        raise InputError("labels and exemplars come from training posts; give --train, or --labels and no --shots")
    return data, train


def _check_labels(exemplars: list[str], gold: list[str], labels: list[str], options: LlmOptions) -> None:
    """Refuse exemplars with labels that may not be chosen; say which of the gold's cannot be found."""
    strange = sorted(set(exemplars) - set(labels))
    if strange:
        raise InputError(f"exemplars have labels that --labels lacks: {', '.join(strange)}; add them", options.labels)
    unknown = sorted(set(gold) - set(labels))
    if unknown:
        note(f"the model is not offered {len(unknown)} labels that the gold has: {', '.join(unknown)}")


def _meanings(path: Path) -> dict[str, str]:
    from promu.files import read_json_document, shorten

    value = read_json_document(path)
    if not isinstance(value, dict) or not value or not all(isinstance(text, str) for text in value.values()):
        raise InputError(f"an object of meaning by label is expected, found {shorten(value)}", path)
    return value


def _estimate(requests: list[Request], store_path: Path, prices: Prices | None) -> Estimate:
    from promu.knowledge.estimate import estimate
    from promu.knowledge.store import Store

    if not store_path.is_file():
        return estimate(requests, None, prices)
    with Store(store_path, read_only=True) as store:
        return estimate(requests, store, prices)


def _allow(expected: Estimate, options: LlmOptions) -> None:
    """Stop unless the command line lets the run begin.

    Raises:
        InputError: Neither a limit nor --yes is given, or the prompts alone cost more than the limit.
    """
    if not expected.requests:
        return
    if options.max_cost is None and not options.yes:
        raise InputError(
            f"this would send {_sentence(expected)}; say --max-cost MONEY (with prices) or --yes to begin, "
            "--dry-run to see the first prompt"
        )
    if options.max_cost is not None and expected.prompt_cost is not None and expected.prompt_cost > options.max_cost:
        raise InputError(f"--max-cost {options.max_cost:g} is less than the prompts alone: {_sentence(expected)}")
    note(f"sending {_sentence(expected)}")


def _sentence(expected: Estimate) -> str:
    kept = f"{expected.in_store} of {expected.questions} questions are answered in the store"
    return f"{expected.requests} requests ({kept}), {expected}"


def _show_plan(requests: list[Request], expected: Estimate, endpoint: EndpointSettings, options: LlmOptions) -> None:
    from dataclasses import asdict

    from promu.knowledge.estimate import HOW

    first = [message.named() for message in requests[0].messages]
    if options.json:
        print_json({**asdict(expected), "how": HOW, "endpoint": endpoint.address, "first_prompt": first})
        return
    for message in requests[0].messages:
        print(f"[{message.role}]\n{message.text}")
        for picture in message.pictures:
            print(f"(picture {picture.path}, sent as {picture.size[0]} x {picture.size[1]} JPEG)")
        print()
    print(f"{endpoint.address}: {_sentence(expected)}\n{HOW}")

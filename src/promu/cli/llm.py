"""`promu baseline llm`: what a language model makes of the posts, without training."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from promu.cli.console import note, print_json, print_table, progress_bars
from promu.cli.score import print_scores
from promu.errors import InputError
from promu.schema import MissingPostImage

if TYPE_CHECKING:
    from promu.evaluation.scoring import Scores
    from promu.kecpm.kecpm_recipe import KnowledgeRecipe
    from promu.kecpm.knowledge import Asking, Described, KnowledgePrompts, PostKnowledge
    from promu.llm.baseline import Predictions
    from promu.llm.budget import Budget, Estimate, Prices
    from promu.llm.client import Client
    from promu.llm.endpoint import EndpointSettings
    from promu.llm.exemplars import Exemplar
    from promu.llm.messages import Request
    from promu.schema import Post

baseline_app = App(name="baseline", help="What systems that promu does not train make of the same data.")
llm = App(name="llm", help="Ask a language model behind an OpenAI-compatible endpoint, zero- or few-shot.")
baseline_app.command(llm)


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
        images: Folder of the posts' images; without it the posts are asked about by their text alone.
        image_size: Pixels of an image's longer side as sent, at most.
        missing_images: What a missing or broken image does: stop, or have its post asked about as text.
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
    image_size: int = 768
    missing_images: MissingPostImage = "raise"
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
    from promu.llm.answer_store import Store
    from promu.llm.baseline import TASKS, BaselineSettings, build_requests, predict
    from promu.llm.budget import Budget
    from promu.llm.client import Client
    from promu.llm.endpoint import Endpoint, EndpointSettings
    from promu.llm.messages import PromptImages

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
    images = PromptImages(options.images, options.image_size, options.missing_images)
    data, train_file = _files(name, options)
    posts = task.read(data)
    train = [] if train_file is None else task.read(train_file)
    meanings = None if options.labels is None else _meanings(options.labels)
    labels = list(meanings) if meanings is not None else task.labels(train)
    if not labels:
        raise InputError("no labels to choose from; give --train with labelled posts, or --labels", train_file)
    _check_labels(task.labels(train) if options.shots else [], task.labels(posts), labels, options)
    requests = build_requests(task, posts, train, labels, images, settings, meanings)
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
        with progress_bars():
            answers = predict(client, task, posts, requests, labels, settings, stopped)
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
            "images": {**images.counts(posts), "longest side": options.image_size},
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
    from promu.files import write_json
    from promu.llm.baseline import TASKS

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
    print_scores([scores])
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


def _scores(name: Literal["ner", "re"], gold: list[Post], predicted: list[Post]) -> Scores:
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
    from promu.llm.budget import Prices

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
    from promu.llm.answer_store import Store
    from promu.llm.budget import estimate

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

    from promu.llm.budget import HOW

    first = [message.named() for message in requests[0].messages]
    if options.json:
        print_json({**asdict(expected), "how": HOW, "endpoint": endpoint.address, "first_prompt": first})
        return
    for message in requests[0].messages:
        print(f"[{message.role}]\n{message.text}")
        for image in message.images:
            print(f"(image {image.path}, sent as {image.size[0]} x {image.size[1]} JPEG)")
        print()
    print(f"{endpoint.address}: {_sentence(expected)}\n{HOW}")


knowledge_app = App(
    name="knowledge", help="Background knowledge about posts (KECPM): exemplars, questions, self-reflection."
)


@knowledge_app.command(name="pool")
def pool(train: Path, /, *, out: Path, format: str = "jmere") -> None:
    """Make a pool of worked exemplars from training posts: one readable JSON line each, to be edited by hand.

    Args:
        train: File of labelled training posts, with captions and knowledge where it has them.
        out: The pool.
        format: Of the training posts.
    """
    from promu.corpora.formats import read_with_background
    from promu.llm.exemplars import make_pool, write_pool

    exemplars = make_pool(*read_with_background(train, format))
    write_pool(out, exemplars)
    print(f"{len(exemplars)} exemplars: {out}")


@knowledge_app.command(name="generate")
def generate(
    recipe: str,
    /,
    *,
    set: Annotated[list[str] | None, Parameter(negative=())] = None,
    yes: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Get background knowledge for every post of a recipe: answer, self-reflection, revised answer.

    Started again, it goes on where it stopped; nothing is asked twice.

    Args:
        recipe: A YAML file.
        set: key=value, wins over the recipe.
        yes: Begin without a limit on the cost (provider.max_cost).
        dry_run: Show the first prompt and what the run would cost, and ask nothing.
        json: Print JSON instead of tables.
    """
    from promu.config import load_recipe
    from promu.kecpm.kecpm_recipe import KnowledgeRecipe

    settings = load_recipe(recipe, KnowledgeRecipe, set or [])
    if settings.provider.source == "file":
        _copy(settings, json)
    else:
        _generate(settings, yes, dry_run, json)


@dataclass(frozen=True)
class _Posts:
    """All posts of a recipe, ready to be asked about, and how many of them are of each file."""

    sizes: list[int]
    described: list[Described]


def _copy(settings: KnowledgeRecipe, json: bool) -> None:
    """Knowledge from files: no question, no cost."""
    from promu.corpora.formats import read_with_background
    from promu.kecpm.knowledge import Described, Fact, PostKnowledge, knowledge_for

    described: list[Described] = []
    found: list[PostKnowledge] = []
    sizes = []
    for path, source in zip(settings.data.posts, settings.provider.files or [], strict=True):
        posts, _ = read_with_background(Path(path), settings.data.format)
        sizes.append(len(posts))
        for post, background in zip(posts, knowledge_for(posts, source), strict=True):
            captions = () if background is None else background.captions
            described.append(Described(post.id, post.tokens, captions))
            facts = () if background is None else tuple(Fact("", sentence) for sentence in background.knowledge)
            found.append(PostKnowledge("not recorded" if background is None else "answered", facts))
    _finish_knowledge(settings, _Posts(sizes, described), found, [()] * len(found), {"provider": "file"}, json)


def _generate(settings: KnowledgeRecipe, yes: bool, dry_run: bool, json: bool) -> None:
    """Knowledge by a model, or from the store of one."""
    from promu.kecpm.knowledge import Asking, KnowledgePrompts, first_request, reflection_placeholder, replay
    from promu.kecpm.knowledge import generate as ask
    from promu.llm.answer_store import Store
    from promu.llm.budget import Budget, Prices, estimate
    from promu.llm.client import Client
    from promu.llm.endpoint import Endpoint, EndpointSettings

    provider, out = settings.provider, Path(settings.out)
    asking = Asking(
        provider.model or "", provider.reflection, provider.max_tokens, provider.temperature, provider.corrections
    )
    prices = None
    if provider.price_prompt is not None and provider.price_answer is not None:
        prices = Prices(provider.price_prompt, provider.price_answer)
    budget = Budget(prices, provider.max_cost, provider.max_requests)
    endpoint = None
    if provider.url is not None and provider.source == "endpoint":
        endpoint = EndpointSettings(provider.url, provider.key_variable, provider.timeout, provider.patience)
    store_path = Path(provider.store) if provider.store else out / "llm.sqlite"
    pool = _pool(settings)
    prompts = KnowledgePrompts(pool, None if provider.templates is None else Path(provider.templates))
    posts = _read_posts(settings)
    chosen = _choose(settings, posts.described, pool)
    stopped = threading.Event()
    every = list(range(len(posts.described)))
    found: list[PostKnowledge | None] = [None] * len(every)
    if store_path.is_file() or endpoint is None:
        with Store(store_path, read_only=endpoint is None) as store:
            client = Client(store, None, Budget(), stopped)
            found = list(replay(client, prompts, posts.described, chosen, asking))
    left = [index for index in every if (kept := found[index]) is None or kept.state == "not recorded"]
    requests = [first_request(prompts, posts.described[index], chosen[index], asking) for index in left]
    checks = [reflection_placeholder(prompts, request) for request in requests] if asking.reflection else []
    expected = estimate([*requests, *checks], None, prices)
    if dry_run:
        _show(prompts, posts.described, chosen, asking, expected, len(every) - len(left), json)
        return
    record: dict[str, Any] = {"provider": provider.source, "model": asking.model, "reflection": asking.reflection}
    if endpoint is not None and left:
        _allow_knowledge(expected, len(left), provider.max_cost, yes)
        out.mkdir(parents=True, exist_ok=True)
        with Store(store_path) as store, Endpoint(endpoint, budget, stopped) as line:
            client = Client(store, line, budget, stopped)
            with progress_bars():
                asked = ask(
                    client,
                    prompts,
                    [posts.described[index] for index in left],
                    [chosen[index] for index in left],
                    asking,
                    provider.concurrency,
                    stopped,
                )
        for index, answer in zip(left, asked, strict=True):
            found[index] = answer
        record |= {"requests": {"sent": budget.sent, **client.counts}, "repeated": dict(line.retries)}
    record |= _spent(endpoint, budget)
    ids = [tuple(pool[number].id for number in numbers) for numbers in chosen]
    _finish_knowledge(settings, posts, [each for each in found if each is not None], ids, record, json)


def _spent(endpoint: EndpointSettings | None, budget: Budget) -> dict[str, Any]:
    if endpoint is None:
        return {}
    return {
        "endpoint": endpoint.address,
        "tokens": {"prompt": budget.prompt_tokens, "answer": budget.completion_tokens},
        "cost": budget.cost,
    }


def _pool(settings: KnowledgeRecipe) -> list[Exemplar]:
    from promu.corpora.formats import read_with_background
    from promu.kecpm.kecpm_recipe import POOL
    from promu.llm.exemplars import make_pool, read_pool, write_pool

    if not settings.exemplars.count:
        return []
    if settings.exemplars.pool is not None:
        return read_pool(settings.exemplars.pool)
    assert settings.exemplars.train is not None
    exemplars = make_pool(*read_with_background(Path(settings.exemplars.train), settings.data.format))
    Path(settings.out).mkdir(parents=True, exist_ok=True)
    write_pool(Path(settings.out) / POOL, exemplars)
    return exemplars


def _read_posts(settings: KnowledgeRecipe) -> _Posts:
    from promu.corpora.formats import read_with_background
    from promu.kecpm.knowledge import Described

    sizes, described = [], []
    for path in settings.data.posts:
        posts, backgrounds = read_with_background(Path(path), settings.data.format)
        captions = _captions(settings, posts, [background.captions for background in backgrounds])
        sizes.append(len(posts))
        described += [Described(post.id, post.tokens, each) for post, each in zip(posts, captions, strict=True)]
    return _Posts(sizes, described)


def _captions(
    settings: KnowledgeRecipe, posts: list[Post], carried: list[tuple[str, ...]]
) -> Sequence[tuple[str, ...]]:
    captions = settings.captions
    if captions.source == "data":
        return carried
    if captions.source == "none":
        return [()] * len(posts)
    from promu.hub import quiet

    quiet()
    from promu.kecpm.captioning import captions_from_file, captions_of_images, image_to_text, promu_words

    if captions.file is not None and captions.source == "file":
        return captions_from_file(posts, Path(captions.file))
    assert captions.model is not None and settings.data.images is not None
    captioner = promu_words(Path(captions.model)) if captions.source == "promu" else image_to_text(captions.model)
    with progress_bars():
        return captions_of_images(posts, Path(settings.data.images), captioner)


def _choose(settings: KnowledgeRecipe, posts: list[Described], pool: list[Exemplar]) -> list[list[int]]:
    """Exemplars of each post, by their number in the pool; as chosen before where nothing has changed."""
    if not settings.exemplars.count:
        return [[] for _ in posts]
    from promu.hub import quiet

    quiet()
    from promu.alignment.sentence_vectors import SentenceVectors
    from promu.kecpm.exemplar_choice import choose_exemplars

    with progress_bars():
        return choose_exemplars(
            posts,
            pool,
            settings.exemplars.count,
            settings.exemplars.encoder,
            lambda: SentenceVectors(settings.exemplars.encoder),
            Path(settings.out) / "choice.json",
        )


def _allow_knowledge(expected: Estimate, posts: int, max_cost: float | None, yes: bool) -> None:
    if max_cost is None and not yes:
        raise InputError(
            f"this would ask about {posts} posts: {_sentence(expected)}; set provider.max_cost (with prices) or say "
            "--yes to begin, --dry-run to see the first prompt"
        )
    if max_cost is not None and expected.prompt_cost is not None and expected.prompt_cost > max_cost:
        raise InputError(f"provider.max_cost {max_cost:g} is less than the prompts alone: {_sentence(expected)}")
    note(f"asking about {posts} posts: {_sentence(expected)}")


def _sentence_knowledge(expected: Estimate) -> str:
    return f"at most {expected.requests} requests, {expected}"


def _show(
    prompts: KnowledgePrompts,
    posts: list[Described],
    chosen: list[list[int]],
    asking: Asking,
    expected: Estimate,
    in_store: int,
    json: bool,
) -> None:
    from dataclasses import asdict

    from promu.llm.budget import HOW

    messages = [*prompts.question(posts[0], chosen[0]), *([prompts.reflect] if asking.reflection else [])]
    if json:
        shown = {"first_prompt": [message.named() for message in messages], "how": HOW}
        print_json({"posts": len(posts), "complete in the store": in_store, **shown, "expected": asdict(expected)})
        return
    for message in messages:
        print(f"[{message.role}]\n{message.text}\n")
    print(f"{len(posts)} posts, {in_store} of them complete in the store; {_sentence(expected)}\n{HOW}")


def _finish_knowledge(
    settings: KnowledgeRecipe,
    posts: _Posts,
    found: list[PostKnowledge],
    exemplars: Sequence[Sequence[str]],
    record: dict[str, Any],
    json: bool,
) -> None:
    """Write a file of knowledge for each file of posts, and the result."""
    from promu.files import write_json
    from promu.kecpm.knowledge import write_knowledge

    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    start, written = 0, []
    for path, size in zip(settings.data.posts, posts.sizes, strict=True):
        part = slice(start, start + size)
        start += size
        written.append(settings.knowledge_file(path))
        write_knowledge(written[-1], posts.described[part], found[part], exemplars[part])
    states: Counter[str] = Counter(each.state for each in found)
    placed: Counter[str] = Counter()
    for each in found:
        placed.update(each.counts or {})
    result = {
        **record,
        "recipe": settings.model_dump(exclude={"provider": {"key_variable"}}),  # where a key may stand by mistake
        "posts": len(found),
        "states": dict(states),
        "faults": dict(Counter(fault.kind for each in found for fault in each.faults if fault.kind != "not recorded")),
        "sentences": {
            "kept": sum(len(each.knowledge) for each in found),
            "posts without any": sum(not each.knowledge for each in found),
            "of all answers": placed["sentences"],
            "dropped, about another name": placed["about another name"],
            "first answers that reflection changed": sum(
                each.first != each.knowledge for each in found if each.state == "answered" and each.first
            ),
        },
        "files": [str(path) for path in written],
    }
    write_json(out / "result.json", result)
    for state, meaning in (
        ("failed", "have no usable answer"),
        ("unchecked", "keep their first answer, since none to the self-reflection was usable"),
        ("not recorded", "are not recorded, or not to the end"),
    ):
        if states[state]:
            note(f"{states[state]} of {len(found)} posts {meaning}; their lines say so")
    if json:
        print_json(result)
        return
    shown: dict[str, Any] = {
        "posts": len(found),
        **states,
        **{f"sentences, {key}" if key == "kept" else key: value for key, value in result["sentences"].items()},
        **{f"unusable answers, {kind}": count for kind, count in result["faults"].items()},
        **record.get("requests", {}),
        "cost": "no prices given" if record.get("cost") is None else f"{record['cost']:.4f}",
    }
    print_table("knowledge", ["", ""], [[key, str(value)] for key, value in shown.items()])
    print("\n".join(map(str, written)))

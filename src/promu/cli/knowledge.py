"""`promu knowledge`: background knowledge about posts, by a language model or from what was recorded."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from promu.cli.console import note, print_json, print_table, progress_bar
from promu.errors import InputError

if TYPE_CHECKING:
    from promu.knowledge.budget import Budget
    from promu.knowledge.endpoint import EndpointSettings
    from promu.knowledge.estimate import Estimate
    from promu.knowledge.generation import Asking, PostKnowledge
    from promu.knowledge.knowledge_prompts import Described, KnowledgePrompts
    from promu.knowledge.pool import Exemplar
    from promu.knowledge.recipe import KnowledgeRecipe
    from promu.schema import Post

app = App(name="knowledge", help="Background knowledge about posts (KECPM): exemplars, questions, self-reflection.")


@app.command(name="pool")
def pool(train: Path, /, *, out: Path, format: str = "jmere") -> None:
    """Make a pool of worked exemplars from training posts: one readable JSON line each, to be edited by hand.

    Args:
        train: File of labelled training posts, with captions and knowledge where it has them.
        out: The pool.
        format: Of the training posts.
    """
    from promu.corpora.background import read_with_background
    from promu.knowledge.pool import make_pool, write_pool

    exemplars = make_pool(*read_with_background(train, format))
    write_pool(out, exemplars)
    print(f"{len(exemplars)} exemplars: {out}")


@app.command(name="generate")
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
    from promu.knowledge.recipe import KnowledgeRecipe
    from promu.training.recipe_file import find_recipe, load_recipe

    settings = load_recipe(find_recipe(recipe), KnowledgeRecipe, set or [])
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
    from promu.corpora.background import read_with_background
    from promu.knowledge.generation import PostKnowledge
    from promu.knowledge.knowledge_prompts import Described, Fact
    from promu.knowledge.recorded import knowledge_for

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
    _finish(settings, _Posts(sizes, described), found, [()] * len(found), {"provider": "file"}, json)


def _generate(settings: KnowledgeRecipe, yes: bool, dry_run: bool, json: bool) -> None:
    """Knowledge by a model, or from the store of one."""
    from promu.knowledge.budget import Budget, Prices
    from promu.knowledge.client import Client
    from promu.knowledge.endpoint import Endpoint, EndpointSettings
    from promu.knowledge.estimate import estimate
    from promu.knowledge.generation import Asking, first_request, reflection_placeholder, replay
    from promu.knowledge.generation import generate as ask
    from promu.knowledge.knowledge_prompts import KnowledgePrompts
    from promu.knowledge.store import Store

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
        _allow(expected, len(left), provider.max_cost, yes)
        out.mkdir(parents=True, exist_ok=True)
        with Store(store_path) as store, Endpoint(endpoint, budget, stopped) as line:
            client = Client(store, line, budget, stopped)
            with progress_bar(f"asking {asking.model}") as advance:
                asked = ask(
                    client,
                    prompts,
                    [posts.described[index] for index in left],
                    [chosen[index] for index in left],
                    asking,
                    provider.concurrency,
                    stopped,
                    advance,
                )
        for index, answer in zip(left, asked, strict=True):
            found[index] = answer
        record |= {"requests": {"sent": budget.sent, **client.counts}, "repeated": dict(line.retries)}
    record |= _spent(endpoint, budget)
    ids = [tuple(pool[number].id for number in numbers) for numbers in chosen]
    _finish(settings, posts, [each for each in found if each is not None], ids, record, json)


def _spent(endpoint: EndpointSettings | None, budget: Budget) -> dict[str, Any]:
    if endpoint is None:
        return {}
    return {
        "endpoint": endpoint.address,
        "tokens": {"prompt": budget.prompt_tokens, "answer": budget.completion_tokens},
        "cost": budget.cost,
    }


def _pool(settings: KnowledgeRecipe) -> list[Exemplar]:
    from promu.corpora.background import read_with_background
    from promu.knowledge.pool import make_pool, read_pool, write_pool
    from promu.knowledge.recipe import POOL

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
    from promu.corpora.background import read_with_background
    from promu.knowledge.knowledge_prompts import Described

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
    from promu.quiet import quiet

    quiet()
    from promu.knowledge.picture_words import captions_from_file, captions_of_pictures, image_to_text, promu_words

    if captions.file is not None and captions.source == "file":
        return captions_from_file(posts, Path(captions.file))
    assert captions.model is not None and settings.data.images is not None
    captioner = promu_words(Path(captions.model)) if captions.source == "promu" else image_to_text(captions.model)
    with progress_bar("captions") as advance:
        return captions_of_pictures(posts, Path(settings.data.images), captioner, advance)


def _choose(settings: KnowledgeRecipe, posts: list[Described], pool: list[Exemplar]) -> list[list[int]]:
    """Exemplars of each post, by their number in the pool; as chosen before where nothing has changed."""
    if not settings.exemplars.count:
        return [[] for _ in posts]
    from promu.quiet import quiet

    quiet()
    from promu.alignment.sentence_vectors import SentenceVectors
    from promu.knowledge.choice import choose_exemplars

    total = len(posts) + len(pool)
    with progress_bar("sentence vectors") as advance:
        done = 0

        def heard(texts: int) -> None:
            nonlocal done
            done += texts
            advance(done, total)

        return choose_exemplars(
            posts,
            pool,
            settings.exemplars.count,
            settings.exemplars.encoder,
            lambda: SentenceVectors(settings.exemplars.encoder, heard),
            Path(settings.out) / "choice.json",
        )


def _allow(expected: Estimate, posts: int, max_cost: float | None, yes: bool) -> None:
    if max_cost is None and not yes:
        raise InputError(
            f"this would ask about {posts} posts: {_sentence(expected)}; set provider.max_cost (with prices) or say "
            "--yes to begin, --dry-run to see the first prompt"
        )
    if max_cost is not None and expected.prompt_cost is not None and expected.prompt_cost > max_cost:
        raise InputError(f"provider.max_cost {max_cost:g} is less than the prompts alone: {_sentence(expected)}")
    note(f"asking about {posts} posts: {_sentence(expected)}")


def _sentence(expected: Estimate) -> str:
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

    from promu.knowledge.estimate import HOW

    messages = [*prompts.question(posts[0], chosen[0]), *([prompts.reflect] if asking.reflection else [])]
    if json:
        shown = {"first_prompt": [message.named() for message in messages], "how": HOW}
        print_json({"posts": len(posts), "complete in the store": in_store, **shown, "expected": asdict(expected)})
        return
    for message in messages:
        print(f"[{message.role}]\n{message.text}\n")
    print(f"{len(posts)} posts, {in_store} of them complete in the store; {_sentence(expected)}\n{HOW}")


def _finish(
    settings: KnowledgeRecipe,
    posts: _Posts,
    found: list[PostKnowledge],
    exemplars: Sequence[Sequence[str]],
    record: dict[str, Any],
    json: bool,
) -> None:
    """Write a file of knowledge for each file of posts, and the result."""
    from promu.files import write_json
    from promu.knowledge.recorded import write_knowledge

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

"""Knowledge ingestion (KECPM, stage 2): background knowledge about every post of a recipe."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from promu.config import load_recipe
from promu.corpora.formats import read_with_background
from promu.errors import counted
from promu.files import write_json
from promu.hub import quiet
from promu.kecpm.kecpm_recipe import KnowledgeRecipe
from promu.kecpm.post_knowledge import (
    Fact,
    KnowledgeQuestions,
    PostKnowledge,
    PostText,
    State,
    ask_about_post,
    knowledge_for,
    write_knowledge,
)
from promu.llm.answers import AnswerStore
from promu.llm.client import Client, Plan, Usage, ask_all
from promu.llm.exemplars import Exemplar, choose_exemplars, make_pool, read_pool, write_pool
from promu.llm.messages import CHARACTERS_PER_TOKEN
from promu.schema import Post

logger = logging.getLogger(__name__)

RecipeSource = str | Path | Mapping[str, Any] | KnowledgeRecipe

_INCOMPLETE: dict[State, str] = {
    "failed": "without a usable answer",
    "unchecked": "with the first answer, none to the self-reflection being usable",
    "not recorded": "not recorded, or not to the end",
}


@dataclass(frozen=True, slots=True)
class KnowledgeResult:
    """What came of each post in the order of the files, the files of knowledge, and the usage if anything was sent."""

    recipe: KnowledgeRecipe
    posts: list[PostKnowledge]
    files: list[Path]
    usage: Usage | None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; counts in place of the posts."""
        provider = self.recipe.provider
        counts: Counter[str] = sum((post.counts for post in self.posts), Counter())
        changed = sum(post.first not in ((), post.knowledge) for post in self.posts if post.state == "answered")
        faults = Counter(fault.kind for post in self.posts for fault in post.faults if fault.kind != "not recorded")
        return {
            "provider": provider.source,
            "model": provider.model,
            "endpoint": provider.address if provider.source == "endpoint" else None,
            **(self.usage or {}),
            # without the place where a key may stand by mistake
            "recipe": self.recipe.model_dump(mode="json", exclude={"provider": {"key_variable"}}),
            "posts": len(self.posts),
            "states": dict(Counter(post.state for post in self.posts)),
            "faults": dict(faults),
            "sentences": {
                "sentences in the end": sum(len(post.knowledge) for post in self.posts),
                "posts without any": sum(not post.knowledge for post in self.posts),
                "sentences of all answers": counts["sentences"],
                "dropped, about another name": counts["about another name"],
                "first answers that reflection changed": changed,
            },
            "files": [str(path) for path in self.files],
        }


def plan_knowledge(recipe: RecipeSource, overrides: Sequence[str] = ()) -> Plan:
    """What `generate_knowledge` would send; nothing is sent. Raises as that does."""
    return _Stage(load_recipe(recipe, KnowledgeRecipe, overrides)).plan


def generate_knowledge(recipe: RecipeSource, overrides: Sequence[str] = (), unlimited: bool = False) -> KnowledgeResult:
    """Get background knowledge for every post of a recipe: answer, self-reflection, revised answer.

    Writes a file of knowledge for each file of posts, and `result.json`, to the recipe's `out`. Stopped and called
    again, it goes on where it was: every answer is stored.

    Args:
        recipe: The name of a recipe, a YAML file, the settings as plain data, or the object.
        overrides: `key.path=value` settings that win over the recipe.
        unlimited: Begin without `provider.max_cost`.

    Raises:
        InputError: The recipe or its files cannot be used; there is neither `provider.max_cost` nor `unlimited`; the
            endpoint cannot be used; or a limit is reached.

    ```python
    from pathlib import Path
    from promu import generate_knowledge

    Path("tweets.jsonl").write_text('{"id": "1", "text": "Ann plays for Rome"}')
    known = '{"id": "1", "text": "Ann plays for Rome", "knowledge": ["Rome is a football team."]}'
    Path("known.jsonl").write_text(known)
    result = generate_knowledge({
        "data": {"posts": ["tweets.jsonl"], "format": "posts"},
        "provider": {"source": "file", "files": ["known.jsonl"]},  # with an endpoint: {"url": ..., "model": ...}
        "out": "runs/knowledge",
    })
    assert result.posts[0].knowledge[0].sentence == "Rome is a football team."
    ```
    """
    stage = _Stage(load_recipe(recipe, KnowledgeRecipe, overrides))
    provider, out = stage.recipe.provider, stage.recipe.out
    usage = None
    if stage.left and provider.source == "endpoint":
        answers, usage = ask_all(stage.plan, provider, out, stage.left, stage.ask, unlimited)
        for number, answer in zip(stage.left, answers, strict=True):
            stage.results[number] = answer
    return stage.write(usage)


class _Stage:
    """All posts of a recipe with their exemplars, what the store knows about them, and what is left to ask."""

    def __init__(self, recipe: KnowledgeRecipe) -> None:
        self.recipe = recipe
        provider, exemplars = recipe.provider, recipe.exemplars
        self.sizes: list[int] = []
        self.posts: list[PostText] = []
        self.results: list[PostKnowledge] = []
        self.left: list[int] = []
        self.pool: list[Exemplar] = []
        if provider.source == "file":
            self._read_files()
            self.chosen: list[list[int]] = [[]] * len(self.posts)
            self.plan = Plan.of(len(self.posts), 0, [], provider, ())
            return
        quiet()
        self.pool = _pool(recipe)
        self.questions = KnowledgeQuestions(self.pool, provider)
        for path in recipe.data.posts:
            posts, backgrounds = read_with_background(path, recipe.data.format, recipe.data.scheme)
            self._add(posts, _captions(recipe, posts, [background.captions for background in backgrounds]))
        texts = [(post.text, post.caption) for post in self.posts]
        choice = recipe.out / "choice.json"
        self.chosen = choose_exemplars(texts, self.pool, exemplars.count, exemplars.encoder, choice)
        self.results = [PostKnowledge("not recorded")] * len(self.posts)
        if (file := provider.store_for(recipe.out)).is_file() or provider.source == "store":
            with AnswerStore(file, read_only=True) as store:
                client = Client(store)
                self.results = [self.ask(client, number) for number in range(len(self.posts))]
        self.left = [number for number, result in enumerate(self.results) if result.state == "not recorded"]
        first = [self.questions.first(self.posts[number], self.chosen[number]) for number in self.left]
        shown = self.questions.first(self.posts[0], self.chosen[0]).messages
        checks = []
        if provider.reflection:
            longest = "x" * provider.max_tokens * CHARACTERS_PER_TOKEN
            checks = [self.questions.reflection(request, longest) for request in first]
            shown += (self.questions.reflect,)
        self.plan = Plan.of(len(self.posts), len(self.left), [*first, *checks], provider, shown)

    def _read_files(self) -> None:
        """Take the knowledge from files."""
        for path, source in zip(self.recipe.data.posts, self.recipe.provider.files or [], strict=True):
            posts, _ = read_with_background(path, self.recipe.data.format, self.recipe.data.scheme)
            backgrounds = knowledge_for(posts, source)
            self._add(posts, [() if background is None else background.captions for background in backgrounds])
            for background in backgrounds:
                facts = () if background is None else tuple(Fact("", sentence) for sentence in background.knowledge)
                self.results.append(PostKnowledge("not recorded" if background is None else "answered", facts))

    def _add(self, posts: Sequence[Post], captions: Sequence[tuple[str, ...]]) -> None:
        self.sizes.append(len(posts))
        self.posts += [PostText(post.id, post.tokens, each) for post, each in zip(posts, captions, strict=True)]

    def ask(self, client: Client, number: int) -> PostKnowledge:
        """Get the knowledge about one post."""
        return ask_about_post(client, self.questions, self.posts[number], self.chosen[number])

    def write(self, usage: Usage | None) -> KnowledgeResult:
        """Write a file of knowledge for each file of posts, and the result."""
        recipe, results = self.recipe, self.results
        recipe.out.mkdir(parents=True, exist_ok=True)
        files = recipe.knowledge_files
        ids = [[self.pool[number].id for number in numbers] for numbers in self.chosen]
        rows = zip(self.posts, results, ids, strict=True)
        for file, size in zip(files, self.sizes, strict=True):
            write_knowledge(file, islice(rows, size))
        result = KnowledgeResult(recipe, results, files, usage)
        write_json(recipe.out / "result.json", result.to_dict())
        states = Counter(each.state for each in results)
        for state, meaning in _INCOMPLETE.items():
            if states[state]:
                posts = counted(len(results), "post")
                logger.warning("%d of %s %s (state in the file)", states[state], posts, meaning)
        return result


def _pool(recipe: KnowledgeRecipe) -> list[Exemplar]:
    exemplars = recipe.exemplars
    if not exemplars.count:
        return []
    if exemplars.pool is not None:
        return read_pool(exemplars.pool)
    assert exemplars.train is not None
    pool = make_pool(*read_with_background(exemplars.train, recipe.data.format, recipe.data.scheme))
    recipe.out.mkdir(parents=True, exist_ok=True)
    write_pool(recipe.pool_file, pool)
    return pool


def _captions(
    recipe: KnowledgeRecipe, posts: Sequence[Post], of_data: Sequence[tuple[str, ...]]
) -> Sequence[tuple[str, ...]]:
    captions = recipe.captions
    if captions.source == "data":
        return of_data
    if captions.source == "none":
        return [()] * len(posts)
    from promu.contexts.captioning import captions_from_file, captions_of_images, image_to_text, promu_captioner

    if captions.source == "file":
        assert captions.file is not None
        return captions_from_file(posts, captions.file)
    assert captions.model is not None and recipe.data.images is not None
    captioner = promu_captioner(Path(captions.model)) if captions.source == "promu" else image_to_text(captions.model)
    return captions_of_images(posts, recipe.data.images, captioner)

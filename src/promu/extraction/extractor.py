"""A trained model put to work: posts in, entities and relations out.

The way of one post from `promu extract` to its triples: `cli.extract.extract` calls `Extractor.pipe`, which makes a
`Request` of the `Post` (`prepare`) and answers requests in batches (`run`): `passes.find_entities` and
`passes.find_relations` call `Predictor.predict_batch` for the forward pass and `Task.decode` for the answers, and hand
out an `Extraction`, whose `triples()` are the relations in words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self, overload

from promu.errors import InputError, counted, first_line
from promu.extraction import type_rules
from promu.extraction.asked_labels import AskedModels, Models
from promu.extraction.extraction_config import ExtractionConfig, extraction_config
from promu.extraction.image_cache import ImageCache
from promu.extraction.passes import (
    ask,
    find_entities,
    find_relations,
    pixels_of,
    thresholds,
    to_extraction,
    with_warnings,
)
from promu.extraction.request import (
    ImageReader,
    ImageSource,
    PostLike,
    Request,
    UnreadableImage,
    context_warnings,
    to_post,
    with_image,
)
from promu.extraction.result import Extraction, Extractions
from promu.extraction.type_rules import TypeRules
from promu.schema import NO_RELATION, Post
from promu.tasks.model_folder import BackendName, BackendPrecision, open_predictors
from promu.tasks.predictor import EncodedImages, Predictor, by_length
from promu.tasks.windows import batches_of_windows, windows_of

logger = logging.getLogger(__name__)

FAILURES = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What computing may raise for one post; the posts beside it are then read without it."""

WINDOW = 16
"""Batches that are looked ahead, so that posts of like length can share one."""
PAIRS_ALONE = 32
"""Pairs a pass where a post is read alone: there the answer must not depend on the batch size."""


class Extractor:
    """Entities and relations from posts, by one fine-tuned model for each of the two tasks, or by one for both.

    No call changes it, so threads may share one. Options are the fields of `ExtractionConfig`: given as `config`, as
    keywords, or as both, where keywords replace those of `config`. In fp32 and int8 the same post gives the same answer
    in whatever batch it is read (scores to about 1e-5); bf16 rounds coarser than that.

    Attributes:
        config: The options of calls that are given none.
        warnings: What is wrong between the two models, in sentences: relations that can never be found.
        explains: Whether it can say what its answers attended to; what runs on ONNX cannot.
        images: What was made of the images of posts, and how often (`ImageCache.counts`).
        reads_images: Whether an image makes any difference.
        finds_entities: Whether posts need not bring their entities.
        entity_types: The types of the entities that it finds, in alphabetical order.
        relation_types: The labels of the relations that it finds, `None` left out.

    Args:
        predictors: One for `ner`, one for `re`, or both; or one for `joint`, whose relations have the score of the
            whole quintuple.
        config: The options of calls that are given none.

    Raises:
        InputError: The models do not go together, or `type_map` names a type that neither has.

    Example:
        ```python
        from promu import Extractor

        extractor = Extractor.from_pretrained("runs/demo/model")
        result = extractor("Zorva and Kelmo tonight", image="photo.png")
        result.entities, result.relations, result.triples()
        first, second = extractor(["Zorva and Kelmo tonight", "look at Zorva !"])  # a list is a batch
        extractor(tokens=["Zorva", "and", "Kelmo"])  # words go in by name
        # a model whose labels are prompts is asked for any: extractor(text, types=["person", "team: sports clubs"])
        ```
    """

    def __init__(self, *predictors: Predictor, config: ExtractionConfig | None = None) -> None:
        self._predictors = predictors
        by_task = {predictor.task.name: predictor for predictor in predictors}
        if not by_task:
            raise InputError("an extractor needs a model for entities, for relations, or both")
        if "joint" in by_task and len(by_task) > 1:
            raise InputError("a joint model finds entities and relations alone; leave the models of the two tasks out")
        self._finder = by_task.get("joint") or by_task.get("ner")
        self._relater = by_task.get("re")
        if self._relater is not None and NO_RELATION not in self._relater.labels:
            raise InputError(f"the relation model has no label {NO_RELATION!r}; fine-tune it on data that has it")
        self.config = config or ExtractionConfig()
        self._models = AskedModels(self._finder, self._relater)
        models = self._models.of(self.config)
        self.entity_types, self.relation_types = models.entity_types, models.relation_types
        self.warnings = tuple(self._models.check(self.config))
        self._strangers: set[str] = set()  # types and contexts that were warned of
        for warning in self.warnings:
            type_rules.logger.warning(warning)
        sizes = frozenset(one.config.image_size for one in predictors if one.config.image_size is not None)
        self._one_by_one = any(predictor.one_by_one for predictor in predictors)
        self.encoder = (self._finder or predictors[0]).encoder
        self.encoders = [predictor.encoder for predictor in predictors]
        self.images = ImageCache()
        self._reader = ImageReader(self.images, self.encoders, sizes)
        self.explains = all(predictor.explains for predictor in predictors)
        # entities come first: what they are sought in is what matters
        known = (one.familiarity for one in (self._finder, *predictors) if one is not None)
        self._familiarity = next((one for one in known if one is not None), None)
        self.reads_images = bool(sizes)
        self.finds_entities = self._finder is not None
        # two models with one vision encoder encode each image once
        self._share_images = len(by_task) == 2 and len({one.vision_checksum for one in predictors}) == 1
        # two heads on one backbone, of which the second reads its pairs off what the first has read
        self._one_pass = self._relater is not None and self._relater.answers_from(self._finder)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | None = None,
        precision: BackendPrecision | None = None,
        backend: BackendName | None = None,
        config: ExtractionConfig | None = None,
    ) -> Self:
        """Load a folder with `ner/` and `re/`, one of them, or `joint/`, or itself a model of one or several tasks.

        Args:
            folder: What `promu demo` and `promu finetune` leave behind as `model`, or the name of such a folder on the
                Hugging Face hub.
            device: A torch device; None takes the best there is.
            precision: With `torch`, `fp32` (None too) or `bf16`: two to three times as fast where the device computes
                it, with scores that move in the third decimal with the batch. With `onnx` the folder's own, which may
                be named to make sure: `fp32` or `int8`.
            backend: `onnx` runs what `promu export` made, on the CPU; None takes it where PyTorch's weights are not.
            config: The options of calls that are given none.

        Raises:
            InputError: There is no such folder, no model in it, a part of a model is missing or broken, or device,
                precision and backend do not go together.
        """
        return cls(*open_predictors(folder, device, precision, backend), config=config)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Upload the models and their cards to the Hugging Face hub; `from_pretrained(repo_id)` reads them there.

        The token is that of the environment variable `HF_TOKEN`.

        Args:
            repo_id: `OWNER/NAME`; it is made if it is not there.
            private: Whether one that is made can be seen by its owner alone.

        Returns:
            The address of the commit.

        Raises:
            InputError: There is no token, the hub refuses or is not within reach, or the models come from no folder.
        """
        from promu.extraction.sharing import push_models

        homes = {one.task.name: one.folder for one in self._predictors if one.folder is not None}
        if len(homes) < len(self._predictors):
            raise InputError("what is uploaded is the folder of a model, and these come from none; save and load them")
        return push_models(homes, {one.task.name: one.labels for one in self._predictors}, repo_id, private)

    def thresholds(self, config: ExtractionConfig | None = None) -> tuple[float | None, float | None]:
        """The lowest scores of entities and of relations that are answers; None where no model finds them."""
        config = self._options(config, {})
        finder, relater = self._finder, self._relater or (self._finder if self.relation_types else None)
        entities = None if finder is None else thresholds(finder, config)[0]
        relations = None if relater is None else thresholds(relater, config)[1]
        return entities, relations

    def _options(self, config: ExtractionConfig | None, options: Mapping[str, Any]) -> ExtractionConfig:
        """The options of one call."""
        config = extraction_config(config or self.config, **options)
        self._models.of(config)
        if config.type_map != self.config.type_map:
            self._models.check(config)
        return config

    def prepare(
        self,
        post: PostLike,
        image: ImageSource | None = None,
        *,
        id: str = "1",
        config: ExtractionConfig | None = None,
        **options: Any,
    ) -> Request:
        """The first of two steps, in any thread: everything for which a post can be refused before a model reads it.

        Args:
            post: Running text, a dictionary as in posts.jsonl, or a post.
            image: Its image: a file, its bytes, or opened. No other file is read, whatever the post names.
            id: For a post that brings none.
            config: Of its options those about images count here.

        Raises:
            UnreadableImage: The image is missing, broken or too large.
            InputError: There are no words or a value is not legal; or no entities, and no model to find them.
        """
        config = self._options(config, options)
        post = with_image(to_post(post, id), image)
        if not self.finds_entities and not post.entities:
            remedy = "give entities, or a folder with ner/ and re/"
            raise InputError(f"post {post.id!r} has no entities and there is no model to find them; {remedy}")
        try:
            request = self._reader.request(post, image, config)
        except UnreadableImage as error:
            if config.missing_images == "raise":
                raise
            logger.warning("%s; post %r is read as text", error, post.id)
            request = Request(post, {}, error.kind, image)
        self._name_contexts(request.post)
        return request

    def run(
        self, requests: Sequence[Request], config: ExtractionConfig | None = None, **options: Any
    ) -> list[Extraction | InputError]:
        """The second step: requests that this extractor has prepared, to answers in their order.

        Requests of like length share a forward pass, and a long one is read in several. In place of an answer stands
        why a request has none: it has more pairs of entities than `max_pairs`, or the models fail on it. The others are
        answered all the same.

        Raises:
            InputError: An explanation is asked of models that give none.
        """
        config = self._options(config, options)
        if config.explain and not self.explains:
            raise InputError("ONNX graphs give out no attention maps; use backend torch to explain (promu[train])")
        answers: dict[int, Extraction | InputError] = {}
        lengths = [len(request.post.tokens) for request in requests]
        windows = [len(windows_of(self.encoder, request.post.tokens, config.stride)) for request in requests]
        models = self._models.of(config)
        for rows in batches_of_windows(lengths, windows, 1 if self._one_by_one else config.batch_size):
            answers.update(zip(rows, self._answer_each([requests[row] for row in rows], config, models), strict=True))
        return [answers[row] for row in range(len(requests))]

    @overload
    def __call__(
        self,
        text: PostLike | None = None,
        image: ImageSource | None = None,
        *,
        tokens: Sequence[str] | None = None,
        id: str = "1",
        config: ExtractionConfig | None = None,
        **options: Any,
    ) -> Extraction: ...

    @overload
    def __call__(
        self,
        text: list[Any] | tuple[Any, ...],
        image: Sequence[ImageSource | None] | None = None,
        *,
        config: ExtractionConfig | None = None,
        **options: Any,
    ) -> Extractions: ...

    def __call__(
        self,
        text: Any = None,
        image: Any = None,
        *,
        tokens: Sequence[str] | None = None,
        id: str | None = None,
        config: ExtractionConfig | None = None,
        **options: Any,
    ) -> Extraction | Extractions:
        """Extract from one post, or from a list of posts.

        Args:
            text: Running text, a dictionary as in posts.jsonl, or a `Post` (whose own `id` and, without `image`, image
                are taken); or a list of such, whose answers are a list. For posts of any number there is `pipe`.
            image: The image: a file, its bytes, or opened; None where there is none. With a list of posts a list too.
                The name of a file is `image` in the answer, unless the post names one.
            tokens: The words of one post, in place of `text`.
            id: For a post that brings none; in a list they are numbered from 1.

        Raises:
            InputError: As `pipe`, without `problems`.
        """
        config = self._options(config, options)
        if (text is None) == (tokens is None):
            raise InputError("give the text of a post, a list of posts, or tokens=[...] for the words of one post")
        if not isinstance(text, list | tuple):
            if tokens is not None:  # a text is no words, which the reader of posts says
                text = {"tokens": tokens if isinstance(tokens, str) else list(tokens)}
            post = to_post(text, id or "1")
            (answer,) = self.run([self._prepare(post, post.image if image is None else image, config)], config)
            return _raised(answer)
        if id is not None:
            raise InputError("one id is given for a list of posts; give each its own, in dictionaries or posts")
        posts = [to_post(item, str(number)) for number, item in enumerate(text, start=1)]
        if image is None:
            image = [post.image for post in posts]
        elif not isinstance(image, list | tuple) or len(image) != len(posts):
            raise InputError(
                f"{counted(len(posts), 'post is', 'posts are')} given; give as many images, None for a post without one"
            )
        requests = [self._prepare(post, one, config) for post, one in zip(posts, image, strict=True)]
        return Extractions(_raised(answer) for answer in self.run(requests, config))

    def pipe(
        self,
        posts: Iterable[PostLike],
        *,
        images: str | Path | None = None,
        problems: list[InputError] | None = None,
        config: ExtractionConfig | None = None,
        **options: Any,
    ) -> Iterator[Extraction]:
        """Extract from many posts, lazily, in batches and in their order.

        Args:
            posts: Texts, dictionaries as in posts.jsonl, or posts; what has no id gets its number, from 1. With a model
                for entities the entities of a `Post` are replaced; without one they are taken as they are.
            images: The folder that the posts' images are named in; None for the working directory.
            problems: Where posts that cannot be read go, their number as `line`; None raises the first.

        Raises:
            InputError: A text without words, an image that cannot be read, a post without entities where there is no
                model to find them, with too many pairs of them, or on which the models fail; an option that is not
                allowed.
        """
        config = self._options(config, options)
        if isinstance(posts, str | Mapping | Post):
            raise InputError("pipe takes many posts, and this is one; call the extractor with it, or give a list")
        return self._extract(enumerate(posts, start=1), Path(images or "."), problems, config)

    def _extract(
        self,
        numbered: Iterator[tuple[int, PostLike]],
        folder: Path,
        problems: list[InputError] | None,
        config: ExtractionConfig,
    ) -> Iterator[Extraction]:
        while window := list(islice(numbered, config.batch_size * WINDOW)):
            posts: list[tuple[int, Post]] = []
            for number, item in window:
                with _collected(problems, number):
                    posts.append((number, to_post(item, str(number))))
            answers: dict[int, Extraction] = {}
            for rows in by_length([len(post.tokens) for _, post in posts], config.batch_size):
                requests: dict[int, Request] = {}
                for row in rows:
                    number, post = posts[row]
                    with _collected(problems, number):
                        requests[row] = self._prepare(post, None if post.image is None else folder / post.image, config)
                for row, answer in zip(requests, self.run(list(requests.values()), config), strict=True):
                    with _collected(problems, posts[row][0]):
                        answers[row] = _raised(answer)
            yield from (answers[row] for row in sorted(answers))

    def _prepare(self, post: Post, image: ImageSource | None, config: ExtractionConfig) -> Request:
        """As `prepare`; the error of an unreadable image names the option that reads its post as text."""
        try:
            return self.prepare(post, image, config=config)
        except UnreadableImage as error:
            remedy = f"or have post {post.id!r} read as text (missing_images='text-only')"
            raise InputError(f"{error.reason}; {remedy}", error.path) from None

    def _answer_each(
        self, requests: Sequence[Request], config: ExtractionConfig, models: Models
    ) -> list[Extraction | InputError]:
        """The answers to one batch; where it fails, those of its posts one by one."""
        try:
            return self._answer(requests, config, models)
        except FAILURES as error:
            if len(requests) > 1:
                return [answer for one in requests for answer in self._answer_each([one], config, models)]
            if isinstance(error, InputError):
                return [error]
            what = f"{type(error).__name__}: {first_line(error)[:200]}"
            problem = InputError(f"the models fail on this post ({what}); shorten it, or leave its image out")
            problem.__cause__ = error
            return [problem]

    def _answer(
        self, requests: Sequence[Request], config: ExtractionConfig, models: Models
    ) -> list[Extraction | InputError]:
        """The answers to one batch."""
        images, fused = EncodedImages(), None
        finder, relater, rules = models.finder, models.relater, models.rules
        if finder is None:
            extractions = [to_extraction(request) for request in requests]
        else:
            images = self.images.encode(finder, pixels_of(finder, requests), config.image_budget)
            keep = self._one_pass and not config.explain  # attention is that of a pass for the pairs alone
            extractions, fused = find_entities(finder, requests, images, config, keep)
        # a joint model is not asked: its answer has the pairs of each of its windows
        reader = (relater or finder or self._predictors[0]).encoder
        asked, refused = ask(extractions, rules, reader, config)
        extractions = [
            with_warnings(one, asked[number], self.encoder, reader.max_length, self._familiarity)
            for number, one in enumerate(extractions)
        ]
        if relater is not None:
            if not self._share_images:
                # images of posts without a pair are not worth encoding
                pixels = pixels_of(relater, requests)
                pixels = {row: pixels[row] for row in pixels if asked[row].total}
                images = self.images.encode(relater, pixels, config.image_budget)
            size = PAIRS_ALONE if self._one_by_one else config.batch_size
            extractions = find_relations(relater, extractions, asked, images, config, rules, size, fused)
            if finder is None:
                self._name_strangers(rules, extractions)
        return [refused.get(number) or one for number, one in enumerate(extractions)]

    def _name_contexts(self, post: Post) -> None:
        """Warn once of contexts that posts bring and no model reads, and of those that models read and a post lacks."""
        for warning in sorted(set(context_warnings(post, self.encoders)) - self._strangers):
            self._strangers.add(warning)
            type_rules.logger.warning(warning)

    def _name_strangers(self, rules: TypeRules, extractions: Sequence[Extraction]) -> None:
        """Warn once of each type of the posts' own entities that no relation is about."""
        found = rules.strangers(entity for one in extractions for entity in one.entities)
        for kind in found.keys() - self._strangers:
            self._strangers.add(kind)
            type_rules.logger.warning(found[kind])


def _raised(answer: Extraction | InputError) -> Extraction:
    if isinstance(answer, InputError):
        raise answer
    return answer


@contextmanager
def _collected(problems: list[InputError] | None, number: int) -> Iterator[None]:
    """Errors go to `problems` with the post's number, where that is a list."""
    try:
        yield
    except InputError as error:
        if problems is None:
            raise
        problems.append(error.at(error.path, number))

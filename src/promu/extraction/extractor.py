"""A trained model put to work: posts in, entities and relations out.

The way of one post from `promu extract` to its triples: `cli.extract.extract` calls `Extractor.extract`, which makes a
`Request` of the `Post` (`prepare`) and answers requests in batches (`run`): `passes.find_entities` and
`passes.find_relations` call `Predictor.predict_batch` for the forward pass and `Task.decode` for the answers, and hand
out an `Extraction`, whose `triples()` are the relations in words.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch

from promu.errors import InputError
from promu.extraction.extraction_config import ExtractionConfig, extraction_config
from promu.extraction.passes import find_entities, find_relations, fitting_pairs, to_extraction
from promu.extraction.request import ImageSource, PostLike, Request, UnreadableImage, make_request, to_post
from promu.extraction.result import Extraction
from promu.modeling.joint_model import inventory_of
from promu.schema import NO_RELATION, Post
from promu.tasks.model_folder import BackendName, BackendPrecision, find_models, open_predictor
from promu.tasks.predictor import EncodedImages, Predictor, by_length

logger = logging.getLogger(__name__)

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
        explains: Whether it can say what its answers attended to; what runs on ONNX cannot.
        reads_images: Whether an image makes any difference.
        finds_entities: Whether posts need not bring their entities.
        entity_types: The types of the entities that it finds, in alphabetical order.
        relation_types: The labels of the relations that it finds, `None` left out.

    Args:
        predictors: One for `ner`, one for `re`, or both; or one for `joint`, whose relations have the score of the
            whole quintuple.

    Raises:
        InputError: The models do not go together.

    Example:
        ```python
        from promu import Extractor

        extractor = Extractor.from_pretrained("runs/demo/model")
        result = extractor("Zorva and Kelmo tonight", image="photo.png")
        result.entities, result.relations, result.triples()
        ```
    """

    def __init__(self, *predictors: Predictor) -> None:
        by_task = {predictor.task.name: predictor for predictor in predictors}
        if not by_task:
            raise InputError("an extractor needs a model for entities, for relations, or both")
        if "joint" in by_task and len(by_task) > 1:
            raise InputError("a joint model finds entities and relations alone; leave the models of the two tasks out")
        self._finder = by_task.get("joint") or by_task.get("ner")
        self._relater = by_task.get("re")
        if self._relater is not None and NO_RELATION not in self._relater.labels:
            raise InputError(f"the relation model has no label {NO_RELATION!r}; fine-tune it on data that has it")
        relating = by_task.get("joint") or self._relater
        self._relation_labels = () if relating is None else relating.labels
        self.relation_types = tuple(sorted(set(self._relation_labels) - {NO_RELATION}))
        self.entity_types = () if self._finder is None else _entity_types(self._finder)
        self._sizes = frozenset(one.config.image_size for one in predictors if one.config.image_size is not None)
        self._one_by_one = any(predictor.one_by_one for predictor in predictors)
        self.explains = all(predictor.explains for predictor in predictors)
        self.reads_images = bool(self._sizes)
        self.finds_entities = self._finder is not None
        # two models with one vision encoder encode each image once
        self._share_images = len(by_task) == 2 and len({one.vision_checksum for one in predictors}) == 1

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: str | None = None,
        precision: BackendPrecision | None = None,
        backend: BackendName = "torch",
    ) -> Self:
        """Load a folder with `ner/` and `re/`, one of them, or `joint/`, or itself the model folder of one task.

        Args:
            folder: What `promu demo` and `promu finetune` leave behind as `model`, or the name of such a folder on the
                Hugging Face hub.
            device: A torch device; None takes the best there is.
            precision: With `torch`, `fp32` (None too) or `bf16`: two to three times as fast where the device computes
                it, with scores that move in the third decimal with the batch. With `onnx` the folder's own, which may
                be named to make sure: `fp32` or `int8`.
            backend: `onnx` runs on the CPU what `promu export` put into the folder, without the PyTorch weights.

        Raises:
            InputError: There is no such folder, no model in it, a part of a model is missing or broken, or device,
                precision and backend do not go together.
        """
        return cls(*(open_predictor(task, home, device, precision, backend) for task, home in find_models(folder)))

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
            post: Running text, its words, a dictionary as in posts.jsonl, or a post.
            image: Its image: a file, its bytes, or opened. No other file is read, whatever the post names.
            id: For a post that brings none.
            config: Of its options `max_pixels` and `missing_images` count here.

        Raises:
            UnreadableImage: The image is missing, broken or too large.
            InputError: There are no words or a value is not legal; or no entities, and no model to find them.
        """
        config = extraction_config(config, **options)
        post = to_post(post, id)
        if not self.finds_entities and not post.entities:
            remedy = "give entities, or a folder with ner/ and re/"
            raise InputError(f"post {post.id!r} has no entities and there is no model to find them; {remedy}")
        try:
            return make_request(post, image, self._sizes, config.max_pixels)
        except UnreadableImage as error:
            if config.missing_images == "raise":
                raise
            logger.warning("%s; post %r is read as text", error, post.id)
            return Request(post, {}, "missing")

    def run(
        self, requests: Sequence[Request], config: ExtractionConfig | None = None, **options: Any
    ) -> list[Extraction | InputError]:
        """The second step: requests that this extractor has prepared, to answers in their order.

        Requests of like length share a forward pass. In place of an answer stands why a request is refused: it has more
        pairs of entities than `max_pairs`.

        Raises:
            InputError: An explanation is asked of models that give none.
        """
        config = extraction_config(config, **options)
        if config.explain and not self.explains:
            raise InputError("ONNX graphs give out no attention maps; use backend torch to explain")
        answers: dict[int, Extraction | InputError] = {}
        lengths = [len(request.post.tokens) for request in requests]
        for rows in by_length(lengths, 1 if self._one_by_one else config.batch_size):
            answers.update(zip(rows, self._answer([requests[row] for row in rows], config), strict=True))
        return [answers[row] for row in range(len(requests))]

    def __call__(
        self,
        text: PostLike,
        image: ImageSource | None = None,
        *,
        id: str = "1",
        config: ExtractionConfig | None = None,
        **options: Any,
    ) -> Extraction:
        """Extract from one post.

        Args:
            text: Running text, its words, or a `Post` (whose own `id` and, without `image`, image are taken).
            image: The image: a file, its bytes, or opened; None where there is none.
            id: For a post that brings none.

        Raises:
            InputError: As `extract`.
        """
        config = extraction_config(config, **options)
        post = to_post(text, id)
        (answer,) = self.run([self._prepare(post, post.image if image is None else image, config)], config)
        return _raised(answer)

    def extract(
        self,
        posts: Iterable[PostLike],
        *,
        images: str | Path | None = None,
        problems: list[InputError] | None = None,
        config: ExtractionConfig | None = None,
        **options: Any,
    ) -> Iterator[Extraction]:
        """Extract from many posts, lazily and in their order.

        Args:
            posts: Texts, lists of words, dictionaries as in posts.jsonl, or posts; what has no id gets its number,
                from 1. With a model for entities the entities of a `Post` are replaced; without one they are taken as
                they are.
            images: The folder that the posts' images are named in; None for the working directory.
            problems: Where posts that cannot be read go, their number as `line`; None raises the first.

        Raises:
            InputError: A text without words, an image that cannot be read, a post without entities where there is no
                model to find them, or with too many pairs of them; an option that is not allowed.
        """
        config = extraction_config(config, **options)
        if isinstance(posts, str):
            raise InputError(
                "extract takes many posts, and this is one text; call the extractor with it, or give a list"
            )
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
            raise InputError(
                f"{error.reason}; or have post {post.id!r} read as text (missing_images='text-only', on the "
                "command line --missing-images text-only)",
                error.path,
            ) from None

    def _answer(self, requests: Sequence[Request], config: ExtractionConfig) -> list[Extraction | InputError]:
        """The answers to one batch."""
        images = EncodedImages()
        if self._finder is None:
            extractions = [to_extraction(request) for request in requests]
        else:
            images = self._finder.encode_images(_pixels(self._finder, requests))
            extractions = find_entities(self._finder, requests, images, config)
        pairs = [fitting_pairs(one.entities, self._relation_labels) for one in extractions]
        refused: dict[int, InputError] = {}
        for number, of_post in enumerate(pairs):
            if config.max_pairs is not None and len(of_post) > config.max_pairs:
                refused[number] = InputError(
                    f"the text has {len(of_post):,} pairs of entities that may be related, at most "
                    f"{config.max_pairs:,} are looked at; shorten it"
                )
                pairs[number] = []
        if self._relater is not None:
            if not self._share_images:
                # images of posts without a pair are not worth encoding
                pixels = _pixels(self._relater, requests)
                images = self._relater.encode_images({row: pixels[row] for row in pixels if pairs[row]})
            size = PAIRS_ALONE if self._one_by_one else config.batch_size
            extractions = find_relations(self._relater, extractions, pairs, images, config, size)
        return [refused.get(number, one) for number, one in enumerate(extractions)]


def _entity_types(finder: Predictor) -> tuple[str, ...]:
    if finder.task.name == "joint":
        return inventory_of(finder.labels).types
    return tuple(sorted({label[2:] for label in finder.labels if label.startswith("B-")}))


def _pixels(predictor: Predictor, requests: Sequence[Request]) -> dict[int, torch.Tensor]:
    """The images at the size that the model takes, by the request's number."""
    size = predictor.config.image_size
    return {} if size is None else {row: one.pixels[size] for row, one in enumerate(requests) if one.pixels}


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

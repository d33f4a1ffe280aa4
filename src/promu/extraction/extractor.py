"""A trained model put to work: posts in, entities and relations out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Self

import torch

from promu.corpora.images import MAX_PIXELS
from promu.corpora.posts import PostLine
from promu.errors import InputError
from promu.extraction.backends import Backend, BackendName, BackendPrecision, find_models, open_backend
from promu.extraction.passes import PAIRS_ALONE, Draft, Seen, by_length, look, read_pairs, read_posts, to_part
from promu.extraction.request import (
    Asked,
    ImageSource,
    PostLike,
    ReadyPost,
    UnreadableImage,
    make_ready,
    to_line,
)
from promu.extraction.result import Extraction
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import WordEncoder
from promu.schema import NO_RELATION, MissingPostImage

logger = logging.getLogger(__name__)

WINDOW = 16
"""Batches that are looked ahead, so that posts of like length can share one."""


class Extractor:
    """Entities and relations from posts, by one fine-tuned model for each of the two tasks, or by one for both.

    It holds no state that a call changes, so threads may share one. In fp32 and int8 the same post gives the same
    answer in whatever batch it is read (scores to about 1e-5); bf16 rounds coarser than that.

    Attributes:
        explains: Whether it can say what its answers attended to; what runs on ONNX cannot.

    Args:
        entities: Model and tokenizer of entity recognition; None where posts bring their entities.
        relations: Model and tokenizer of relation classification; None to find entities alone.
        joint: Model and tokenizer of joint extraction, in place of the two: a relation's score is then that of the
            whole quintuple.

    Example:
        ```python
        from promu import Extractor

        extractor = Extractor.from_pretrained("runs/demo/model")
        result = extractor("Zorva and Kelmo tonight", image="photo.png")
        result.entities, result.relations, result.triples()
        ```
    """

    def __init__(
        self,
        entities: tuple[PromuPreTrainedModel | Backend, WordEncoder] | None,
        relations: tuple[PromuPreTrainedModel | Backend, WordEncoder] | None = None,
        joint: tuple[PromuPreTrainedModel | Backend, WordEncoder] | None = None,
    ) -> None:
        if entities is None and relations is None and joint is None:
            raise InputError("an extractor needs a model for entities, for relations, or both")
        if joint is not None and (entities is not None or relations is not None):
            raise InputError("a joint model finds entities and relations alone; leave the models of the two tasks out")
        reader = entities if joint is None else joint
        self._reader = None if reader is None else to_part("ner" if joint is None else "joint", *reader)
        self._relater = None if relations is None else to_part("re", *relations)
        if self._relater is not None and NO_RELATION not in self._relater.labels:
            raise InputError(f"the relation model has no label {NO_RELATION!r}; fine-tune it on data that has it")
        # what may hold between two entities; a joint model's labels name the types of both ends too
        relating = self._relater if joint is None else self._reader
        self._relation_names = () if relating is None else relating.labels
        parts = [part for part in (self._reader, self._relater) if part is not None]
        self._sizes = frozenset(size for part in parts if (size := part.backend.config.image_size) is not None)
        self.explains = all(part.backend.explains for part in parts)
        self._one_by_one = any(part.backend.one_by_one for part in parts)
        # two models that see alike share what one of them has seen
        self._one_sight = len(parts) == 2 and parts[0].backend.sight == parts[1].backend.sight

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
        found = find_models(folder)
        models = {task: open_backend(task, home, device, precision, backend) for task, home in found}
        return cls(models.get("ner"), models.get("re"), models.get("joint"))

    @property
    def reads_images(self) -> bool:
        """Whether an image makes any difference."""
        return bool(self._sizes)

    @property
    def finds_entities(self) -> bool:
        """Whether posts need not bring their entities."""
        return self._reader is not None

    def prepare(
        self, post: PostLike, image: ImageSource | None = None, *, id: str = "1", max_pixels: int = MAX_PIXELS
    ) -> ReadyPost:
        """The first of two steps, in whatever thread: everything for which a post can be refused unread.

        Args:
            post: Running text, its words, a dictionary as in posts.jsonl, or a post.
            image: Its image: a file, its bytes, or opened. No other file is read, whatever the post names.
            id: For a post that brings none.
            max_pixels: An image of more is refused, by its header.

        Raises:
            UnreadableImage: The image is missing, broken or too large.
            InputError: There are no words or a value is not legal; or no entities, and no model to find them.
        """
        line = to_line(post, id)
        if not self.finds_entities and not line.post.entities:
            raise InputError(
                f"post {line.post.id!r} has no entities and there is no model to find them; give entities, or a "
                "folder with ner/ and re/"
            )
        return make_ready(line, image, self._sizes, max_pixels)

    def run(self, posts: Sequence[ReadyPost], asked: Asked | None = None) -> list[Extraction | InputError]:
        """The second step: posts that this extractor has prepared, to answers in their order.

        Args:
            posts: Of any number; those of like length share a pass.
            asked: What is wanted of each; None is all defaults.

        Returns:
            For each post what was found, or why it is refused: it has more pairs of entities than `asked.max_pairs`.

        Raises:
            InputError: An explanation is asked of models that give none.
        """
        asked = asked or Asked()
        if asked.explain and not self.explains:
            raise InputError("ONNX graphs give out no attention maps; use backend torch to explain")
        answers: dict[int, Extraction | InputError] = {}
        lengths = [len(post.line.post.tokens) for post in posts]
        for rows in by_length(lengths, 1 if self._one_by_one else asked.batch_size):
            answers.update(zip(rows, self._batch([posts[row] for row in rows], asked), strict=True))
        return [answers[row] for row in range(len(posts))]

    def __call__(
        self,
        text: PostLike,
        image: ImageSource | None = None,
        *,
        id: str = "1",
        missing_images: MissingPostImage = "raise",
        entity_threshold: float = 0.0,
        relation_threshold: float = 0.0,
        explain: bool = False,
        max_pairs: int | None = None,
    ) -> Extraction:
        """Extract from one post.

        Args:
            text: Running text, its words, or a `Post` (whose own `id` and, without `image`, image are taken).
            image: The image: a file, its bytes, or opened; None where there is none.
            id: Of the post.
            missing_images, entity_threshold, relation_threshold, explain, max_pairs: As in `extract`.

        Raises:
            InputError: As `extract`.
        """
        asked = Asked(32, entity_threshold, relation_threshold, explain, max_pairs)
        line = to_line(text, id)
        (answer,) = self.run([self._ready(line, line.post.image if image is None else image, missing_images)], asked)
        if isinstance(answer, InputError):
            raise answer
        return answer

    def extract(
        self,
        posts: Iterable[PostLike],
        batch_size: int = 32,
        *,
        images: str | Path | None = None,
        missing_images: MissingPostImage = "raise",
        entity_threshold: float = 0.0,
        relation_threshold: float = 0.0,
        explain: bool = False,
        max_pairs: int | None = None,
        problems: list[InputError] | None = None,
    ) -> Iterator[Extraction]:
        """Extract from many posts, lazily and in their order.

        Args:
            posts: Texts, lists of words, dictionaries as in posts.jsonl, or posts; what has no id gets its number,
                from 1. With a model for entities the entities of a `Post` are found anew; without one they are taken
                as they are.
            batch_size: Posts, or pairs of entities, a forward pass.
            images: The folder that the posts' images are named in; None for the working directory.
            missing_images: What an image that is missing or broken does: `raise` raises, `text-only` reads the post
                as text and says so in `Extraction.image`.
            entity_threshold, relation_threshold, explain, max_pairs: As in `Asked`.
            problems: Where posts that cannot be read go, their number as `line`; None raises the first.

        Raises:
            InputError: A text without words, an image that cannot be read, a post without entities where there is no
                model to find them, or with too many pairs of them; a setting that is out of range.
        """
        asked = Asked(batch_size, entity_threshold, relation_threshold, explain, max_pairs)
        if isinstance(posts, str):
            raise InputError(
                "extract takes many posts, and this is one text; call the extractor with it, or give a list"
            )
        folder = Path(images or ".")
        numbered = enumerate(posts, start=1)
        while window := list(islice(numbered, batch_size * WINDOW)):
            lines: list[tuple[int, PostLine]] = []
            for number, post in window:
                try:
                    lines.append((number, to_line(post, str(number))))
                except InputError as error:
                    _fault(problems, error, number)
            found: dict[int, Extraction] = {}
            for rows in by_length([len(line.post.tokens) for _, line in lines], batch_size):
                ready: dict[int, ReadyPost] = {}
                for row in rows:
                    number, line = lines[row]
                    image = None if line.post.image is None else folder / line.post.image
                    try:
                        ready[row] = self._ready(line, image, missing_images)
                    except InputError as error:
                        _fault(problems, error, number)
                for row, answer in zip(ready, self.run(list(ready.values()), asked), strict=True):
                    if isinstance(answer, InputError):
                        _fault(problems, answer, lines[row][0])
                    else:
                        found[row] = answer
            yield from (found[row] for row in sorted(found))

    def _ready(self, line: PostLine, image: ImageSource | None, missing: MissingPostImage) -> ReadyPost:
        """A post prepared, if need be without its image."""
        try:
            return self.prepare(line, image)
        except UnreadableImage as error:
            if missing == "raise":
                raise InputError(
                    f"{error.reason}; or have post {line.post.id!r} read as text (missing_images='text-only', on the "
                    "command line --missing-images text-only)",
                    error.path,
                ) from None
            logger.warning("%s; post %r is read as text", error, line.post.id)
            return replace(self.prepare(line), image="missing")

    @torch.inference_mode()
    def _batch(self, posts: Sequence[ReadyPost], asked: Asked) -> list[Extraction | InputError]:
        drafts = [Draft(post) for post in posts]
        seen = Seen(None, {})
        if self._reader is not None:
            seen = look(self._reader.backend, self._reader.pixels(posts))
            read_posts(self._reader, seen, drafts, asked)
        for draft in drafts:
            draft.pair(self._relation_names, asked.max_pairs)
        if self._relater is not None:
            if not self._one_sight:
                # images without a pair are not worth encoding
                pixels = self._relater.pixels(posts)
                seen = look(self._relater.backend, {place: pixels[place] for place in pixels if drafts[place].pairs})
            read_pairs(self._relater, seen, drafts, asked, PAIRS_ALONE if self._one_by_one else asked.batch_size)
        return [draft.answer(asked) for draft in drafts]


def _fault(problems: list[InputError] | None, error: InputError, number: int) -> None:
    if problems is None:
        raise error
    problems.append(error.at(error.path, number))

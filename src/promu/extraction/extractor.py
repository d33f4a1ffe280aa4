"""A trained model put to work: posts in, entities and relations out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import torch
from PIL import Image

from promu.corpora.pictures import load_picture
from promu.corpora.posts import PostLine, from_record, from_text, from_tokens
from promu.errors import InputError
from promu.extraction.fit import fitting_labels, fitting_pairs
from promu.extraction.folders import open_model, task_of
from promu.extraction.result import Extraction, PictureUse
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import WordEncoder, to_pixels
from promu.schema import NO_RELATION, Entity, Post, Relation
from promu.training.tasks import TASKS, pair_posts

logger = logging.getLogger(__name__)

PostLike = str | Sequence[str] | Mapping[str, Any] | Post | PostLine
"""A text, its words, what a line of posts in JSON holds (`{"id", "text", "image"}`), or a post."""

Picture = str | Path | bytes | Image.Image
"""A file's name, a file's bytes, or an opened picture."""

MissingPictures = Literal["error", "text-only"]

WINDOW = 16
"""Batches that are looked ahead, so that posts of like length can share one."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """One post on its way: its line, its picture at each size that a model takes, and what became of the picture."""

    line: PostLine
    pixels: Mapping[int, torch.Tensor]
    picture: PictureUse


@dataclass(frozen=True, slots=True)
class _Part:
    """One model with its tokenizer."""

    model: Any
    encoder: WordEncoder

    @property
    def size(self) -> int | None:
        """Side of the pictures that the model takes; None where it reads text alone."""
        return self.model.config.image_size

    def visual(self, readings: Sequence[_Reading]) -> dict[str, torch.Tensor]:
        """`visual` (B, K+1, d_v) and `picture_mask` (B,): each picture through the vision encoder once.

        Nothing where no post of the batch has a picture.
        """
        places = [place for place, reading in enumerate(readings) if self.size in reading.pixels]
        if self.size is None or not places:
            return {}
        device = self.model.device
        pixels = torch.stack([readings[place].pixels[self.size] for place in places]).to(device)
        encoded = self.model.promu.encode_pictures(pixels)
        visual = encoded.new_zeros(len(readings), *encoded.shape[1:])
        mask = torch.zeros(len(readings), dtype=torch.long, device=device)
        rows = torch.tensor(places, device=device)
        return {"visual": visual.index_copy(0, rows, encoded), "picture_mask": mask.index_fill(0, rows, 1)}

    def pixels(self, readings: Sequence[_Reading]) -> dict[str, torch.Tensor]:
        """`pixel_values` (B, 3, S, S) and `picture_mask` (B,); nothing where no post of the batch has a picture."""
        found = [None if self.size is None else reading.pixels.get(self.size) for reading in readings]
        some = next((pixels for pixels in found if pixels is not None), None)
        if some is None:
            return {}
        stack = torch.stack([torch.zeros_like(some) if pixels is None else pixels for pixels in found])
        mask = torch.tensor([int(pixels is not None) for pixels in found])
        return {"pixel_values": stack.to(self.model.device), "picture_mask": mask.to(self.model.device)}


class Extractor:
    """Entities and relations from posts, by one fine-tuned model for each of the two tasks.

    It holds no state that a call changes, so threads may share one. The same post gives the same answer in whatever
    batch it is read (scores to about 1e-5).

    Args:
        entities: Model and tokenizer of entity recognition; None where posts bring their entities.
        relations: Model and tokenizer of relation classification; None to find entities alone.

    Example:
        ```python
        extractor = Extractor.from_pretrained("runs/demo/model")
        result = extractor("Zorva and Kelmo tonight", image="photo.png")
        result.entities, result.relations, result.triples()
        ```
    """

    def __init__(
        self,
        entities: tuple[PromuPreTrainedModel, WordEncoder] | None,
        relations: tuple[PromuPreTrainedModel, WordEncoder] | None = None,
    ) -> None:
        if entities is None and relations is None:
            raise InputError("an extractor needs a model for entities, for relations, or both")
        self._ner = None if entities is None else _Part(entities[0].eval(), entities[1])
        self._re = None if relations is None else _Part(relations[0].eval(), relations[1])
        for part in (self._ner, self._re):
            if part is not None:
                # The tokenizer sets up its padding on first use; after this no thread finds it doing so.
                part.encoder.pieces("a")
        self._relation_names: list[str] = []
        if self._re is not None:
            names = self._re.model.config.id2label
            self._relation_names = [names[index] for index in range(len(names))]
            if NO_RELATION not in self._relation_names:
                raise InputError(f"the relation model has no label {NO_RELATION!r}; fine-tune it on data that has it")

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | None = None) -> Self:
        """Load a folder with `ner/` and `re/`, one of them, or itself the model folder of one task.

        Args:
            folder: What `promu demo` and `promu finetune` leave behind as `model`.
            device: A torch device; None takes the best there is.

        Raises:
            InputError: There is no such folder, no model in it, or a part of a model is missing or broken.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError("no such model folder; check the path (models are read from local folders)", folder)
        homes = {task: folder / task for task in TASKS if (folder / task).is_dir()}
        if not homes:
            if not (folder / "config.json").is_file():
                raise InputError(
                    "no promu model here: neither ner/ and re/ nor config.json; name the model folder of a run", folder
                )
            homes = {task_of(folder): folder}
        models = {task: open_model(task, home, device) for task, home in homes.items()}
        return cls(models.get("ner"), models.get("re"))

    @property
    def reads_pictures(self) -> bool:
        """Whether a picture makes any difference."""
        return any(part is not None and part.size is not None for part in (self._ner, self._re))

    def __call__(
        self,
        text: str | Sequence[str] | Post,
        image: Picture | None = None,
        *,
        id: str = "1",
        missing_pictures: MissingPictures = "error",
    ) -> Extraction:
        """Extract from one post.

        Args:
            text: Running text, its words, or a `Post` (whose own `id` and, without `image`, picture are taken).
            image: The picture: a file, its bytes, or opened; None where there is none.
            id: Of the post.
            missing_pictures: As in `extract`.

        Raises:
            InputError: As `extract`.
        """
        line = _line(text, id)
        picture = line.post.image if image is None else image
        return self._batch([self._read(line, picture, missing_pictures)], 32)[0]

    def extract(
        self,
        posts: Iterable[PostLike],
        batch_size: int = 32,
        *,
        images: str | Path | None = None,
        missing_pictures: MissingPictures = "error",
    ) -> Iterator[Extraction]:
        """Extract from many posts, lazily and in their order.

        Args:
            posts: Texts, lists of words, dictionaries as in posts.jsonl, or posts; what has no id gets its number,
                from 1. With a model for entities the entities of a `Post` are found anew; without one they are taken
                as they are.
            batch_size: Posts, or pairs of entities, a forward pass.
            images: The folder that the posts' pictures are named in; None for the working directory.
            missing_pictures: What a picture that is missing or broken does: `error` raises, `text-only` reads the post
                as text and says so in `Extraction.picture`.

        Raises:
            InputError: A text without words, a picture that cannot be read, or a post without entities where there is
                no model to find them.
        """
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; at least 1 is needed")
        if isinstance(posts, str):
            raise InputError(
                "extract takes many posts, and this is one text; call the extractor with it, or give a list"
            )
        folder = Path(images or ".")
        lines = (_line(post, str(number)) for number, post in enumerate(posts, start=1))
        while window := list(islice(lines, batch_size * WINDOW)):
            order = sorted(range(len(window)), key=lambda row: len(window[row].post.tokens))
            found: dict[int, Extraction] = {}
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                readings = []
                for row in rows:
                    name = window[row].post.image
                    readings.append(self._read(window[row], None if name is None else folder / name, missing_pictures))
                found.update(zip(rows, self._batch(readings, batch_size), strict=True))
            for row in range(len(window)):
                yield found[row]

    def _read(self, line: PostLine, image: Picture | None, missing: MissingPictures) -> _Reading:
        if self._ner is None and not line.post.entities:
            raise InputError(
                f"post {line.post.id!r} has no entities and there is no model to find them; give entities, or a "
                "folder with ner/ and re/"
            )
        if image is None:
            return _Reading(line, {}, "none")
        if not self.reads_pictures:
            return _Reading(line, {}, "unread")
        sizes = {part.size for part in (self._ner, self._re) if part is not None and part.size is not None}
        source = Path(image) if isinstance(image, str) else image
        try:
            pixels = {size: to_pixels(load_picture(source, target=(size, size)), size) for size in sizes}
        except InputError as error:
            if missing == "error":
                raise InputError(
                    f"{error.reason}; or have post {line.post.id!r} read as text (missing_pictures='text-only', on the "
                    "command line --missing-pictures text-only)",
                    error.path,
                ) from None
            logger.warning("%s; post %r is read as text", error, line.post.id)
            return _Reading(line, {}, "missing")
        return _Reading(line, pixels, "used")

    @torch.inference_mode()
    def _batch(self, readings: Sequence[_Reading], batch_size: int) -> list[Extraction]:
        posts = [replace(reading.line.post, relations=()) for reading in readings]
        if self._ner is not None:
            posts = self._find_entities(self._ner, readings, posts)
        if self._re is not None:
            posts = self._find_relations(self._re, readings, posts, batch_size)
        return [
            Extraction(
                id=post.id,
                text=reading.line.text,
                tokens=post.tokens,
                entities=post.entities,
                relations=post.relations,
                offsets=reading.line.offsets,
                picture=reading.picture,
            )
            for reading, post in zip(readings, posts, strict=True)
        ]

    def _find_entities(self, part: _Part, readings: Sequence[_Reading], posts: Sequence[Post]) -> list[Post]:
        batch = TASKS["ner"].batch(part.encoder, posts, None)
        for post, seen in zip(posts, batch["word_mask"].sum(1).tolist(), strict=True):
            if seen < len(post.tokens):
                logger.warning(
                    "post %r has %d words, of which the first %d were read: the model takes %d word pieces",
                    post.id,
                    len(post.tokens),
                    seen,
                    part.encoder.max_length,
                )
        batch = {name: value.to(part.model.device) for name, value in batch.items()}
        found = TASKS["ner"].predict(part.model, {**batch, **part.pixels(readings)}, posts)
        return [replace(post, entities=tuple(map(_at_most_one, post.entities))) for post in found]

    def _find_relations(
        self, part: _Part, readings: Sequence[_Reading], posts: Sequence[Post], batch_size: int
    ) -> list[Post]:
        rows = [
            (place, pair)
            for place, post in enumerate(posts)
            for pair in pair_posts(post, fitting_pairs(post.entities, self._relation_names))
        ]
        # Pictures without a pair are not worth encoding.
        places = sorted({place for place, _ in rows})
        visual = part.visual([readings[place] for place in places])
        place_of = {place: index for index, place in enumerate(places)}
        best: list[dict[tuple[int, int], Relation]] = [{} for _ in posts]
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            pairs = [pair for _, pair in chunk]
            batch = {
                name: value.to(part.model.device)
                for name, value in TASKS["re"].batch(part.encoder, pairs, None).items()
            }
            index = torch.tensor([place_of[place] for place, _ in chunk], device=part.model.device)
            batch.update({name: value.index_select(0, index) for name, value in visual.items()})
            probabilities = part.model(**batch).logits.softmax(-1).cpu()
            for (place, pair), row in zip(chunk, probabilities, strict=True):
                relation = self._best_fitting(pair, row)
                if relation is None:
                    continue
                ends = (min(relation.head, relation.tail), max(relation.head, relation.tail))
                before = best[place].get(ends)
                if before is None or (before.score or 0.0) < (relation.score or 0.0):
                    best[place][ends] = relation
        return [
            replace(post, relations=tuple(sorted(found.values(), key=lambda relation: (relation.head, relation.tail))))
            for post, found in zip(posts, best, strict=True)
        ]

    def _best_fitting(self, pair: Post, probabilities: torch.Tensor) -> Relation | None:
        """The most probable relation of a pair among those that its types allow; None where that is `None`."""
        asked = pair.relations[0]
        fits = fitting_labels(pair.entities[asked.head], pair.entities[asked.tail], self._relation_names)
        score, label = (probabilities * torch.tensor(fits)).max(-1)
        name = self._relation_names[int(label)]
        return None if name == NO_RELATION else Relation(asked.head, asked.tail, name, float(score))


def _at_most_one(entity: Entity) -> Entity:
    """A marginal comes out of a sum of exponentials and may exceed 1 by the last bit."""
    return replace(entity, score=min(entity.score or 0.0, 1.0))


def _line(post: PostLike, id: str) -> PostLine:
    if isinstance(post, PostLine):
        return post
    if isinstance(post, Mapping):
        return from_record({"id": id, **post})
    if isinstance(post, Post):
        plain = from_tokens(post.tokens, post.id)
        return PostLine(post, plain.text, plain.offsets)
    return from_text(post, id) if isinstance(post, str) else from_tokens(post, id)

"""A trained model put to work: posts in, entities and relations out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from promu.corpora.posts import PostLine
from promu.errors import InputError
from promu.extraction.backends import Backend, BackendName, BackendPrecision, TorchBackend
from promu.extraction.explanation import Attention, Explanation, attention_from, mean_map
from promu.extraction.fit import fitting_labels, fitting_pairs
from promu.extraction.folders import find_models, open_backend
from promu.extraction.reading import MissingPictures, Picture, PostLike, Reading, read, to_line
from promu.extraction.result import Extraction
from promu.extraction.seen import Seen, look
from promu.extraction.sure import sure_enough
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import EncodedText, WordEncoder
from promu.schema import NO_RELATION, Post, Relation
from promu.training.tasks import TASKS, pair_posts, relation_probabilities

logger = logging.getLogger(__name__)

WINDOW = 16
"""Batches that are looked ahead, so that posts of like length can share one."""
PAIRS_ALONE = 32
"""Pairs a pass where a post is read alone: there the answer must not hang on the batch size."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One model with its tokenizer."""

    backend: Any
    encoder: WordEncoder

    def run(self, batch: dict[str, torch.Tensor], pictures: dict[str, torch.Tensor], explain: bool) -> Any:
        """The model's output for a task's batch and the pictures that go with it."""
        moved = {name: value.to(self.backend.device) for name, value in batch.items()}
        return self.backend({**moved, **pictures}, explain)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a caller wants of each post."""

    batch_size: int = 32
    entity_threshold: float = 0.0
    relation_threshold: float = 0.0
    explain: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; at least 1 is needed")
        for name in ("entity_threshold", "relation_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; scores are from 0 to 1")


class Extractor:
    """Entities and relations from posts, by one fine-tuned model for each of the two tasks, or by one for both.

    It holds no state that a call changes, so threads may share one. In fp32 and int8 the same post gives the same
    answer in whatever batch it is read (scores to about 1e-5); bf16 rounds coarser than that.

    Args:
        entities: Model and tokenizer of entity recognition; None where posts bring their entities.
        relations: Model and tokenizer of relation classification; None to find entities alone.
        joint: Model and tokenizer of joint extraction, in place of the two: a relation's score is then that of the
            whole quintuple.

    Example:
        ```python
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
        self._ner = None if entities is None else _part(*entities)
        self._re = None if relations is None else _part(*relations)
        self._joint = None if joint is None else _part(*joint)
        parts = [part for part in (self._ner, self._re, self._joint) if part is not None]
        self._sizes = frozenset(size for part in parts if (size := part.backend.config.image_size) is not None)
        self._one_by_one = any(part.backend.one_by_one for part in parts)
        # two models that see alike share what one of them has seen
        self._one_sight = len(parts) == 2 and parts[0].backend.sight == parts[1].backend.sight
        self._relation_names: list[str] = []
        if self._re is not None:
            names = self._re.backend.config.id2label
            self._relation_names = [names[index] for index in range(len(names))]
            if NO_RELATION not in self._relation_names:
                raise InputError(f"the relation model has no label {NO_RELATION!r}; fine-tune it on data that has it")

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
        homes = find_models(folder)
        if len(homes) > 1 and "joint" in dict(homes):
            raise InputError("holds joint/ beside the models of single tasks; name one of the folders in it", folder)
        models = {task: open_backend(task, home, device, precision, backend) for task, home in homes}
        return cls(models.get("ner"), models.get("re"), models.get("joint"))

    @property
    def reads_pictures(self) -> bool:
        """Whether a picture makes any difference."""
        return bool(self._sizes)

    def __call__(
        self,
        text: PostLike,
        image: Picture | None = None,
        *,
        id: str = "1",
        missing_pictures: MissingPictures = "error",
        entity_threshold: float = 0.0,
        relation_threshold: float = 0.0,
        explain: bool = False,
    ) -> Extraction:
        """Extract from one post.

        Args:
            text: Running text, its words, or a `Post` (whose own `id` and, without `image`, picture are taken).
            image: The picture: a file, its bytes, or opened; None where there is none.
            id: Of the post.
            missing_pictures, entity_threshold, relation_threshold, explain: As in `extract`.

        Raises:
            InputError: As `extract`.
        """
        asked = _Asked(32, entity_threshold, relation_threshold, explain)
        line = to_line(text, id)
        picture = line.post.image if image is None else image
        return self._batch([self._read(line, picture, missing_pictures)], asked)[0]

    def extract(
        self,
        posts: Iterable[PostLike],
        batch_size: int = 32,
        *,
        images: str | Path | None = None,
        missing_pictures: MissingPictures = "error",
        entity_threshold: float = 0.0,
        relation_threshold: float = 0.0,
        explain: bool = False,
        problems: list[InputError] | None = None,
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
            entity_threshold: Entities that are found with a lower score are left out, and no relation is sought for
                them.
            relation_threshold: Relations with a lower score are left out.
            explain: Also say what the fused vectors attended to (`Extraction.explanation`).
            problems: Where posts that cannot be read go, their number as `line`; None raises the first.

        Raises:
            InputError: A text without words, a picture that cannot be read, or a post without entities where there is
                no model to find them; a setting that is out of range.
        """
        asked = _Asked(batch_size, entity_threshold, relation_threshold, explain)
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
            order = sorted(range(len(lines)), key=lambda row: len(lines[row][1].post.tokens))
            found: dict[int, Extraction] = {}
            for start in range(0, len(order), batch_size):
                readings: dict[int, Reading] = {}
                for row in order[start : start + batch_size]:
                    number, line = lines[row]
                    image = None if line.post.image is None else folder / line.post.image
                    try:
                        readings[row] = self._read(line, image, missing_pictures)
                    except InputError as error:
                        _fault(problems, error, number)
                found.update(zip(readings, self._batch(list(readings.values()), asked), strict=True))
            for row in sorted(found):
                yield found[row]

    def _read(self, line: PostLine, image: Picture | None, missing: MissingPictures) -> Reading:
        if self._ner is None and self._joint is None and not line.post.entities:
            raise InputError(
                f"post {line.post.id!r} has no entities and there is no model to find them; give entities, or a "
                "folder with ner/ and re/"
            )
        return read(line, image, self._sizes, missing)

    @torch.inference_mode()
    def _batch(self, readings: Sequence[Reading], asked: _Asked) -> list[Extraction]:
        if self._one_by_one and len(readings) > 1:
            return [self._batch([reading], asked)[0] for reading in readings]
        if not readings:
            return []
        drafts = [_Draft(replace(reading.line.post, relations=())) for reading in readings]
        seen = Seen(None, {})
        if self._ner is not None:
            seen = look(self._ner.backend, _pixels(self._ner, readings))
            self._read_whole("ner", self._ner, seen, drafts, asked)
        if self._joint is not None:
            seen = look(self._joint.backend, _pixels(self._joint, readings))
            self._read_whole("joint", self._joint, seen, drafts, asked)
        if self._re is not None:
            self._find_relations(self._re, seen, readings, drafts, asked)
        return [
            Extraction(
                id=draft.post.id,
                text=reading.line.text,
                tokens=draft.post.tokens,
                entities=draft.post.entities,
                relations=draft.post.relations,
                offsets=reading.line.offsets,
                picture=reading.picture,
                words_read=draft.words_read,
                explanation=Explanation(draft.of_entities, draft.of_relations) if asked.explain else None,
            )
            for reading, draft in zip(readings, drafts, strict=True)
        ]

    def _read_whole(self, name: str, part: _Part, seen: Seen, drafts: Sequence[_Draft], asked: _Asked) -> None:
        """Find what a model of whole posts finds: entities, and if it is a joint one relations too."""
        task = TASKS[name]
        posts = [draft.post for draft in drafts]
        batch = task.batch(part.encoder, posts, None)
        output = part.run(batch, seen.of(range(len(posts))), asked.explain)
        outputs = task.outputs(output)
        found = task.rate(part.backend, outputs, batch, task.decode(part.backend, outputs, batch, posts))
        shares = mean_map(output.attentions) if asked.explain else None
        for row, (draft, answer, read_words) in enumerate(
            zip(drafts, found, batch["word_mask"].sum(1).tolist(), strict=True)
        ):
            draft.post = sure_enough(answer, asked.entity_threshold, asked.relation_threshold)
            if read_words < len(answer.tokens):
                draft.words_read = read_words
                logger.warning(
                    "post %r has %d words, of which the first %d were read: the model takes %d word pieces",
                    answer.id,
                    len(answer.tokens),
                    read_words,
                    part.encoder.max_length,
                )
            if shares is not None:
                text = task.encode(part.encoder, answer)
                draft.attend(shares[row], batch["input_ids"].shape[1], text, row in seen.rows)

    def _find_relations(
        self, part: _Part, seen: Seen, readings: Sequence[Reading], drafts: Sequence[_Draft], asked: _Asked
    ) -> None:
        rows = [
            (place, pair)
            for place, draft in enumerate(drafts)
            for pair in pair_posts(draft.post, fitting_pairs(draft.post.entities, self._relation_names))
        ]
        if not self._one_sight:
            # pictures without a pair are not worth encoding
            paired = {place for place, _ in rows}
            pixels = _pixels(part, readings)
            seen = look(part.backend, {place: pixels[place] for place in pixels if place in paired})
        task = TASKS["re"]
        size = PAIRS_ALONE if self._one_by_one else asked.batch_size
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            batch = task.batch(part.encoder, [pair for _, pair in chunk], None)
            output = part.run(batch, seen.of([place for place, _ in chunk]), asked.explain)
            probabilities = relation_probabilities(part.backend, task.outputs(output))
            shares = mean_map(output.attentions) if asked.explain else None
            for row, (place, pair) in enumerate(chunk):
                relation = self._best_fitting(pair, probabilities[row])
                if relation is None or not drafts[place].improves(relation):
                    continue
                attention = None
                if shares is not None:
                    text = task.encode(part.encoder, pair)
                    width = batch["input_ids"].shape[1]
                    attention = attention_from(
                        shares[row], width, text.positions, text.words, len(pair.tokens), place in seen.rows
                    )
                drafts[place].best[_ends(relation)] = relation, attention
        for draft in drafts:
            draft.keep_best(asked.relation_threshold)

    def _best_fitting(self, pair: Post, probabilities: torch.Tensor) -> Relation | None:
        """The most probable relation of a pair among those that its types allow; None where that is `None`."""
        asked = pair.relations[0]
        fits = fitting_labels(pair.entities[asked.head], pair.entities[asked.tail], self._relation_names)
        score, label = (probabilities * torch.tensor(fits)).max(-1)
        name = self._relation_names[int(label)]
        return None if name == NO_RELATION else Relation(asked.head, asked.tail, name, float(score))


class _Draft:
    """What has been found in one post so far."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.words_read: int | None = None
        self.best: dict[tuple[int, int], tuple[Relation, Attention | None]] = {}
        self.of_entities: tuple[Attention, ...] = ()
        self.of_relations: tuple[Attention, ...] = ()

    def attend(self, shares: NDArray[np.float64], width: int, text: EncodedText, seen: bool) -> None:
        """Keep what the words of each entity attended to, and those of both ends of each relation."""
        words = [text.positions[entity.start : entity.end] for entity in self.post.entities]
        pairs = [words[relation.head] + words[relation.tail] for relation in self.post.relations]
        self.of_entities, self.of_relations = (
            tuple(attention_from(shares, width, one, text.words, len(self.post.tokens), seen) for one in places)
            for places in (words, pairs)
        )

    def improves(self, relation: Relation) -> bool:
        """Whether nothing surer is known of the pair, in either direction."""
        before = self.best.get(_ends(relation))
        return before is None or (before[0].score or 0.0) < (relation.score or 0.0)

    def keep_best(self, threshold: float) -> None:
        """Put the relations that are sure enough into the post, in the order of their ends."""
        best = [found for found in self.best.values() if (found[0].score or 0.0) >= threshold]
        best.sort(key=lambda found: (found[0].head, found[0].tail))
        self.post = replace(self.post, relations=tuple(relation for relation, _ in best))
        self.of_relations = tuple(attention for _, attention in best if attention is not None)


def _ends(relation: Relation) -> tuple[int, int]:
    return min(relation.head, relation.tail), max(relation.head, relation.tail)


def _part(model: PromuPreTrainedModel | Backend, encoder: WordEncoder) -> _Part:
    # The tokenizer sets up its padding on first use; after this no thread finds it doing so.
    encoder.pieces("a")
    return _Part(TorchBackend(model) if isinstance(model, PromuPreTrainedModel) else model, encoder)


def _pixels(part: _Part, readings: Sequence[Reading]) -> dict[int, torch.Tensor]:
    """The pictures at the size that the part's model takes, by place."""
    size = part.backend.config.image_size
    if size is None:
        return {}
    return {place: reading.pixels[size] for place, reading in enumerate(readings) if reading.pixels}


def _fault(problems: list[InputError] | None, error: InputError, number: int) -> None:
    if problems is None:
        raise error
    problems.append(InputError(error.reason, error.path, number))

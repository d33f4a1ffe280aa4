"""From posts to the answers of a fine-tuned model, whatever computes them.

A `Predictor` is one model with its labels and its tokenizer, in PyTorch (`torch_predictor`) or as ONNX graphs
(`onnx_predictor`). Validation in fine-tuning, `promu.evaluate`, the extractor, the service, calibration and the study's
attention figure all predict with it. What goes in and comes out is NumPy's, so that graphs need no PyTorch.

A batch of posts is predicted in three steps: `encode` (words to input ids), the forward pass, and the task's `decode`
and `add_scores` (outputs to entities and relations). `predict` does it for any number of posts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from promu.errors import InputError
from promu.files import shorten
from promu.modeling.head_settings import HeadSettings
from promu.modeling.inputs import Batch, EncodedText, WordEncoder
from promu.modeling.label_prompts import LabelPrompt
from promu.progress import report
from promu.schema import NO_RELATION, Post, Scheme
from promu.tasks.familiarity import Familiarity

if TYPE_CHECKING:  # imported when something is scored, or computed in PyTorch
    from promu.evaluation.thresholds import Point
    from promu.modeling.backbone import PromuPreTrainedModel
    from promu.modeling.chain import Crf

Posts = Sequence[Post]
Groups = Mapping[str, str] | None
"""Group names by post id, for figures by group."""
ImageBatches = Callable[[Sequence[str | None]], Batch]
"""File names of a batch to `pixel_values` and `image_mask`; to nothing where no post has an image."""

NOT_READ = "past the last word that is read"
UNKNOWN = ("of a label that training lacks", "of types and a relation that do not go together in training")
"""Why no answer can hold a part of the gold: of single labels, and of quintuples."""


class Predictions(NamedTuple):
    """A model's output for a batch of posts.

    Attributes:
        rows: The number of each post in the sequence that was predicted.
        posts: The posts as they were given.
        batch: The inputs without images.
        outputs: Emissions (B, W, C) for entities, logits (B, N_r) for relations, or `Candidates`.
        attentions: The fusion's attention maps (B, heads, Q, M), one a layer; None where they were not asked for.
        fused: The fused vectors (B, N, d) of the texts, where the model computes: a tensor on its device, or an array;
            None where they were not asked for.
        by: Who predicted, with the labels that were asked for.
    """

    rows: list[int]
    posts: list[Post]
    batch: Batch
    outputs: Any
    attentions: tuple[NDArray[Any], ...] | None = None
    fused: Any = None
    by: Predictor | None = None


class Task(ABC):
    """What fine-tuning, evaluation and extraction need to know of a task.

    Attributes:
        name: Its name in `TASKS`.
        format: The format of its published sets, a name in `FORMATS`.
        model: What models of the task are: module and name of the class.
        output: The part of a model's output that answers are decoded from.
        threshold: The field of `PromuConfig` with the lowest score of the answers that are scored.
        answers, some: What the gold has, many and at least one of them, in words.
        asked: Whether a post is one marked pair that is asked about, with one answer.
    """

    name: str
    format: str
    model: str
    output: str
    threshold: str
    answers: str
    some: str
    asked = False

    @property
    def model_class(self) -> type[PromuPreTrainedModel]:
        """The class that `model` names, which imports PyTorch."""
        module, _, name = self.model.rpartition(".")
        found: type[PromuPreTrainedModel] = getattr(import_module(module), name)
        return found

    def read(self, path: Path, format: str | None = None, scheme: Scheme = "auto") -> list[Post]:
        """Labelled posts as the task learns them.

        Args:
            path: The file.
            format: A name in `FORMATS`; None is `posts` where the name ends in .jsonl, else the task's `format`.
            scheme: Of the tags in CoNLL files.

        Raises:
            InputError: As `read_labelled`.
        """
        from promu.corpora.labelled import read_labelled  # here, for it imports every format

        return read_labelled(self.name, path, format, published=self.format, scheme=scheme)

    def write(self, path: Path, posts: Posts, format: str | None = None) -> None:
        """Write posts, predicted ones too, so that `read` gives them back; raises as `write_labelled`."""
        from promu.corpora.labelled import write_labelled

        write_labelled(self.name, path, posts, format, published=self.format)

    @abstractmethod
    def labels(self, posts: Posts) -> list[str]:
        """Label names in the order of the model's outputs."""

    @abstractmethod
    def count(self, post: Post) -> int:
        """How many answers a post's gold has."""

    @abstractmethod
    def classes(self, posts: Posts) -> Counter[str]:
        """How often the gold has each label that is worth finding; `None` is none."""

    def label_classes(self, labels: Sequence[str]) -> set[str]:
        """The same of the names of a model's labels."""
        return set(labels)

    def labels_of(self, names: Sequence[str]) -> list[str]:
        """The labels, in the order of a model's outputs, of types or relations that are given by prompts.

        Raises:
            InputError: Labels of this task cannot be prompts.
        """
        raise InputError(f"labels of the task {self.name!r} cannot be prompts; train ner or re so")

    def only(self, post: Post, names: Collection[str]) -> Post:
        """A post without the answers whose type is not among `names`; raises as `labels_of`."""
        raise InputError(f"labels of the task {self.name!r} cannot be prompts; train ner or re so")

    @abstractmethod
    def readable(self, post: Post, text: EncodedText) -> Post:
        """Gold without the answers of which `text`, what `encode` makes of the post, does not hold all words."""

    @abstractmethod
    def beyond(self, post: Post, text: EncodedText, labels: Sequence[str]) -> Counter[str]:
        """How many answers of a post's gold no output of a model with these labels can hold, by the reason."""

    def unusable(self, posts: Posts) -> str | None:
        """Why gold can neither be learned from nor scored; None where it can."""
        return None

    def one_sided(self, posts: Posts) -> list[str]:
        """What a model cannot learn from gold that is all of one kind, a sentence each."""
        return []

    def encode(self, encoder: WordEncoder, post: Post) -> EncodedText:
        """Input ids of one post, with the positions that the model answers for: each word's first piece."""
        return encoder.with_contexts(encoder.words(post.tokens), post.tokens, post.contexts)

    @abstractmethod
    def batch(self, encoder: WordEncoder, posts: Posts, labels: Mapping[str, int] | None) -> Batch:
        """Model inputs without images; with targets where label ids are given."""

    def outputs(self, output: Any) -> Any:
        """The part of the model's output that `output` names."""
        return getattr(output, self.output)

    @abstractmethod
    def decode(self, predictor: Predictor, predictions: Predictions) -> list[Post]:
        """The posts with the most probable answers in place of gold, without scores."""

    @abstractmethod
    def add_scores(self, predictor: Predictor, predictions: Predictions, answers: Posts) -> list[Post]:
        """Decoded posts with probabilities as scores, at the model's temperature (`score_temperature`)."""

    @abstractmethod
    def score(self, gold: Posts, predicted: Posts, groups: Groups = None, labels: Sequence[str] = ()) -> Any:
        """The task's figures; a mean over labels counts those of the model too, where they are given."""

    @abstractmethod
    def judge(self, gold: Post, answer: Post) -> list[tuple[float, bool]]:
        """The score of each answer to one post, and whether it is right."""

    @abstractmethod
    def positives(self, gold: Post, answer: Post) -> tuple[list[tuple[float, bool]], int]:
        """The same of the answers that F1 counts, and how many such there are in the gold."""

    def curve(self, gold: Posts, answers: Posts) -> list[Point]:
        """Precision, recall and F1 by threshold of scored answers to gold posts."""
        from promu.evaluation.thresholds import precision_recall

        found = [self.positives(*pair) for pair in zip(gold, answers, strict=True)]
        return precision_recall([pair for pairs, _ in found for pair in pairs], sum(count for _, count in found))

    @abstractmethod
    def above(self, answer: Post, threshold: float) -> Post:
        """The post without the answers that F1 counts whose score is lower."""


class EncodedImages(NamedTuple):
    """The images of a batch of posts, encoded once for however many texts.

    Attributes:
        vectors: (P, K+1, d_v), or (P, V, K+1, d_v) where the fusion reads several levels: a tensor on the model's
            device, or an array; None without images.
        rows: Row in `vectors` by the post's number in the batch.
    """

    vectors: Any = None
    rows: Mapping[int, int] = {}

    def inputs(self, numbers: Sequence[int]) -> Batch:
        """`visual` and `image_mask` for posts by their numbers, which may repeat; empty where none has an image."""
        if self.vectors is None or not any(number in self.rows for number in numbers):
            return {}
        rows = [self.rows.get(number, -1) for number in numbers]
        # the vectors in the row of a post without an image are masked out
        visual = self.vectors[[max(row, 0) for row in rows]]
        return {"visual": visual, "image_mask": np.array([int(row >= 0) for row in rows])}


class Predictor(ABC):
    """One fine-tuned model with its labels and its tokenizer. Threads may share it.

    Attributes:
        task, config, encoder: The model's task, configuration and tokenizer.
        labels: Label names in the order of its outputs.
        crf: The weights of its CRF; None for relation classification.
        explains: Whether it gives attention maps.
        folder: Where it was loaded from.
        familiarity: What texts it knows; None where nothing says it.
        backbone: What reads text and image: the same object for two models that share it.
        one_by_one: Whether an answer depends on the other posts of the batch, so that each post must be alone.
    """

    explains = False
    one_by_one = False
    folder: Path | None = None
    familiarity: Familiarity | None = None
    crf: Crf | None = None
    backbone: object = None

    def __init__(self, task: Task, config: HeadSettings, encoder: WordEncoder) -> None:
        self.task, self.config, self.encoder = task, config, encoder
        self.labels: tuple[str, ...] = tuple(config.labels)
        if len(set(self.labels)) < len(self.labels):
            raise InputError(f"two labels of the model have one name (id2label): {', '.join(self.labels)}")
        encoder.pieces("a")  # the tokenizer sets up its padding on first use, which threads must not do at once

    @property
    def names(self) -> list[str]:
        """The types or relations of its labels, in their order."""
        known = self.task.label_classes(self.labels) - {NO_RELATION}
        return [name for name in dict.fromkeys(label.removeprefix("B-") for label in self.labels) if name in known]

    def asking(self, prompts: Sequence[LabelPrompt]) -> Self:
        """The same model asked for other labels, which it reads in their prompts.

        Raises:
            InputError: Its labels are fixed, or a prompt is longer than it reads.
        """
        known = ", ".join(self.names)
        raise InputError(
            f"the labels of this model are fixed ({shorten(known, 200)}), and it cannot be asked for others; train one "
            "with labels: prompts in its recipe, and let PyTorch compute it"
        )

    @property
    def device(self) -> Any:
        """Where it computes, with its `type`, as PyTorch has it."""
        return SimpleNamespace(type="cpu")

    @property
    @abstractmethod
    def vision_checksum(self) -> str | None:
        """Equal for two models that encode an image equally; None for a model without vision encoder."""

    @abstractmethod
    def __call__(self, batch: Batch, output_attentions: bool = False) -> Any:
        """The model's output for a batch, the inputs of its `forward` by name; what is not `fused_text` is an array."""

    @abstractmethod
    def _encode_images(self, pixels: NDArray[np.uint8]) -> Any:
        """Bytes (P, 3, S, S) to the vision encoder's vectors."""

    def encode_images(self, pixels: Mapping[int, NDArray[np.uint8]]) -> EncodedImages:
        """Encode images: bytes (3, S, S) by the post's number in the batch."""
        if not pixels:
            return EncodedImages()
        vectors = self._encode_images(np.stack(list(pixels.values())))
        return EncodedImages(vectors, {number: row for row, number in enumerate(pixels)})

    def encode(self, posts: Sequence[Post]) -> Batch:
        """The inputs of a batch of posts, without images."""
        return self.task.batch(self.encoder, posts, None)

    def answers_from(self, other: Predictor | None) -> bool:
        """Whether the texts that another model has read need not be read again: `predict_batch` takes their vectors."""
        reads_spans = self.task.name == "re" and self.config.relation_head == "spans"
        return reads_spans and other is not None and self.backbone is not None and self.backbone is other.backbone

    def predict_batch(
        self,
        posts: Sequence[Post],
        images: Batch,
        explain: bool = False,
        rows: Sequence[int] = (),
        fused: Any = None,
        keep: bool = False,
    ) -> Predictions:
        """One forward pass.

        Args:
            posts: For relation classification each with the pair that is asked about, or, if the head takes several,
                with all of them: `promu.tasks.task.packed_posts`.
            images: `visual` and `image_mask` (`EncodedImages.inputs`), or `pixel_values` and `image_mask`; or empty.
            explain: Also return attention maps; only where `explains`.
            rows: The posts' numbers; 0, 1, ... by default.
            fused: Vectors of the posts' texts that a model on the same backbone has kept (`answers_from`): there is no
                pass through the backbone then, and no need of images.
            keep: Keep the fused vectors.

        Raises:
            InputError: An output is NaN or infinite.
        """
        batch = self.encode(posts)
        inputs = {**batch, **images} if fused is None else {"fused_text": fused, "pairs": batch["pairs"]}
        output = self(inputs, explain)
        attentions = output.attentions if explain else None
        outputs = self.task.outputs(output)
        if not np.isfinite(getattr(outputs, "emissions", outputs)).all():
            raise InputError(
                "the model's outputs are no numbers, as after a training that diverged; train it again with a lower "
                "learning rate, or compute in fp32",
                kind="diverged",
            )
        kept = output.fused_text if keep else None
        return Predictions(list(rows or range(len(posts))), list(posts), batch, outputs, attentions, kept, self)

    def predict(self, posts: Sequence[Post], images: ImageBatches, batch_size: int = 64) -> Iterator[Predictions]:
        """Predictions for all posts (see `predict_batch`), in batches of posts of like length."""
        done = 0
        lengths = [len(post.tokens) + self.encoder.context_words(post.contexts) for post in posts]
        for rows in by_length(lengths, 1 if self.one_by_one else batch_size):
            chosen = [posts[row] for row in rows]
            yield self.predict_batch(chosen, images([post.image for post in chosen]), rows=rows)
            done += len(rows)
            report("reading", done, len(posts))

    def answer(self, predictions: Predictions) -> list[Post]:
        """The posts of one batch with decoded answers and scores in place of gold."""
        by = predictions.by or self
        return self.task.add_scores(by, predictions, self.task.decode(by, predictions))

    def answers(self, predictions: Iterable[Predictions]) -> list[Post]:
        """The same of all batches, by the posts' numbers."""
        numbered = (pair for batch in predictions for pair in zip(batch.rows, self.answer(batch), strict=True))
        return [post for _, post in sorted(numbered, key=itemgetter(0))]


def by_length(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Row numbers in batches of `size`, the shortest first."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), size):
        yield order[start : start + size]

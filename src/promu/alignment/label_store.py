"""The label store: soft pseudo-labels computed once, offline, and kept beside what made them.

A store is a folder: `header.json` says which teacher, candidates, templates and temperature made the labels; each
`labels-IIII-NNNNN.safetensors` holds the labels of some images (top-k ids, half-precision probabilities, and the
mass of the tail, which is spread evenly over the candidates that are left). IIII is the process that wrote it: several
fill one store at the same time. Parts are opened when a label of theirs is asked for and read through memory mapping,
so that a store of millions of images costs its index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from promu.errors import InputError
from promu.files import atomic
from promu.progress import mark_stored
from promu.runs import refuse_other_settings

HEADER = "header.json"

_OF_REGIONS = ("boxes", "entity_ids", "entity_probabilities", "entity_tail")
_OF_IMAGES = ("relation_ids", "relation_probabilities", "relation_tail")
_TENSORS = _OF_REGIONS + _OF_IMAGES
_FAULTS = (SafetensorError, OSError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class LabelHeader:
    """Everything that a label depends on beside the image.

    `nouns` and `relations` are the candidates of Eq 6 and Eq 9 in order; `temperature` is the one of both softmaxes.
    `detector_weight` is how far a region's label follows the detector's category, and `synonyms` the checksum of the
    table that says which nouns name it (`promu.alignment.synonyms.DetectorPrior`; 0 and empty: not at all).
    `nouns_source` and `relations_source` note where the candidates came from; stores are equal whatever they say.
    """

    teacher: str
    detector: str
    nouns: tuple[str, ...]
    relations: tuple[str, ...]
    entity_template: str
    relation_template: str
    temperature: float
    top_k: int
    detector_weight: float = 0.0
    synonyms: str = ""
    nouns_source: str = field(default="", compare=False)
    relations_source: str = field(default="", compare=False)

    def settings(self) -> dict[str, Any]:
        """What labels depend on, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.compare}


@dataclass(frozen=True)
class SparseLabels:
    """Distributions kept as their k largest entries: `ids` and `probabilities` (N, k), `tail` (N,)."""

    ids: torch.Tensor
    probabilities: torch.Tensor
    tail: torch.Tensor

    @classmethod
    def from_dense(cls, labels: torch.Tensor, k: int) -> SparseLabels:
        """Keep the k largest entries of distributions (N, M)."""
        top = labels.topk(min(k, labels.shape[-1]), dim=-1)
        tail = (1.0 - top.values.sum(-1)).clamp(min=0.0)
        return cls(top.indices.to(torch.int32), top.values.half(), tail.half())

    def dense(self, width: int) -> torch.Tensor:
        """Distributions (N, width): the kept entries, the tail spread evenly over the rest, summing to 1."""
        k = self.ids.shape[-1]
        rest = self.tail.float() / max(width - k, 1)
        labels = rest[:, None].expand(-1, width).clone()
        labels.scatter_(1, self.ids.long(), self.probabilities.float())
        return labels / labels.sum(-1, keepdim=True)

    def __getitem__(self, rows: slice) -> SparseLabels:
        return SparseLabels(self.ids[rows], self.probabilities[rows], self.tail[rows])

    @staticmethod
    def cat(labels: Sequence[SparseLabels]) -> SparseLabels:
        """One after the other; all with the same k."""
        return SparseLabels(*(torch.cat([getattr(one, item.name) for one in labels]) for item in fields(SparseLabels)))


@dataclass(frozen=True)
class ImageLabels:
    """The labels of one image: regions' boxes (R, 4) in 0..1, their entity labels, the image's relation label."""

    boxes: torch.Tensor
    entities: SparseLabels
    relation: SparseLabels


class LabelStore:
    """Reads and extends a folder of labels.

    Args:
        folder: Where the store is, or will be.
        header: What the labels must have been made with; None takes what the folder says.

    Raises:
        InputError: The folder was made with other settings, holds no store where `header` is None, cannot be written to
            where it is to be made, or a part of it cannot be read.
    """

    def __init__(self, folder: Path, header: LabelHeader | None = None) -> None:
        self.folder = folder
        if header is not None and not (folder / HEADER).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(asdict(header), ensure_ascii=False, indent=1) + "\n"
            # if another process has written one in the meantime, that stays
            _write_once(folder / HEADER, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        self.header = _read_header(folder)
        if header is not None:
            refuse_other_settings(self.header.settings(), header.settings(), folder, "label store")
        self._parts: list[_Part] = []
        self._index: dict[str, tuple[int, int]] = {}  # image -> (part, row)
        for path in sorted(folder.glob("labels-*.safetensors")):
            self._append(_Part(path))

    def __contains__(self, image: str) -> bool:
        return image in self._index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, image: str) -> ImageLabels:
        part, row = self._index[image]
        return self._parts[part].labels(row)

    def images(self) -> list[str]:
        """The images that have labels."""
        return list(self._index)

    def add(self, images: Sequence[str], labels: Sequence[ImageLabels], process: int = 0) -> None:
        """Append one part with the labels of these images; it is there whole or not at all.

        `process` is the number of the one that writes, so that several can fill one store.

        Raises:
            InputError: The part cannot be written, or another process writes under the same number.
        """
        entities = SparseLabels.cat([label.entities for label in labels])
        relations = SparseLabels.cat([label.relation for label in labels])
        tensors = {
            "region_counts": torch.tensor([len(label.boxes) for label in labels], dtype=torch.int32),
            "boxes": torch.cat([label.boxes for label in labels]).float(),
            **{f"entity_{name}": tensor for name, tensor in vars(entities).items()},
            **{f"relation_{name}": tensor for name, tensor in vars(relations).items()},
        }
        metadata = {"images": json.dumps(list(images), ensure_ascii=False)}
        # after the last part, not after their count: a damaged part in the middle may have been deleted
        numbers = [int(path.stem.rpartition("-")[2]) for path in self.folder.glob(f"labels-{process:04d}-*")]
        path = self.folder / f"labels-{process:04d}-{max(numbers, default=-1) + 1:05d}.safetensors"
        if not _write_once(path, lambda temporary: save_file(tensors, temporary, metadata=metadata)):
            raise InputError("another process writes parts of this name; give each process a number", path)
        self._append(_Part(path))
        mark_stored()

    def _append(self, part: _Part) -> None:
        for row, image in enumerate(part.images):
            self._index.setdefault(image, (len(self._parts), row))
        self._parts.append(part)


class _Part:
    """One file of labels: the number of regions of each image is read, the rest is mapped when a label is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors: dict[str, torch.Tensor] = {}
        with _opened(path) as part:
            self.images: list[str] = json.loads(part.metadata()["images"])
            counts = part.get_tensor("region_counts").long()
            rows = {name: part.get_slice(name).get_shape()[0] for name in _TENSORS}
            expected = dict.fromkeys(_OF_REGIONS, int(counts.sum())) | dict.fromkeys(_OF_IMAGES, len(self.images))
            if rows != expected or len(counts) != len(self.images):
                raise ValueError("its tensors and images do not go together")
        self._starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])

    def labels(self, row: int) -> ImageLabels:
        if not self._tensors:
            with _opened(self.path) as part:
                self._tensors = {name: part.get_tensor(name) for name in _TENSORS}
        boxes, *entities = (self._tensors[name] for name in _OF_REGIONS)
        relations = (self._tensors[name] for name in _OF_IMAGES)
        regions = slice(int(self._starts[row]), int(self._starts[row + 1]))
        entity_labels, relation_label = SparseLabels(*entities)[regions], SparseLabels(*relations)[row : row + 1]
        return ImageLabels(boxes[regions], entity_labels, relation_label)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A part to read from; whatever of it cannot be read is an `InputError`."""
    try:
        with safe_open(path, framework="pt") as part:
            yield part
    except _FAULTS as error:
        reason = f"this part of the label store is damaged ({error}); delete it and label again"
        raise InputError(reason, path) from error


def _read_header(folder: Path) -> LabelHeader:
    path = folder / HEADER
    if not path.is_file():
        raise InputError("no label store here (header.json is missing); make one with `promu label`", folder)
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return LabelHeader(**raw | {name: tuple(value) for name, value in raw.items() if isinstance(value, list)})
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"not a label store's header ({error}); make the store again", path) from error


def _write_once(path: Path, write: Callable[[Path], object]) -> bool:
    """Let `write` fill a file beside `path` and give it that name unless it is taken; whether it was free."""
    try:
        with atomic(path, keep_existing=True) as temporary:
            write(temporary)
    except FileExistsError:
        return False
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        remedy = "make room and run the same command again, what is finished is kept"
        raise InputError(f"cannot be written ({reason}); {remedy}", path) from error
    return True

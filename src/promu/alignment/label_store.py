"""The label store: soft pseudo-labels computed once, offline, and kept beside what made them.

A store is a folder: `header.json` says which teacher, candidates, templates and temperature made the labels; each
`labels-NNNNN.safetensors` holds the labels of some pictures (top-k ids, half-precision probabilities, and the mass of
the tail, which is spread evenly over the candidates that are left).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from promu.errors import InputError
from promu.files import write_json

HEADER = "header.json"


@dataclass(frozen=True)
class LabelHeader:
    """Everything that a label depends on beside the picture.

    `nouns` and `relations` are the candidates of Eq 6 and Eq 9 in order; `temperature` is the one of both softmaxes.
    """

    teacher: str
    detector: str
    nouns: tuple[str, ...]
    relations: tuple[str, ...]
    entity_template: str
    relation_template: str
    temperature: float
    top_k: int

    def differences(self, other: LabelHeader) -> list[str]:
        """Names of the settings in which two headers differ."""
        return [item.name for item in fields(self) if getattr(self, item.name) != getattr(other, item.name)]


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


@dataclass(frozen=True)
class PictureLabels:
    """The labels of one picture: regions' boxes (R, 4) in 0..1, their entity labels, the picture's relation label."""

    boxes: torch.Tensor
    entities: SparseLabels
    relation: SparseLabels


class LabelStore:
    """Reads and extends a folder of labels.

    Args:
        folder: Where the store is, or will be.
        header: What the labels must have been made with; None takes what the folder says.

    Raises:
        InputError: The folder was made with other settings, holds no store where `header` is None, or a part of it
            cannot be read.
    """

    def __init__(self, folder: Path, header: LabelHeader | None = None) -> None:
        self.folder = folder
        found = self._read_header()
        if found is None and header is None:
            raise InputError("no label store here (header.json is missing); make one with `promu label`", folder)
        if found is not None and header is not None and (differing := found.differences(header)):
            raise InputError(
                f"this label store was made with other settings ({', '.join(differing)}); "
                "delete it or choose another folder, stores are never mixed",
                folder,
            )
        self.header: LabelHeader = found or header  # type: ignore[assignment]
        if found is None:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / HEADER, asdict(self.header))
        self._labels: dict[str, PictureLabels] = {}
        for part in sorted(folder.glob("labels-*.safetensors")):
            self._read_part(part)

    def __contains__(self, image: str) -> bool:
        return image in self._labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, image: str) -> PictureLabels:
        return self._labels[image]

    def images(self) -> list[str]:
        """The pictures that have labels."""
        return list(self._labels)

    def add(self, images: Sequence[str], labels: Sequence[PictureLabels]) -> None:
        """Append one part with the labels of these pictures; it is there whole or not at all."""
        # after the last part, not after their count: a damaged part in the middle may have been deleted
        numbers = [int(part.stem.removeprefix("labels-")) for part in self.folder.glob("labels-*.safetensors")]
        path = self.folder / f"labels-{max(numbers, default=-1) + 1:05d}.safetensors"
        counts = torch.tensor([len(label.boxes) for label in labels], dtype=torch.int32)
        tensors = {"region_counts": counts, "boxes": torch.cat([label.boxes for label in labels]).float()}
        for name, group in (
            ("entity", [label.entities for label in labels]),
            ("relation", [label.relation for label in labels]),
        ):
            tensors[f"{name}_ids"] = torch.cat([one.ids for one in group])
            tensors[f"{name}_probabilities"] = torch.cat([one.probabilities for one in group])
            tensors[f"{name}_tail"] = torch.cat([one.tail for one in group])
        temporary = path.with_suffix(".tmp")
        save_file(tensors, temporary, metadata={"images": json.dumps(list(images), ensure_ascii=False)})
        temporary.replace(path)
        self._labels.update(zip(images, labels, strict=True))

    def _read_header(self) -> LabelHeader | None:
        path = self.folder / HEADER
        if not path.is_file():
            return None
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            values: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()
            }
            return LabelHeader(**values)
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"not a label store's header ({error}); make the store again", path) from error

    def _read_part(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as part:
                images = json.loads(part.metadata()["images"])
                tensors = {name: part.get_tensor(name) for name in part.keys()}  # noqa: SIM118
            self._labels.update(_unpack(images, tensors))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"this part of the label store is damaged ({error}); delete it and label again", path
            ) from error


def _unpack(images: Sequence[str], tensors: Mapping[str, torch.Tensor]) -> dict[str, PictureLabels]:
    """The labels of each picture from the tensors of one part."""
    entities = SparseLabels(tensors["entity_ids"], tensors["entity_probabilities"], tensors["entity_tail"])
    relations = SparseLabels(tensors["relation_ids"], tensors["relation_probabilities"], tensors["relation_tail"])
    labels = {}
    start = 0
    for row, (image, count) in enumerate(zip(images, tensors["region_counts"].tolist(), strict=True)):
        rows = slice(start, start + count)
        labels[image] = PictureLabels(tensors["boxes"][rows], entities[rows], relations[row : row + 1])
        start += count
    return labels

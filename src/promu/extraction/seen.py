"""The pictures of a batch of posts, each encoded once for whatever reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from promu.extraction.backends import Backend


@dataclass(frozen=True, slots=True)
class Seen:
    """Encoded pictures of some posts.

    Attributes:
        tokens: (P, K+1, d_v), or one axis more where several levels are read; None where no post has a picture.
        rows: Row in `tokens` by the post's place in the batch.
    """

    tokens: torch.Tensor | None
    rows: Mapping[int, int]

    def of(self, places: Sequence[int]) -> dict[str, torch.Tensor]:
        """`visual` and `picture_mask` for posts by their places, which may repeat; nothing where none has a picture."""
        if self.tokens is None or not any(place in self.rows for place in places):
            return {}
        device = self.tokens.device
        # what stands in the row of a post without a picture is masked out
        rows = torch.tensor([self.rows.get(place, 0) for place in places], device=device)
        mask = torch.tensor([int(place in self.rows) for place in places], device=device)
        return {"visual": self.tokens.index_select(0, rows), "picture_mask": mask}


def look(backend: Backend, pixels: Mapping[int, torch.Tensor]) -> Seen:
    """Encode pictures.

    Args:
        backend: What encodes them.
        pixels: Bytes (3, S, S) by the post's place in the batch.
    """
    if not pixels:
        return Seen(None, {})
    stack = torch.stack(list(pixels.values())).to(backend.device)
    return Seen(backend.encode(stack), {place: row for row, place in enumerate(pixels)})

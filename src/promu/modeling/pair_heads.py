"""Relations between entities without a forward pass a pair: heads that read many pairs off one encoded text.

Three ways to put a pair to the model (`PromuConfig.relation_head`):

- `markers`: [E1] .. [/E1] and [E2] .. [/E2] stand in the text, which is read anew for each pair (Eq 14).
- `spans`: nothing stands in the text. `SpanPairs` scores a pair by the fused vectors of its two spans, so that one
  forward gives entities and then all of their pairs.
- `levitated`: four markers of each pair stand behind the text (`levitate`), at the positions of the span ends that they
  stand for (Ye et al., ACL 2022, packed levitated markers). They see the text and each other. The text does not see
  them, and neither does the image, so that a text's vectors are what they are without, and many pairs share a pass.

A pair is a row (P, 5) of `pairs`: the row of its text in the batch, then where head and tail begin and end in it, ends
exclusive; of levitated markers the places of the four.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions import FUSIONS
from promu.modeling.inputs import ENTITY_MARKERS, Batch

LEVITATES = ("bert", "camembert", "electra", "roberta", "xlm-roberta")
"""Text encoders that take positions by name and a mask of who sees whom."""
PARTS = 7
"""Of a pair's hidden vector: start, end and mean of head and of tail, and the mean of what is between them."""


class SpanPairs(nn.Module):
    """Logits of pairs from the fused vectors of their spans.

    Head and tail are each the sum of three linear maps: of the span's first vector, its last, and the mean of all.
    The hidden vector adds both, a map of their elementwise product, of the mean of the tokens between the two (zeros
    where there is none), and of [CLS]. Whatever is linear in a token is computed once a token, not once a pair.

    Example:
        ```python
        import torch
        from promu.modeling.pair_heads import SpanPairs

        head = SpanPairs(width=8, labels=3, dropout=0.0)
        pairs = torch.tensor([[0, 1, 3, 4, 5], [0, 4, 5, 1, 3]])  # one text, a pair in both directions
        assert head(torch.randn(1, 6, 8), pairs).shape == (2, 3)
        ```
    """

    def __init__(self, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Linear(width, PARTS * width)
        self.product = nn.Linear(width, width, bias=False)
        self.whole = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, labels)

    def forward(self, fused: Tensor, pairs: Tensor) -> Tensor:
        """Logits (P, R) of fused vectors (B, N, d), [CLS] first, and pairs (P, 5)."""
        row, *ends = pairs.unbind(1)
        parts = self.tokens(fused).float().unflatten(-1, (PARTS, -1))
        sums = functional.pad(parts.cumsum(1), (0, 0, 0, 0, 1, 0))

        def span(first: int, start: Tensor, end: Tensor) -> Tensor:
            return parts[row, start, first] + parts[row, end - 1, first + 1] + mean(first + 2, start, end)

        def mean(part: int, start: Tensor, end: Tensor) -> Tensor:
            count = (end - start)[:, None]
            return (sums[row, end, part] - sums[row, start, part]) / count.clamp(min=1) * (count > 0)

        head, tail = span(0, ends[0], ends[1]), span(3, ends[2], ends[3])
        low, high = torch.minimum(ends[1], ends[3]), torch.maximum(ends[0], ends[2])
        # of spans that touch or overlap nothing is between
        hidden = head + tail + mean(6, torch.minimum(low, high), high) + self.product(head * tail)
        hidden = hidden + self.whole(fused[:, 0])[row]
        return self.output(self.dropout(functional.gelu(hidden))).float()


class LevitatedPairs(nn.Module):
    """Logits of pairs from the fused vectors of their four markers."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.output = nn.Linear(len(ENTITY_MARKERS) * width, labels)

    def forward(self, fused: Tensor, pairs: Tensor) -> Tensor:
        """Logits (P, R) of fused vectors (B, N, d) and the pairs' markers (P, 5)."""
        return self.output(fused[pairs[:, :1], pairs[:, 1:]].flatten(1)).float()


def check_levitated(config: PromuConfig) -> None:
    """Make sure that the backbone can hide markers from the text.

    Raises:
        InputError: The text encoder or the fusion cannot.
    """
    text: Any = config.text_config
    if text.model_type not in LEVITATES:
        raise InputError(
            f"relation_head levitated needs a text encoder with a mask of who sees whom ({', '.join(LEVITATES)}), and "
            f"{text.model_type!r} has none; use relation_head spans or markers"
        )
    able = sorted(name for name in FUSIONS.own if FUSIONS[name].masks_pairs)
    if config.fusion in FUSIONS and not FUSIONS[config.fusion].masks_pairs:
        raise InputError(
            f"relation_head levitated needs a fusion with a mask of who sees whom ({', '.join(able)}), and "
            f"{config.fusion!r} has none; use relation_head spans or markers"
        )


def levitate(batch: Batch, pairs: Tensor, markers: Sequence[int]) -> Batch:
    """A batch of texts with the markers of their pairs behind them.

    Args:
        batch: `input_ids` and `attention_mask` (B, N), and `token_type_ids` of texts with contexts.
        pairs: (P, 5) rows and ends, those of one row one after the other.
        markers: Ids of the four markers.

    Returns:
        `input_ids` (B, N + 4 M), and `token_type_ids`, where M is the most pairs of a text; `attention_mask`
        (B, N + 4 M, N + 4 M), 1 where a token sees another; `position_ids` (B, N + 4 M); `pairs` (P, 5), the places of
        the markers in place of ends.
    """
    ids, text = batch["input_ids"], batch["attention_mask"]
    rows, width = ids.shape
    counts = torch.bincount(pairs[:, 0], minlength=rows)
    slots = torch.cat([torch.arange(count) for count in counts.tolist()])
    size = len(markers)
    extra = size * int(counts.max())
    row, places = pairs[:, :1], width + size * slots[:, None] + torch.arange(size)
    ids = functional.pad(ids, (0, extra), value=int(ids[0, 0]))
    ids[row, places] = torch.tensor(markers)
    positions = functional.pad(torch.arange(width).repeat(rows, 1), (0, extra))
    positions[row, places] = pairs[:, 1:] - torch.tensor([0, 1, 0, 1])  # a closing marker is at the span's last piece
    groups = torch.zeros_like(ids)
    groups[row, places] = slots[:, None] + 1
    together = (groups[:, :, None] == groups[:, None]) & (groups[:, None] > 0)
    seen = functional.pad(text, (0, extra))[:, None].bool() | together
    segments = {name: functional.pad(batch[name], (0, extra)) for name in ("token_type_ids",) if name in batch}
    return {
        **segments,
        "input_ids": ids,
        "attention_mask": seen.long(),
        "position_ids": positions,
        "pairs": torch.cat([row, places], dim=1),
    }

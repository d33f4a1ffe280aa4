"""Relations between entities without a forward pass a pair: heads that read many pairs off one encoded text.

Three ways to put a pair to the model (`PromuConfig.relation_head`):

- `markers`: [E1] .. [/E1] and [E2] .. [/E2] stand in the text, which is read anew for each pair (Eq 14).
- `spans`: nothing stands in the text. `SpanPairs` scores a pair by the fused vectors of its two spans, so that one
  forward gives entities and then all of their pairs.
- `levitated`: four markers of each pair stand behind the text (`promu.modeling.inputs.levitate`), at the positions of
  the span ends that they stand for (Ye et al., ACL 2022, packed levitated markers). They see the text and each other.
  The text does not see them, and neither does the image, so that a text's vectors are what they are without, and many
  pairs share a pass.

A pair is a row (P, 5) of `pairs`: the row of its text in the batch, then where head and tail begin and end in it, ends
exclusive; of levitated markers the places of the four.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions import FUSIONS
from promu.modeling.inputs import ENTITY_MARKERS

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

    def __init__(self, width: int, labels: int | None, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Linear(width, PARTS * width)
        self.product = nn.Linear(width, width, bias=False)
        self.whole = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Identity() if labels is None else nn.Linear(width, labels)

    def forward(self, fused: Tensor, pairs: Tensor) -> Tensor:
        """Logits (P, R) of fused vectors (B, N, d), [CLS] first, and pairs (P, 5); without labels vectors (P, d)."""
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

    def __init__(self, width: int, labels: int | None) -> None:
        super().__init__()
        self.output = nn.Identity() if labels is None else nn.Linear(len(ENTITY_MARKERS) * width, labels)

    def forward(self, fused: Tensor, pairs: Tensor) -> Tensor:
        """Logits (P, R) of fused vectors (B, N, d) and the pairs' markers (P, 5); without labels vectors (P, 4 d)."""
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

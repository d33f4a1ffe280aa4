"""L_CIT (Eq 4, 5): texts and images projected into one space, where matched pairs attract and all others repel.

`SharedSpace` has the weights, `contrastive_image_text_loss` is the formula. `CITLoss` applies it to the pairs of all
processes, `CachedCITLoss` to a batch that is read in parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init

from promu.modeling.configuration import PromuConfig
from promu.modeling.distributed import gather_rows

TEMPERATURES = (0.001, 0.5)
"""Lowest and highest temperature of L_CIT."""


class SharedSpace(nn.Module):
    """proj_v and proj_t of Eq 4, L2-normalised (else the temperature has no scale), with a learned temperature."""

    def __init__(self, config: PromuConfig) -> None:
        super().__init__()
        self.initial_temperature = config.temperature
        visual_width = config.hidden_size if config.vision_config is None else config.vision_config.hidden_size  # type: ignore[union-attr]
        self.visual = _projection(visual_width, config)
        self.text = _projection(config.hidden_size, config)
        self.visual_norm = nn.BatchNorm1d(config.projection_dim) if config.projection_norm else None
        self.text_norm = nn.BatchNorm1d(config.projection_dim) if config.projection_norm else None
        self.log_temperature = nn.Parameter(torch.tensor([math.log(config.temperature)]))

    def start_weights(self) -> None:
        """The temperature's start, where no checkpoint holds it."""
        init.constant_(self.log_temperature, math.log(self.initial_temperature))

    @property
    def temperature(self) -> Tensor:
        """The temperature, a scalar. Its gradient is never cut off: training calls `clamp_temperature`."""
        return self.log_temperature.exp().squeeze()

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Bring the parameter back into `TEMPERATURES`, after each step of the optimiser (as CLIP does)."""
        self.log_temperature.clamp_(*map(math.log, TEMPERATURES))

    def project_visual(self, pooled: Tensor) -> Tensor:
        """(B, d_v) to unit vectors (B, D)."""
        return _unit(self.visual(pooled), self.visual_norm)

    def project_text(self, pooled: Tensor) -> Tensor:
        """(B, d) to unit vectors (B, D)."""
        return _unit(self.text(pooled), self.text_norm)


def _projection(width: int, config: PromuConfig) -> nn.Module:
    """Linear, as in Eq 4, or with a hidden layer."""
    hidden = config.projection_hidden
    if hidden is None:
        return nn.Linear(width, config.projection_dim, bias=False)
    last = nn.Linear(hidden, config.projection_dim, bias=False)
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(config.projection_dropout), last)


class MatchedPairs(NamedTuple):
    """Projections of the matched pairs of a batch, before they are normalised.

    Attributes:
        visual, text: (N_m, D).
        image_ids, caption_ids: (N_m,) equal where image or caption is the same; None where no two are.
    """

    visual: Tensor
    text: Tensor
    image_ids: Tensor | None = None
    caption_ids: Tensor | None = None

    def apply(self, function: Callable[[Tensor], Tensor]) -> MatchedPairs:
        """With what `function` makes of each tensor."""
        return MatchedPairs(*(None if column is None else function(column) for column in self))  # type: ignore[arg-type]


class CITLoss:
    """L_CIT (Eq 4, 5) over the matched pairs of all processes; `contrastive_image_text_loss` is its formula.

    The projections of all processes are gathered with their gradient, then normalised, so that each pair is contrasted
    with every other. L_CIT alone trains the teacher (`PromuDualEncoder`); in pre-training it is one loss of four.

    Args:
        space: The model's shared space, whose normalisation and temperature are used, and learned.

    Example:
        >>> space = SharedSpace(PromuConfig(projection_dim=2, temperature=0.5))
        >>> visual, text = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
        >>> round(CITLoss(space)(MatchedPairs(visual, text)).item(), 4)  # log(1 + exp(-1 / 0.5))
        0.1269
    """

    def __init__(self, space: SharedSpace) -> None:
        self.space = space

    def __call__(self, pairs: MatchedPairs, learns: bool = True) -> Tensor:
        """The loss, a scalar; 0 without a matched pair. With `learns` temperature and normalisation learn too."""
        space = self.space
        visual, text, image_ids, caption_ids = pairs.apply(gather_rows)
        nothing = visual.sum() * 0.0 + text.sum() * 0.0
        for parameter in space.parameters():  # each has a gradient in every step, as data-parallel training expects
            nothing = nothing + parameter.sum() * 0.0
        needed = 2 if space.training and space.visual_norm is not None else 1  # batch statistics need two rows
        if len(visual) < needed:
            return nothing
        temperature = space.temperature if learns else space.temperature.detach()
        units = _unit(visual, space.visual_norm, learns), _unit(text, space.text_norm, learns)
        return nothing + contrastive_image_text_loss(*units, temperature, image_ids, caption_ids)


class CachedCITLoss(CITLoss):
    """`CITLoss` for one part of a batch that does not fit into memory: the part is contrasted with the whole batch.

    The batch is read twice (gradient caching). The first pass makes the projections of all parts without gradient. In
    the second each part puts its own, which carry gradients, in their place. The loss of every part is that of the
    whole batch; the sum of the parts' gradients is the gradient of one pass over it.

    Args:
        space: As `CITLoss`.
        parts: The projections of every part, in order, from the first pass.
        number: Which part is read now. The first one also teaches temperature and normalisation, which all parts share.

    Example:
        >>> space = SharedSpace(PromuConfig(projection_dim=4))
        >>> whole = MatchedPairs(torch.rand(5, 4), torch.rand(5, 4))
        >>> parts = [whole.apply(lambda rows: rows[:3]), whole.apply(lambda rows: rows[3:])]
        >>> losses = [CachedCITLoss(space, parts, number)(part) for number, part in enumerate(parts)]
        >>> bool(torch.allclose(torch.stack(losses), CITLoss(space)(whole)))
        True
    """

    def __init__(self, space: SharedSpace, parts: Sequence[MatchedPairs], number: int) -> None:
        super().__init__(space)
        self.parts = parts
        self.number = number

    def __call__(self, pairs: MatchedPairs, learns: bool = True) -> Tensor:
        """The loss of the whole batch, whose gradient flows to this part's `pairs` alone."""
        parts = [*self.parts[: self.number], pairs, *self.parts[self.number + 1 :]]
        columns = [None if None in column else torch.cat(column) for column in zip(*parts, strict=True)]
        return super().__call__(MatchedPairs(*columns), learns and self.number == 0)  # type: ignore[arg-type]


def contrastive_image_text_loss(
    visual: Tensor,
    text: Tensor,
    temperature: Tensor,
    image_ids: Tensor | None = None,
    caption_ids: Tensor | None = None,
) -> Tensor:
    """L_CIT (Eq 4, 5): symmetric cross-entropy over the matched pairs, mean over N_m and over both directions.

    Pairs that share an image or a caption are never each other's negatives. No matched pair gives 0.

    Args:
        visual: (N_m, D) projected, L2-normalised image vectors of the matched pairs.
        text: (N_m, D) the same of their captions.
        temperature: Scalar.
        image_ids, caption_ids: (N_m,) equal where image or caption is the same; None where no two are.
    """
    if visual.shape[0] == 0:
        return visual.sum() * 0.0 + temperature * 0.0
    with torch.autocast(visual.device.type, enabled=False):
        similarity = visual.float() @ text.float().T / temperature.float()
        same = torch.zeros_like(similarity, dtype=torch.bool)
        for ids in (image_ids, caption_ids):
            if ids is not None:
                same |= ids[:, None] == ids[None, :]
        same.fill_diagonal_(False)
        similarity = similarity.masked_fill(same, float("-inf"))
        target = torch.arange(len(similarity), device=similarity.device)
        to_text = functional.cross_entropy(similarity, target)
        to_image = functional.cross_entropy(similarity.T, target)
    return (to_text + to_image) / 2


def _unit(rows: Tensor, norm: nn.BatchNorm1d | None, learns: bool = True) -> Tensor:
    """Unit vectors; in training with the batch's statistics, which only a pass that learns remembers."""
    if norm is not None:
        if learns or not norm.training:
            rows = norm(rows)
        else:
            weight, bias = (parameter.detach() for parameter in norm.parameters())
            rows = functional.batch_norm(rows, None, None, weight, bias, training=True, eps=norm.eps)
    return functional.normalize(rows.float(), dim=-1)

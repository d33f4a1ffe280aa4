"""Two processes give what one does: gathered rows, means, losses and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import joint_loss, tiny_batch, tiny_config
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from promu.modeling.distributed import gather_rows, group_mean, group_sum, processes
from promu.modeling.pretraining import PromuForPreTraining
from promu.study.runner import job_processes

HEADS: dict[str, Any] = {"nouns": list("abcde"), "relations": list("wxyz"), "projection_dim": 16}


def _member(rank: int, work: Callable[[int], Any], out: Path, size: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{out}/meeting", rank=rank, world_size=size)
    torch.save(work(rank), out / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(autouse=True)
def _children_find_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def together(work: Callable[[int], Any], out: Path, size: int = 2) -> list[Any]:
    """What each of several processes returns."""
    job_processes()  # that from which they are forked has loaded promu
    start_processes(_member, (work, out, size), nprocs=size, start_method="forkserver")
    return [torch.load(out / f"{rank}.pt", weights_only=True) for rank in range(size)]


def _gathered(rank: int) -> dict[str, torch.Tensor]:
    own = (torch.arange(6.0).reshape(3, 2)[: 3 if rank else 0] + 10 * rank).requires_grad_()
    rows = gather_rows(own)
    (rows * torch.arange(1.0, 7.0).reshape(3, 2)).sum().backward()
    return {"rows": rows.detach(), "gradient": own.grad if own.grad is not None else torch.zeros(0, 2)}


@pytest.mark.slow
def test_rows_are_gathered_in_order_and_their_gradients_summed(tmp_path: Path) -> None:
    first, second = together(_gathered, tmp_path)
    assert torch.equal(first["rows"], torch.arange(6.0).reshape(3, 2) + 10)
    assert torch.equal(first["rows"], second["rows"])
    assert first["gradient"].shape == (0, 2)
    # both processes computed the same sum, so the gradient arrives twice; data-parallel training halves it
    assert torch.equal(second["gradient"], 2 * torch.arange(1.0, 7.0).reshape(3, 2))


def test_alone_everything_is_as_it_was() -> None:
    rows = torch.randn(3, 2)
    assert processes() == 1 and gather_rows(rows) is rows
    assert torch.equal(group_sum(rows), rows)
    assert group_mean(torch.tensor(6.0), torch.tensor(3.0)) == 2
    assert group_mean(torch.tensor(0.0), torch.tensor(0.0)) == 0


def whole_batch() -> dict[str, torch.Tensor]:
    inputs = tiny_batch(rows=5)
    chance = torch.Generator().manual_seed(3)
    corners = torch.rand(5, 2, 2, generator=chance) * 0.5
    mlm_labels = torch.full_like(inputs["input_ids"], -100)
    mlm_labels[:3, 2] = inputs["input_ids"][:3, 2]
    return {
        **inputs,
        "matched": torch.tensor([1, 0, 1, 1, 1]),
        "row_mask": torch.ones(5, dtype=torch.long),
        "image_ids": torch.tensor([5, 6, 7, 7, 8]),
        "caption_ids": torch.arange(5),
        "boxes": torch.cat([corners, corners + 0.4], -1),
        "box_mask": torch.tensor([[1, 1], [1, 0], [0, 0], [1, 0], [1, 1]]),
        "entity_labels": torch.randn(5, 2, 5, generator=chance).softmax(-1),
        "relation_labels": torch.randn(5, 4, generator=chance).softmax(-1),
        "relation_mask": torch.tensor([1, 0, 1, 1, 1]),
        "mlm_labels": mlm_labels,
    }


def own_part(batch: dict[str, torch.Tensor], rank: int, cut: int) -> dict[str, torch.Tensor]:
    """Rows up to `cut` for the first process, the rest for the second; nothing is left: a row that does not count."""
    rows = slice(0, cut) if rank == 0 else slice(cut, None)
    part = {name: value[rows] for name, value in batch.items()}
    if len(part["matched"]):
        return part
    filler = {name: value[:1].clone() for name, value in batch.items()}
    filler["row_mask"] = torch.zeros(1, dtype=torch.long)
    return filler


def make_model(norm: bool) -> PromuForPreTraining:
    torch.manual_seed(1)
    config = tiny_config(**HEADS, projection_norm=norm, loss_weights={"mlm": 0.5})
    return PromuForPreTraining(config).train()


CASES = [(norm, cut) for norm in (False, True) for cut in (2, 4, 5)]


def _parts(rank: int) -> list[dict[str, torch.Tensor]]:
    """The losses and gradients of one process's part under data-parallel training, for each case."""
    found = []
    for norm, cut in CASES:
        model = make_model(norm)
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        loss, parts = joint_loss(model, own_part(whole_batch(), rank, cut), parallel)
        loss.backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        losses = {f"loss {name}": group_sum(part) / processes() for name, part in parts.items()}
        found.append({**gradients, **losses})
    return found


@pytest.mark.slow
def test_two_processes_have_the_losses_and_gradients_of_one(tmp_path: Path) -> None:
    found = together(_parts, tmp_path)
    for case, (norm, cut) in enumerate(CASES):
        model = make_model(norm)
        loss, parts = joint_loss(model, whole_batch())
        loss.backward()
        alone = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        assert all(bool(gradient.any()) for name, gradient in alone.items() if name.endswith("head.weight"))
        alone |= {f"loss {name}": part for name, part in parts.items()}
        for member in found:
            assert member[case].keys() == alone.keys()
            for name, expected in alone.items():
                difference = (member[case][name] - expected).abs().max()
                assert difference < 1e-5 + 1e-4 * expected.abs().max(), (norm, cut, name)

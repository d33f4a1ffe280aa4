"""The benchmarks at tiny size: that they run, and that what they count is right."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, ResNetConfig, ViTConfig

from promu.modeling.configuration import PromuConfig
from promu.modeling.losses import JointLoss
from promu.modeling.pretraining import PromuForPreTraining

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT))

from benchmarks.hvpnet import IMAGES, LENGTH, HvpNet, Yardstick  # noqa: E402
from benchmarks.literal_step import literal_step  # noqa: E402
from benchmarks.measure import alternate  # noqa: E402
from benchmarks.run import main  # noqa: E402
from benchmarks.sizes import PADDED, captions, padded, size  # noqa: E402

from promu.study.costs import student_step  # noqa: E402


@pytest.mark.slow
def test_every_benchmark_runs_and_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMU_DATA", str(tmp_path / "nothing"))
    out = tmp_path / "bench.json"
    main(["--quick", "--out", str(out)])
    shown = capsys.readouterr().out
    result = json.loads(out.read_text())
    assert result["machine"]["threads"] == torch.get_num_threads()
    names = ["machine", "pretrain-step", "label", "loader", "crf", "kecpm", "extract", "serve", "cold-start"]
    assert list(result["benchmarks"]) == names
    assert [name for name in dict.fromkeys(row["benchmark"] for row in result["rows"]) if name != "memory"] == names
    for row in result["rows"]:
        assert row["measure"].split()[0] in shown
        assert row["ours"] and (row["ratio"] is None or row["ratio"] > 0)
    step = result["benchmarks"]["pretrain-step"]
    assert step["times"]["literal"]["seconds"] > 0 and step["peak_mib"]["literal"] > 100
    assert result["benchmarks"]["loader"]["corpus"] == "drawn"
    assert result["benchmarks"]["kecpm"]["quintuples_written"] > 0
    assert set(result["benchmarks"]["extract"]["encoded_where_seen"].values()) == {1}


def test_operations_are_those_that_pytorch_counts() -> None:
    text = BertConfig(hidden_size=96, num_hidden_layers=4, num_attention_heads=4, intermediate_size=192)
    vision = ViTConfig(
        hidden_size=96, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192, image_size=64, patch_size=8
    )
    config = PromuConfig(text_config=text, vision_config=vision, nouns=["dog"], relations=["on"])
    model = PromuForPreTraining(config).train()
    batch, length = 3, 20
    counter = FlopCounterMode(display=False)
    # PyTorch does not count its fused attention
    with counter, sdpa_kernel(SDPBackend.MATH):
        inputs = {
            "input_ids": torch.ones(batch, length, dtype=torch.long),
            "attention_mask": torch.ones(batch, length, dtype=torch.long),
            "pixel_values": torch.zeros(batch, 3, 64, 64),
            "relation_labels": torch.ones(batch, 1),
        }
        loss, _ = JointLoss.of(model).of_batch(model, inputs)
        loss.backward()
    # the embedding of patches passes no gradient back to the pixels
    assert counter.get_total_flops() / batch == pytest.approx(student_step(config, length), rel=0.02)


def test_the_paper_s_sizes_cost_what_counting_by_hand_says() -> None:
    config = size(quick=False).config()
    # ViT-B/16: 197 tokens, 12 layers of 7.08 M weights; BERT: 6 layers of 30 tokens, 6 of 30 + 197
    by_hand = 3 * 2 * 7.08e6 * (12 * 197 + 6 * 30 + 6 * 227) / 1e9
    assert by_hand == pytest.approx(166, abs=1)
    # attention and the embedding of patches come on top
    assert student_step(config, 30) / 1e9 == pytest.approx(174, abs=1)


def test_the_yardstick_of_a_published_system_is_of_its_size() -> None:
    with torch.device("meta"):
        network = HvpNet(9, False, BertConfig(), ResNetConfig()).eval()
        ids, pixels = torch.zeros(1, LENGTH, dtype=torch.long), torch.zeros(1, IMAGES, 3, 224, 224)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.inference_mode():
        assert network(ids, torch.ones_like(ids), pixels).shape == (1, 80, 9)
    # ResNet-50: 4.09 G multiplications an image; BERT-base: 85 M weights for each of 80 tokens
    by_hand = 2 * (4 * 4.09e9 + 80 * 85e6)
    assert counter.get_total_flops() == pytest.approx(by_hand, rel=0.03)


def test_the_yardstick_reads_text_image_and_crops_in_every_pass() -> None:
    field = Yardstick(["O", "B-PER", "I-PER"], 4, quick=True)
    batch = field.inputs(2, 7)
    with torch.inference_mode():
        scores = field.tagger(**batch)
        for number in range(IMAGES):
            other = batch["pixels"].clone()
            other[0, number] += 1
            changed = (field.tagger(**{**batch, "pixels": other}) - scores).abs().amax((1, 2))
            assert changed[0] > 1e-5 and changed[1] < 1e-6
        padding = torch.where(batch["mask"].bool(), batch["ids"], 1000)
        torch.testing.assert_close(field.tagger(**{**batch, "ids": padding})[:, :7], scores[:, :7])
    assert [len(tags) for tags in field.entities(batch)] == [7, 7] and len(field.relations(batch)) == 2
    passes: list[int] = []
    for network in (field.tagger, field.relater):
        network.images.register_forward_hook(lambda module, given, output: passes.append(len(given[0])))
    field.post(7, pairs=3)()
    assert passes == [IMAGES] * 4, "the image is encoded in each pass"


def test_captions_are_padded_and_as_long_as_said() -> None:
    texts = captions(4000, 0, 30_522)
    lengths = [len(text) for text in texts]
    assert sum(lengths) / len(lengths) == pytest.approx(14.2, abs=0.3)
    assert (min(lengths), max(lengths) <= 36) == (8, True)
    assert padded(texts[:8])["input_ids"].shape[1] == max(lengths[:8])
    batch = padded(texts[:8], PADDED)
    assert batch["input_ids"].shape == (8, 80)
    assert batch["attention_mask"].sum(1).tolist() == lengths[:8]


@pytest.mark.slow
def test_the_literal_step_learns() -> None:
    step = literal_step(size(quick=True))
    losses = [step() for _ in range(25)]
    assert sum(losses[-5:]) < sum(losses[:5])


def test_contenders_take_turns() -> None:
    order: list[str] = []
    times = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, {"a": 1, "b": 2})
    assert order == ["a", "b", *["a", "b", "b"] * 3]
    assert times["a"].turns == 3 and times["a"].seconds > 0

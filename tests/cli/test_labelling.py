"""`promu label`: what it hands on and what it prints; the labelling itself is tested where it lives."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from promu import config
from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.cli.train import label, parse_shard
from promu.corpora.shards import CaptionedImage, PairShards, ShardWriter
from promu.errors import InputError
from promu.files import write_json
from promu.progress import report
from promu.schema import Region
from promu.training import prepare

HEADER = LabelHeader("made up", "none", ("dog", "cat", "boat"), ("spouse", "country"), "1", "A", 0.1, 2)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The shards that labelling is asked for; it has made six labels of a corpus of eight images."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    with ShardWriter(tmp_path, 0) as writer:
        for number in range(8):
            captions = ((f"a {HEADER.nouns[number % 3]}", True),)
            region = Region((0, 0, 4, 4), "thing")
            writer.add(CaptionedImage(f"{number}.png", buffer.getvalue(), 8, 8, captions, (region,)))
    write_json(tmp_path / "corpus.json", {})
    store = LabelStore(tmp_path / "labels", HEADER)
    entity, relation = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([[0.4, 0.6]])
    rows = [
        ImageLabels(
            torch.tensor([[0, 0, 0.5, 0.5]]),
            SparseLabels.from_dense(entity.roll(number % 3)[None], 2),
            SparseLabels.from_dense(relation.flip(1) if number % 2 else relation, 2),
        )
        for number in range(6)
    ]
    store.add([f"{number}.png" for number in range(6)], rows)
    shards: list[Any] = []

    def label_recipe(settings: Any, shard: tuple[int, int]) -> Any:
        shards.append(shard)
        report("labels", 6, 8)
        return store, PairShards(tmp_path)

    table = tmp_path / "synonyms.tsv"
    table.write_text("thing\tdog, cat\n")
    settings = SimpleNamespace(out=str(tmp_path), labels=SimpleNamespace(synonyms=str(table)))
    monkeypatch.setattr(prepare, "label_recipe", label_recipe)
    monkeypatch.setattr(config, "load_recipe", lambda *_: settings)
    return shards


def test_counts_page_and_health(calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label("mine.yaml", shard="1/2", show=4, health=True)
    assert calls == [(1, 2)]
    printed = capsys.readouterr().out
    assert "6 of 8 images with labels: 3 nouns, 2 relations, temperature 0.1" in printed
    assert f"page: {tmp_path / 'labels.html'}" in printed
    assert (tmp_path / "labels.html").read_text().count("<article") == 4
    assert "a caption names the first noun of 100.0% of regions" in printed
    # dog and cat, by the recipe's table
    assert "the detector's category is named by the first noun of 66.7% of regions" in printed
    assert "with a region: 6 of 6 images" in printed
    assert "finding: 2 images have no labels: run `promu label` again" in printed
    assert "look healthy" not in printed


def test_json_alone(calls: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label("mine.yaml", json=True)
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "store": str(tmp_path / "labels"),
        "images": 8,
        "labelled": 6,
        "nouns": 3,
        "relations": 2,
    }
    assert calls == [(0, 1)] and not (tmp_path / "labels.html").exists()
    label("mine.yaml", health=True, json=True)
    health = json.loads(capsys.readouterr().out)["health"]
    assert health["unlabelled"] == 2 and health["entities"]["top_probability"] == pytest.approx(0.6, abs=1e-3)


def test_shards() -> None:
    assert parse_shard("0/1") == (0, 1) and parse_shard("11/12") == (11, 12)


@pytest.mark.parametrize("text", ["2/2", "1", "/2", "a/b", "-1/2", "0/0", "1/2/3", "", "0.5/2"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(InputError, match=r"--shard must be I/N with I from 0 to N-1, such as 0/2 and 1/2, found"):
        parse_shard(text)

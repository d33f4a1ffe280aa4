"""The label store: what goes in comes out, and no two settings are ever mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from promu.alignment import label_store
from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.errors import InputError

HEADER = LabelHeader(
    teacher="self-trained:0123",
    detector="coco:4567",
    nouns=("dog", "cat", "tower", "ship", "singer"),
    relations=("member of", "spouse", "award received"),
    entity_template="1",
    relation_template="A",
    temperature=0.1,
    top_k=2,
)


def labels(regions: int, seed: int) -> ImageLabels:
    chance = torch.Generator().manual_seed(seed)
    entities = torch.randn(regions, 5, generator=chance).mul(3).softmax(-1)
    relation = torch.randn(1, 3, generator=chance).softmax(-1)
    return ImageLabels(
        torch.rand(regions, 4, generator=chance),
        SparseLabels.from_dense(entities, 2),
        SparseLabels.from_dense(relation, 2),
    )


def assert_same(one: ImageLabels, other: ImageLabels) -> None:
    assert torch.equal(one.boxes, other.boxes)
    for mine, theirs in ((one.entities, other.entities), (one.relation, other.relation)):
        for name in ("ids", "probabilities", "tail"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))


def test_top_k_by_hand() -> None:
    sparse = SparseLabels.from_dense(torch.tensor([[0.1, 0.5, 0.05, 0.3, 0.05]]), 2)
    assert sparse.ids.tolist() == [[1, 3]] and sparse.probabilities.dtype == sparse.tail.dtype == torch.float16
    # the tail of 0.2 is spread over the three that are left
    expected = torch.tensor([[0.2 / 3, 0.5, 0.2 / 3, 0.3, 0.2 / 3]])
    torch.testing.assert_close(sparse.dense(5), expected, rtol=0, atol=1e-3)


@given(
    rows=st.integers(0, 3),
    width=st.integers(1, 40),
    k=st.integers(1, 50),
    sharpness=st.sampled_from([0.0, 1.0, 8.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_dense_labels_come_back_within_half_precision(
    rows: int, width: int, k: int, sharpness: float, seed: int
) -> None:
    dense = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)).mul(sharpness).softmax(-1)
    back = SparseLabels.from_dense(dense, k).dense(width)
    torch.testing.assert_close(back.sum(-1), torch.ones(rows))
    assert bool((back >= 0).all())
    kept = min(k, width)
    top = dense.topk(kept, -1)
    torch.testing.assert_close(back.gather(1, top.indices), top.values, rtol=2e-3, atol=2e-4)
    if kept == width:
        torch.testing.assert_close(back, dense, rtol=2e-3, atol=2e-4)


def test_what_was_added_is_there_after_opening_again(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels", HEADER)
    first, second, third = labels(3, 0), labels(0, 1), labels(1, 2)
    store.add(["a.jpg", "bé.jpg"], [first, second])
    store.add(["c.jpg"], [third])
    for reader in (store, LabelStore(tmp_path / "labels"), LabelStore(tmp_path / "labels", HEADER)):
        assert len(reader) == 3 and reader.images() == ["a.jpg", "bé.jpg", "c.jpg"]
        assert "a.jpg" in reader and "d.jpg" not in reader
        assert reader.header == HEADER
        for image, expected in (("a.jpg", first), ("bé.jpg", second), ("c.jpg", third)):
            assert_same(reader[image], expected)
    assert reader["bé.jpg"].entities.dense(5).shape == (0, 5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"teacher": "self-trained:9999"}, "teacher"),
        ({"temperature": 0.2}, "temperature"),
        ({"nouns": ("dog",), "top_k": 3}, "nouns, top_k"),
        ({"relation_template": "B"}, "relation_template"),
        ({"detector": "none"}, "detector"),
    ],
)
def test_a_store_of_other_settings_is_refused(tmp_path: Path, change: dict[str, object], named: str) -> None:
    LabelStore(tmp_path, HEADER).add(["a.jpg"], [labels(1, 0)])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=rf"a label store with other settings \({named}\); choose another folder"):
        LabelStore(tmp_path, replace(HEADER, **change))  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no label store here .* make one with `promu label`"):
        LabelStore(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_notes_of_where_the_candidates_came_from_tell_no_stores_apart(tmp_path: Path) -> None:
    noted = replace(HEADER, nouns_source="nouns.txt", relations_source="relations.txt")
    LabelStore(tmp_path, noted).add(["a.jpg"], [labels(1, 0)])
    again = LabelStore(tmp_path, replace(HEADER, nouns_source="elsewhere/nouns.txt"))
    assert again.header.nouns_source == "nouns.txt" and "a.jpg" in again


def test_a_store_without_such_notes_opens(tmp_path: Path) -> None:
    LabelStore(tmp_path, HEADER)
    raw = json.loads((tmp_path / "header.json").read_text())
    del raw["nouns_source"], raw["relations_source"]
    (tmp_path / "header.json").write_text(json.dumps(raw))
    assert LabelStore(tmp_path, HEADER).header == HEADER


def test_of_two_processes_that_begin_a_store_one_writes_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen no header; the second to write finds the first one's, and is held against it."""
    LabelStore(tmp_path, HEADER)
    seen = iter([False])  # as the second saw it
    monkeypatch.setattr(Path, "is_file", lambda path: next(seen, True))
    with pytest.raises(InputError, match="temperature"):
        LabelStore(tmp_path, replace(HEADER, temperature=0.5))
    monkeypatch.undo()
    assert LabelStore(tmp_path).header == HEADER
    assert [path.name for path in tmp_path.iterdir()] == ["header.json"]


def test_several_processes_fill_one_store(tmp_path: Path) -> None:
    stores = [LabelStore(tmp_path, HEADER) for _ in range(2)]
    stores[0].add(["a.jpg"], [labels(1, 0)], process=0)
    stores[1].add(["b.jpg"], [labels(1, 1)], process=1)
    stores[0].add(["c.jpg"], [labels(1, 2)], process=0)
    assert sorted(path.name for path in tmp_path.glob("labels-*")) == [
        "labels-0000-00000.safetensors",
        "labels-0000-00001.safetensors",
        "labels-0001-00000.safetensors",
    ]
    store = LabelStore(tmp_path)
    for number, image in enumerate(["a.jpg", "b.jpg", "c.jpg"]):
        assert_same(store[image], labels(1, number))


def test_two_processes_of_one_number_never_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = LabelStore(tmp_path, HEADER), LabelStore(tmp_path, HEADER)

    def meanwhile(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        monkeypatch.undo()
        other.add(["b.jpg"], [labels(1, 1)])
        save_file(tensors, path, metadata=metadata)

    monkeypatch.setattr(label_store, "save_file", meanwhile)
    with pytest.raises(InputError, match="another process writes parts of this name; give each process a number"):
        store.add(["a.jpg"], [labels(1, 0)])
    assert LabelStore(tmp_path).images() == ["b.jpg"]


def test_a_full_disk_leaves_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LabelStore(tmp_path, HEADER)
    store.add(["a.jpg"], [labels(1, 0)])
    before = sorted(path.name for path in tmp_path.iterdir())

    def full(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(label_store, "save_file", full)
    with pytest.raises(
        InputError, match=r"cannot be written \(.*No space left.*\); make room and run the same command"
    ):
        store.add(["b.jpg"], [labels(1, 1)])
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert LabelStore(tmp_path).images() == ["a.jpg"]


def test_labels_are_read_when_asked_for(tmp_path: Path) -> None:
    """Opening a store reads images' names and counts alone: what a label file holds beside them is mapped."""
    store = LabelStore(tmp_path, HEADER)
    store.add(["a.jpg"], [labels(2, 0)])
    store.add(["b.jpg"], [labels(2, 1)])
    opened = LabelStore(tmp_path)
    assert [bool(part._tensors) for part in opened._parts] == [False, False]
    assert_same(opened["b.jpg"], labels(2, 1))
    assert [bool(part._tensors) for part in opened._parts] == [False, True]


@pytest.mark.parametrize("header", ["{", "[]", '{"teacher": "x"}', '{"teachers": "x"}', "null"])
def test_a_damaged_header_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "header.json").write_text(header)
    with pytest.raises(InputError, match=r"header.json: not a label store's header"):
        LabelStore(tmp_path, HEADER)


@pytest.mark.parametrize("damage", ["cut", "empty", "other tensors", "other names", "too few rows"])
def test_a_damaged_part_is_refused(tmp_path: Path, damage: str) -> None:
    store = LabelStore(tmp_path, HEADER)
    store.add(["a.jpg", "b.jpg"], [labels(1, 0), labels(1, 1)])
    part = tmp_path / "labels-0000-00000.safetensors"
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-20])
    elif damage == "empty":
        part.write_bytes(b"")
    elif damage == "other tensors":
        save_file({"x": torch.zeros(1)}, part, metadata={"images": "[]"})
    elif damage == "other names":
        save_file({"x": torch.zeros(1)}, part)
    else:
        with safe_open(part, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        save_file(tensors, part, metadata={"images": json.dumps(["a.jpg", "b.jpg", "c.jpg"])})
    with pytest.raises(
        InputError, match=r"labels-0000-00000.safetensors: this part .* is damaged .*; delete it and label"
    ):
        LabelStore(tmp_path, HEADER)


def test_a_part_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LabelStore(tmp_path, HEADER)
    store.add(["a.jpg"], [labels(1, 0)])

    def killed(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file(tensors, path, metadata=metadata)
        path.write_bytes(path.read_bytes()[:30])
        raise KeyboardInterrupt

    monkeypatch.setattr(label_store, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        store.add(["b.jpg"], [labels(1, 1)])
    assert LabelStore(tmp_path, HEADER).images() == ["a.jpg"]
    monkeypatch.undo()
    store.add(["b.jpg"], [labels(1, 1)])
    assert LabelStore(tmp_path, HEADER).images() == ["a.jpg", "b.jpg"]


def test_a_part_that_was_deleted_is_not_filled_over_a_good_one(tmp_path: Path) -> None:
    """A damaged part is to be deleted; labelling again must then leave the later parts alone."""
    store = LabelStore(tmp_path, HEADER)
    for number, image in enumerate(["a.jpg", "b.jpg", "c.jpg"]):
        store.add([image], [labels(1, number)])
    (tmp_path / "labels-0000-00001.safetensors").unlink()
    again = LabelStore(tmp_path, HEADER)
    assert again.images() == ["a.jpg", "c.jpg"]
    again.add(["b.jpg"], [labels(1, 1)])
    assert sorted(LabelStore(tmp_path, HEADER).images()) == ["a.jpg", "b.jpg", "c.jpg"]

"""Pairs that share a pass: as many forwards as are needed and no more, and the same scores in whatever company."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import ENTITY_TYPES, RELATIONS, TEXTS, TINY_TEXT, TINY_VISION
from tests.without_torch import assert_same_answer, extract_without_torch

from promu import Extractor
from promu.extraction.onnx_export import Exported, export_models
from promu.modeling.chain import bio_labels
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import encoder_config
from promu.modeling.inputs import WordEncoder, add_entity_markers
from promu.modeling.loading import save_folder
from promu.modeling.multi_task import PromuForMultiTask
from promu.schema import Entity, Post
from promu.tasks.task import packed_posts
from promu.tasks.torch_predictor import open_models
from promu.training.tokenizers import train_wordpiece

HEADS = ("markers", "spans", "levitated")
ALL: dict[str, Any] = {"entity_threshold": 0.0, "relation_threshold": 0.0}


def save_multi_task(folder: Path, relation_head: str, **settings: Any) -> Path:
    """A model of both tasks with random weights that finds much."""
    tokenizer = train_wordpiece(TEXTS, 400, min_frequency=1)
    add_entity_markers(tokenizer)
    torch.manual_seed(7)
    config = PromuConfig(
        text_config=encoder_config(TINY_TEXT, vocab_size=len(tokenizer)),
        vision_config=encoder_config(TINY_VISION),
        max_length=32,
        tasks={"ner": {"labels": bio_labels(ENTITY_TYPES)}, "re": {"labels": list(RELATIONS)}},
        relation_head=relation_head,
        **settings,
    )
    model: Any = PromuForMultiTask(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embeddings" not in name:
                parameter.mul_(6.0 if name.startswith("promu") else 20.0 if "emitter" in name else 8.0)
        for head in PromuForMultiTask.head_labels(config):
            if "crf" not in head:  # O and None seldom, so that there is something to look at
                model.get_submodule(head).bias[0] = -4.0
    save_folder(folder, model, tokenizer)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("heads")
    return {head: save_multi_task(folder / head, head) for head in HEADS}


@contextmanager
def counted(extractor: Extractor) -> Iterator[Counter[str]]:
    """How often the parts of the backbone run."""
    found: Counter[str] = Counter()
    backbone: Any = extractor._predictors[0].backbone
    parts = {"text": backbone.text_encoder, "vision": backbone.vision_encoder, "fusion": backbone.fusion}
    hooks = [
        part.register_forward_hook(lambda *_, name=name: found.update([name]))  # type: ignore[misc]
        for name, part in parts.items()
    ]
    yield found
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(("head", "passes"), [("spans", 1), ("levitated", 2), ("markers", 2)])
def test_a_post_with_four_entities_takes_one_forward(
    head: str, passes: int, models: dict[str, Path], images: Path
) -> None:
    extractor = Extractor.from_pretrained(models[head], "cpu")
    posts = [{"text": text, "image": f"{row}.png"} for row, text in enumerate(TEXTS)]
    with counted(extractor) as found:
        answers = list(extractor.pipe(posts, images=images, batch_size=64, **ALL))
    assert max(len(one.entities) for one in answers) >= 4 and sum(len(one.relations) for one in answers) > 5
    assert found == {"text": passes, "fusion": passes, "vision": len(posts)}, "each image is encoded alone, and once"
    # what is explained is read once more, and is the same
    again = list(extractor.pipe(posts, images=images, explain=True, **ALL))
    assert [_scores(one) for one in again] == [pytest.approx(_scores(one), abs=1e-5) for one in answers]
    assert all(len(one.explanation.relations) == len(one.relations) for one in again if one.explanation)


@pytest.mark.parametrize("head", ["spans", "levitated"])
def test_neither_batch_nor_order_nor_company_changes_a_score(head: str, models: dict[str, Path], images: Path) -> None:
    extractor = Extractor.from_pretrained(models[head], "cpu")
    texts = [TEXTS[n % 3][: 20 + 7 * n] for n in range(6)]
    posts = [
        {"id": str(n), "text": text, **({"image": f"{n % 4}.png"} if n % 2 else {})} for n, text in enumerate(texts)
    ]
    posts.append({"id": "long", "text": " ".join([TEXTS[0]] * 6)})
    alone = {found.id: found for post in posts for found in extractor.pipe([post], images=images, **ALL)}
    assert sum(len(one.relations) for one in alone.values()) > 20
    for batch_size in (2, 7):
        for order in (posts, posts[::-1]):
            for found in extractor.pipe(order, images=images, batch_size=batch_size, **ALL):
                mine, other = found.post, alone[found.id].post
                assert [(r.head, r.tail, r.type) for r in mine.relations] == [
                    (r.head, r.tail, r.type) for r in other.relations
                ]
                assert _scores(found) == pytest.approx(_scores(alone[found.id]), abs=1e-5)


@pytest.mark.parametrize("head", ["spans", "levitated"])
def test_contexts_are_read_beside_the_text_whose_pairs_are_asked_about(head: str, tmp_path: Path) -> None:
    folder = save_multi_task(tmp_path / "model", head, contexts=["caption"], context_budget=20)
    extractor = Extractor.from_pretrained(folder, "cpu")
    posts = [{"id": str(n), "text": text, "contexts": {"caption": TEXTS[n - 1]}} for n, text in enumerate(TEXTS)]
    bare = [{"id": str(n), "text": text, "contexts": {"caption": ""}} for n, text in enumerate(TEXTS)]
    with counted(extractor) as found:
        answers = list(extractor.pipe(posts, **ALL))
    assert found["text"] == (1 if head == "spans" else 2) and sum(len(one.relations) for one in answers) > 5
    again = [extractor(post, explain=True, **ALL) for post in posts]
    assert [_scores(one) for one in again] == [pytest.approx(_scores(one), abs=1e-5) for one in answers]
    assert [_scores(one) for one in extractor.pipe(bare, **ALL)] != [_scores(one) for one in answers]


def _scores(found: Any) -> list[float]:
    return [float(one.score) for one in (*found.post.entities, *found.post.relations)]


def test_pairs_share_rows_as_far_as_a_head_takes_them(models: dict[str, Path]) -> None:
    """A model for relations alone, whose text has room for 30 pieces."""
    encoder = open_models(models["spans"], "cpu")[1]
    words = ("Ann", "met", "Bob", *("today",) * 50, "in", "Rome")
    text = encoder.spans(words, [(0, 1), (54, 55)])
    ends = [text.input_ids[first:stop] for first, stop in (text.positions[:2], text.positions[2:])]
    assert ends == [list(encoder.pieces("Ann")), list(encoder.pieces("Rome"))] and len(text.input_ids) == 32
    assert encoder.spans(words, [(0, 1), (2, 3)]).input_ids == encoder.words(words).input_ids
    many = [(head, tail) for head in range(20) for tail in range(20) if head != tail]
    crowd = Post("2", ("a",) * 20, None, tuple(Entity(place, place + 1, "PER") for place in range(20)))
    packed = {head: packed_posts(WordEncoder(encoder.tokenizer, 32, relation_head=head), crowd, many) for head in HEADS}
    assert {head: len(rows) for head, rows in packed.items()} == {"markers": 380, "spans": 2, "levitated": 12}
    for rows in packed.values():
        assert [(one.head, one.tail) for row in rows for one in row.relations] == many


@pytest.fixture(scope="module")
def exported(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """A head's model as graphs, which takes seconds, once."""
    folder = tmp_path_factory.mktemp("graphs")
    return cache(lambda head: export_models(models[head], output=folder / head)[0])


@pytest.mark.slow
@pytest.mark.parametrize("head", ["spans", "levitated"])
def test_graphs_answer_as_pytorch_does(
    head: str, models: dict[str, Path], images: Path, exported: Callable[[str], Exported]
) -> None:
    done = exported(head)
    names = {"answer.onnx", "vision.onnx", *(["pairs.onnx"] if head == "spans" else [])}
    assert {file.name for file in (done.folder / "onnx").glob("*.onnx")} == names and done.distance < 1e-4
    ours, theirs = (Extractor.from_pretrained(done.folder, backend="onnx"), Extractor.from_pretrained(models[head]))
    assert ours._one_pass == theirs._one_pass == (head == "spans")
    posts = [{"id": str(n), "text": text, "image": f"{n}.png"} for n, text in enumerate(TEXTS)] + [{"text": "Ann Lee"}]
    alone = extract_without_torch(done.folder, posts, images)
    for one, other in zip(alone, theirs.pipe(posts, images=images, **ALL), strict=True):
        assert_same_answer(one, other)
        assert one["relations"] or len(other.tokens) == 2


@pytest.mark.slow
def test_in_int8_company_changes_no_score_of_a_pair(
    models: dict[str, Path],
    images: Path,
    exported: Callable[[str], Exported],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = exported("spans").folder / "onnx"

    def copied(module: object, given: object, path: Path, outputs: object) -> None:
        shutil.copy(whole / path.name, path)

    monkeypatch.setattr("promu.extraction.onnx_export._write_graph", copied)
    (done,) = export_models(models["spans"], int8=True, output=tmp_path / "model")
    extractor = Extractor.from_pretrained(done.folder, backend="onnx")
    posts = [{"id": str(n), "text": text, "image": f"{n}.png"} for n, text in enumerate(TEXTS)]
    posts.append({"id": "long", "text": " ".join(TEXTS * 2)})  # in windows
    alone = [found for post in posts for found in extractor.pipe([post], images=images, **ALL)]
    together = list(extractor.pipe(posts[::-1], images=images, **ALL))[::-1]
    assert [_scores(one) for one in together] == [pytest.approx(_scores(one), abs=1e-5) for one in alone]
    assert sum(len(one.relations) for one in together) > 5 and together[-1].entities[-1].end > 75

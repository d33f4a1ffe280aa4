"""Thresholds, precision, faults as a list, and texts that nobody expects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories import TEXTS, save_tiny_model

from promu import Extractor
from promu.corpora.tokenize import tokenize
from promu.errors import InputError
from promu.extraction.passes import best_fitting
from promu.extraction.type_rules import TypeRules
from promu.modeling.inputs import tensors
from promu.pytorch import best_precision
from promu.schema import Entity, Post, Relation
from promu.tasks.model_folder import open_predictor
from promu.tasks.torch_predictor import open_model


def test_thresholds(extractor: Extractor) -> None:
    everything = extractor(TEXTS[0])
    scores = sorted(entity.score or 0.0 for entity in everything.entities)
    middle = scores[len(scores) // 2]
    kept = extractor(TEXTS[0], entity_threshold=middle)
    assert kept.entities == tuple(e for e in everything.entities if (e.score or 0.0) >= middle)
    assert 0 < len(kept.entities) < len(scores)
    surest = max(relation.score or 0.0 for relation in everything.relations)
    (best,) = extractor(TEXTS[0], relation_threshold=surest).relations
    assert best.score == surest
    (found,) = extractor.pipe([TEXTS[0]], entity_threshold=1.0, relation_threshold=1.0)
    assert found.relations == ()
    for name in ("entity_threshold", "relation_threshold"):
        option: Any = {name: 1.5}
        with pytest.raises(InputError, match=f"{name} is 1.5; at most 1.0 is possible"):
            extractor(TEXTS[0], **option)


def test_what_thresholds_leave_out_is_counted(extractor: Extractor) -> None:
    every = extractor(TEXTS[0], entity_threshold=0, relation_threshold=0)
    assert every.below == (0, 0) and every.relations
    none = extractor(TEXTS[0], entity_threshold=0, relation_threshold=1.0)
    assert none.relations == () and none.below == (0, len(every.relations))
    assert extractor(TEXTS[0], entity_threshold=1.0).below == (len(every.entities), 0)


def test_a_model_s_own_thresholds_hold_where_none_is_given(tiny_models: Path) -> None:
    predictors = [open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")]
    everything = Extractor(*predictors)(TEXTS[0])
    lowest = sorted(one.score or 0.0 for one in everything.relations)[len(everything.relations) // 2]
    predictors[1].config.relation_threshold = lowest
    extractor = Extractor(*predictors)
    strong = tuple(one for one in everything.relations if (one.score or 0.0) >= lowest)
    assert 0 < len(strong) < len(everything.relations)
    assert extractor(TEXTS[0]).relations == strong
    assert extractor(TEXTS[0], relation_threshold=0.0).relations == everything.relations
    predictors[0].config.entity_threshold = 1.0
    assert extractor(TEXTS[0]).entities == () and extractor(TEXTS[0], entity_threshold=0).entities


def test_none_wins_unless_a_fitting_relation_beats_it() -> None:
    rules = TypeRules(["None", "/per/per/peer", "/loc/loc/contain"])
    pair = Post("1", ("Ann", "Bob"), None, (Entity(0, 1, "PER"), Entity(1, 2, "PER")), (Relation(0, 1, "None"),))
    probabilities = np.array([[0.3, 0.2, 0.5], [0.3, 0.3, 0.4], [0.2, 0.3, 0.5]])
    unfit, equal, found = best_fitting([pair] * 3, probabilities, rules)
    assert unfit is None, "what does not fit is no reason against None"
    assert equal is None
    assert found is not None and found.type == "/per/per/peer" and found.score == pytest.approx(0.3)


def test_an_option_that_does_not_exist_is_named(extractor: Extractor) -> None:
    with pytest.raises(InputError, match="an extraction has no option 'entities'; it has batch_size, "):
        extractor(TEXTS[0], entities=0.5)
    with pytest.raises(InputError, match=r"threshold is 0\.5; scores by type are needed, {'person': 0.4}"):
        extractor(TEXTS[0], threshold=0.5)


def test_posts_that_cannot_be_read_are_listed_and_the_others_read(extractor: Extractor, images: Path) -> None:
    posts: list[Any] = ["Ann met Bob", {"text": "  "}, {"text": "hm", "image": "gone.png"}, {"words": 1}, "Rome"]
    problems: list[InputError] = []
    found = list(extractor.pipe(posts, batch_size=2, images=images, problems=problems))
    assert [result.id for result in found] == ["1", "5"]
    assert sorted((problem.line or 0, problem.reason[:18]) for problem in problems) == [
        (2, "text is empty"),
        (3, "no such image; che"),
        (4, "the post has neith"),
    ]
    assert str(images / "gone.png") in {problem.path for problem in problems}
    with pytest.raises(InputError, match="text is empty"):
        list(extractor.pipe(posts))


def test_scores_are_at_the_model_s_temperature(tiny_models: Path) -> None:
    predictors = [open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")]
    cold = Extractor(*predictors)(TEXTS[0])
    for predictor in predictors:
        predictor.config.score_temperature = 5.0
    warm = Extractor(*predictors)(TEXTS[0])
    assert [(e.start, e.end, e.type) for e in warm.entities] == [(e.start, e.end, e.type) for e in cold.entities]
    for before, after in zip(cold.entities, warm.entities, strict=True):
        assert (after.score or 0) < (before.score or 0)


@pytest.mark.skipif(best_precision("cpu") != "bf16", reason="this CPU does not compute bf16")
def test_bf16_finds_nearly_the_same(extractor: Extractor, tiny_models: Path, images: Path) -> None:
    coarse = Extractor.from_pretrained(tiny_models, "cpu", "bf16")(TEXTS[0], images / "0.png")
    fine = extractor(TEXTS[0], images / "0.png")
    assert [(e.start, e.end) for e in coarse.entities] == [(e.start, e.end) for e in fine.entities]
    assert coarse != fine
    for one, other in zip(coarse.entities, fine.entities, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.1)


def test_bf16_weights_change_nothing_that_autocast_does_not(tiny_models: Path) -> None:
    if best_precision("cpu") != "bf16":
        pytest.skip("this CPU does not compute bf16")
    model, encoder = open_model("ner", tiny_models / "ner", "cpu")
    text = encoder.words(TEXTS[0].split())
    batch = {
        **tensors(encoder.batch([text])),
        "word_index": torch.tensor([text.positions]),
        "word_mask": torch.ones(1, len(text.positions), dtype=torch.long),
    }
    with torch.inference_mode():
        predictor = open_predictor("ner", tiny_models / "ner", "cpu", "bf16")
        model.set_attn_implementation("promu_matmul")
        with torch.autocast("cpu", torch.bfloat16):
            expected = model(**batch).emissions
        assert np.array_equal(predictor(batch).emissions, expected.numpy())


def test_settings_that_do_not_go_together(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="PyTorch computes fp32 or bf16 here; for int8, promu export --int8"):
        Extractor.from_pretrained(tiny_models, precision="int8")
    with pytest.raises(InputError, match="backend onnx computes in fp32 or int8 on the CPU"):
        Extractor.from_pretrained(tiny_models, precision="bf16", backend="onnx")
    monkeypatch.setattr("promu.tasks.torch_predictor.best_precision", lambda device: "fp32")
    with pytest.raises(InputError, match="bf16 is only emulated on this cpu; use fp32"):
        Extractor.from_pretrained(tiny_models, "cpu", "bf16")


@pytest.mark.parametrize(
    "text",
    [
        "Ann\x07 met\x1b[0m Bob\u202e in\u200b Rome\ufeff",
        "\u0622\u0646 \u0645\u06cc\u200c\u0631\u0648\u062f \u0628\u0647 \u05d9\u05e8\u05d5\u05e9\u05dc\u05d9\u05dd",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 Ann \U0001f1ee\U0001f1f9\U0001f44d\U0001f3fd Rome e\u0301t",
        "word " * 4000,
        "\U0001f600" * 100,
        "x" * 20_000,
        "[E1] Ann [/E1] [SEP] [CLS] Bob",
    ],
)
@pytest.mark.slow
def test_texts_that_nobody_expects(text: str, extractor: Extractor) -> None:
    found = extractor(text, id="odd")
    assert [text[start:end] for start, end in found.offsets] == list(found.tokens)
    for entity in found.entities:
        start, end = entity.start_char, entity.end_char
        assert text[start:end] == entity.text
        assert text[start:end].startswith(found.tokens[entity.start])
        assert text[start:end].endswith(found.tokens[entity.end - 1])


@settings(max_examples=40)
@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused_in_a_sentence(text: str, extractor: Extractor) -> None:
    try:
        found = extractor(text)
    except InputError as error:
        assert not tokenize(text) or "\0" in text or any(0xD800 <= ord(character) < 0xE000 for character in text)
        assert error.reason
        return
    assert [text[start:end] for start, end in found.offsets] == list(found.tokens)


def test_a_text_model_and_one_with_images_go_together(tiny_models: Path, tmp_path: Path, images: Path) -> None:
    save_tiny_model(tmp_path / "ner", "ner", images=False)
    homes = {"ner": tmp_path / "ner", "re": tiny_models / "re"}
    found = Extractor(*(open_predictor(task, home, "cpu") for task, home in homes.items()))
    with_image = found(TEXTS[0], images / "0.png")
    assert with_image.image_read and with_image.relations
    assert with_image.entities == found(TEXTS[0]).entities
    assert with_image.relations != found(TEXTS[0]).relations

"""Sample labels: the teacher's beside the student's, at both ends of a run."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.factories import NOUNS, caption_tokenizer, captioned, label_corpus, tiny_pair_model, write_corpus

from promu.modeling.inputs import WordEncoder
from promu.report.label_report import join_samples, sample_predictions


def test_before_and_after_stand_beside_the_teacher(tmp_path: Path) -> None:
    encoder = WordEncoder(caption_tokenizer(), 32)
    corpus = write_corpus(tmp_path / "corpus", captioned())
    store = label_corpus(tmp_path / "labels", corpus, regions=5, skip=("blue.png",))
    model = tiny_pair_model(encoder.tokenizer)
    before = sample_predictions(model, encoder, corpus, store, [0, 2, 3], "before")
    with torch.no_grad():
        model.entity_head.weight.mul_(-1)
    after = sample_predictions(model, encoder, corpus, store, [0, 2, 3])
    samples = json.loads(json.dumps(join_samples(before, after)))
    # blue.png has no label; red.png no region; three of white.png's five regions are kept
    assert [(sample["name"], len(sample["regions"])) for sample in samples] == [("red.png", 0), ("white.png", 3)]
    region = samples[1]["regions"][0]
    teacher = store["white.png"].entities.dense(len(NOUNS))[0]
    assert region["teacher"][0] == [NOUNS[int(teacher.argmax())], pytest.approx(float(teacher.max()), abs=1e-4)]
    assert region["before"] != region["after"] and len(region["before"]) == 5
    assert region["box"] == pytest.approx(store["white.png"].boxes[0].tolist(), abs=1e-4)
    assert set(samples[0]["relations"]) == {"teacher", "before", "after"}
    assert samples[0]["caption"] == "a red square"
    kind, _, data = samples[0]["image"].partition(",")
    assert kind == "data:image/png;base64"  # small images lose nothing
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (40, 32)


def test_a_student_without_a_head_says_nothing_there(tmp_path: Path) -> None:
    encoder = WordEncoder(caption_tokenizer(), 32)
    corpus = write_corpus(tmp_path / "corpus", captioned())
    store = label_corpus(tmp_path / "labels", corpus)
    model = tiny_pair_model(encoder.tokenizer, itm=1, cit=1, coe=1, cir=0)
    (sample,) = sample_predictions(model, encoder, corpus, store, [1])
    assert set(sample["relations"]) == {"teacher"} and "after" in sample["regions"][0]

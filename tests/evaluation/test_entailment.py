"""Entailment against what the model says of one pair at a time; its controls see no image, or another one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tests.factories import caption_tokenizer, captioned, tiny_pair_model

from promu import evaluate_entailment
from promu.cli import main
from promu.corpora.images import load_image
from promu.errors import InputError
from promu.evaluation.entailment import LABELS, _exchanged, _from_sentences, read_entailment
from promu.modeling.inputs import WordEncoder, tensors, to_pixels
from promu.modeling.loading import save_folder


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promu.pytorch.best_precision", lambda device: "fp32")


@pytest.fixture(scope="module")
def encoder() -> WordEncoder:
    return WordEncoder(caption_tokenizer(), 32)


def judged() -> list[tuple[str, str, str]]:
    texts = sorted({text for image in captioned() for text, _ in image.captions})
    return [
        (image.image, texts[(number + step) % len(texts)], LABELS[(number + step) % 3])
        for number, image in enumerate(captioned())
        for step in range(4)
    ]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for image in captioned():
        (folder / image.image).write_bytes(image.data)
    return folder


def write_pairs(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    quoted = (f'{image},"{text}",{label}\n' for image, text, label in rows)
    path.write_text("image,hypothesis,label\n" + "".join(quoted))
    return path


def test_every_figure_equals_one_pair_at_a_time(encoder: WordEncoder, photos: Path, tmp_path: Path) -> None:
    model: Any = tiny_pair_model(encoder.tokenizer)
    save_folder(tmp_path / "model", model, encoder.tokenizer)
    pairs = write_pairs(tmp_path / "pairs.csv", judged())
    report = evaluate_entailment(tmp_path / "model", pairs=pairs, images=photos, batch_size=5)
    assert report["images"] == len(captioned()) and sum(report["pairs"].values()) == len(judged())
    assert report["skipped_pairs"] == 0

    def scores(names: list[str]) -> tuple[list[float], list[float]]:
        cosines, heads = [], []
        for name, (_, text, _) in zip(names, judged(), strict=True):
            batch = tensors(encoder.batch([encoder.text(text)]))
            pixels = torch.from_numpy(to_pixels(load_image(photos / name, target=(32, 32)), 32))[None]
            with torch.inference_mode():
                cosines.append(float((model.encode_text(**batch) * model.encode_images(pixels)).sum()))
                logits = model.itm_head(model.promu(**batch, pixel_values=pixels).fused_text[:, 0])[0]
            heads.append(float(logits[1] - logits[0]))
        return cosines, heads

    names = [image for image, _, _ in judged()]
    order = list(dict.fromkeys(names))
    exchanged = [order[number] for number in _exchanged(np.array([order.index(name) for name in names]), 0)]
    assert all(one != other for one, other in zip(names, exchanged, strict=True))
    for shown, judges in ((names, ("cosine", "itm")), (exchanged, ("shuffled_cosine", "shuffled_itm"))):
        for judge, found in zip(judges, scores(shown), strict=True):
            for other in ("contradiction", "neutral"):
                rows = [
                    (score, label == "entailment")
                    for score, (_, _, label) in zip(found, judged(), strict=True)
                    if label in ("entailment", other)
                ]
                expected = roc_auc_score([right for _, right in rows], [score for score, _ in rows])
                assert report[judge][other] == pytest.approx(expected, abs=1e-6)  # type: ignore[literal-required]


def test_sentences_that_give_the_label_away_are_found_out_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    images, labels = np.arange(200) % 40, rng.integers(0, 3, 200)
    words = rng.integers(0, 2, (200, 12)).astype(np.float32)
    told = words.copy()
    told[:, 0] = labels == LABELS.index("contradiction")  # as "nobody" does
    contradiction = LABELS.index("contradiction")
    assert _from_sentences(told, labels, images, contradiction) == pytest.approx(1.0, abs=0.02)
    blind = _from_sentences(words, labels, images, contradiction)
    assert blind is not None and 0.3 < blind < 0.7, "words that say nothing, on images it was not trained on"


def test_judges_that_a_model_lacks_and_pairs_that_are_missing(
    encoder: WordEncoder, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_folder(tmp_path / "teacher", tiny_pair_model(encoder.tokenizer, dual=True), encoder.tokenizer)
    rows = [row for row in judged() if row[2] != "neutral"]
    (photos / rows[0][0]).unlink()
    pairs = write_pairs(tmp_path / "pairs.csv", rows)
    command = ["evaluate", "entailment", str(tmp_path / "teacher"), "--pairs", str(pairs), "--images", str(photos)]
    assert main(command) == 2
    assert "or skip such images" in capsys.readouterr().err
    assert main([*command, "--missing-images", "skip", "--json"]) == 0
    written = capsys.readouterr()
    report = json.loads(written.out)
    gone = sum(row[0] == rows[0][0] for row in rows)
    assert report["skipped_pairs"] == gone and f"{gone} pairs were skipped" in written.err
    assert report["itm"] is None and report["cosine"]["neutral"] is None and report["pairs"]["neutral"] == 0
    assert 0 <= report["cosine"]["contradiction"] <= 1
    assert main([*command, "--missing-images", "skip"]) == 0
    assert "ROC-AUC of entailment" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image,caption\na.jpg,b\n", r"pairs\.csv:1: the first line must be image,hypothesis,label, found"),
        ("image,hypothesis,label\na.jpg,a dog,maybe\n", r"pairs\.csv:2: .*label.*'entailment', 'neutral' or 'contr"),
        ("image,hypothesis,label\n../a.jpg,a dog,neutral\n", r"pairs\.csv:2: .*image"),
        ("image,hypothesis,label\na.jpg,,neutral\n", r"pairs\.csv:2: .*hypothesis.*empty"),
        ("image,hypothesis,label\na.jpg,a dog, a cat,neutral\n", r"pairs\.csv:2: 4 columns where the first line"),
        ("image,hypothesis,label\n", r"pairs\.csv.*pairs"),
        ("", r"pairs\.csv"),
    ],
)
def test_bad_files_say_line_and_reason(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_entailment(tmp_path / "pairs.csv")


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"image": "a.jpg", "hypothesis": "a dog", "label": "neutral"}\n')
    (pair,) = read_entailment(tmp_path / "pairs.jsonl")
    assert (pair.image, pair.hypothesis, pair.label) == ("a.jpg", "a dog", "neutral")


def test_the_published_pairs(shared: Path) -> None:
    pairs = read_entailment(shared / "data" / "esnlive" / "dev.csv")
    counts = [sum(pair.label == label for pair in pairs) for label in LABELS]
    assert counts == [1045, 671, 1104] and len({pair.image for pair in pairs}) == 204

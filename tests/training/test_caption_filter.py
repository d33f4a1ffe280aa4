"""BLIP's captioning and filtering: what a model holds for right is a corpus of its own."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import caption_tokenizer, captioned, tiny_pair_model, write_corpus

from promu.cli import main
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.evaluation.pretrained import EncodedImages, match_scores
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import save_folder
from promu.training.caption_filter import filter_captions


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip") / "model"
    pieces = caption_tokenizer()
    save_folder(folder, tiny_pair_model(pieces, coe=0, cir=0, lm=1), pieces)
    return folder


@pytest.fixture()
def corpus(tmp_path: Path) -> PairShards:
    return write_corpus(tmp_path / "corpus", captioned())


def test_captions_are_kept_by_the_matching_head(corpus: PairShards, model: Path, tmp_path: Path) -> None:
    pieces = caption_tokenizer()
    judge = tiny_pair_model(pieces, coe=0, cir=0, lm=1)
    encoder = WordEncoder.of(pieces, judge.config)
    pairs = list(corpus.pairs())
    rows = torch.tensor([[row, corpus.image_of(row)] for row in range(len(pairs))])
    texts = [encoder.text(pair.caption) for pair in pairs]
    odds = match_scores(judge, encoder, EncodedImages(judge, corpus), texts, rows, 8)
    own = odds[torch.tensor([pair.matched for pair in pairs])].double().sort().values
    least = float(own[6:8].mean())
    done = filter_captions(corpus.folder, model, tmp_path / "out", threshold=1 / (1 + math.exp(-least)), write=False)
    expected = {
        (pair.image, pair.caption) for pair, one in zip(pairs, odds, strict=True) if pair.matched and one > least
    }
    kept = {(pair.image, pair.caption) for pair in PairShards(tmp_path / "out").pairs() if pair.matched}
    assert kept == expected and 0 < done.kept == len(kept) < 14 and done.kept + done.dropped == 14
    assert done.made == done.refused == 0
    left = {image for image, _ in kept}
    assert done.images == len(left) == 7 - done.images_dropped
    false = {(pair.image, pair.caption) for pair in PairShards(tmp_path / "out").pairs() if not pair.matched}
    assert false == {(p.image, p.caption) for p in pairs if not p.matched and p.image in left}
    assert done.falsified == len(false)


def test_the_model_writes_captions_and_what_was_made_is_made_once(
    corpus: PairShards, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    done = filter_captions(corpus.folder, model, out, threshold=0.0)
    assert done.kept == 14 and done.made + done.refused <= 7 and done.made > 0
    made = list(PairShards(out).pairs())
    assert len(made) == done.kept + done.made + done.falsified
    shutil.copytree(out, tmp_path / "again")
    (tmp_path / "again" / "images-00000.parquet").unlink()  # as after a kill
    assert filter_captions(corpus.folder, model, tmp_path / "again", threshold=0.0).made == done.made
    assert list(PairShards(tmp_path / "again").pairs()) == made, "what is drawn hangs on the seed alone"
    words = ["corpus", "filter", str(corpus.folder), "--model", str(model), "--out", str(out), "--threshold", "0"]
    assert main(words) == 0
    assert f"7 images; 14 of 14 captions kept, {done.made} written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("weights", "more", "sentence"),
    [
        ({"lm": 0.0}, {}, "this model was trained without L_LM, which the filter needs"),
        ({"itm": 0.0, "lm": 1.0}, {"write": False}, "this model was trained without L_ITM, which the filter needs"),
        ({"lm": 1.0}, {"threshold": 1.0}, "the model holds none of 14 captions for its image's; name a better one"),
        ({"lm": 1.0}, {"threshold": 1.5}, "threshold is 1.5; it is a probability, from 0 to 1"),
    ],
)
def test_what_cannot_filter_is_refused(
    corpus: PairShards, tmp_path: Path, weights: dict[str, Any], more: dict[str, Any], sentence: str
) -> None:
    pieces = caption_tokenizer()
    save_folder(tmp_path / "model", tiny_pair_model(pieces, coe=0, cir=0, **weights), pieces)
    with pytest.raises(InputError, match=sentence):
        filter_captions(corpus.folder, tmp_path / "model", tmp_path / "out", **more)
    assert not (tmp_path / "out" / "corpus.json").exists()

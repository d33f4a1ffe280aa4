"""What a frozen detector makes of a corpus: as from the pixels, once, and after a kill what is left of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.factories import TINY_TEXT, caption_tokenizer, captioned, label_corpus, write_corpus
from tests.modeling.tiny_detectors import save_tiny_yolox
from tests.training.test_resume import pretrain_recipe

from promu import progress
from promu.config import load_recipe
from promu.corpora.shards import PairShards
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import map_encoder, normalise_pixels
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import load_model
from promu.modeling.map_encoder import MAP_NORMALISATION, MapEncoderModel
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.training import feature_cache
from promu.training.batches import Sample, rng_of
from promu.training.feature_cache import FeatureViews
from promu.training.pair_batches import CaptionCollator, PairCollator
from promu.training.pretrain import pretrain
from promu.training.recipe import LossSettings, PretrainRecipe, ViewSettings
from promu.training.views import WHOLE, move_boxes, show

pytest.importorskip("onnx")

SMALL: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32, "grid": 4}
SIDE = 64
VIEWS = ViewSettings(crop=0.5, jitter=0.3, cached=3)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_yolox(tmp_path_factory.mktemp("detector") / "tiny.onnx")


@pytest.fixture
def encoder(detector: Path) -> MapEncoderModel:
    torch.manual_seed(0)
    return map_encoder([detector], **SMALL).eval()


@pytest.fixture
def corpus(tmp_path: Path) -> PairShards:
    return write_corpus(tmp_path / "corpus", captioned())


def config_of(encoder: MapEncoderModel) -> PromuConfig:
    settings: dict[str, Any] = {"text_config": {**TINY_TEXT, "vocab_size": 60}, **MAP_NORMALISATION}
    return PromuConfig(vision_config=encoder.config, **settings)


class Counted:
    """An encoder's `features`, and how many images it was shown; it may die of them."""

    def __init__(self, encoder: MapEncoderModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compute = encoder.features
        self.images = 0
        self.dies_at: int | None = None
        monkeypatch.setattr(encoder, "features", self)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.dies_at is not None and self.images >= self.dies_at:
            raise KeyboardInterrupt
        self.images += len(pixels)
        return self.compute(pixels)


def test_features_are_those_of_the_view_s_pixels(encoder: MapEncoderModel, corpus: PairShards, tmp_path: Path) -> None:
    config = config_of(encoder)
    views = FeatureViews(encoder, config, corpus, VIEWS, tmp_path / "features", 0)
    shown = set()
    for index in range(corpus.images):
        image = corpus.image(index).decode((SIDE, SIDE))
        for number in range(20):
            found, view = views(index, np.random.default_rng(number))
            pixels = normalise_pixels(show(image, view, SIDE)[None], config, torch.float32)
            expected = encoder.features(pixels)[0]
            assert torch.allclose(found.float(), expected, atol=2e-3 * float(expected.abs().max()))
            shown.add((index, str(view)))
        assert any(key == (index, str(WHOLE)) for key in shown), "the whole image is one of them"
    assert len(shown) == corpus.images * VIEWS.cached


def test_views_stay_as_they_are_and_boxes_follow_them(
    encoder: MapEncoderModel, corpus: PairShards, tmp_path: Path
) -> None:
    config = config_of(encoder)
    store = label_corpus(tmp_path / "labels", corpus)
    words = WordEncoder(caption_tokenizer(), 32)
    crops = 0
    for epoch in range(6):
        samples = [Sample(epoch, row) for row in range(len(corpus))]
        views = FeatureViews(encoder, config, corpus, VIEWS, tmp_path / "features", 0)
        batch = PairCollator(CaptionCollator(corpus, words, views, 5), store, LossSettings())(samples)
        for row, sample in enumerate(samples):
            features, view = views(corpus.image_of(row), rng_of(5, sample))
            assert torch.equal(batch["image_features"][row], features)
            boxes, seen = move_boxes(store[corpus[row].image].boxes.numpy(), view)
            crops += int(view.size != WHOLE.size and seen.any())
            found = batch["boxes"][row, : len(boxes)].numpy()
            assert np.allclose(found, boxes) and batch["box_mask"][row, : len(boxes)].tolist() == seen.tolist()
    assert crops > 10, "some of the views are crops that show a box"


def test_the_trunk_sees_each_view_once(
    encoder: MapEncoderModel, corpus: PairShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(encoder, monkeypatch)
    FeatureViews(encoder, config_of(encoder), corpus, VIEWS, tmp_path / "features", 0)
    assert counted.images == corpus.images * VIEWS.cached
    FeatureViews(encoder, config_of(encoder), corpus, VIEWS, tmp_path / "features", 0)
    assert counted.images == corpus.images * VIEWS.cached


def test_a_fill_that_was_stopped_goes_on(
    encoder: MapEncoderModel, corpus: PairShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(encoder)
    monkeypatch.setattr(feature_cache, "BATCH", 2)
    whole = FeatureViews(encoder, config, corpus, VIEWS, tmp_path / "whole", 0)
    counted = Counted(encoder, monkeypatch)
    counted.dies_at = 8  # two images whole and the first view of two more
    with pytest.raises(KeyboardInterrupt):
        FeatureViews(encoder, config, corpus, VIEWS, tmp_path / "features", 0)
    counted.dies_at, before = None, counted.images
    reports: list[tuple[str, int, int]] = []
    with progress.shown(lambda *step: reports.append(step)):
        views = FeatureViews(encoder, config, corpus, VIEWS, tmp_path / "features", 0)
    assert before == 8 and counted.images - before == (corpus.images - 2) * VIEWS.cached
    assert reports == [("features", done, 7) for done in (4, 6, 7)]
    assert np.array_equal(views.cache.values, whole.cache.values)


@pytest.mark.parametrize("change", [{"crop": 0.4}, {"jitter": 0.2}, {"cached": 2}, {"seed": 1}])
def test_other_views_are_kept_elsewhere(
    change: dict[str, Any], encoder: MapEncoderModel, corpus: PairShards, tmp_path: Path
) -> None:
    seed = change.get("seed", 0)
    settings = VIEWS.model_copy(update={key: value for key, value in change.items() if key != "seed"})
    first = FeatureViews(encoder, config_of(encoder), corpus, VIEWS, tmp_path / "features", 0)
    other = FeatureViews(encoder, config_of(encoder), corpus, settings, tmp_path / "features", seed)
    assert first.cache.folder != other.cache.folder and len(list((tmp_path / "features").iterdir())) == 2


def test_the_standardisation_is_fitted_once(encoder: MapEncoderModel, corpus: PairShards, tmp_path: Path) -> None:
    views = FeatureViews(encoder, config_of(encoder), corpus, VIEWS, tmp_path / "features", 0)
    values = torch.from_numpy(views.cache.values[:, 0].astype(np.float32)).flatten(0, 1)
    assert encoder.is_fitted and torch.allclose(encoder.embeddings.mean, values.mean(0), atol=1e-5)
    encoder.embeddings.mean.fill_(7)
    FeatureViews(encoder, config_of(encoder), corpus, VIEWS, tmp_path / "features", 0)
    assert bool((encoder.embeddings.mean == 7).all()), "an encoder that was trained keeps its own"


@pytest.mark.slow
def test_a_recipe_with_a_detector_as_encoder(
    detector: Path, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model that came of kept features gives the same vectors from pixels, and needs no onnx to be loaded."""
    raw = pretrain_recipe(tiny_world, tmp_path / "run")
    vision = {"model_type": "promu_maps", "sources": [str(detector)], **SMALL, "num_hidden_layers": 1}
    for part in ("teacher", "model"):
        raw[part] = {**raw[part], "vision": vision}
    one = {"training": {**raw["training"], "epochs": 1}}
    raw.update(one, views={"crop": 0.5, "cached": 2})
    raw["teacher"].update(one, views={"crop": 0.5, "cached": 2})
    recipe = load_recipe(raw, PretrainRecipe)
    result = pretrain(recipe)
    losses = [result["last"][name] for name in ("itm", "cit", "coe", "cir", "mlm")]
    assert all(np.isfinite(losses)) and min(losses) > 0
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    teacher = load_model(PromuDualEncoder, tmp_path / "run" / "teacher" / "model").eval()
    student = load_model(PromuForPreTraining, tmp_path / "run" / "model").eval()
    corpus = PairShards(tmp_path / "run" / "corpus")
    for model, encoder in ((teacher, teacher.vision_encoder), (student.promu, student.promu.vision_encoder)):
        assert isinstance(encoder, MapEncoderModel) and encoder.is_fitted
        folder = tmp_path / "run" / "features"
        made = len(list(folder.iterdir()))
        views = FeatureViews(encoder, model.config, corpus, recipe.views, folder, 0)
        assert len(list(folder.iterdir())) == made, "what the run kept is what the saved encoder would make"
        for index in range(0, corpus.images, 9):
            found, view = views(index, np.random.default_rng(index))
            pixels = show(corpus.image(index).decode((SIDE, SIDE)), view, SIDE)[None]
            with torch.no_grad():
                from_pixels = encoder(pixel_values=normalise_pixels(pixels, model.config, torch.float32))
                kept = encoder(features=found[None].float())
            assert torch.allclose(from_pixels.last_hidden_state, kept.last_hidden_state, atol=1e-2)
    saved = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["vision_config"]
    assert str(detector) not in json.dumps(saved)

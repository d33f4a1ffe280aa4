"""What stands before the first step: shares of the labels, and candidates found in the captions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.training.test_resume import pretrain_recipe

from promu.config import load_recipe
from promu.errors import InputError
from promu.training.prepare import candidates, label_recipe, open_corpora
from promu.training.recipe import PretrainRecipe


def recipe_of(world: Path, out: Path, **data: Any) -> PretrainRecipe:
    raw = pretrain_recipe(world, out)
    raw["data"].update(data)
    raw["teacher"]["training"] = {**raw["teacher"]["training"], "epochs": 1}
    return load_recipe(raw, PretrainRecipe)


@pytest.mark.slow
def test_shares_of_the_labels(tiny_world: Path, tmp_path: Path) -> None:
    """A later share waits for the first one's teacher; both together label every image, as one does alone."""
    shared, alone = recipe_of(tiny_world, tmp_path / "shared"), recipe_of(tiny_world, tmp_path / "alone")
    with pytest.raises(InputError, match=r"shared: the teacher is not trained yet; start --shard 0/2 first"):
        label_recipe(shared, shard=(1, 2))
    assert not (tmp_path / "shared").exists(), "nothing was begun"
    store, corpus = label_recipe(shared, shard=(0, 2))
    assert 0 < len(store) < corpus.images
    store, _ = label_recipe(shared, shard=(1, 2))
    whole, _ = label_recipe(alone)
    assert whole.header.detector.startswith("coco:"), "the labels know whose regions they are of"
    assert len(store) == len(whole) == corpus.images
    for image in corpus.captions():
        for one, other in ((store[image.image].entities, whole[image.image].entities),):
            assert one.dense(20).allclose(other.dense(20), atol=1e-3)


def test_nouns_by_a_pipeline(tiny_world: Path, tmp_path: Path) -> None:
    """A pipeline that calls words nouns by a rule; it is asked once, and what it said is kept."""
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    rules = pipeline.add_pipe("attribute_ruler")
    for word in ("dog", "man", "lawn", "child", "avenue"):
        rules.add([[{"LOWER": word}]], {"POS": "NOUN", "LEMMA": word})
    pipeline.to_disk(tmp_path / "pipeline")
    (tmp_path / "stop.txt").write_text("man\n")
    nouns = {"pipeline": str(tmp_path / "pipeline"), "stop": str(tmp_path / "stop.txt")}
    recipe = recipe_of(tiny_world, tmp_path / "run", nouns=nouns)
    (tmp_path / "run").mkdir()
    corpus, _ = open_corpora(recipe)
    found, _ = candidates(recipe, corpus)
    captions = {pair.caption.lower() for pair in corpus.pairs() if pair.matched}
    assert any("man" in caption.split() for caption in captions), "the stop list has something to do"
    said = {word for word in ("dog", "lawn", "child", "avenue") if any(word in text.split() for text in captions)}
    assert said and set(found) == said
    kept = (tmp_path / "run" / "nouns.txt").read_bytes()
    (tmp_path / "pipeline" / "meta.json").unlink()
    assert candidates(recipe, corpus)[0] == found and (tmp_path / "run" / "nouns.txt").read_bytes() == kept


def test_a_pipeline_that_finds_no_noun(tiny_world: Path, tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy")
    pipeline = spacy.blank("en")
    pipeline.add_pipe("attribute_ruler").add([[{}]], {"POS": "X"})
    pipeline.to_disk(tmp_path / "pipeline")
    recipe = recipe_of(tiny_world, tmp_path / "run", nouns={"pipeline": str(tmp_path / "pipeline")})
    with pytest.raises(InputError, match=r"pipeline: this pipeline finds no noun in the captions"):
        candidates(recipe, open_corpora(recipe)[0])
    assert not (tmp_path / "run" / "nouns.txt").exists(), "nothing is kept that would stop the next start"

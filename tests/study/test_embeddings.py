"""Figure 3's vectors, of a tiny model with random weights on a drawn corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import TEXTS, TINY_TEXT, TINY_VISION

from promu.alignment.corpus_build import build_corpus
from promu.alignment.corpus_settings import CorpusSettings
from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import encoder_config
from promu.modeling.loading import save_folder
from promu.modeling.pretraining import PromuForPreTraining
from promu.newsreel import WORLD
from promu.study.embeddings import embeddings_job, relation_words
from promu.training.tokenizers import train_wordpiece


def save_model(folder: Path, nouns: list[str], **losses: float) -> str:
    tokenizer = train_wordpiece(TEXTS, 400, min_frequency=1)
    torch.manual_seed(0)
    config = PromuConfig(
        text_config=encoder_config(TINY_TEXT, vocab_size=len(tokenizer)),
        vision_config=encoder_config(TINY_VISION),
        nouns=nouns,
        relations=["a", "b"],
        loss_weights=losses,
    )
    save_folder(folder, PromuForPreTraining(config), tokenizer)
    return str(folder)


@pytest.fixture(scope="module")
def settings(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("represent")
    pairs = tiny_world / "pairs"
    build_corpus(
        CorpusSettings(
            captions=pairs / "captions.csv",
            images=pairs / "images",
            detector="coco",
            regions=str(pairs / "regions.json"),
        ),
        out / "corpus",
    )
    return {
        "model": save_model(out / "model", WORLD.nouns()),
        "corpus": str(out / "corpus"),
        "posts": str(tiny_world / "re" / "mnre_train.txt"),
        "images": str(tiny_world / "re" / "images"),
        "items": 30,
        "seed": 0,
    }


@pytest.mark.slow
def test_every_thing_and_every_prompt_has_a_place_and_the_figures_are_in_their_ranges(settings: dict) -> None:
    pytest.importorskip("sklearn")
    found = embeddings_job(settings, Path("nowhere"))
    for kind in ("regions", "images"):
        part = found[kind]
        things = [point for point in part["points"] if not point[3]]
        prompts = [point[2] for point in part["points"] if point[3]]
        assert len(things) == part["items"] >= 30 and len(prompts) == part["labels"] == len(set(prompts))
        assert {point[2] for point in things} == set(prompts)
        assert 0 <= part["alignment"] <= 4 and -8 <= part["uniformity"] <= 0
        assert all(0 <= part[name] <= 100 for name in ("nearest_prompt", "neighbours", "fused_neighbours"))
    assert set(prompts) <= {relation_words(label) for label in WORLD.labels}
    assert embeddings_job(settings, Path("nowhere")) == found, "the same again"


def test_relations_as_prompts_say_them() -> None:
    assert relation_words("/per/org/member_of") == "member of"
    assert relation_words("peer") == "peer"


def test_a_model_without_a_shared_space_and_labels_that_are_no_nouns_are_refused(
    settings: dict, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    without = save_model(tmp_path / "without", WORLD.nouns(), cit=0.0)
    with pytest.raises(InputError, match="pre-trained without L_CIT"):
        embeddings_job({**settings, "model": without}, tmp_path)
    foreign = save_model(tmp_path / "foreign", ["submarine", "violin"])
    with pytest.raises(InputError, match="0 regions with a label among the nouns of 0 kinds are here"):
        embeddings_job({**settings, "model": foreign}, tmp_path)

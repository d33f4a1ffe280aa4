"""Figure 3's vectors, of a tiny model with random weights on a drawn corpus."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.factories import TEXTS, TINY_TEXT, TINY_VISION

from promu.alignment.corpus_build import build_corpus
from promu.alignment.corpus_settings import CorpusSettings
from promu.alignment.labelling import square_crop
from promu.corpora.images import load_image
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import encoder_config
from promu.modeling.inputs import WordEncoder, tensors, to_pixels
from promu.modeling.loading import load_model, load_tokenizer, save_folder
from promu.modeling.pretraining import PromuForPreTraining
from promu.newsreel import WORLD
from promu.study.embeddings import embeddings_job, relation_words
from promu.tasks.task import TASKS
from promu.training.tokenizers import train_wordpiece


@pytest.fixture(scope="module", autouse=True)
def _exact() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promu.pytorch.best_precision", lambda device: "fp32")
        yield


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


@pytest.fixture(scope="module")
def found(settings: dict[str, Any]) -> dict[str, Any]:
    pytest.importorskip("sklearn")
    return embeddings_job(settings, Path("nowhere"))


@pytest.mark.slow
def test_every_thing_and_every_prompt_has_a_place(settings: dict[str, Any], found: dict[str, Any]) -> None:
    for kind in ("regions", "images"):
        part = found[kind]
        things = [point for point in part["points"] if not point[3]]
        prompts = [point[2] for point in part["points"] if point[3]]
        assert len(things) == part["items"] >= 30 and len(prompts) == part["labels"] == len(set(prompts))
        assert {point[2] for point in things} == set(prompts)
    assert set(prompts) <= {relation_words(label) for label in WORLD.labels}
    assert embeddings_job(settings, Path("nowhere")) == found, "the same again"


def vectors_by_hand(folder: str, images: list[Image.Image], texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of images and of texts in the space of L_CIT, one at a time by the model's own methods."""
    model = load_model(PromuForPreTraining, folder).eval()
    encoder = WordEncoder(load_tokenizer(folder), model.config.max_length)
    with torch.inference_mode():
        seen = [model.encode_images(torch.from_numpy(to_pixels(image, 32))[None])[0].numpy() for image in images]
        read = [model.encode_text(**tensors(encoder.batch([encoder.text(text)])))[0].numpy() for text in texts]
    return np.array(seen), np.array(read)


@pytest.mark.slow
def test_the_figures_of_images_are_those_of_one_image_at_a_time(
    settings: dict[str, Any], found: dict[str, Any]
) -> None:
    labels = [point[2] for point in found["images"]["points"] if not point[3]]
    rng = np.random.default_rng(settings["seed"])
    rng.permutation(PairShards(settings["corpus"]).images)  # regions are drawn first
    related = [
        post for post in TASKS["re"].read(Path(settings["posts"])) if post.relations[0].type != "None" and post.image
    ]
    chosen = [related[index] for index in rng.permutation(len(related))[: settings["items"]]]
    assert labels == [relation_words(post.relations[0].type) for post in chosen]
    names = sorted(set(labels))
    images = [load_image(Path(settings["images"]) / str(post.image)) for post in chosen]
    items, prompts = vectors_by_hand(
        settings["model"], images, [f"This image shows the relation of {name}." for name in names]
    )
    check(found["images"], items, prompts, [names.index(label) for label in labels])


@pytest.mark.slow
def test_the_figures_of_regions_are_those_of_one_region_at_a_time(
    settings: dict[str, Any], found: dict[str, Any]
) -> None:
    corpus, nouns = PairShards(settings["corpus"]), set(WORLD.nouns())
    crops, labels = [], []
    for index in np.random.default_rng(settings["seed"]).permutation(corpus.images).tolist():
        row = corpus.image(index)
        for region in row.regions:
            if region.label in nouns:
                crops.append(square_crop(row.decode(), region))
                labels.append(region.label)
        if len(labels) >= settings["items"]:
            break
    assert labels == [point[2] for point in found["regions"]["points"] if not point[3]]
    names = sorted(set(labels))
    items, prompts = vectors_by_hand(settings["model"], crops, [f"This is an image of {name}." for name in names])
    check(found["regions"], items, prompts, [names.index(label) for label in labels])


def check(part: dict[str, Any], items: np.ndarray, prompts: np.ndarray, numbers: list[int]) -> None:
    """The figures of one kind, from unit vectors of items and prompts and each item's number of its prompt."""
    count = len(items)
    own = [float(((items[row] - prompts[number]) ** 2).sum()) for row, number in enumerate(numbers)]
    assert part["alignment"] == pytest.approx(sum(own) / count, abs=1e-4)
    apart = [
        math.exp(-2 * float(((items[one] - items[other]) ** 2).sum())) for one in range(count) for other in range(one)
    ]
    assert part["uniformity"] == pytest.approx(math.log(sum(apart) / len(apart)), abs=1e-4)
    nearest = [int(np.argmax([item @ prompt for prompt in prompts])) for item in items]
    right = sum(one == number for one, number in zip(nearest, numbers, strict=True))
    assert part["nearest_prompt"] == pytest.approx(100 * right / count)
    alike = 0.0
    for row in range(count):
        others = sorted((other for other in range(count) if other != row), key=lambda o: -float(items[row] @ items[o]))
        alike += sum(numbers[other] == numbers[row] for other in others[:5]) / 5
    assert part["neighbours"] == pytest.approx(100 * alike / count, abs=100 * 0.2 / count)  # one tie may fall otherwise


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

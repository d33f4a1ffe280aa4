"""Validation figures against what the model says of one pair at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from tests.factories import NOUNS, caption_tokenizer, captioned, label_corpus, tiny_pair_model, write_corpus

from promu import progress
from promu.alignment.label_store import LabelHeader, LabelStore
from promu.corpora.shards import CaptionedImage, PairShards
from promu.errors import InputError
from promu.evaluation.agreement import teacher_agreement
from promu.evaluation.pair_corpus import read_pairs
from promu.evaluation.pairs import auc_sets, flat_figures, mean_losses, measure_pairs
from promu.evaluation.pretrained import EncodedImages, match_scores, open_pair_model
from promu.modeling.inputs import WordEncoder, tensors, to_pixels
from promu.modeling.loading import save_folder
from promu.modeling.losses import JointLoss


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promu.pytorch.best_precision", lambda device: "fp32")


@pytest.fixture(scope="module")
def encoder() -> WordEncoder:
    return WordEncoder(caption_tokenizer(), 32)


@pytest.fixture(scope="module")
def model(encoder: WordEncoder) -> Any:
    return tiny_pair_model(encoder.tokenizer)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> PairShards:
    return write_corpus(tmp_path_factory.mktemp("corpus"), captioned())


def measure(model: Any, encoder: WordEncoder, corpus: PairShards, **options: int) -> Any:
    return measure_pairs(encoder, EncodedImages(model, corpus), **options)


def one_by_one(model: Any, encoder: WordEncoder, image: CaptionedImage, text: str) -> tuple[float, float]:
    """Cosine and ITM score of one pair."""
    batch = tensors(encoder.batch([encoder.text(text)]))
    pixels = torch.from_numpy(to_pixels(image.decode((32, 32)), 32))[None]
    with torch.inference_mode():
        cosine = float((model.encode_text(**batch) * model.encode_images(pixels)).sum())
        fused = model.promu(**batch, pixel_values=pixels).fused_text[:, 0]
        logits = model.itm_head(fused)[0]
    return cosine, float(logits[1] - logits[0])


def recall_by_hand(scores: dict[tuple[str, str], float], k: int) -> tuple[float, float]:
    """Recall both ways from the score of every (text, name)."""
    own = {(text, image.image) for image in captioned() for text, matched in image.captions if matched}
    texts, names = sorted({text for text, _ in own}), sorted({name for _, name in own})
    found = [
        any((text, name) in own for name in sorted(names, key=lambda name: -scores[text, name])[:k]) for text in texts
    ]
    back = [
        any((text, name) in own for text in sorted(texts, key=lambda text: -scores[text, name])[:k]) for name in names
    ]
    return 100 * sum(found) / len(found), 100 * sum(back) / len(back)


def test_every_figure_equals_one_pair_at_a_time(model: Any, encoder: WordEncoder, corpus: PairShards) -> None:
    found = measure(model, encoder, corpus, batch_size=3)
    images = captioned()
    texts = {text for image in images for text, _ in image.captions}
    scores = {(text, image.image): one_by_one(model, encoder, image, text) for text in texts for image in images}
    cosine = {pair: both[0] for pair, both in scores.items()}
    for k in (1, 5):
        expected = recall_by_hand(cosine, k)
        assert found["recall"]["caption_to_image"][k] == pytest.approx(expected[0])
        assert found["recall"]["image_to_caption"][k] == pytest.approx(expected[1])
    pairs = [(text, p.image, matched) for p in images for text, matched in p.captions]
    for place, judge in enumerate(("cosine", "itm")):
        expected_auc = roc_auc_score(
            [matched for *_, matched in pairs], [scores[text, name][place] for text, name, _ in pairs]
        )
        assert found["auc"][judge]["falsified"] == pytest.approx(expected_auc)
        # against random captions: the pairs that seed 0 draws, each scored alone
        table = read_pairs(corpus)
        drawn = auc_sets(table, 2000, torch.Generator().manual_seed(0))
        judged = {
            kind: [scores[table.texts[text], images[image].image][place] for text, image in drawn[kind].tolist()]
            for kind in ("matched", "random")
        }
        beaten = [right > other or 0.5 * (right == other) for right in judged["matched"] for other in judged["random"]]
        assert found["auc"][judge]["random"] == pytest.approx(sum(beaten) / len(beaten))
    # seven images: all are among the best twenty, so the order is the ITM head's alone
    itm = {pair: both[1] for pair, both in scores.items()}
    assert found["rerank"]["after"]["caption_to_image"][1] == pytest.approx(recall_by_hand(itm, 1)[0])
    assert found["rerank"]["after"]["image_to_caption"][5] == pytest.approx(recall_by_hand(itm, 5)[1])
    assert found["rerank"]["before"]["caption_to_image"] == found["recall"]["caption_to_image"]
    both = {pair: cosine[pair] / float(model.space.temperature) + itm[pair] for pair in scores}
    assert found["rerank"]["summed"]["caption_to_image"][1] == pytest.approx(recall_by_hand(both, 1)[0])
    assert found["rerank"]["summed"]["image_to_caption"][5] == pytest.approx(recall_by_hand(both, 5)[1])
    assert found["pairs"] == {"matched": 14, "falsified": 7} and found["captions"] == 13 and found["images"] == 7


def test_one_seed_gives_one_answer_and_progress_reaches_the_end(
    model: Any, encoder: WordEncoder, corpus: PairShards
) -> None:
    said: dict[str, tuple[int, int]] = {}

    def hear(name: str, done: int, total: int) -> None:
        said[name] = (done, total)

    with progress.shown(hear):
        first = measure(model, encoder, corpus, seed=4, auc_pairs=5, reranked=3)
    assert first == measure(model, encoder, corpus, seed=4, auc_pairs=5, reranked=3, batch_size=2)
    assert first["auc"]["pairs"] == {"matched": 5, "falsified": 5, "random": 5}
    assert (first["rerank"]["captions"], first["rerank"]["images"]) == (3, 3)
    assert set(said) == {"captions", "images", "matching", "re-ranking"}
    assert all(done == total for done, total in said.values())


def test_random_captions_never_belong_to_their_image(corpus: PairShards) -> None:
    pairs = read_pairs(corpus)
    own = {tuple(pair) for pair in pairs.matched.tolist()}
    for seed in range(20):
        drawn = auc_sets(pairs, 100, torch.Generator().manual_seed(seed))["random"]
        assert len(drawn) == 14 and not own & {tuple(pair) for pair in drawn.tolist()}
        assert int(drawn[:, 0].max()) < pairs.matched_texts


def test_a_head_that_cannot_tell_has_half_the_area_and_changes_no_order(
    model: Any, encoder: WordEncoder, corpus: PairShards
) -> None:
    blind = tiny_pair_model(encoder.tokenizer)
    torch.nn.init.zeros_(blind.itm_head.weight)
    found = measure(blind, encoder, corpus)
    assert found["auc"]["itm"] == {"falsified": 0.5, "random": 0.5}
    # equal scores keep the shared space's order
    assert found["rerank"]["after"] == found["rerank"]["before"]


def test_a_dual_encoder_has_the_figures_of_its_space_alone(encoder: WordEncoder, corpus: PairShards) -> None:
    found = measure(tiny_pair_model(encoder.tokenizer, dual=True), encoder, corpus)
    assert found["auc"]["itm"] is None and found["rerank"] is None and found["auc"]["cosine"]["falsified"] is not None
    assert set(flat_figures(found)) == {
        *(f"{way}_r{k}" for way in ("caption_to_image", "image_to_caption") for k in (1, 5, 10)),
        "cosine_auc_falsified",
        "cosine_auc_random",
    }


def test_a_model_without_a_shared_space(encoder: WordEncoder, corpus: PairShards) -> None:
    found = measure(tiny_pair_model(encoder.tokenizer, itm=1, cit=0, coe=0, cir=0), encoder, corpus)
    assert found["recall"] is None and found["rerank"] is None and found["auc"]["cosine"] is None
    assert set(flat_figures(found)) == {"itm_auc_falsified", "itm_auc_random"}


def test_a_corpus_without_falsified_pairs(model: Any, encoder: WordEncoder, tmp_path: Path) -> None:
    images = [
        CaptionedImage(p.image, p.data, p.width, p.height, tuple(c for c in p.captions if c[1])) for p in captioned()
    ]
    found = measure(model, encoder, write_corpus(tmp_path, images), rerank=0)
    assert found["auc"]["itm"]["falsified"] is None and found["auc"]["itm"]["random"] is not None
    assert found["rerank"] is None and "itm_auc_falsified" not in flat_figures(found)


def test_no_matched_pair(model: Any, encoder: WordEncoder, tmp_path: Path) -> None:
    image = captioned()[0]
    alone = CaptionedImage(image.image, image.data, 40, 32, (("a red square", False),))
    with pytest.raises(InputError, match="at least one matched pair"):
        measure(model, encoder, write_corpus(tmp_path, [alone]))


def test_a_diverged_model_is_named(encoder: WordEncoder, corpus: PairShards) -> None:
    broken = tiny_pair_model(encoder.tokenizer)
    torch.nn.init.constant_(broken.space.text.weight, math.nan)
    with pytest.raises(InputError, match="13 of 13 vectors of this model are no numbers"):
        measure(broken, encoder, corpus)


def test_match_scores_do_not_depend_on_order_or_batch(model: Any, encoder: WordEncoder, corpus: PairShards) -> None:
    pairs = torch.tensor([[0, 6], [1, 0], [0, 0], [1, 6], [0, 3]])
    images = EncodedImages(model, corpus)
    texts = [encoder.text("a red square"), encoder.text("something very long and green is here")]
    whole = match_scores(model, encoder, images, texts, pairs, 64)
    for row, (text, image) in enumerate(pairs.tolist()):
        words = ("a red square", "something very long and green is here")[text]
        assert float(whole[row]) == pytest.approx(one_by_one(model, encoder, captioned()[image], words)[1], abs=1e-4)
    small = match_scores(model, encoder, images, texts, pairs.flip(0), 2)
    assert torch.allclose(small.flip(0), whole, atol=1e-4)


def test_the_mode_of_training_is_given_back(model: Any, encoder: WordEncoder, corpus: PairShards) -> None:
    model.train()
    measure(model, encoder, corpus, rerank=0)
    assert model.training
    model.eval()


def agreement_by_hand(
    model: Any, encoder: WordEncoder, corpus: PairShards, store: LabelStore
) -> tuple[float, float, float]:
    """Top-1 and top-5 agreement and mean divergence over regions, one image at a time by the model's own forward."""
    same, among, divergence, count = 0, 0, 0.0, 0
    for image in captioned():
        if image.image not in store:
            continue
        labels = store[image.image]
        if not len(labels.boxes):
            continue
        teacher = labels.entities.dense(len(NOUNS))
        with torch.inference_mode():
            output = model(
                **tensors(encoder.batch([encoder.text(image.captions[0][0])])),
                pixel_values=torch.from_numpy(to_pixels(image.decode((32, 32)), 32))[None],
                boxes=labels.boxes[None],
            )
        student = output.entity_logits[0].softmax(-1)
        same += int((student.argmax(-1) == teacher.argmax(-1)).sum())
        # of six nouns, five are among the first unless the student's best is the teacher's last
        among += int((student.argmax(-1) != teacher.argmin(-1)).sum())
        divergence += float((teacher * (teacher / student).log()).sum())
        count += len(teacher)
    return 100 * same / count, 100 * among / count, divergence / count


def test_agreement_with_the_teacher(model: Any, encoder: WordEncoder, corpus: PairShards, tmp_path: Path) -> None:
    store = label_corpus(tmp_path / "labels", corpus, skip=("pink.png",))
    found = teacher_agreement(model, encoder, EncodedImages(model, corpus), store, batch_size=3)
    expected = agreement_by_hand(model, encoder, corpus, store)
    assert found["entity"] is not None and found["relation"] is not None
    assert found["entity"]["labels"] == 10 and found["relation"]["labels"] == 6 and found["unlabelled"] == 1
    assert found["entity"]["top1"] == pytest.approx(expected[0])
    assert found["entity"]["top5"] == pytest.approx(expected[1]) and len(NOUNS) == 6
    assert found["entity"]["kl"] == pytest.approx(expected[2], abs=1e-3)
    assert found["relation"]["top5"] == 100.0  # three relations: all are among the first five


def test_a_store_of_other_candidates_is_refused(
    model: Any, encoder: WordEncoder, corpus: PairShards, tmp_path: Path
) -> None:
    store = LabelStore(tmp_path / "labels", LabelHeader("t", "d", ("cat",), ("spouse",), "1", "A", 0.1, 1))
    with pytest.raises(InputError, match="1 other nouns than the model's 6"):
        teacher_agreement(model, encoder, EncodedImages(model, corpus), store)


def test_a_store_of_another_corpus_is_refused(
    model: Any, encoder: WordEncoder, corpus: PairShards, tmp_path: Path
) -> None:
    store = label_corpus(tmp_path / "labels", corpus, skip=tuple(image.image for image in captioned()[1:]))
    other = write_corpus(tmp_path / "other", captioned()[1:])
    with pytest.raises(InputError, match="labels no image of this corpus"):
        teacher_agreement(model, encoder, EncodedImages(model, other), store)


def test_losses_are_the_mean_over_rows(model: Any, encoder: WordEncoder) -> None:
    def batch(colours: slice) -> dict[str, torch.Tensor]:
        chosen = captioned()[colours]
        return {
            **tensors(encoder.batch([encoder.text(image.captions[0][0]) for image in chosen])),
            "pixel_values": torch.stack([torch.from_numpy(to_pixels(image.decode((32, 32)), 32)) for image in chosen]),
            "matched": torch.tensor([1, 0, 1, 0][: len(chosen)]),
        }

    found = mean_losses(model, [batch(slice(0, 3)), batch(slice(3, 4))])
    with torch.inference_mode():
        three, one = (
            float(JointLoss.of(model).of_batch(model, batch(part))[1]["itm"]) for part in (slice(0, 3), slice(3, 4))
        )
    assert found["itm"] == pytest.approx((3 * three + one) / 4, abs=1e-5)
    assert set(found) == {"itm", "cit"}


def test_folders(encoder: WordEncoder, model: Any, tmp_path: Path) -> None:
    save_folder(tmp_path / "model", model, encoder.tokenizer)
    loaded, _ = open_pair_model(tmp_path / "model", "cpu")
    assert type(loaded) is type(model) and not loaded.training
    with pytest.raises(InputError, match="no promu model here"):
        open_pair_model(tmp_path)
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace("PromuForPreTraining", "PromuForTokenClassification"))
    with pytest.raises(InputError, match="holds PromuForTokenClassification, which was not saved by pre-training"):
        open_pair_model(tmp_path / "model")
    config.write_text("{")
    with pytest.raises(InputError, match=r"config\.json: not JSON"):
        open_pair_model(tmp_path / "model")

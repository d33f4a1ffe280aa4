"""What an answer's vectors attended to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.factories import TEXTS

from promu import Extractor
from promu.corpora.posts import read_posts_jsonl
from promu.extraction.result import attended_regions, attention_from, mean_map
from promu.schema import Entity, Post
from promu.tasks.torch_predictor import open_model


def test_regions_by_hand() -> None:
    patches = np.zeros((4, 4))
    patches[0, 1] = patches[1, 1] = 0.3  # a column of two
    patches[3, 3] = 0.35  # alone
    patches[2, 0] = 0.05  # too faint: the mean is 1/16
    found = attended_regions(patches)
    assert [region.box for region in found] == [(0.25, 0.0, 0.5, 0.5), (0.75, 0.75, 1.0, 1.0)]
    assert [region.share for region in found] == pytest.approx([0.6, 0.35])
    assert attended_regions(np.zeros((0, 0))) == ()
    assert attended_regions(np.full((2, 2), 0.25)) == ()


def test_shares_by_hand() -> None:
    # pieces: [CLS] a ##b c [SEP] [PAD], then visual CLS and 2 x 2 patches
    row = [0.1, 0.1, 0.2, 0.1, 0.05, 0.0, 0.05, 0.1, 0.1, 0.1, 0.1]
    other = [0.3, 0.1, 0.0, 0.1, 0.05, 0.0, 0.05, 0.1, 0.1, 0.1, 0.1]
    maps = np.tile(np.array([row] * 3 + [other] * 8), (1, 2, 1, 1))
    shares = mean_map([maps, maps])[0]
    found = attention_from(shares, 6, [2, 3], [-1, 0, 0, 1, -1], 3, True)
    assert found.words == pytest.approx((0.2, 0.1, 0.0))
    assert len(found.patches) == 2 and found.patches[0] == found.patches[1] == pytest.approx((0.1, 0.1))
    assert attention_from(shares, 6, [2], [-1, 0, 0, 1, -1], 3, False).patches == ()


def test_every_answer_is_explained(tiny_models: Path, images: Path, tmp_path: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_models, device="cpu")
    posts = [
        {"id": "a", "text": TEXTS[0], "image": "0.png"},
        {"id": "b", "text": TEXTS[1]},
        {"id": "c", "text": TEXTS[2] + " and so on", "image": "2.png"},
    ]
    plain = list(extractor.pipe(posts, images=images))
    explained = list(extractor.pipe(posts, images=images, explain=True))
    for without, found in zip(plain, explained, strict=True):
        assert without.explanation is None and found.explanation is not None
        assert [e.type for e in found.entities] == [e.type for e in without.entities]
        assert len(found.explanation.entities) == len(found.entities) > 0
        assert len(found.explanation.relations) == len(found.relations) > 0
        for attention in (*found.explanation.entities, *found.explanation.relations):
            assert len(attention.words) == len(found.tokens) and min(attention.words) > 0
            assert sum(attention.words) + sum(map(sum, attention.patches)) < 1
            assert (len(attention.patches), {len(row) for row in attention.patches}) == (
                (0, set()) if not found.image_read else (4, {4})
            )
    record = explained[0].to_dict()
    assert list(record)[-1] == "explanation" and list(record["explanation"]["entities"][0]) == [
        "words",
        "patches",
        "regions",
        "start",
    ]
    # a post on its own attends as it does in a batch
    alone = extractor(TEXTS[1], explain=True).explanation
    batched = explained[1].explanation
    assert alone is not None and batched is not None
    for one, other in zip(alone.relations, batched.relations, strict=True):
        assert one.words == pytest.approx(other.words, abs=1e-6)
    # and what was written with explanations can be read again
    written = tmp_path / "out.jsonl"
    written.write_text(json.dumps(record) + "\n")
    assert len(read_posts_jsonl(written)[0].entities) == len(plain[0].entities)


def test_attention_is_that_of_the_model_itself(tiny_models: Path) -> None:
    """The entity's row of the map, read by hand from the model's own output."""
    extractor = Extractor.from_pretrained(tiny_models / "ner", device="cpu")
    found = extractor("Ann met Bob", explain=True)
    assert found.explanation is not None
    model, encoder = open_model("ner", tiny_models / "ner", "cpu")
    model.set_attn_implementation("eager")
    text = encoder.words(["Ann", "met", "Bob"])
    ids = torch.tensor([text.input_ids])
    with torch.inference_mode():
        output = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            word_index=torch.tensor([text.positions]),
            word_mask=torch.ones(1, 3, dtype=torch.long),
            output_attentions=True,
        )
    maps = torch.stack(list(output.attentions)).mean((0, 2))[0]
    entity = found.entities[0]
    row = maps[text.positions[entity.start : entity.end]].mean(0)
    expected = [sum(float(row[place]) for place, of in enumerate(text.words) if of == word) for word in range(3)]
    assert found.explanation.entities[0].words == pytest.approx(expected, abs=1e-6)


def test_given_entities_have_no_attention_of_their_own(tiny_models: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_models / "re", device="cpu")
    post = Post("1", ("Ann", "met", "Bob"), None, (Entity(0, 1, "PER"), Entity(2, 3, "PER")))
    found = extractor(post, explain=True)
    assert found.explanation is not None and found.explanation.entities == ()
    assert len(found.explanation.relations) == len(found.relations)

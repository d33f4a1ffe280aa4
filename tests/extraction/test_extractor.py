"""What a user of the extractor relies on."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.factories import TEXTS, save_tiny_model

from promu import Extractor
from promu.corpora.images import load_image
from promu.corpora.posts import from_text
from promu.errors import InputError
from promu.extraction.passes import fitting_labels, label_types
from promu.extraction.result import Extraction
from promu.modeling.inputs import to_pixels
from promu.schema import Entity, Post, Relation
from promu.tasks.model_folder import open_model, open_predictor
from promu.tasks.task import TASKS, pair_posts

TEXT = "Ann Lee met Bob\u2019s dog \U0001f600 at the #bridge in Rome , so happy !"


@pytest.fixture(scope="module")
def posts() -> list[Post]:
    """Posts of many lengths, half of them with an image."""
    words = [word for text in TEXTS for word in text.split()]
    return [
        Post(f"p{number}", tuple(words[number : 2 * number + 3]), f"{number % 4}.png" if number % 2 else None)
        for number in range(9)
    ]


def close(first: Extraction, second: Extraction, within: float = 1e-4) -> bool:
    """The same answer, scores to `within`."""
    scores = [
        [entity.score or 0.0 for entity in one.entities] + [relation.score or 0.0 for relation in one.relations]
        for one in (first, second)
    ]
    plain = []
    for one in (first, second):
        record = one.to_dict()
        for found in record["entities"] + record["relations"]:
            del found["score"]
        plain.append((record, one.image))
    return plain[0] == plain[1] and scores[0] == pytest.approx(scores[1], abs=within)


def test_the_answer_for_one_post(extractor: Extractor, images: Path) -> None:
    result = extractor(TEXT, image=images / "0.png")
    assert result.image == "used" and result.entities and result.relations
    record = json.loads(json.dumps(result.to_dict()))
    assert list(record) == ["id", "tokens", "entities", "relations"]
    for entity, found in zip(record["entities"], result.entities, strict=True):
        assert list(entity) == ["start", "end", "text", "type", "score", "char_start", "char_end"]
        assert TEXT[entity["char_start"] : entity["char_end"]] == entity["text"]
        assert record["tokens"][found.start] == entity["text"][: len(record["tokens"][found.start])]
        assert 0 < entity["score"] <= 1
    heads = {(relation["head"], relation["tail"]) for relation in record["relations"]}
    assert not heads & {(tail, head) for head, tail in heads}, "both directions of one pair"
    for relation, triple in zip(result.relations, result.triples(), strict=True):
        assert triple == (
            result.words(result.entities[relation.head]),
            relation.type,
            result.words(result.entities[relation.tail]),
        )
        types = result.entities[relation.head].type, result.entities[relation.tail].type
        assert label_types(relation.type) == tuple(str(kind).lower() for kind in types)
        assert relation.type != "None" and 0 < (relation.score or 0) <= 1


def test_every_way_to_give_a_post_reads_the_same(extractor: Extractor, images: Path) -> None:
    file = images / "1.png"
    expected = extractor(TEXTS[0], image=file)
    tokens = tuple(TEXTS[0].split())
    with Image.open(file) as opened:
        for result in (
            extractor(TEXTS[0], image=str(file)),
            extractor(TEXTS[0], image=file.read_bytes()),
            extractor(TEXTS[0], image=opened),
            extractor(list(tokens), image=file),
            extractor(Post("1", tokens, str(file))),
            next(extractor.extract([Post("1", tokens, "1.png")], images=images)),
        ):
            assert result == expected
    assert not close(extractor(TEXTS[0]), expected), "the image makes no difference"
    assert [result.id for result in extractor.extract(["one", "two"])] == ["1", "2"]
    assert extractor(Post("seven", tokens)).id == "seven"


def test_neither_batch_nor_order_changes_an_answer(extractor: Extractor, posts: list[Post], images: Path) -> None:
    alone = [extractor(post, images / post.image if post.image else None) for post in posts]
    assert any(result.relations for result in alone)
    for batch_size in (1, 5, 32):
        for order in (posts, posts[::-1]):
            results = list(extractor.extract(iter(order), batch_size=batch_size, images=images))
            assert [result.id for result in results] == [post.id for post in order]
            by_id = {result.id: result for result in results}
            assert all(close(by_id[result.id], result) for result in alone)


def test_posts_are_read_as_they_come(extractor: Extractor) -> None:
    taken = []

    def endless() -> Iterator[str]:
        while True:
            taken.append(1)
            yield "Ann met Bob"

    results = extractor.extract(endless(), batch_size=1)
    assert next(results).tokens == ("Ann", "met", "Bob")
    assert len(taken) < 100


def test_threads_may_share_an_extractor(tiny_models: Path, posts: list[Post], images: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_models, device="cpu")  # nothing cached yet
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: list(extractor.extract(posts, batch_size=4, images=images)), range(4)))
    assert all(run == runs[0] for run in runs)
    assert runs[0] == list(extractor.extract(posts, batch_size=4, images=images))


@pytest.mark.parametrize("alike", [True, False])
def test_each_image_is_encoded_once_whatever_the_number_of_pairs(
    alike: bool, tiny_models: Path, posts: list[Post], images: Path
) -> None:
    predictors: dict[str, Any] = {task: open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")}
    models = {task: predictor.model for task, predictor in predictors.items()}
    rows = dict.fromkeys(models, 0)
    if not alike:
        with torch.no_grad():
            next(models["re"].promu.vision_encoder.parameters()).add_(1e-3)

    def count(task: str) -> None:
        encoder = models[task].promu.vision_encoder

        def hook(module: object, args: object, kwargs: dict[str, torch.Tensor]) -> None:
            rows[task] += len(kwargs["pixel_values"])

        encoder.register_forward_pre_hook(hook, with_kwargs=True)

    for task in models:
        count(task)
    extractor = Extractor(*predictors.values())
    result = extractor(TEXTS[0], image=images / "0.png")
    assert len(result.entities) > 4, "too few pairs to show anything"
    assert rows == {"ner": 1, "re": int(not alike)}, "models that see alike share what one of them has seen"
    rows.update(ner=0, re=0)
    shown = [post for post in posts if post.image]
    results = list(extractor.extract(shown, batch_size=2, images=images))
    paired = sum(len(result.entities) > 1 for result in results)
    assert rows["ner"] == len(shown)
    assert rows["re"] == 0 if alike else 0 < rows["re"] <= paired


def test_the_plain_path_gives_the_same_relations(extractor: Extractor, tiny_models: Path, images: Path) -> None:
    """Pair by pair, the image encoded each time, the rule written out again."""
    result = extractor(TEXTS[1], image=images / "2.png")
    model: Any
    model, encoder = open_model("re", tiny_models / "re", "cpu")
    size = model.config.image_size or 0
    pixels = to_pixels(load_image(images / "2.png"), size)[None]
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    best: dict[frozenset[int], Relation] = {}
    post = Post("1", result.tokens, None, result.entities)
    for head in range(len(post.entities)):
        for tail in range(len(post.entities)):
            fits = fitting_labels(post.entities[head], post.entities[tail], names)
            if head == tail or sum(fits) == 1:
                continue
            batch = TASKS["re"].batch(encoder, pair_posts(post, [(head, tail)]), None)
            with torch.inference_mode():
                probabilities = model(**batch, pixel_values=pixels).logits.softmax(-1)[0].tolist()
            score, label = max((p, name) for p, name, fit in zip(probabilities, names, fits, strict=True) if fit)
            before = best.get(frozenset((head, tail)))
            if label != "None" and (before is None or (before.score or 0.0) < score):
                best[frozenset((head, tail))] = Relation(head, tail, label, score)
    expected = sorted(best.values(), key=lambda relation: (relation.head, relation.tail))
    assert len(expected) > 3 and len(expected) == len(result.relations)
    for one, other in zip(expected, result.relations, strict=True):
        assert (one.head, one.tail, one.type) == (other.head, other.tail, other.type)
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_already_encoded_images_are_what_pixels_are(tiny_models: Path, images: Path) -> None:
    from promu.modeling.encoders import encode_image

    model: Any
    model, encoder = open_model("re", tiny_models / "re", "cpu")
    post = Post("1", ("Ann", "met", "Bob"), None, (Entity(0, 1, "PER"), Entity(2, 3, "PER")), (Relation(0, 1, "None"),))
    batch = TASKS["re"].batch(encoder, [post], None)
    pixels = to_pixels(load_image(images / "0.png"), model.config.image_size or 0)[None]
    with torch.inference_mode():
        visual = encode_image(model.promu.vision_encoder, pixels, model.config)
        torch.testing.assert_close(model(**batch, visual=visual).logits, model(**batch, pixel_values=pixels).logits)
        assert not torch.allclose(model(**batch, visual=visual).logits, model(**batch).logits)


@pytest.mark.parametrize("content", [None, b"", b"not an image", "half"])
def test_a_image_that_cannot_be_read(
    content: bytes | str | None, extractor: Extractor, images: Path, tmp_path: Path
) -> None:
    file = tmp_path / "photo.png"
    if content is not None:
        whole = (images / "0.png").read_bytes()
        file.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"photo\.png: .*post '7'") as caught:
        extractor(TEXT, image=file, id="7")
    assert caught.value.path == str(file)
    result = extractor(TEXT, image=file, missing_images="text-only")
    assert result.image == "missing"
    without = extractor(TEXT)
    assert without.image == "none"
    assert (result.entities, result.relations) == (without.entities, without.relations)
    with pytest.raises(InputError):
        extractor(TEXT, image=b"")


def test_words_past_the_longest_length_are_said(tiny_models: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "promu.extraction.passes")  # a bulk run in this process has raised it
    result = Extractor.from_pretrained(tiny_models / "ner", device="cpu")(["bridge"] * 300, id="long")
    assert len(result.tokens) == 300
    assert "post 'long' has 300 words, of which the first" in caplog.text


def test_one_task_alone(tiny_models: Path, images: Path) -> None:
    ner = Extractor.from_pretrained(tiny_models / "ner", device="cpu")
    assert ner(TEXT).entities and ner(TEXT).relations == ()
    only_re = Extractor.from_pretrained(tiny_models / "re", device="cpu")
    with pytest.raises(InputError, match="no entities and there is no model to find them; give entities, or"):
        only_re(TEXT)
    both = Extractor.from_pretrained(tiny_models, device="cpu")(TEXTS[0], image=images / "3.png")
    given = Post("1", both.tokens, None, both.entities)
    assert close(only_re(given, image=images / "3.png"), both)
    with pytest.raises(InputError, match="for entities, for relations, or both"):
        Extractor()


def test_a_model_that_reads_text_alone_says_so(tmp_path: Path) -> None:
    extractor = Extractor.from_pretrained(save_tiny_model(tmp_path / "model", "ner", images=False))
    assert not extractor.reads_images
    assert extractor(TEXT, image=tmp_path / "none.png").image == "unread"
    assert extractor(TEXT).image == "none"


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u200d", []])
def test_a_text_without_words(text: str | list[str], extractor: Extractor) -> None:
    with pytest.raises(InputError):
        extractor(text)


def test_a_text_with_one_entity_at_most_has_no_relations(extractor: Extractor) -> None:
    assert extractor("Ann").relations == ()
    assert list(extractor.extract([])) == []
    with pytest.raises(InputError, match="batch_size is 0"):
        next(extractor.extract([from_text("Ann")], batch_size=0))


def test_folders_that_are_no_models(tiny_models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model folder"):
        Extractor.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere/nothing: neither a model folder nor a hub model within reach"):
        Extractor.from_pretrained("nowhere/nothing")
    with pytest.raises(InputError, match=r"no promu model here: neither ner/ and re/ nor config\.json"):
        Extractor.from_pretrained(tmp_path)
    shutil.copytree(tiny_models / "re", tmp_path / "ner")
    with pytest.raises(InputError, match="for the task 're', not 'ner'"):
        Extractor.from_pretrained(tmp_path)
    config = json.loads((tiny_models / "ner" / "config.json").read_text())
    (tmp_path / "ner" / "config.json").write_text(json.dumps({**config, "architectures": ["PromuForPreTraining"]}))
    with pytest.raises(InputError, match="holds PromuForPreTraining, which extracts nothing; fine-tune it first"):
        Extractor.from_pretrained(tmp_path)


def test_a_dictionary_is_read_as_a_line_of_posts(extractor: Extractor, images: Path) -> None:
    record = {"id": "7", "text": "Ann met Bob", "image": "0.png"}
    (found,) = extractor.extract([record], images=images)
    assert found.to_dict() == extractor("Ann met Bob", image=images / "0.png", id="7").to_dict()
    with pytest.raises(InputError, match="image"):
        list(extractor.extract([{"text": "Ann", "image": "0.png"}]))


def test_one_text_is_not_many_posts(extractor: Extractor) -> None:
    with pytest.raises(InputError, match="many posts"):
        list(extractor.extract("Ann met Bob"))

"""What a user of the extractor relies on."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
from promu.extraction.result import Extraction
from promu.extraction.type_rules import TypeRules, label_types
from promu.modeling.inputs import tensors, to_pixels
from promu.schema import Entity, Post, Relation
from promu.tasks.model_folder import open_predictor
from promu.tasks.task import TASKS, pair_posts
from promu.tasks.torch_predictor import open_model

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
        plain.append(record)
    return plain[0] == plain[1] and scores[0] == pytest.approx(scores[1], abs=within)


def test_the_answer_for_one_post(extractor: Extractor, images: Path) -> None:
    result = extractor(TEXT, image=images / "0.png")
    assert result.image_read and result.entities and result.relations
    record = json.loads(json.dumps(result.to_dict()))
    read = ["far_pairs", "image_read", "image_reason", "warnings"]
    assert list(record) == ["id", "text", "tokens", "image", "entities", "relations", *read]
    assert (record["text"], record["far_pairs"], record["image_read"], record["image_reason"]) == (TEXT, 0, True, None)
    for entity, found in zip(record["entities"], result.entities, strict=True):
        assert list(entity) == ["start", "end", "text", "type", "score", "char_start", "char_end"]
        assert TEXT[entity["char_start"] : entity["char_end"]] == entity["text"]
        assert record["tokens"][found.start] == entity["text"][: len(record["tokens"][found.start])]
        assert 0 < entity["score"] <= 1
    heads = {(relation["head"], relation["tail"]) for relation in record["relations"]}
    assert not heads & {(tail, head) for head, tail in heads}, "both directions of one pair"
    for relation, triple in zip(result.relations, result.triples(), strict=True):
        assert triple == (relation.head.text, relation.label, relation.tail.text)
        types = relation.head.label, relation.tail.type
        assert label_types(relation.type) == tuple(str(kind).lower() for kind in types)
        assert relation.type != "None" and 0 < (relation.score or 0) <= 1


def test_every_way_to_give_a_post_reads_the_same(extractor: Extractor, images: Path) -> None:
    file = images / "1.png"
    expected = extractor(TEXTS[0], image=file.read_bytes())
    tokens = tuple(TEXTS[0].split())
    with Image.open(file) as opened:
        for result in (
            extractor(TEXTS[0], image=str(file)),
            extractor(TEXTS[0], image=file.read_bytes()),
            extractor(TEXTS[0], image=opened),
            extractor(tokens=tokens, image=file),
            extractor([TEXTS[0]], [file])[0],
            extractor(Post("1", tokens, str(file))),
            next(extractor.pipe([Post("1", tokens, "1.png")], images=images)),
        ):
            assert replace(result, post=replace(result.post, image=None)) == expected
        assert extractor(TEXTS[0], image=opened).to_dict()["image"] is None, "bytes and pixels have no name"
    for given in (file, str(file)):
        assert extractor(TEXTS[0], image=given).to_dict()["image"] == str(file)
        assert extractor([TEXTS[0]], [given])[0].to_dict()["image"] == str(file)
    assert next(extractor.pipe([Post("1", tokens, "1.png")], images=images)).post.image == "1.png"
    assert not close(extractor(TEXTS[0]), expected), "the image makes no difference"
    assert [result.id for result in extractor.pipe(["one", "two"])] == ["1", "2"]
    assert extractor(Post("seven", tokens)).id == "seven"


def test_neither_batch_nor_order_changes_an_answer(extractor: Extractor, posts: list[Post], images: Path) -> None:
    alone = [extractor(post, images / post.image if post.image else None) for post in posts]
    assert any(result.relations for result in alone)
    for batch_size in (1, 5, 32):
        for order in (posts, posts[::-1]):
            results = list(extractor.pipe(iter(order), batch_size=batch_size, images=images))
            assert [result.id for result in results] == [post.id for post in order]
            by_id = {result.id: result for result in results}
            assert all(close(by_id[result.id], result) for result in alone)


def test_posts_are_read_as_they_come(extractor: Extractor) -> None:
    taken = []

    def endless() -> Iterator[str]:
        while True:
            taken.append(1)
            yield "Ann met Bob"

    results = extractor.pipe(endless(), batch_size=1)
    assert next(results).tokens == ("Ann", "met", "Bob")
    assert len(taken) < 100


def test_threads_may_share_an_extractor(tiny_models: Path, posts: list[Post], images: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_models, device="cpu")  # nothing cached yet
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: list(extractor.pipe(posts, batch_size=4, images=images)), range(4)))
    assert all(run == runs[0] for run in runs)
    assert runs[0] == list(extractor.pipe(posts, batch_size=4, images=images))


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
    results = list(extractor.pipe(shown, batch_size=2, images=images, image_cache_mib=0))
    paired = sum(len(result.entities) > 1 for result in results)
    assert rows["ner"] == len(shown)
    assert rows["re"] == 0 if alike else 0 < rows["re"] <= paired


def test_the_plain_path_gives_the_same_relations(extractor: Extractor, tiny_models: Path, images: Path) -> None:
    """Pair by pair, the image encoded each time, the rule written out again."""
    result = extractor(TEXTS[1], image=images / "2.png")
    model: Any
    model, encoder = open_model("re", tiny_models / "re", "cpu")
    size = model.config.image_size or 0
    pixels = torch.from_numpy(to_pixels(load_image(images / "2.png"), size))[None]
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    best: dict[frozenset[int], Relation] = {}
    post = Post("1", result.tokens, None, result.entities)
    rules = TypeRules(names)
    for head in range(len(post.entities)):
        for tail in range(len(post.entities)):
            fits = rules.fits(post.entities[head].type, post.entities[tail].type)
            if head == tail or sum(fits) == 1:
                continue
            batch = tensors(TASKS["re"].batch(encoder, pair_posts(post, [(head, tail)]), None))
            with torch.inference_mode():
                probabilities = model(**batch, pixel_values=pixels).logits.softmax(-1)[0].tolist()
            score, label = max((p, name) for p, name, fit in zip(probabilities, names, fits, strict=True) if fit)
            before = best.get(frozenset((head, tail)))
            if label != "None" and (before is None or (before.score or 0.0) < score):
                best[frozenset((head, tail))] = Relation(head, tail, label, score)
    expected = sorted(best.values(), key=lambda relation: (relation.head, relation.tail))
    assert len(expected) > 3 and len(expected) == len(result.relations)
    for one, other in zip(expected, result.post.relations, strict=True):
        assert (one.head, one.tail, one.type) == (other.head, other.tail, other.type)
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_already_encoded_images_are_what_pixels_are(tiny_models: Path, images: Path) -> None:
    from promu.modeling.encoders import encode_image

    model: Any
    model, encoder = open_model("re", tiny_models / "re", "cpu")
    post = Post("1", ("Ann", "met", "Bob"), None, (Entity(0, 1, "PER"), Entity(2, 3, "PER")), (Relation(0, 1, "None"),))
    batch = tensors(TASKS["re"].batch(encoder, [post], None))
    pixels = torch.from_numpy(to_pixels(load_image(images / "0.png"), model.config.image_size or 0))[None]
    with torch.inference_mode():
        visual = encode_image(model.promu.vision_encoder, pixels, model.config)
        torch.testing.assert_close(model(**batch, visual=visual).logits, model(**batch, pixel_values=pixels).logits)
        assert not torch.allclose(model(**batch, visual=visual).logits, model(**batch).logits)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing image"),
        (b"", "image of 0 bytes"),
        (b"not an image", "broken image"),
        ("half", "broken image"),
    ],
)
def test_a_image_that_cannot_be_read(
    content: bytes | str | None, reason: str, extractor: Extractor, images: Path, tmp_path: Path
) -> None:
    file = tmp_path / "photo.png"
    if content is not None:
        whole = (images / "0.png").read_bytes()
        file.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"photo\.png: .*post '7'") as caught:
        extractor(TEXT, image=file, id="7")
    assert caught.value.path == str(file)
    result = extractor(TEXT, image=file, missing_images="text-only")
    assert (result.image_read, result.image_reason) == (False, reason)
    without = extractor(TEXT)
    assert without.image_reason == "no image"
    assert (result.entities, result.relations) == (without.entities, without.relations)
    with pytest.raises(InputError):
        extractor(TEXT, image=b"")


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
    assert extractor(TEXT, image=tmp_path / "none.png").image_reason == "text-only model"
    assert extractor(TEXT).image_reason == "no image"


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u200d"])
def test_a_text_without_words(text: str, extractor: Extractor) -> None:
    with pytest.raises(InputError):
        extractor(text)
    with pytest.raises(InputError, match="is an empty list"):
        extractor(tokens=[])


def test_a_text_with_one_entity_at_most_has_no_relations(extractor: Extractor) -> None:
    assert extractor("Ann").relations == ()
    assert list(extractor.pipe([])) == []
    with pytest.raises(InputError, match="batch_size is 0"):
        next(extractor.pipe([from_text("Ann")], batch_size=0))


def test_folders_that_are_no_models(tiny_models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model folder"):
        Extractor.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere/nothing: neither a model folder nor a hub model within reach"):
        Extractor.from_pretrained("nowhere/nothing")
    with pytest.raises(InputError, match=r"no promu model here: neither ner/ and re/ nor config\.json"):
        Extractor.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="a model is named by its folder or its name on the hub, and this is None"):
        Extractor.from_pretrained(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there is no precision 'fp16'; use one of fp32, bf16, int8"):
        Extractor.from_pretrained(tiny_models, precision="fp16")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="there is no backend 'tf'; use one of torch, onnx"):
        Extractor.from_pretrained(tiny_models, backend="tf")  # type: ignore[arg-type]
    shutil.copytree(tiny_models / "re", tmp_path / "ner")
    with pytest.raises(InputError, match="for the task 're', not 'ner'"):
        Extractor.from_pretrained(tmp_path)
    config = json.loads((tiny_models / "ner" / "config.json").read_text())
    (tmp_path / "ner" / "config.json").write_text(json.dumps({**config, "architectures": ["PromuForPreTraining"]}))
    with pytest.raises(InputError, match="holds PromuForPreTraining, which extracts nothing; fine-tune it first"):
        Extractor.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"types": 3}, r"re: types is 3; a mapping is needed"),
        ({"relation_threshold": 5}, "relation_threshold is 5; a number from 0 to 1 is needed"),
        ({"entity_threshold": "x"}, "entity_threshold is 'x'; a number from 0 to 1 is needed"),
        ({"relation_threshold": float("nan")}, "relation_threshold is nan; a number from 0 to 1 is needed"),
        ({"score_temperature": 0}, "score_temperature is 0; a number over 0 is needed"),
        ({"max_length": "a"}, "max_length is 'a'; a whole number of tokens, 3 at least, is needed"),
        ({"max_length": -5}, "max_length is -5; a whole number of tokens"),
        ({"text_config": 3}, "an encoder's configuration must be a mapping with model_type, found 3"),
        ({"hidden_size": 64}, "hidden_size follows from other settings; leave it out"),
    ],
)
def test_settings_in_config_json_that_cannot_be_used(
    settings: dict[str, Any], reason: str, tiny_models: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_models, tmp_path / "model")
    file = tmp_path / "model" / "re" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    with pytest.raises(InputError, match=reason) as caught:
        Extractor.from_pretrained(tmp_path / "model")
    assert caught.value.path == str(file.parent)


def test_a_dictionary_is_read_as_a_line_of_posts(extractor: Extractor, images: Path) -> None:
    record = {"id": "7", "text": "Ann met Bob", "image": "0.png"}
    (found,) = extractor.pipe([record], images=images)
    assert found.to_dict() == {**extractor("Ann met Bob", images / "0.png", id="7").to_dict(), "image": "0.png"}
    with pytest.raises(InputError, match="image"):
        list(extractor.pipe([{"text": "Ann", "image": "0.png"}]))


def test_one_text_is_not_many_posts(extractor: Extractor) -> None:
    with pytest.raises(InputError, match="many posts"):
        list(extractor.pipe("Ann met Bob"))


def test_a_list_of_texts_is_a_batch_and_words_go_in_by_name(extractor: Extractor, images: Path) -> None:
    first, second = extractor(["Ann met Bob", "the crew of Zorva won"])
    assert (first.id, first.text, second.id, second.text) == ("1", "Ann met Bob", "2", "the crew of Zorva won")
    assert close(first, extractor("Ann met Bob"))
    pictured = extractor([{"text": "Ann met Bob", "id": "a"}, "Zorva"], [images / "0.png", None])
    assert [(one.id, one.image_read) for one in pictured] == [("a", True), ("2", False)]
    assert extractor(tokens=["Ann", "met", "Bob"]).tokens == ("Ann", "met", "Bob")
    assert extractor([]) == []
    for call, reason in (
        (lambda: extractor([["Ann", "met"], ["Bob"]]), r"a post is a text, .* words go in by name, {\"tokens\": \["),
        (lambda: extractor(), "give the text of a post, a list of posts, or tokens="),
        (lambda: extractor("Ann", tokens=["Ann"]), "give the text of a post, a list of posts, or tokens="),
        (lambda: extractor(["Ann", "Bob"], [None]), "2 posts are given; give as many images"),
        (lambda: extractor(["Ann"], id="x"), "one id is given for a list of posts"),
        (lambda: extractor(tokens="Ann"), "tokens"),
    ):
        with pytest.raises(InputError, match=reason):
            call()


def test_results_have_what_people_type_first(extractor: Extractor) -> None:
    result = extractor(TEXT)
    entity, relation = result.entities[0], result.relations[0]
    assert entity.text == TEXT[entity.start_char : entity.end_char] and entity.label == entity.type
    assert relation.head in result.entities and relation.tail in result.entities
    assert relation.label == relation.type and relation.head.text and relation.tail.text
    assert Post("1", result.tokens, None, result.entities).entities == result.entities, (
        "they are entities of a post too"
    )


def test_results_are_tables(extractor: Extractor) -> None:
    both = extractor([TEXT, TEXTS[1]])
    entities, relations = both.to_pandas(), both.to_pandas("relations")
    assert list(entities.columns) == ["id", "text", "type", "score", "start", "end", "start_char", "end_char"]
    assert list(entities["id"]) == [one.id for one in both for _ in one.entities]
    assert list(zip(relations["head"], relations["relation"], relations["tail"], strict=True)) == [
        tuple(triple) for one in both for triple in one.triples()
    ]
    assert list(both[0].to_pandas("posts")["text"]) == [TEXT]
    assert list(extractor("Ann").to_pandas("relations").columns) == list(relations.columns), (
        "no row has its columns too"
    )
    with pytest.raises(InputError, match="no table of 'triples'; there are entities, relations, posts"):
        both.to_pandas("triples")  # type: ignore[arg-type]


def test_without_pandas_a_sentence_says_so(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"to_pandas needs pandas, .*pip install pandas"):
        extractor("Ann").to_pandas()


class Fragile:
    """A predictor that fails on whatever post has the word Zorva."""

    def __init__(self, predictor: Any) -> None:
        self.predict = predictor.predict_batch

    def __call__(self, posts: Any, *rest: Any, **more: Any) -> Any:
        if any("Zorva" in post.tokens for post in posts):
            raise IndexError("index out of range in self")
        return self.predict(posts, *rest, **more)


def test_a_post_on_which_the_models_fail_leaves_the_others(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictors = [open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")]
    extractor = Extractor(*predictors)
    texts = ["Ann met Bob", "the crew of Zorva won", "Ann Lee in Rome"]
    expected = [extractor(text, id=str(number)) for number, text in enumerate(texts, start=1)]
    monkeypatch.setattr(predictors[0], "predict_batch", Fragile(predictors[0]))
    problems: list[InputError] = []
    found = list(extractor.pipe(texts, problems=problems))
    assert [one.id for one in found] == ["1", "3"]
    assert close(found[0], expected[0]) and close(found[1], expected[2])
    assert [problem.line for problem in problems] == [2]
    assert problems[0].reason.startswith("the models fail on this post (IndexError: index out of range in self)")
    with pytest.raises(InputError, match="the models fail on this post") as caught:
        extractor(texts[1])
    assert isinstance(caught.value.__cause__, IndexError), "whoever looks for the fault finds it"

"""Questions hold no gold of their own post, and answers become posts of the published formats."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.errors import InputError
from promu.llm.answers import AnswerFault
from promu.llm.baseline import TASKS, build_requests
from promu.llm.exemplars import shuffled_exemplars, text_identity
from promu.llm.llm_settings import BaselineSettings
from promu.llm.messages import PromptImages, Request
from promu.schema import Entity, Post, Relation

NER, RE = TASKS["ner"], TASKS["re"]
TYPES = ["LOC", "PER"]
RELATIONS = ["None", "/per/loc/place_of_birth", "/per/per/peer"]
WORDS = ("Ann", "Bob", "met", "in", "Rome", "the", "of", "xyzzy")


def spans_of(draw: Callable[..., Any], length: int) -> tuple[Entity, ...]:
    entities, position = [], 0
    while position < length:
        start = draw(st.integers(position, length))
        if start >= length:
            break
        end = draw(st.integers(start + 1, length))
        entities.append(Entity(start, end, draw(st.sampled_from(TYPES))))
        position = end
    return tuple(entities)


@st.composite
def tagged(draw: st.DrawFn) -> Post:
    tokens = tuple(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)))
    return Post("1", tokens, "1.jpg", spans_of(draw, len(tokens)))


@st.composite
def related(draw: st.DrawFn) -> Post:
    tokens = tuple(draw(st.lists(st.sampled_from(WORDS), min_size=2, max_size=6)))
    cut = draw(st.integers(1, len(tokens) - 1))
    label = draw(st.sampled_from(RELATIONS))
    types = (None, None) if label == "None" else (label.split("/")[1], label.split("/")[2])
    entities = (Entity(0, cut, types[0]), Entity(cut, len(tokens), types[1]))
    return Post("1", tokens, "1.jpg", entities, (Relation(*draw(st.sampled_from([(0, 1), (1, 0)])), label),))


def settings(**values: Any) -> BaselineSettings:
    return BaselineSettings(**{"url": "http://h", "model": "m", "data": "d", "out": "o", **values})


def requests_for(name: str, post: Post, train: list[Post], shots: int) -> list[Request]:
    labels = TYPES if name == "ner" else RELATIONS
    return build_requests(TASKS[name], [post], train, labels, PromptImages(None), settings(shots=shots, seed=3))


def test_what_tools_say_stands_under_the_text_and_only_what_was_asked_for() -> None:
    said = {"ocr": "EXIT\n5th  street", "caption": "two people on a stage", "other": "no tool's"}
    post, bare = Post("1", ("Ann", "sings"), "1.jpg", contexts=said), Post("1", ("Ann", "sings"), "1.jpg")
    how = settings(tools={"caption": "c.jsonl", "ocr": "o.jsonl", "depth": "d.jsonl"})
    (request,) = build_requests(NER, [post], [], TYPES, PromptImages(None), how)
    text = "Text: Ann sings\nCaption of the image: two people on a stage\nText in the image: EXIT 5th street"
    assert [message.text for message in request.messages[1:]] == [text]
    assert request.messages[0].text.endswith("what you copy comes from the text alone.")
    plain = [build_requests(NER, [one], [], TYPES, PromptImages(None), settings())[0].key for one in (post, bare)]
    assert plain[0] == plain[1], "without tools a prompt is what it was"


@given(tagged(), st.lists(tagged(), max_size=4), st.data())
def test_other_gold_entities_give_the_same_prompt(post: Post, train: list[Post], data: st.DataObject) -> None:
    other = replace(post, entities=spans_of(data.draw, len(post.tokens)))
    # the posts themselves stand in the training file too, as where a set is asked about its own training split
    shots = len({text_identity(example.tokens) for example in train} - {text_identity(post.tokens)})
    first = requests_for("ner", post, [post, *train], shots)
    assert first == requests_for("ner", other, [other, *train], shots)


@given(related(), st.lists(related(), max_size=4), st.sampled_from(RELATIONS))
def test_another_gold_relation_gives_the_same_prompt(post: Post, train: list[Post], label: str) -> None:
    types = (None, None) if label == "None" else (label.split("/")[1], label.split("/")[2])
    entities = [replace(entity, type=None) for entity in post.entities]
    relation = replace(post.relations[0], type=label)
    entities[relation.head] = replace(entities[relation.head], type=types[0])
    entities[relation.tail] = replace(entities[relation.tail], type=types[1])
    other = replace(post, entities=tuple(entities), relations=(relation,))
    shots = len({text_identity(example.tokens) for example in train} - {text_identity(post.tokens)})
    first = requests_for("re", post, [post, *train], shots)
    assert first == requests_for("re", other, [other, *train], shots)


@given(tagged())
def test_a_perfect_answer_is_the_gold(post: Post) -> None:
    # repeated names are listed once each, in order, so that each finds its own place
    answer, counts = NER.label(replace(post, entities=()), NER.solution(post), TYPES)
    expected = {(entity.start, entity.end) for entity in post.entities}
    assert len(answer.entities) <= len(expected)
    assert counts["not in the text"] == 0
    if len(set(post.tokens)) == len(post.tokens):
        assert answer.entities == post.entities


@given(related())
def test_a_perfect_relation_is_the_gold(post: Post) -> None:
    bare = replace(post, relations=(replace(post.relations[0], type="None"),))
    assert RE.label(bare, RE.solution(post), RELATIONS)[0].relations == post.relations


def test_what_an_answer_lists_is_counted() -> None:
    post = Post("1", ("Ann", "met", "Ann", "in", "Rome"), "1.jpg")
    listed = [("Rome", "LOC"), ("Ann", "PER"), ("Ann", "PER"), ("Ann", "PER"), ("Paris", "LOC"), ("in Rome", "LOC")]
    answer, counts = NER.label(
        post, json.dumps({"entities": [{"text": text, "type": type_} for text, type_ in listed]}), TYPES
    )
    assert answer.entities == (Entity(0, 1, "PER"), Entity(2, 3, "PER"), Entity(4, 5, "LOC"))
    assert counts == Counter({"entities": 6, "already taken": 2, "not in the text": 1})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"names": []}, 'must have the key "entities"'),
        ({"entities": {"Ann": "PER"}}, 'must have the key "entities" with a list'),
        ({"entities": ["Ann"]}, "entity 0 must be an object"),
        ({"entities": [{"text": "Ann", "type": "person"}]}, "type of entity 0 is 'person'; allowed are LOC, PER"),
        ({"entities": [{"text": "Ann"}]}, "type of entity 0 is None"),
        ({"entities": [{"text": 3, "type": "PER"}]}, "entity 0 must be an object"),
    ],
)
def test_answers_of_another_shape(answer: object, reason: str) -> None:
    with pytest.raises(AnswerFault, match=reason) as caught:
        NER.label(Post("1", ("Ann",)), json.dumps(answer), TYPES)
    assert caught.value.fault.kind == "wrong shape"


@pytest.mark.parametrize("value", ["friends", None, ["None"], 3])
def test_relations_that_are_not_offered(value: object) -> None:
    post = Post("1", ("Ann", "Bob"), "1.jpg", (Entity(0, 1, None), Entity(1, 2, None)), (Relation(0, 1, "None"),))
    with pytest.raises(AnswerFault, match="allowed are None, /per/loc"):
        RE.label(post, json.dumps({"relation": value}), RELATIONS)


def test_head_and_tail_are_marked_in_the_text() -> None:
    entities = (Entity(3, 5, "loc"), Entity(0, 1, "per"))
    post = Post(
        "1", ("Ann", "was", "in", "New", "York"), "1.jpg", entities, (Relation(1, 0, "/per/loc/place_of_birth"),)
    )
    assert RE.question(post) == ("Text: [E1] Ann [/E1] was in [E2] New York [/E2]\nHead: Ann\nTail: New York")
    nested = replace(post, entities=(Entity(3, 4, "loc"), Entity(3, 5, "per")))
    assert "[E1] [E2] New [/E2] York [/E1]" in RE.question(nested)


def posts(*texts: str) -> list[Post]:
    return [Post(str(number), tuple(text.split()), "x.jpg") for number, text in enumerate(texts)]


def type_of(post: Post) -> set[str]:
    return {str(entity.type) for entity in post.entities}


def test_exemplars_show_each_label_before_any_twice() -> None:
    train = [Post(str(n), (f"w{n}",), None, (Entity(0, 1, "PER" if n % 10 else "LOC"),)) for n in range(40)]
    asked = Post("x", ("asked",))
    for seed in range(5):
        chosen = shuffled_exemplars(train, type_of, 40, seed)(asked)
        assert type_of(chosen[0]) | type_of(chosen[1]) == {"PER", "LOC"}
        assert sorted(post.id for post in chosen) == sorted(post.id for post in train)
        assert shuffled_exemplars(train, type_of, 3, seed)(asked) == chosen[:3]
    first, second = (shuffled_exemplars(train, type_of, 3, seed)(asked) for seed in (0, 1))
    assert first != second


def test_a_post_of_the_same_text_is_no_exemplar() -> None:
    train = posts("the old bridge", "THE oldbridge", "Rome tonight")
    own = posts("The Old Bridge")[0]
    assert [post.id for post in shuffled_exemplars(train, type_of, 1, 0)(own)] == ["2"]
    with pytest.raises(InputError, match="exemplars: 2 asked for, but the training posts have 1 of another text"):
        shuffled_exemplars(train, type_of, 2, 0)(own)


def test_exemplars_stand_before_the_question_as_turns_with_their_images(images: Path) -> None:
    train = [Post("0", ("Rome", "tonight"), "0.png", (Entity(0, 1, "LOC"),))]
    asked = Post("1", ("Ann", "$text", "{}"), "1.png")
    request = build_requests(NER, [asked], train, TYPES, PromptImages(images, 24), settings(shots=1))[0]
    assert [message.role for message in request.messages] == ["system", "user", "assistant", "user"]
    assert request.messages[2].text == '{"entities": [{"text": "Rome", "type": "LOC"}]}'
    assert [image.path.name for message in request.messages for image in message.images] == ["0.png", "1.png"]
    assert request.messages[-1].text == "Text: Ann $text {}"
    assert "- LOC: a place" in request.messages[0].text


def test_a_missing_image_stops_or_is_counted(images: Path) -> None:
    asked = [Post("1", ("Ann",), "none.png"), Post("2", ("Bob",), "0.png"), Post("3", ("Cy",), None)]
    with pytest.raises(InputError, match=r"none.png: no such image.*--missing-images text-only"):
        PromptImages(images).of(asked[0])
    lenient = PromptImages(images, missing="text-only")
    assert lenient.counts(asked) == {"with image": 1, "as text": 2, "images missing or broken": 1}
    with pytest.raises(InputError, match="no such folder of images"):
        PromptImages(images / "absent")


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": " "},
        {"shots": -1},
        {"max_tokens": 0},
        {"corrections": -1},
        {"concurrency": 0},
        {"temperature": 3.0},
        {"image_size": 8},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        settings(**wrong)

"""Knowledge: what an answer may say, what reflection changes, and that no label of a post reaches its prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.llm.llm_server import LlmServer, said

from promu.corpora.formats import read_with_background
from promu.corpora.jmere import Background, read_jmere_background, write_jmere
from promu.errors import InputError
from promu.kecpm.kecpm_recipe import ProviderSettings
from promu.kecpm.post_knowledge import (
    LONGEST_SENTENCE,
    Fact,
    KnowledgeQuestions,
    PostKnowledge,
    PostText,
    ask_about_post,
    knowledge_for,
    parse_facts,
    read_knowledge,
    write_knowledge,
)
from promu.llm.answers import AnswerFault
from promu.llm.client import Client
from promu.llm.exemplars import Exemplar, QuintupleText
from promu.schema import Entity, Post, Relation

ANN = PostText("1", ("Ann", "met", "Bob", "in", "New", "York"), ("two men at a statue",))
POOL = [
    Exemplar(
        id=str(n),
        text=f"text {n}",
        caption=f"caption {n}",
        quintuples=(QuintupleText(head="A", head_type="per", tail="B", tail_type="loc", relation="r"),),
        reasoning=f"why {n}",
    )
    for n in range(3)
]


def questions(pool: list[Exemplar] = POOL, **settings: Any) -> KnowledgeQuestions:
    return KnowledgeQuestions(pool, ProviderSettings(url="http://h", model="m", **settings))


def facts(*pairs: tuple[str, str]) -> str:
    return json.dumps({"knowledge": [{"about": about, "sentence": sentence} for about, sentence in pairs]})


def test_facts_about_names_of_the_post_are_kept_and_others_counted() -> None:
    text = facts(
        ("Ann", "Ann is  a singer."),
        ("new york", "A city."),
        ("statue", "A landmark."),
        ("Eve", "Unknown."),
        ("tat", "No."),
    )
    known, counts = parse_facts(text, ANN)
    assert known == (Fact("Ann", "Ann is a singer."), Fact("new york", "A city."), Fact("statue", "A landmark."))
    assert counts == {"sentences": 5, "about another name": 2}
    assert parse_facts('{"knowledge": []}', ANN)[0] == ()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (facts(("Eve", "She."), ("Kain", "He.")), "off topic"),
        (facts(("Ann", "x" * (LONGEST_SENTENCE + 1))), "too long"),
        ("Ann is known. " * 1500, "too long"),
        ('{"knowledge": "Ann is a singer"}', "wrong shape"),
        ('{"knowledge": ["Ann is a singer"]}', "wrong shape"),
        (facts(("Ann", " ")), "wrong shape"),
        ("Ann is a singer.", "refusal"),
        ('{"knowledge": [', "broken JSON"),
    ],
)
def test_answers_that_cannot_be_used(text: str, kind: str) -> None:
    with pytest.raises(AnswerFault) as caught:
        parse_facts(text, ANN)
    assert caught.value.fault.kind == kind


def test_a_prompt_shows_exemplars_and_the_post() -> None:
    opening, question = questions().first(ANN, [2, 0]).messages
    assert "At most 8 sentences" in opening.text
    # the most similar stands last, next to the post
    assert question.text.index("why 0") < question.text.index("why 2") < question.text.index("Ann met Bob in New York")
    assert '"A" (per) and "B" (loc): r' in question.text and question.text.endswith("Image: two men at a statue")
    assert "Image: (none)" in questions([]).first(replace(ANN, captions=()), []).messages[1].text


def test_templates_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "knowledge_post.txt").write_text("$exemplars | $text | $caption | 5 $$")
    request = questions([], templates=tmp_path).first(ANN, [])
    assert request.messages[1].text == "(none) | Ann met Bob in New York | two men at a statue | 5 $"
    (tmp_path / "knowledge.txt").write_text("no field")
    with pytest.raises(InputError, match=r"knowledge.txt: the template must hold \$sentences"):
        questions([], templates=tmp_path)
    (tmp_path / "knowledge.txt").write_text("$sentences for 5 $")
    with pytest.raises(InputError, match=r"write \$\$ for it"):
        questions([], templates=tmp_path)


WORDS = ("Ann", "Bob", "met", "Rome", "the", "band")


@st.composite
def joint_labels(draw: st.DrawFn) -> tuple[tuple[Entity, ...], tuple[Relation, ...]]:
    cuts = sorted(draw(st.sets(st.integers(0, 6), min_size=3, max_size=3)))
    types = [draw(st.sampled_from(["per", "loc", "org", "misc"])) for _ in range(2)]
    entities = (Entity(cuts[0], cuts[1], types[0]), Entity(cuts[1], cuts[2], types[1]))
    return entities, (Relation(0, 1, draw(st.sampled_from(["peer", "contain", "awarded"]))),)


@given(st.permutations(WORDS), joint_labels(), joint_labels())
def test_other_gold_labels_give_the_same_prompt(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[str], gold: object, other: object
) -> None:
    asked = []
    for labels in (gold, other):
        path = tmp_path_factory.mktemp("leak") / "test.json"
        write_jmere(path, [Post("1", tuple(tokens), "1.jpg", *labels)])  # type: ignore[misc]
        posts, backgrounds = read_with_background(path, "jmere")
        post = PostText(posts[0].id, posts[0].tokens, backgrounds[0].captions)
        asked.append(questions().first(post, [0, 1]))
    assert asked[0] == asked[1]


Connect = Callable[..., Client]
FIRST = facts(("Ann", "Ann is a dog."), ("Bob", "Bob sings."))
CHECKED = facts(("Ann", "Ann is a singer."), ("Bob", "Bob sings."))


def test_the_answer_is_checked_and_the_revised_one_kept(server: LlmServer, connect: Connect) -> None:
    server.faults = [said(FIRST), said(CHECKED)]
    found = ask_about_post(connect(), questions(), ANN, [0])
    assert found.state == "answered"
    assert [fact.sentence for fact in found.first] == ["Ann is a dog.", "Bob sings."]
    assert [fact.sentence for fact in found.knowledge] == ["Ann is a singer.", "Bob sings."]
    assert [message["role"] for message in server.seen[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert "Ann is a dog." in server.seen[1]["messages"][2]["content"]
    assert ask_about_post(connect(), questions(), ANN, [0]) == found and len(server.seen) == 2
    bare = ask_about_post(connect(), questions(reflection=False), ANN, [0])
    assert bare.knowledge == found.first and len(server.seen) == 2


def test_where_the_check_fails_the_first_answer_stands(server: LlmServer, connect: Connect) -> None:
    server.faults = [said(FIRST), *[said("no")] * 3]
    found = ask_about_post(connect(), questions([]), ANN, [])
    assert found.state == "unchecked" and found.knowledge == found.first and len(found.faults) == 3
    server.faults = [said("")] * 3
    found = ask_about_post(connect(), questions([]), replace(ANN, captions=()), [])
    assert (found.state, found.knowledge) == ("failed", ()) and [f.kind for f in found.faults] == ["empty"] * 3


@pytest.mark.slow
def test_an_error_rate_is_what_reflection_recovers(server: LlmServer, connect: Connect) -> None:
    """A model that errs in every third first answer, and mends what it is shown again."""

    def reply(body: dict) -> str:
        texts = [message["content"] for message in body["messages"]]
        number = int(texts[1].rpartition("Ann ")[2].split()[0])
        return facts(("Ann", "wrong" if len(texts) == 2 and number % 3 == 0 else "right"))

    server.reply = reply
    client = connect()
    found = [ask_about_post(client, questions([]), PostText("x", ("Ann", str(n))), []) for n in range(9)]
    assert sum(each.first[0].sentence == "wrong" for each in found) == 3
    assert all(each.knowledge[0].sentence == "right" for each in found)


def test_what_is_written_is_read_for_its_posts(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    found = [
        PostKnowledge("answered", (Fact("Ann", 'so; "said" 🦜'),)),
        PostKnowledge("failed"),
        PostKnowledge("answered"),
    ]
    described = [ANN, replace(ANN, tokens=("else",)), replace(ANN, captions=("again",))]
    write_knowledge(path, zip(described, found, [["7"], [], []], strict=True))
    posts = [Post("1", each.tokens) for each in described]
    assert knowledge_for(posts, path) == [
        Background(("two men at a statue",), ('so; "said" 🦜',)),
        Background(("two men at a statue",), ()),
        Background(("again",), ()),  # the second post of this id and text has the second record
    ]
    assert knowledge_for([*posts, Post("1", ("new",))], path)[3] is None
    with pytest.raises(InputError, match="knowledge of no post here, of 1 post; is it that of another split"):
        knowledge_for([Post("1", ("new",))], path)


def test_published_files_are_read_as_a_list_and_as_lines(tmp_path: Path) -> None:
    record = {
        "token": ["Ann", "sings"],
        "img_id": "1.jpg",
        "label_list": [],
        "image_caption": ["c"],
        "knowledge": ["k;", "l"],
    }
    for name, text in (("list", json.dumps([record])), ("lines", "\n" + json.dumps(record) + "\n")):
        (tmp_path / name).write_text(text)
        assert knowledge_for([Post("1", ("Ann", "sings"))], tmp_path / name) == [Background(("c",), ("k;", "l"))]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[{"id": "1", "text": "a", "knowledge": []}]', "the post lacks token"),
        ('{"id": "1", "text": "a"}', "the line lacks knowledge"),
        (
            '{"id": "1", "text": "a", "knowledge": "so"}',
            "knowledge of the line must be a valid tuple",
        ),
        ('{"id": 1, "text": "a", "knowledge": []}', "id of the line must be a valid string, found 1"),
        ('{"id": "1", "text": "a", "knowledge": [], "facts": []}', "unknown key 'facts'"),
        (
            '{"token": ["a"], "img_id": "1.jpg", "label_list": [], "knowledge": "so"}',
            "knowledge must be a valid list",
        ),
        ("", "the file is empty"),
        ("some words", "k:1: not JSON"),
        ('\n{"id": "1", "te', "k:2: not JSON"),
    ],
)
def test_malformed_files_of_knowledge(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_knowledge(tmp_path / "k")


def test_the_published_knowledge_is_found_for_every_post(shared: Path) -> None:
    folder = shared / "data" / "jmere_fewshot" / "seed_17"
    for split in ("train", "val", "test"):
        posts, _ = read_with_background(folder / f"{split}.json", "jmere")
        found = knowledge_for(posts, folder / f"{split}_ofa_knowledge.json")
        assert found == list(read_jmere_background(folder / f"{split}_ofa_knowledge.json"))

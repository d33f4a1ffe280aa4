"""The pool of exemplars is a readable file, and a post never gets itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promu.alignment import falsify
from promu.corpora.jmere import Background
from promu.errors import InputError
from promu.llm.exemplars import (
    Exemplar,
    QuintupleText,
    choose_exemplars,
    make_pool,
    most_similar,
    read_pool,
    write_pool,
)
from promu.schema import Entity, Post, Relation

POST = Post(
    "7",
    ("Ann", "plays", "for", "Rome"),
    "7.jpg",
    (Entity(0, 1, "per"), Entity(3, 4, "org")),
    (Relation(0, 1, "member_of"),),
)


def test_a_pool_is_made_of_training_posts() -> None:
    known, bare = make_pool(
        [POST, POST], [Background(("a woman", "a ball"), ("Rome is a team.", "Ann is known.")), Background((), ())]
    )
    assert known == Exemplar(
        id="7",
        text="Ann plays for Rome",
        caption="a woman a ball",
        quintuples=(QuintupleText(head="Ann", head_type="per", tail="Rome", tail_type="org", relation="member_of"),),
        reasoning="Rome is a team. Ann is known.",
    )
    assert (bare.caption, bare.reasoning) == ("", '"Ann" is a per and "Rome" a org: member_of.')
    untyped = Post("1", ("a", "b"), None, (Entity(0, 1, None), Entity(1, 2, None)), (Relation(0, 1, "None"),))
    with pytest.raises(InputError, match=r"post '1': an entity of relation 'None' has no type"):
        make_pool([untyped], [Background((), ())])


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text == text.strip())
QUINTUPLES = st.lists(
    st.builds(QuintupleText, head=NAMES, head_type=NAMES, tail=NAMES, tail_type=NAMES, relation=NAMES), max_size=2
).map(tuple)


@given(
    st.lists(
        st.builds(Exemplar, id=NAMES, text=NAMES, caption=NAMES, quintuples=QUINTUPLES, reasoning=NAMES),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, pool: list[Exemplar]) -> None:
    path = tmp_path_factory.mktemp("pool") / "pool.jsonl"
    write_pool(path, pool)
    assert read_pool(path) == pool


def test_a_pool_written_by_hand_needs_no_ids(tmp_path: Path) -> None:
    line = {"text": 'Ann; "Bob" 🦜', "quintuples": [], "reasoning": "none"}
    (tmp_path / "pool.jsonl").write_text(f"{json.dumps(line)}\n\n{json.dumps(line)}\n")
    assert [exemplar.id for exemplar in read_pool(tmp_path / "pool.jsonl")] == ["1", "2"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('[{"text": "a"}]', "a JSON list where JSON lines are expected"),
        ('{"text": "a", "quintuples": []}', "the exemplar lacks reasoning"),
        (
            '{"text": "a", "quintuples": {}, "reasoning": "b"}',
            "quintuples of the exemplar must be a valid tuple, found {}",
        ),
        (
            '{"text": "a", "quintuples": [["a"]], "reasoning": "b"}',
            r"quintuples\[0\] of the exemplar must be a mapping with the keys head, ",
        ),
        ('{"text": "a", "quintuples": [], "reasoning": "b", "label": 1}', "unknown key 'label'"),
        (
            '{"text": "a", "quintuples": [], "reasoning": "b", "caption": 1}',
            "caption of the exemplar must be a valid string, found 1",
        ),
    ],
)
def test_malformed_pools_name_the_line(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text('{"text": "a", "quintuples": [], "reasoning": "b"}\n' + line + "\n")
    with pytest.raises(InputError, match=sentence) as caught:
        read_pool(path)
    assert caught.value.line == 2


@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(0, 3))
def test_the_nearest_are_those_of_the_definition(seed: int, posts: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries, pool = (torch.nn.functional.normalize(torch.randn(n, 5, generator=generator), dim=1) for n in (posts, 8))
    barred = [[int(c) for c in torch.randperm(8, generator=generator)[: post % 3]] for post in range(posts)]
    expected = []
    for post in range(posts):
        cosines = {column: float(queries[post].dot(pool[column])) for column in range(8) if column not in barred[post]}
        expected.append(sorted(cosines, key=lambda column: -cosines[column])[:count])
    assert most_similar(queries, pool, count, barred) == expected


def test_a_pool_too_small_for_some_post() -> None:
    vectors = torch.eye(3)
    with pytest.raises(InputError, match="exemplars a post: 3 asked for, but the pool of 3 has only 2 of another text"):
        most_similar(vectors, vectors, 3, [[0], [], []])


def test_a_post_is_not_its_own_exemplar_and_a_choice_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ("Old bridge", "OLD  Bridge", "new bridge", "ring")
    pool = [Exemplar(id=str(n), text=text, quintuples=(), reasoning="x") for n, text in enumerate(texts)]
    posts = [("old bridge", ""), ("ring tone", "")]
    encoded: list[list[str]] = []

    def vectors(texts: list[str]) -> torch.Tensor:
        encoded.append(list(texts))
        rows = torch.tensor([[float("bridge" in text.casefold()), float("ring" in text), 0.1] for text in texts])
        return torch.nn.functional.normalize(rows, dim=1)

    monkeypatch.setattr(falsify, "SentenceVectors", lambda name: vectors)

    def choose(count: int = 1) -> list[list[int]]:
        return choose_exemplars(posts, pool, count, "e", tmp_path / "choice.json")

    assert choose() == [[2], [3]]
    assert choose() == [[2], [3]] and len(encoded) == 2
    assert choose(2)[0] == [2, 3] and len(encoded) == 4
    (tmp_path / "choice.json").write_text("[]")
    with pytest.raises(InputError, match="no choice of exemplars; delete the file"):
        choose()

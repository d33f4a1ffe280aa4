"""Answers say any quintuples of any post, and whatever the grammar lets through is one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.kecpm.conftest import TOKENIZERS

from promu.errors import InputError
from promu.kecpm.decoding import decode_answer, encode_answer
from promu.kecpm.grammar import Grammar, GrammarTokenizer, Phrases
from promu.modeling.inventory import Inventory
from promu.schema import Entity, Post, Quintuple, Relation

INVENTORY = Inventory(
    (
        ("loc", "contain", "loc"),
        ("org", "alternate_names", "org"),
        ("per", "alternate_names", "per"),
        ("per", "member_of", "org"),
        ("per", "peer", "per"),
    )
)
PHRASES = {name: Phrases(GrammarTokenizer(make()), INVENTORY) for name, make in TOKENIZERS.items()}
NAMES = sorted(PHRASES)
PAIRED = Quintuple((0, 2), "per", (3, 4), "org", "member_of")
NASTY = (
    "(",
    "((",
    "(person)",
    "(person",
    "and",
    '"',
    '"peer"',
    ";",
    "The",
    "relation",
    "🦜",
    "🐘",
    "（person）",
    "⑴",
    "is",
)

words = st.lists(
    st.one_of(
        st.sampled_from(NASTY),
        st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=4).filter(str.strip),
    ),
    min_size=2,
    max_size=7,
)


def grammar(tokenizer: str, tokens: Sequence[str], longest: int = 8, limit: int | None = None) -> Grammar:
    return Grammar(PHRASES[tokenizer], tokens, longest, limit)


def text(tokenizer: str, ids: Sequence[int]) -> str:
    return str(PHRASES[tokenizer].tokenizer.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def some_quintuples(data: Any, one: Grammar) -> list[Quintuple]:
    """Legal ones of distinct pairs among the spans that have pieces."""
    spans = sorted(one.trie.node_of)
    pairs = [(head, tail) for head in spans for tail in spans if head != tail]
    chosen = data.draw(st.lists(st.sampled_from(pairs), max_size=4, unique=True)) if pairs else []
    found = []
    for head, tail in chosen:
        head_type, relation, tail_type = data.draw(st.sampled_from(INVENTORY.triples))
        found.append(Quintuple(head, head_type, tail, tail_type, relation))
    return found


@pytest.mark.parametrize("tokenizer", NAMES)
@given(tokens=words, data=st.data())
@settings(max_examples=150)
def test_any_quintuples_of_any_words_come_back(tokenizer: str, tokens: list[str], data: Any) -> None:
    one = grammar(tokenizer, tokens)
    found = some_quintuples(data, one)
    ids, left_out = encode_answer(one, found)
    answer = decode_answer(one, ids)
    assert left_out == 0 and answer.parsed and list(answer.quintuples) == found
    # and the constraint would have let it be written, piece by piece
    state = grammar(tokenizer, tokens, limit=len(ids) + 500).start()
    for piece in ids:
        assert piece in state.allowed()
        follower = state.after(piece)
        assert follower is not None
        state = follower
    assert state.ended and state.allowed() == []


@pytest.mark.parametrize("tokenizer", NAMES)
@given(tokens=words, seed=st.integers(0, 10**6), more=st.integers(0, 150))
@example(tokens=[*["(person"] * 4, "2\xa0\xa0\xa0"], seed=90439, more=144)  # a "3)" longer than a "10)"
@settings(max_examples=150)
def test_whatever_is_allowed_leads_to_an_answer_that_fits(
    tokenizer: str, tokens: list[str], seed: int, more: int
) -> None:
    shortest = len(PHRASES[tokenizer].first[1][1])
    one = grammar(tokenizer, tokens, limit=shortest + more)
    chance, state, ids = random.Random(seed), one.start(), []
    while not state.ended:
        allowed = state.allowed()
        assert allowed, "a beginning that cannot be ended"
        ids.append(chance.choice(sorted(allowed)))
        follower = state.after(ids[-1])
        assert follower is not None
        state = follower
    assert len(ids) <= shortest + more
    answer = decode_answer(one, ids)
    assert answer.parsed and answer.quintuples == state.written
    assert len({(item.head, item.tail) for item in answer.quintuples}) == len(answer.quintuples)
    for item in answer.quintuples:
        assert (item.head_type, item.relation, item.tail_type) in INVENTORY.triples and item.head != item.tail
        assert 0 <= item.head[0] < item.head[1] <= len(tokens)
    assert encode_answer(one, answer.quintuples) == (tuple(ids), 0)


@pytest.mark.parametrize("tokenizer", NAMES)
def test_answers_read_as_the_paper_writes_them(tokenizer: str) -> None:
    one = grammar(tokenizer, ("Ann", "Lee", "met", "Bob", "Bob"))
    second = Quintuple((4, 5), "per", (0, 2), "per", "peer")
    ids, _ = encode_answer(one, [PAIRED, second])
    assert text(tokenizer, ids) == (
        'The relation between Ann Lee (person) and Bob (organization) is "member of" ; '
        'The relation between Bob (person 2) and Ann Lee (person) is "peer"'
    )
    ids, _ = encode_answer(one, [])
    assert text(tokenizer, ids) == "No relation" and decode_answer(one, ids).quintuples == ()


def test_what_cannot_be_said_is_counted() -> None:
    one = grammar("metaspace", ("Ann", "Lee", "met", "Bob"), longest=2)
    strange = [
        PAIRED,
        PAIRED._replace(relation="peer"),  # the pair again, and types that do not fit
        Quintuple((0, 3), "per", (3, 4), "per", "peer"),  # a name that is too long
        Quintuple((3, 4), "per", (0, 1), "per", "race"),  # not in the list
        Quintuple((3, 4), "per", (3, 4), "per", "peer"),
    ]
    ids, left_out = encode_answer(one, strange)
    assert left_out == 4 and decode_answer(one, ids).quintuples == (PAIRED,)


def test_a_broken_answer_is_read_from_the_next_quintuple_on() -> None:
    one = grammar("metaspace", ("Ann", "Lee", "met", "Bob"))
    tokenizer = PHRASES["metaspace"].tokenizer
    good = 'The relation between Ann Lee (person) and Bob (organization) is "member of"'
    for wrong in (
        "The relation between Eve (person) and Bob (person) is",  # no name of the post
        'The relation between Ann (person) and Bob (organization) is "peer"',  # types that do not fit
        good,  # said before
    ):
        # word by word: every word's pieces are what the grammar has, since phrases break at blanks alone
        ids = [
            token
            for word in f"{good} ; {wrong} ; {good.replace('Ann Lee', 'Lee')}".split()
            for token in tokenizer(word)
        ]
        answer = decode_answer(one, [*ids, tokenizer.end])
        assert not answer.parsed
        assert [item.head for item in answer.quintuples] == [(0, 2), (1, 2)]
    assert not decode_answer(one, tokenizer(good)).parsed, "cut off before its end"
    assert decode_answer(one, ()).quintuples == () and not decode_answer(one, ()).parsed


def test_a_post_of_one_word_has_no_relation() -> None:
    one = grammar("metaspace", ("Ann",), limit=500)
    state, ids = one.start(), []
    while not state.ended:
        (piece,) = state.allowed()
        ids.append(piece)
        state = state.after(piece) or state
    assert text("metaspace", ids) == "No relation"


def test_too_small_a_limit_is_refused() -> None:
    with pytest.raises(InputError, match="answers of at most 1 tokens were asked for, but the shortest has"):
        grammar("metaspace", ("Ann", "Bob"), limit=1)


def test_a_tokenizer_that_lacks_a_word_is_refused() -> None:
    with pytest.raises(InputError, match="does not know 'is \"🦜\"', which answers are written with"):
        Phrases(GrammarTokenizer(TOKENIZERS["metaspace"]()), Inventory((("per", "🦜", "per"),)))


def test_inventory_of_posts() -> None:
    post = Post("a", ("a", "b"), None, (Entity(0, 1, "per"), Entity(1, 2, "org")), (Relation(0, 1, "member_of"),))
    found = Inventory.of([post, post])
    assert (
        found.triples == (("per", "member_of", "org"),) and Inventory.from_list([["per", "member_of", "org"]]) == found
    )
    assert (found.types, found.relations, found.head_types) == (("org", "per"), ("member_of",), ("per",))
    with pytest.raises(InputError, match="there is no relation to write"):
        Inventory.of([])
    with pytest.raises(InputError, match="found 'part of' and 'part_of'; rename one"):
        Inventory((("per", "part of", "per"), ("per", "part_of", "per")))

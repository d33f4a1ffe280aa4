"""Answers as pieces: what a model is trained to write about a post, and what it wrote read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promu.modeling.generation.grammar import Grammar, Ids
from promu.schema import Quintuple


@dataclass(frozen=True, slots=True)
class Answer:
    """What was read.

    Attributes:
        quintuples: In the order written; of an answer that breaks the grammar those before and after the break.
        parsed: Whether the whole answer obeys the grammar.
    """

    quintuples: tuple[Quintuple, ...]
    parsed: bool


def written_answer(grammar: Grammar, quintuples: Sequence[Quintuple]) -> tuple[Ids, int]:
    """The pieces that say `quintuples`, which `read_answer` gives back.

    Returns:
        The pieces, and how many quintuples cannot be said: a name that is too long or has no piece, types that the
        inventory does not have with the relation, a pair that was said before.
    """
    phrases = grammar.phrases
    pairs: set[tuple[object, object]] = set()
    parts: list[Ids] = []
    for one in quintuples:
        known = dict(phrases.relations.get((str(one.head_type), str(one.tail_type)), ()))
        names = all(span in grammar.trie.node_of for span in (one.head, one.tail))
        if not names or one.relation not in known or one.head == one.tail or (one.head, one.tail) in pairs:
            continue
        pairs.add((one.head, one.tail))
        relation = known[one.relation]
        head, tail = (_name(grammar, *end) for end in ((one.head, one.head_type), (one.tail, one.tail_type)))
        parts.append(head + phrases.link[0][1] + tail + relation)
    left_out = len(quintuples) - len(parts)
    if not parts:
        return phrases.first[1][1], left_out
    first, *rest = parts
    following = tuple(piece for part in rest for piece in phrases.again + part)
    return phrases.first[0][1] + first + following + (phrases.pieces.end,), left_out


def read_answer(grammar: Grammar, ids: Sequence[int]) -> Answer:
    """Read pieces, up to the end of the sequence; where they break the grammar, from the next quintuple on."""
    grammar = grammar.without_limit()  # what is written is written
    state, at, parsed = grammar.start(), 0, True
    while at < len(ids) and not state.ended:
        follower = state.after(ids[at])
        if follower is not None:
            state, at = follower, at + 1
            continue
        parsed = False
        again = grammar.phrases.again
        at = next((place for place in range(at, len(ids)) if tuple(ids[place : place + len(again)]) == again), len(ids))
        at += len(again)
        state = grammar.resumed(state.written)
    return Answer(state.written, parsed and state.ended)


def _name(grammar: Grammar, span: tuple[int, int], kind: str | None) -> Ids:
    words = tuple(piece for word in grammar.words[slice(*span)] for piece in word)
    return words + grammar.phrases.type_ids(str(kind), grammar.trie.number(span))

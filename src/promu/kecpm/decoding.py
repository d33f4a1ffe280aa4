"""Answers in tokens: gold quintuples to an answer, an answer to quintuples, and answers that a model generates."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForSeq2SeqLM,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
)

from promu.errors import InputError
from promu.kecpm.grammar import Grammar, GrammarState, Ids
from promu.kecpm.kecpm_recipe import DecodingSettings
from promu.modeling.encoders import config_of
from promu.progress import report
from promu.pytorch import SAFE_WEIGHTS, best_precision, load
from promu.schema import Quintuple


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """The quintuples of an answer, also those around a break of the grammar, and whether there is none (`parsed`)."""

    quintuples: tuple[Quintuple, ...]
    parsed: bool


def encode_answer(grammar: Grammar, quintuples: Sequence[Quintuple]) -> tuple[Ids, int]:
    """The tokens that express `quintuples`, which `decode_answer` gives back; and how many cannot be expressed.

    These have a name that is too long or has no token, types that the inventory does not have with the relation, or a
    pair that comes twice.
    """
    phrases, parts = grammar.phrases, _parts(grammar, quintuples)
    left_out = len(quintuples) - len(parts)
    if not parts:
        return phrases.first[1][1], left_out
    following = tuple(token for part in parts[1:] for token in phrases.again + part)
    return phrases.first[0][1] + parts[0] + following + (phrases.tokenizer.end,), left_out


def past_the_limit(grammar: Grammar, quintuples: Sequence[Quintuple]) -> int:
    """How many of the quintuples that can be expressed the limit of an answer keeps from being written.

    They are written in their order; one that does not fit any more is passed over and the next tried.
    """
    parts, state, blocked = _parts(grammar, quintuples), grammar.start(), 0
    for part in parts:
        opening = grammar.phrases.again if state.written else grammar.phrases.first[0][1]
        after: GrammarState | None = state
        for token in opening + part:
            after = None if after is None else after.after(token)
        if after is None:
            blocked += 1
        else:
            state = after
    return blocked


def _parts(grammar: Grammar, quintuples: Sequence[Quintuple]) -> list[Ids]:
    """The tokens of each quintuple that can be expressed, without what stands between two."""
    phrases = grammar.phrases
    pairs: set[tuple[object, object]] = set()
    parts: list[Ids] = []
    for one in quintuples:
        relations = dict(phrases.relations.get((str(one.head_type), str(one.tail_type)), ()))
        names = all(span in grammar.trie.node_of for span in (one.head, one.tail))
        if not names or one.relation not in relations or one.head == one.tail or (one.head, one.tail) in pairs:
            continue
        pairs.add((one.head, one.tail))
        relation = relations[one.relation]
        head, tail = (_name(grammar, *end) for end in ((one.head, one.head_type), (one.tail, one.tail_type)))
        parts.append(head + phrases.link + tail + relation)
    return parts


def decode_answer(grammar: Grammar, ids: Sequence[int]) -> GeneratedAnswer:
    """Read tokens, up to the end of the sequence; where they break the grammar, from the next quintuple on."""
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
    return GeneratedAnswer(state.written, parsed and state.ended)


def _name(grammar: Grammar, span: tuple[int, int], kind: str | None) -> Ids:
    words = tuple(token for word in grammar.word_ids[slice(*span)] for token in word)
    return words + grammar.phrases.type_ids(str(kind), grammar.trie.number(span))


class Constraint(LogitsProcessor):
    """Gives every token that would break the grammar of its post a score of -inf.

    The state of each answer is kept from step to step under what has been written, so that a step costs one move of
    the automaton a row, whatever the length, and beams may be dropped, doubled and put in another order. There is a
    grammar for each post of the batch, and a row for each of its beams; `end` is the id of the end of sequence.
    """

    def __init__(self, grammars: Sequence[Grammar], end: int, beams: int = 1) -> None:
        self.grammars, self.end, self.beams = grammars, end, beams
        self.states: dict[tuple[int, tuple[int, ...]], GrammarState | None] = {}
        self.prompt = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """(rows, length) what was written, (rows, vocabulary) its scores, which are changed in place."""
        rows = input_ids.tolist()
        if not self.states:
            self.prompt = len(rows[0])  # the token that decoding starts from is none of the answer
        states = {}
        flat: list[int] = []
        width = scores.shape[-1]
        for row, ids in enumerate(rows):
            post = row // self.beams
            key = (post, tuple(ids[self.prompt :]))
            if key not in states:
                states[key] = self._state(post, key[1])
            state = states[key]
            # A beam that left the grammar has no probability left, and one that ended needs nothing more.
            allowed = [self.end] if state is None or state.ended else state.allowed()
            flat += [row * width + token for token in allowed]
        self.states = states
        index = torch.tensor(flat, device=scores.device)
        allowed_scores = scores.view(-1)[index]
        scores.fill_(-torch.inf)
        scores.view(-1)[index] = allowed_scores
        return scores

    def _state(self, post: int, written: tuple[int, ...]) -> GrammarState | None:
        if not written:
            return self.grammars[post].start()
        before = self.states[post, written[:-1]]
        return None if before is None or before.ended else before.after(written[-1])


def load_seq2seq(name: str | dict[str, Any], **missing: Any) -> PreTrainedModel:
    """A T5 or BART type model, in fp32, safetensors only.

    Args:
        name: A folder, a hub name, `package:NAME/PATH`; or a configuration with `model_type`, for random weights.
        missing: What a configuration need not say, such as the size of the vocabulary.

    Raises:
        InputError: There is no such model, or it does not write text from text.
    """
    if isinstance(name, dict):
        rest = {field: value for field, value in missing.items() if field not in name}
        config = config_of(name, "model", "t5 or bart", **rest)
        kind = config.model_type
    else:
        config, kind = load(AutoConfig, name, "model"), name
    if type(config) not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        raise InputError(f"{kind!r} does not write text from text; name a T5 or BART type model")
    if isinstance(name, str):
        return cast(PreTrainedModel, load(AutoModelForSeq2SeqLM, name, "model", **SAFE_WEIGHTS))
    try:
        return AutoModelForSeq2SeqLM.from_config(config)
    except ValueError as error:  # sizes that do not go together
        raise InputError(f"model settings ({kind}): {' '.join(str(error).split())}") from None


def padded_batch(inputs: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Token ids of prompts as a text-to-text model takes them: `input_ids` and `attention_mask`, (B, longest) each."""
    mask = padded([[1] * len(row) for row in inputs], 0)
    return {"input_ids": padded(inputs, pad), "attention_mask": mask}


def padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    """(B, longest) rows of token ids, filled up at their ends."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=fill)


@torch.inference_mode()
def generate_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    grammars: Sequence[Grammar],
    decoding: DecodingSettings,
    pad: int,
    constrained: bool = True,
) -> list[GeneratedAnswer]:
    """What the model writes about each post, in their order; batches hold prompts of like length.

    Where the device computes bf16 natively, the answers come from a copy of the model in bf16.

    Args:
        model: A T5 or BART type model.
        prompts: Token ids of each post's prompt.
        grammars: Of each post, all with the same limit.
        decoding: Beams and batch size.
        pad: The id that fills up a batch.
        constrained: Write nothing but what the grammar allows.
    """
    bf16 = best_precision(str(model.device)) == "bf16"
    generator: PreTrainedModel = copy.deepcopy(model).to(torch.bfloat16) if bf16 else model  # type: ignore[arg-type]
    training = model.training
    generator.eval()
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    answers: dict[int, GeneratedAnswer] = {}
    for start in range(0, len(order), decoding.batch_size):
        rows = order[start : start + decoding.batch_size]
        end = grammars[0].phrases.tokenizer.end
        batch = padded_batch([prompts[row] for row in rows], pad)
        constraint = Constraint([grammars[row] for row in rows], end, decoding.beams)
        written = generator.generate(  # type: ignore[operator]
            **{name: values.to(model.device) for name, values in batch.items()},
            logits_processor=LogitsProcessorList([constraint] if constrained else []),
            max_new_tokens=grammars[0].limit,
            num_beams=decoding.beams,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=pad,
        )
        for row, ids in zip(rows, written.tolist(), strict=True):
            answers[row] = decode_answer(grammars[row], ids[1:])  # without the token that decoding starts from
        report("generating", len(answers), len(order))
    model.train(training)
    return [answers[row] for row in range(len(prompts))]

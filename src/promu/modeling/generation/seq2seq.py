"""Text-to-text models by name or by configuration, and answers written by them batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoModelForSeq2SeqLM,
    LogitsProcessorList,
    PreTrainedModel,
)

from promu.errors import InputError
from promu.modeling.device import best_precision
from promu.modeling.encoders import config_of
from promu.modeling.generation.answers import Answer, read_answer
from promu.modeling.generation.constraint import Constraint
from promu.modeling.generation.grammar import Grammar
from promu.modeling.names import resolve


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
        if type(config) not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
            raise InputError(_writes_none(str(config.model_type)))
        try:
            return AutoModelForSeq2SeqLM.from_config(config)
        except ValueError as error:  # sizes that do not go together
            raise InputError(f"model settings ({config.model_type}): {' '.join(str(error).split())}") from None
    folder = resolve(name)
    try:
        return AutoModelForSeq2SeqLM.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    except ValueError as error:
        raise InputError(_writes_none(name)) from error
    except OSError as error:
        raise InputError(
            f"{name!r} is neither a folder with a model and its safetensors weights nor a hub model within reach; "
            "name one that exists"
        ) from error
    except SafetensorError as error:
        raise InputError(f"the weights of {name!r} are damaged ({error}); fetch or save them again") from error


def _writes_none(name: str) -> str:
    return f"{name!r} does not write text from text; name a T5 or BART type model"


@dataclass(frozen=True, slots=True)
class Decoding:
    """How answers are written.

    Attributes:
        beams: Beams; 1 is greedy.
        batch_size: Posts at once.
        constrained: Write nothing but what the grammar allows.
    """

    beams: int = 1
    batch_size: int = 64
    constrained: bool = True


@torch.inference_mode()
def write_answers(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    grammars: Sequence[Grammar],
    decoding: Decoding,
    pad: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """What the model writes about each post, in their order; batches hold prompts of like length.

    Where the device computes bf16 natively, the answers come from a copy of the model in bf16.

    Args:
        model: A T5 or BART type model.
        prompts: Word pieces of each post's prompt.
        grammars: Of each post, all with the same limit.
        decoding: How to write.
        pad: The id that fills up a batch.
        progress: Called with (posts done, posts in all).
    """
    writer = _copy_in_bf16(model) if best_precision(str(model.device)) == "bf16" else model
    training = model.training
    writer.eval()
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), decoding.batch_size):
        rows = order[start : start + decoding.batch_size]
        written = _write(writer, [prompts[row] for row in rows], [grammars[row] for row in rows], decoding, pad)
        for row, ids in zip(rows, written, strict=True):
            answers[row] = read_answer(grammars[row], ids)
        if progress is not None:
            progress(len(answers), len(order))
    model.train(training)
    return [answers[row] for row in range(len(prompts))]


def _copy_in_bf16(model: PreTrainedModel) -> PreTrainedModel:
    return copy.deepcopy(model).to(torch.bfloat16)  # type: ignore[arg-type]


def _write(
    model: PreTrainedModel, prompts: list[Sequence[int]], grammars: list[Grammar], decoding: Decoding, pad: int
) -> list[list[int]]:
    end = grammars[0].phrases.pieces.end
    longest = max(map(len, prompts))
    ids = torch.tensor([[*prompt, *[pad] * (longest - len(prompt))] for prompt in prompts], device=model.device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    processors = LogitsProcessorList()
    if decoding.constrained:
        processors.append(Constraint(grammars, end, decoding.beams))
    written = model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=(torch.arange(longest, device=model.device)[None] < lengths[:, None]).long(),
        logits_processor=processors,
        max_new_tokens=grammars[0].limit,
        num_beams=decoding.beams,
        do_sample=False,
        eos_token_id=end,
        pad_token_id=pad,
    )
    return [row[1:] for row in written.tolist()]  # without the token that decoding starts from

"""The model of KECPM: a text-to-text model with the prompts it reads and the grammar of what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promu.alignment.falsify import SentenceVectors
from promu.errors import InputError
from promu.hub import read_json_object, resolve
from promu.kecpm.decoding import encode_answer, generate_answers, load_seq2seq, past_the_limit
from promu.kecpm.grammar import AGAIN, AND, NOTHING, OPEN, Grammar, GrammarTokenizer, Phrases
from promu.kecpm.kecpm_recipe import DecodingSettings, KecpmRecipe, PromptSettings, Seq2SeqSettings
from promu.kecpm.prompts import Prompt, Split, build_prompts, most_relevant_first
from promu.modeling.initial_model import refuse_other_tokens
from promu.modeling.inventory import Inventory, type_words
from promu.modeling.loading import load_tokenizer, save_folder
from promu.pytorch import best_device
from promu.schema import Post, quintuples, with_quintuples
from promu.training.recipe import TokenizerSettings
from promu.training.tokenizers import train_text_to_text

SETTINGS = "generation"
"""The key of a saved model's configuration that holds what it was trained to read and write."""


class KecpmModel:
    """A T5 or BART type model with everything that it reads and writes posts by.

    Raises:
        InputError: The tokenizer does not know the words of the inventory, or answers may be longer than the model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inventory: Inventory,
        prompt: PromptSettings,
        decoding: DecodingSettings,
    ) -> None:
        self.model, self.tokenizer, self.prompt, self.decoding = model, tokenizer, prompt, decoding
        self.phrases = Phrases(GrammarTokenizer(tokenizer), inventory)
        self.pad = int(tokenizer.pad_token_id)  # type: ignore[arg-type]
        self.positions: int | None = getattr(model.config, "max_position_embeddings", None)
        if self.positions is not None and decoding.limit > self.positions:
            reason = f"decoding.limit is {decoding.limit}, and the model has {self.positions} positions"
            raise InputError(f"{reason}; set it to {self.positions} at most")

    @classmethod
    def create(cls, recipe: KecpmRecipe, inventory: Inventory, train: Split) -> KecpmModel:
        """A model before its training; where no tokenizer is named, one is trained on the texts of `train`.

        Raises:
            InputError: There is no such model or tokenizer, or the tokenizer has other ids than the model's own.
        """
        tokenizer = _tokenizer(recipe.model, inventory, train)
        if recipe.model.tokenizer is not None and isinstance(recipe.model.name, str):
            refuse_other_tokens(tokenizer, recipe.model.name)
        seq2seq = seq2seq_for(recipe.model.name, tokenizer)
        if seq2seq.get_input_embeddings().num_embeddings < len(tokenizer):  # type: ignore[operator]
            seq2seq.resize_token_embeddings(len(tokenizer))
        seq2seq.to(best_device())  # type: ignore[arg-type]
        return cls(seq2seq, tokenizer, inventory, recipe.prompt, recipe.decoding)

    @classmethod
    def load(cls, folder: Path) -> KecpmModel:
        """A model that `save` wrote.

        Raises:
            InputError: The folder holds none.
        """
        saved = read_json_object(folder / "config.json").get(SETTINGS)
        if not isinstance(saved, dict):
            reason = "this model was not trained to write quintuples; name one that promu kecpm train saved"
            raise InputError(reason, folder)
        model = load_seq2seq(str(folder)).to(best_device())  # type: ignore[arg-type]
        prompt = PromptSettings.model_validate(saved["prompt"])
        decoding = DecodingSettings.model_validate(saved["decoding"])
        return cls(model, load_tokenizer(str(folder)), Inventory.from_list(saved["triples"]), prompt, decoding)

    def save(self, folder: Path, recipe: dict[str, Any]) -> None:
        """Write the model, its tokenizer and what it was trained by."""
        saved = {
            "triples": [list(triple) for triple in self.phrases.inventory.triples],
            "prompt": self.prompt.model_dump(mode="json"),
            "decoding": self.decoding.model_dump(mode="json"),
            "recipe": recipe,
        }
        setattr(self.model.config, SETTINGS, saved)
        save_folder(folder, cast(Any, self.model), self.tokenizer)

    def prompts(self, split: Split) -> list[Prompt]:
        """The prompt of each post, its knowledge in order of relevance.

        Raises:
            InputError: A prompt is longer than the model has positions.
        """
        if self.prompt.mode in ("text+knowledge", "all"):
            ranker = None if self.prompt.ranker is None else SentenceVectors(self.prompt.ranker)
            split = Split(split.posts, most_relevant_first(split.posts, split.background, ranker))
        prompts = build_prompts(self.phrases.tokenizer, self.phrases.inventory, split, self.prompt)
        for post, prompt in zip(split.posts, prompts, strict=True):
            tokens = len(prompt.input_ids)
            if self.positions is not None and tokens > self.positions:
                raise InputError(
                    f"post {post.id!r}: its prompt has {tokens} tokens, and the model {self.positions} positions; "
                    "lower prompt.budget, or shorten the post's text, which is never cut"
                )
        return prompts

    def grammars(self, posts: Sequence[Post]) -> list[Grammar]:
        """The grammar of each post's answers."""
        decoding = self.decoding
        return [Grammar(self.phrases, post.tokens, decoding.name_words, decoding.limit) for post in posts]

    def targets(self, posts: Sequence[Post]) -> list[list[int]]:
        """The tokens of each post's gold answer, without the quintuples that no answer can express."""
        return [list(encode_answer(one, quintuples(post))[0]) for one, post in self._with_grammar(posts)]

    def unreachable(self, posts: Sequence[Post]) -> dict[str, int]:
        """How many quintuples of gold no answer can give, by the reason, beside how many there are (`of`)."""
        pairs = [(grammar, quintuples(post)) for grammar, post in self._with_grammar(posts)]
        return {
            "inexpressible": sum(encode_answer(grammar, gold)[1] for grammar, gold in pairs),
            "past the limit": sum(past_the_limit(grammar, gold) for grammar, gold in pairs),
            "of": sum(len(gold) for _, gold in pairs),
        }

    def _with_grammar(self, posts: Sequence[Post]) -> list[tuple[Grammar, Post]]:
        return list(zip(self.grammars(posts), posts, strict=True))

    def predict(
        self, posts: Sequence[Post], prompts: Sequence[Prompt], constrained: bool = True
    ) -> tuple[list[Post], float]:
        """The posts with what the model wrote as their labels, and the share of answers that obey the grammar."""
        ids = [prompt.input_ids for prompt in prompts]
        answers = generate_answers(self.model, ids, self.grammars(posts), self.decoding, self.pad, constrained)
        labelled = [with_quintuples(post, answer.quintuples) for post, answer in zip(posts, answers, strict=True)]
        return labelled, sum(answer.parsed for answer in answers) / len(answers)


def _tokenizer(model: Seq2SeqSettings, inventory: Inventory, train: Split) -> PreTrainedTokenizerBase:
    if isinstance(model.tokenizer, TokenizerSettings):
        phrases = [f"{OPEN} {AND} {AGAIN} {NOTHING} is", *map(type_words, (*inventory.types, *inventory.relations))]
        texts = [" ".join(post.tokens) for post in train.posts]
        for background in train.background:
            texts += [*background.captions, *background.knowledge]
        # these words are in every answer, so that they deserve tokens of their own
        repeated = phrases * model.tokenizer.min_frequency
        return train_text_to_text([*repeated, *texts], model.tokenizer.size, model.tokenizer.min_frequency)
    name = model.tokenizer or (model.name if isinstance(model.name, str) else None)
    if name is None:
        raise InputError("model.tokenizer is missing; a model from random weights needs one by name, or its size")
    return load_tokenizer(resolve(name))


def seq2seq_for(name: str | dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """As `load_seq2seq`; a configuration need not say what the tokenizer says."""
    ids = {field: getattr(tokenizer, field) for field in ("pad_token_id", "eos_token_id", "bos_token_id")}
    return load_seq2seq(name, vocab_size=len(tokenizer), decoder_start_token_id=tokenizer.pad_token_id, **ids)

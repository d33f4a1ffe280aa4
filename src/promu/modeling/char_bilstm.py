"""The text encoder of the CNN-BiLSTM-CRF baseline: characters through a convolution, word pieces through a BiLSTM.

After Ma and Hovy (ACL 2016), on word pieces rather than words. Nothing of it is pre-trained; it stands in the place of
BERT behind the same interface.
"""

from __future__ import annotations

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from promu.errors import InputError

CONTINUES = "##"
"""What marks a word piece that goes on with a word; no character of it."""


@strict
class CharBiLstmConfig(PreTrainedConfig):
    """Settings of the encoder.

    Args:
        vocab_size: Word pieces.
        hidden_size: Width of the output, half of it from each direction.
        num_hidden_layers: Layers of the LSTM.
        embedding_size: Width of a word piece's own vector.
        character_size: Width of a character's vector.
        character_filters: Width of what the convolution makes of a piece's characters.
        longest_piece: UTF-8 bytes of a piece that are read; a longer one is cut.
        hidden_dropout_prob: Before and after the LSTM.
    """

    model_type = "promu_char_bilstm"

    vocab_size: int = 30522
    hidden_size: int = 256
    num_hidden_layers: int = 1
    embedding_size: int = 100
    character_size: int = 30
    character_filters: int = 30
    longest_piece: int = 16
    hidden_dropout_prob: float = 0.5
    pad_token_id: int | None = 0
    initializer_range: float = 0.1


class CharBiLstmModel(PreTrainedModel):
    """Word pieces and their characters to vectors, by a convolution over bytes and a bidirectional LSTM.

    Attributes:
        spelling: (V, longest_piece) each piece's UTF-8 bytes plus 1, then zeros; saved with the weights.
    """

    config_class = CharBiLstmConfig
    config: CharBiLstmConfig
    base_model_prefix = "char_bilstm"
    main_input_name = "input_ids"
    spelling: torch.Tensor

    def __init__(self, config: CharBiLstmConfig) -> None:
        super().__init__(config)
        if config.hidden_size % 2:
            raise InputError(f"hidden_size {config.hidden_size} of a promu_char_bilstm encoder is odd; make it even")
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.character_embeddings = nn.Embedding(257, config.character_size, padding_idx=0)
        self.convolution = nn.Conv1d(config.character_size, config.character_filters, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.lstm = nn.LSTM(
            config.embedding_size + config.character_filters,
            config.hidden_size // 2,
            num_layers=config.num_hidden_layers,
            batch_first=True,
            bidirectional=True,
        )
        self.register_buffer("spelling", torch.zeros(config.vocab_size, config.longest_piece, dtype=torch.long))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The word pieces' own vectors."""
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word pieces' own vectors."""
        assert isinstance(value, nn.Embedding)
        self.word_embeddings = value

    def spell(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Learn from a tokenizer which characters each word piece has."""
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        spelling = torch.zeros(len(pieces), self.config.longest_piece, dtype=torch.long)
        for number, piece in enumerate(pieces):
            found = piece.removeprefix(CONTINUES).encode()[: self.config.longest_piece]
            spelling[number, : len(found)] = torch.tensor(list(found)) + 1
        self.spelling = spelling.to(self.spelling.device)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> BaseModelOutput:
        """Encode texts.

        Args:
            input_ids: (B, N) word pieces.
            attention_mask: (B, N), 1 where there is one, padding last; None means everywhere.

        Returns:
            `last_hidden_state` (B, N, d), zeros for padding.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        # pieces recur: each one's characters are read once
        distinct, places = input_ids.unique(return_inverse=True)
        words = torch.cat([self.word_embeddings(input_ids), self._characters(distinct)[places]], dim=-1)
        lengths = attention_mask.sum(1).cpu()
        packed = pack_padded_sequence(self.dropout(words), lengths, batch_first=True, enforce_sorted=False)
        read, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=input_ids.shape[1])
        return BaseModelOutput(last_hidden_state=self.dropout(read))

    def _characters(self, pieces: torch.Tensor) -> torch.Tensor:
        """(P,) pieces to the strongest answer (P, filters) of each filter to any three of a piece's characters."""
        spelt = self.spelling[pieces]
        answers = self.convolution(self.character_embeddings(spelt).transpose(1, 2)).relu()
        return answers.masked_fill((spelt == 0)[:, None], 0.0).amax(-1)


AutoConfig.register("promu_char_bilstm", CharBiLstmConfig, exist_ok=True)
AutoModel.register(CharBiLstmConfig, CharBiLstmModel, exist_ok=True)

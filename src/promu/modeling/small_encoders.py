"""Two small encoders to train from scratch: a ViT with a convolutional stem, and a BiLSTM over words and characters.

With a plain patch projection, images of a few dozen pixels do not train from scratch in minutes; three strided
convolutions before the same transformer do. Everything else is Hugging Face's ViT.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, ViTConfig, ViTModel
from transformers.modeling_outputs import BaseModelOutput

from promu.errors import InputError

GROUPS = 8
"""Groups of the stem's normalisation; its widths are multiples of it."""


@strict
class ConvViTConfig(ViTConfig):
    """ViT settings plus the stem's: `patch_size` must be a power of two.

    Args:
        stem_channels: Width after the first halving; doubled at each further one, up to the hidden size.
    """

    model_type = "promu_conv_vit"
    stem_channels: int = 32


class ConvStem(nn.Module):
    """Strided 3x3 convolutions with group normalisation that halve the image until one vector a patch is left."""

    def __init__(self, config: ConvViTConfig) -> None:
        super().__init__()
        patch = config.patch_size
        if not isinstance(patch, int) or patch < 1 or patch & (patch - 1):
            raise InputError(f"patch_size {patch!r} of a promu_conv_vit encoder is not a power of two; use 4, 8 or 16")
        if config.stem_channels % GROUPS or config.hidden_size % GROUPS:
            raise InputError(
                f"stem_channels {config.stem_channels} and hidden_size {config.hidden_size} of a promu_conv_vit "
                f"encoder must both be multiples of {GROUPS}"
            )
        halvings = patch.bit_length() - 1
        widths = [config.num_channels]
        widths += [min(config.stem_channels * 2**step, config.hidden_size) for step in range(halvings)]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            halve = nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False)
            blocks += [halve, nn.GroupNorm(GROUPS, after), nn.GELU()]
        blocks.append(nn.Conv2d(widths[-1], config.hidden_size, kernel_size=1))
        self.blocks = nn.Sequential(*blocks)

    @property
    def projection(self) -> nn.Module:
        """ViT reads the expected dtype from `projection.weight`."""
        return self.blocks[-1]

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels (B, 3, S, S) to patch vectors (B, K, d)."""
        return self.blocks(pixel_values).flatten(2).transpose(1, 2)


class ConvViTModel(ViTModel):
    """Hugging Face's ViT with `ConvStem` in place of the patch projection."""

    config_class = ConvViTConfig

    def __init__(self, config: ConvViTConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        super().__init__(config, add_pooling_layer=add_pooling_layer, use_mask_token=use_mask_token)
        stem = ConvStem(config)
        for name in ("num_patches", "image_size", "patch_size"):  # ViT reads them from the projection that is replaced
            setattr(stem, name, getattr(self.embeddings.patch_embeddings, name))
        self.embeddings.patch_embeddings = stem  # type: ignore[assignment]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # a stem of three convolutions at ViT's std of 0.02 passes almost no signal: keep PyTorch's own start there
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
        else:
            super()._init_weights(module)


AutoConfig.register("promu_conv_vit", ConvViTConfig, exist_ok=True)
AutoModel.register(ConvViTConfig, ConvViTModel, exist_ok=True)

CONTINUES = "##"
"""What marks a word piece that goes on with a word; no character of it."""


@strict
class CharBiLstmConfig(PreTrainedConfig):
    """Settings of the encoder.

    Args:
        hidden_size: Width of the output, half of it from each direction.
        embedding_size, character_size: Width of a word piece's own vector, and of a character's.
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
    """Word pieces and their characters to vectors, by a convolution over bytes and a bidirectional LSTM."""

    config_class = CharBiLstmConfig
    config: CharBiLstmConfig
    base_model_prefix = "char_bilstm"
    main_input_name = "input_ids"
    spelling: Tensor
    """(V, longest_piece) each piece's UTF-8 bytes plus 1, then zeros; saved with the weights."""

    def __init__(self, config: CharBiLstmConfig) -> None:
        super().__init__(config)
        if config.hidden_size % 2:
            raise InputError(f"hidden_size {config.hidden_size} of a promu_char_bilstm encoder is odd; make it even")
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.character_embeddings = nn.Embedding(257, config.character_size, padding_idx=0)
        self.convolution = nn.Conv1d(config.character_size, config.character_filters, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        width, layers = config.embedding_size + config.character_filters, config.num_hidden_layers
        self.lstm = nn.LSTM(width, config.hidden_size // 2, layers, batch_first=True, bidirectional=True)
        self.register_buffer("spelling", torch.zeros(config.vocab_size, config.longest_piece, dtype=torch.long))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The word pieces' own vectors."""
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word pieces' own vectors."""
        assert isinstance(value, nn.Embedding)
        self.word_embeddings = value

    def spell(self, pieces: Sequence[str]) -> None:
        """Learn which characters each word piece has, of all of the vocabulary by id."""
        spelling = torch.zeros(len(pieces), self.config.longest_piece, dtype=torch.long)
        for number, piece in enumerate(pieces):
            found = piece.removeprefix(CONTINUES).encode()[: self.config.longest_piece]
            spelling[number, : len(found)] = torch.tensor(list(found)) + 1
        self.spelling = spelling.to(self.spelling.device)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> BaseModelOutput:
        """Word pieces (B, N) to `last_hidden_state` (B, N, d), zeros for padding, which comes last."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        # pieces recur: each one's characters are read once
        distinct, places = input_ids.unique(return_inverse=True)
        words = torch.cat([self.word_embeddings(input_ids), self._characters(distinct)[places]], dim=-1)
        lengths = attention_mask.sum(1).cpu()
        packed = pack_padded_sequence(self.dropout(words), lengths, batch_first=True, enforce_sorted=False)
        read, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=input_ids.shape[1])
        return BaseModelOutput(last_hidden_state=self.dropout(read))

    def _characters(self, pieces: Tensor) -> Tensor:
        """(P,) pieces to the strongest answer (P, filters) of each filter to any three of a piece's characters."""
        spelt = self.spelling[pieces]
        answers = self.convolution(self.character_embeddings(spelt).transpose(1, 2)).relu()
        return answers.masked_fill((spelt == 0)[:, None], 0.0).amax(-1)


AutoConfig.register("promu_char_bilstm", CharBiLstmConfig, exist_ok=True)
AutoModel.register(CharBiLstmConfig, CharBiLstmModel, exist_ok=True)

"""HVPNeT's inference as a yardstick (Chen et al., Findings of NAACL 2022), written plainly from its description.

Every forward pass reads one text, padded to 80 tokens, one image and three crops of it around detected objects, each
224 pixels square. ResNet-50 reads the four images. The outputs of its four stages are pooled to 2 x 2, put side by
side, and projected to a key and a value for each of four levels. A gate for each layer of BERT-base mixes the levels
by a softmax; what comes of the image's and the crops' 2 x 2 cells, 16 keys and values, is the layer's visual prefix.
Entities are tagged by a linear layer and a CRF. A relation is read off the two start markers of one pair: a pair is a
text with markers of its own, so that each needs a forward pass of its own, with the images again.

The weights are random: what is measured is time. It is not slow on purpose: attention is PyTorch's fused one, batch
normalisation is in evaluation mode, and neither decoding nor cropping of images counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, ResNetConfig, ResNetModel
from transformers.models.bert.modeling_bert import BertEmbeddings

from promu.modeling.crf import LinearChainCrf

LENGTH, IMAGES, SIDE = 80, 4, 224
"""Tokens a text is padded to; the image and its three crops; their side in pixels."""
CELLS = 4
"""A pooled image: 2 x 2."""
LEVELS = 4


class PrefixLayer(nn.Module):
    """A layer of BERT whose self-attention also reads a visual prefix."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, config.intermediate_size), nn.Linear(config.intermediate_size, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, text: Tensor, mask: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Text (B, N, d), whom it may attend to (B, 1, 1, P + N), and the prefix (B, P, d) twice; text again."""
        query, key, value = self.query(text), self.key(text), self.value(text)
        key, value = torch.cat([keys, key], 1), torch.cat([values, value], 1)
        query, key, value = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (query, key, value))
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        text = self.norms[0](text + self.out(read.transpose(1, 2).flatten(2)))
        return self.norms[1](text + self.down(functional.gelu(self.up(text))))


class HvpNet(nn.Module):
    """The network for one task: `labels` scores for each token, or for each pair of start markers.

    Args:
        labels: Their number.
        markers: Whether pairs are classified; else tokens are tagged.
        text: BERT-base, or a smaller one.
        images: ResNet-50, or a smaller one.
    """

    def __init__(self, labels: int, markers: bool, text: BertConfig, images: ResNetConfig) -> None:
        super().__init__()
        width = text.hidden_size
        self.images = ResNetModel(images)
        self.embeddings = BertEmbeddings(text)
        self.layers = nn.ModuleList(PrefixLayer(text) for _ in range(text.num_hidden_layers))
        self.project = nn.Sequential(
            nn.Linear(sum(list(images.hidden_sizes or ())), width + 32),
            nn.Tanh(),
            nn.Linear(width + 32, LEVELS * 2 * width),
        )
        self.gates = nn.ModuleList(nn.Linear(LEVELS * 2 * width, LEVELS) for _ in range(text.num_hidden_layers))
        self.markers = markers
        self.head = nn.Linear(2 * width if markers else width, labels)

    def prefixes(self, pixels: Tensor) -> Tensor:
        """Keys and values of all images (B, I, 3, S, S), for each level: (B, I, CELLS, LEVELS, 2 d)."""
        rows = pixels.shape[:2]
        stages = self.images(pixels.flatten(0, 1), output_hidden_states=True).hidden_states[-LEVELS:]
        pooled = torch.cat([functional.adaptive_avg_pool2d(stage, 2) for stage in stages], 1)
        levels = self.project(pooled.flatten(2).transpose(1, 2)).unflatten(-1, (LEVELS, -1))
        return levels.unflatten(0, rows)

    def forward(self, ids: Tensor, mask: Tensor, pixels: Tensor, starts: Tensor | None = None) -> Tensor:
        """Emissions (B, N, labels), or logits (B, labels) of the pairs whose markers stand at `starts` (B, 2)."""
        levels = self.prefixes(pixels)
        text = self.embeddings(input_ids=ids)
        seen = functional.pad(mask, (levels.shape[1] * CELLS, 0), value=1).bool()[:, None, None]
        summed = levels.mean(2).flatten(2)  # of each image
        for layer, gate in zip(self.layers, self.gates, strict=True):
            shares = functional.leaky_relu(gate(summed)).softmax(-1)
            mixed = torch.einsum("bicld,bil->bicd", levels, shares).flatten(1, 2)
            text = layer(text, seen, *mixed.chunk(2, -1))
        if starts is None:
            return self.head(text)
        ends = torch.gather(text, 1, starts[..., None].expand(-1, -1, text.shape[-1]))
        return self.head(ends.flatten(1))


class Yardstick:
    """Both networks of HVPNeT with random weights, and the passes that a post needs."""

    def __init__(self, entity_labels: list[str], relations: int, quick: bool) -> None:
        torch.manual_seed(0)
        self.side = 32 if quick else SIDE
        small: Any = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        text = BertConfig(**small) if quick else BertConfig()
        tiny: Any = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
        images = ResNetConfig(**tiny) if quick else ResNetConfig()
        self.vocabulary = text.vocab_size
        self.tagger = HvpNet(len(entity_labels), False, text, images).eval()
        self.relater = HvpNet(relations, True, text, images).eval()
        self.crf = LinearChainCrf(entity_labels)

    def inputs(self, rows: int, tokens: int) -> dict[str, Tensor]:
        """So many texts of so many tokens, padded, with images of noise."""
        ids = torch.randint(1000, self.vocabulary, (rows, LENGTH))
        mask = (torch.arange(LENGTH) < tokens).long().expand(rows, -1).contiguous()
        return {"ids": ids * mask, "mask": mask, "pixels": torch.randn(rows, IMAGES, 3, self.side, self.side)}

    @torch.inference_mode()
    def entities(self, batch: dict[str, Tensor]) -> list[list[int]]:
        """The tags of a batch of texts: one forward pass."""
        return self.crf.weights().decode(self.tagger(**batch).numpy(), batch["mask"].numpy())

    @torch.inference_mode()
    def relations(self, batch: dict[str, Tensor]) -> list[int]:
        """The labels of a batch of marked pairs: one forward pass."""
        starts = torch.tensor([[1, 5]]).expand(len(batch["ids"]), -1)
        labels: list[int] = self.relater(**batch, starts=starts).argmax(-1).tolist()
        return labels

    def post(self, tokens: int, pairs: int) -> Callable[[], object]:
        """All passes of one post, one after the other, as the released code does them at batch 1."""
        batch = self.inputs(1, tokens)

        def passes() -> None:
            self.entities(batch)
            for _ in range(pairs):
                self.relations(batch)

        return passes

    def rows(self, count: int, tokens: int) -> Callable[[], object]:
        """One batch of `count` pairs: a post takes one such row for its entities and one for each pair."""
        batch = self.inputs(count, tokens)
        return lambda: self.relations(batch)

"""What the paper's road costs, and what each fusion does: operations counted from shapes, hours at assumed rates.

Two operations are one multiplication of a matmul with its addition. A step is forward and backward, where backward
costs two forwards. Nothing here was measured on an accelerator: `Rates` says what is assumed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig

TRAIN_PAIRS = {
    "merged_balanced": 71_072,
    "person_sbert_text_text": 17_768,
    "scene_resnet_place": 124_860,
    "semantics_clip_text_image": 453_128,
    "semantics_clip_text_text": 516_072,
}
"""Annotations in `train.json` of each subset of NewsCLIPpings; the first is drawn from the other four."""
PAIRS = sum(count for name, count in TRAIN_PAIRS.items() if name != "merged_balanced")
IMAGES = PAIRS // 2
"""Images at most: one for each true pair, of which there are as many as falsified ones."""
TEXT_TOKENS = 80
"""What the longest caption of a batch is cut to; a batch is padded to its longest."""
POSTS = {"Twitter-2015": (4000, 4257), "Twitter-2017": (3373, 1446), "MRE": (12_247, 3238)}
"""Posts to train on, and posts of dev and test together."""
EPOCHS = 15
REGIONS = 4
"""Regions an image, as a small detector finds in photographs."""


def layers(config: Any, count: int, tokens: int) -> float:
    """A forward pass of `count` transformer layers over one sequence: projections, both products of attention, MLP."""
    width, inner = config.hidden_size, config.intermediate_size
    weights = 4 * width * width + 2 * width * inner
    return count * tokens * (2.0 * weights + 4.0 * tokens * width)


def vision_pass(config: PromuConfig) -> float:
    """A forward pass of the vision encoder over one image."""
    vision: Any = config.vision_config
    patches = config.grid**2
    embedding = 2.0 * patches * 3 * vision.patch_size**2 * vision.hidden_size
    return embedding + layers(vision, vision.num_hidden_layers, 1 + patches)


def student_pass(config: PromuConfig, text_tokens: int) -> float:
    """A forward pass of the backbone over one text, padded to `text_tokens`, and its image."""
    text: Any = config.text_config
    upper = text.num_hidden_layers // 2
    fused = text_tokens + 1 + config.grid**2
    return vision_pass(config) + layers(text, text.num_hidden_layers - upper, text_tokens) + layers(text, upper, fused)


def student_step(config: PromuConfig, text_tokens: int) -> float:
    """Forward and backward of one sample of pre-training, text padded to `text_tokens`."""
    return 3 * student_pass(config, text_tokens)


def dual_encoder_step(config: PromuConfig, text_tokens: int) -> float:
    """Forward and backward of one pair by the self-trained teacher: both encoders whole, no fusion."""
    text: Any = config.text_config
    return 3 * (vision_pass(config) + layers(text, text.num_hidden_layers, text_tokens))


@dataclass(frozen=True)
class Rates:
    """What is assumed of the machine.

    Attributes:
        peak: Operations a second of one accelerator, dense bf16, as the vendor states them for H100 and H200 (SXM).
        share: The part of it that a full batch reaches.
        step: Seconds that a step takes at least, however small its batch: reading it, starting the computation.
        images: Images a second that one processor core decodes and shows to a small detector.
        captions: Captions a second that one core tags.
        cores: Cores of the machine, for what no accelerator does.
    """

    peak: float = 989e12
    share: float = 0.35
    step: float = 0.05
    images: float = 20.0
    captions: float = 400.0
    cores: int = 16


@dataclass(frozen=True)
class Cost:
    """A step of the road: what it is, how often it is done, and what it costs each time.

    Attributes:
        operations: Of the accelerator, each time; 0 where the processor alone works.
        hours: Each time, on one accelerator or on the cores.
        times: How often table 1 with three seeds needs it.
    """

    name: str
    operations: float
    hours: float
    times: int = 1

    def on(self, accelerators: int) -> float:
        """Hours of all times, each accelerator doing one at a time; what the processor does takes as long on any."""
        rounds = math.ceil(self.times / accelerators) if self.operations else self.times
        return self.hours * rounds


def paper_costs(rates: Rates | None = None, seeds: int = 3, pretrainings: int = 5, systems: int = 6) -> list[Cost]:
    """The steps of `promu reproduce table1 --recipe paper`, at the shapes and numbers of steps of its recipes.

    Args:
        rates: What is assumed; None takes the defaults.
        seeds: Number of seeds.
        pretrainings, systems: Of table 1: what is pre-trained, and what is fine-tuned on each of `POSTS`.

    Example:
        ```python
        from promu.study.costs import paper_costs

        hours = sum(cost.on(accelerators=1) for cost in paper_costs())
        assert 24 < hours < 240
        ```
    """
    from transformers import BertConfig, ViTConfig

    rates = rates or Rates()
    config = PromuConfig(text_config=BertConfig(), vision_config=ViTConfig())

    def computed(name: str, operations: float, times: int = 1, steps: float = 0.0) -> Cost:
        return Cost(name, operations, max(operations / (rates.peak * rates.share), steps * rates.step) / 3600, times)

    teacher = 30_000 * 128 * dual_encoder_step(config, TEXT_TOKENS)
    labels = IMAGES * (1 + REGIONS) * vision_pass(config)
    pretraining = 85_000 * 128 * student_step(config, TEXT_TOKENS)
    forward = student_pass(config, TEXT_TOKENS)
    costs = [
        Cost("corpus and regions", 0.0, IMAGES / rates.images / rates.cores / 3600),
        Cost("nouns", 0.0, IMAGES / rates.captions / rates.cores / 3600),
        computed("teacher", teacher, seeds, 30_000),
        computed("labels", labels, seeds),
        computed("pre-training", pretraining, seeds * pretrainings, 85_000),
    ]
    for task, (train, scored) in POSTS.items():
        operations = EPOCHS * (3 * train + scored) * forward
        costs.append(computed(f"fine-tuning, {task}", operations, seeds * systems, EPOCHS * (train + scored) / 16))
    return costs


@dataclass(frozen=True)
class FusionCost:
    """What a model with a fusion costs for a post with an image, without the head of a task.

    Attributes:
        fusion: Its name.
        parameters: Of both encoders and the fusion; a fusion that sees no image needs no vision encoder.
        own: Parameters that the fusion adds to the encoders and to the text layers that it is given.
        operations: Of a forward pass.
        fusing: Operations of the fusion, its text layers included.
    """

    fusion: str
    parameters: int
    own: int
    operations: float
    fusing: float


def fusion_costs(
    fusions: Sequence[str] = (), config: PromuConfig | None = None, tokens: int = TEXT_TOKENS, regions: int = REGIONS
) -> list[FusionCost]:
    """Parameters and operations of fusions on the same encoders.

    A fusion's operations are those of its matrix products, as PyTorch counts them. Nothing is computed. What is done
    number by number, such as the tanh of additive attention, is not counted.

    Args:
        fusions: Names; none takes all.
        config: Of the encoders; None is BERT-base and ViT-B/16.
        tokens: Of the text.
        regions: Of the image.

    Raises:
        InputError: A fusion is unknown, or the configuration has no vision encoder.

    Example:
        ```python
        from promu.study.costs import fusion_costs

        concat, text = fusion_costs(["concat", "text"])
        assert concat.own == text.own == 0 and concat.operations > text.operations
        ```
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, ViTConfig

    from promu.modeling.encoders import level_layers
    from promu.modeling.fusions import FUSIONS, VisualFeatures, build_fusion
    from promu.modeling.map_sources import bare_model

    config = copy.deepcopy(config) if config else PromuConfig(text_config=BertConfig(), vision_config=ViTConfig())
    if config.vision_config is None:
        raise InputError("fusions are compared on posts with images; name a model with a vision encoder")
    text: Any = config.text_config
    vision: Any = config.vision_config
    text._attn_implementation = "eager"  # whose products are counted one by one
    found = []
    with torch.device("meta"):
        of_vision = sum(weights.numel() for weights in bare_model(vision).parameters())
        for name in fusions or sorted(FUSIONS):
            one = copy.copy(config)
            one.fusion = name
            encoder = bare_model(text)
            fusion = build_fusion(one, encoder).eval()
            levels = [] if fusion.levels is None else [len(level_layers(vision, fusion.levels))]
            visual = torch.zeros(1, *levels, 1 + config.grid**2, vision.hidden_size)
            features = VisualFeatures(visual, boxes=torch.zeros(1, regions, 4))
            mask = torch.ones(1, tokens, dtype=torch.long)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                fusion(torch.zeros(1, tokens, text.hidden_size), mask, features)
            of_text, given, whole = (
                sum(w.numel() for w in part.parameters()) for part in (encoder, fusion.layers, fusion)
            )
            sees, fusing = fusion.sees_images, float(counter.get_total_flops())
            parameters = of_text + whole + of_vision * sees
            lower = text.num_hidden_layers - (len(fusion.layers) if config.fusion_layers is None else 0)
            operations = layers(text, lower, tokens) + vision_pass(config) * sees + fusing
            found.append(FusionCost(name, parameters, whole - given, operations, fusing))
    return found

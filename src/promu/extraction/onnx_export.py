"""A fine-tuned model as ONNX graphs, beside its configuration and tokenizer.

Two graphs, so that an image is encoded once for any number of texts: `vision.onnx` from bytes to visual tokens, and
`answer.onnx` from input ids and visual tokens to emissions or logits; of a model of several tasks to both. Where
relations are read off spans, as in a joint model, it gives fused vectors in place of logits, and a third graph is the
head that makes logits of them, `pairs.onnx`. The CRF is not a graph: its scores lie in `crf.safetensors`, and it
decodes in NumPy as ever.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from torch.export import Dim

from promu.errors import InputError, first_line, needs_extra
from promu.files import atomic, share_as_folder, write_json
from promu.hub import WEIGHTS
from promu.modeling.inputs import ENTITY_MARKERS, WordEncoder, levitate, tensors
from promu.tasks.familiarity import FILE
from promu.tasks.model_folder import EXAMPLES, find_models, locate
from promu.tasks.onnx_predictor import (
    ANSWER,
    CRF,
    FACTS,
    FUSED,
    GRAPHS,
    PAIRS,
    TOKENS,
    VISION,
    ExportedFacts,
    ExportedTokenizer,
    open_graph,
)
from promu.tasks.torch_predictor import open_models, vision_checksum

PARITY = 1e-4
"""Largest distance of an fp32 graph's emissions or logits from PyTorch's, over the shapes of `_SHAPES`."""
_WORDS = ("Zürich", "#Throwback", "don't", "NAÏVE", "\U0001f600", "\ufe0f", "[SEP]", "[E1]", "東京", "1,200", "x.org/a")
"""Words with which its tokenizer is checked, beside some of the vocabulary."""
_SHAPES = ((1, 5), (2, 17), (3, 40))
"""Rows and tokens with which a graph is checked."""


@dataclass(frozen=True, slots=True)
class Exported:
    """One model that was exported: its task, or tasks as `ner+re`, where it can be loaded from, the size of its graphs.

    `distance` is the largest difference of an output from PyTorch's.
    """

    task: str
    folder: Path
    distance: float
    bytes: int


def export_models(name: str | Path, int8: bool = False, output: Path | None = None) -> list[Exported]:
    """Export the models in a folder.

    Args:
        name: As in `Extractor.from_pretrained`.
        int8: Weights of matrix products in eight bits, what comes into them scaled as it comes; a quarter of the size.
        output: A folder to be made, which then needs neither the weights nor PyTorch's part of the old one; None puts
            the graphs into the models' own folders, in place of those that are there.

    Raises:
        InputError: There is no model, the output is there and not empty, something else stands where graphs go, ONNX is
            not installed, a fusion or encoder has no ONNX form, or an fp32 graph does not compute what PyTorch does.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        if find_spec(package) is None:
            raise needs_extra("exporting", package, "onnx")
    models: dict[Path, list[str]] = {}
    folder = locate(name)
    if output is None and not Path(name).is_dir():
        raise InputError("a model of the hub is exported into a folder of its own; name one with output=", name)
    for task, home in find_models(folder):
        models.setdefault(home, []).append(task)
    other = next((home for home, tasks in models.items() if not {"ner", "re", "joint"}.issuperset(tasks)), None)
    if other is not None:
        raise InputError("only models of the tasks ner, re and joint are exported; leave this to PyTorch", other)
    if output is None:
        return [_export(tasks, home, home, int8) for home, tasks in models.items()]
    with atomic(output, folder=True) as building:
        # of each model the place that it has in the old folder, or nothing where it is that folder itself
        places = [home.name if [home.name] == tasks and home != folder else "" for home, tasks in models.items()]
        done = [
            _export(tasks, home, building / place, int8)
            for (home, tasks), place in zip(models.items(), places, strict=True)
        ]
        if (examples := folder / EXAMPLES).is_dir():
            shutil.copytree(examples, building / EXAMPLES)
        if (familiarity := folder / FILE).is_file():  # of models that lie in it, what they know together
            shutil.copy2(familiarity, building / FILE)
    return [replace(one, folder=output / place) for one, place in zip(done, places, strict=True)]


def _export(tasks: list[str], home: Path, target: Path, int8: bool) -> Exported:
    models: dict[str, Any]
    models, encoder = open_models(home, "cpu")
    models = {task: models[task] for task in tasks}
    if encoder.parser is not None:
        raise InputError("this model reads parsed texts, and its graphs would not; leave it to PyTorch", home)
    if any(model.config.label_template is not None for model in models.values()):
        raise InputError(
            "labels that are prompts are read by PyTorch, and graphs hold none; leave the model to it", home
        )
    tokens = {name: getattr(encoder.tokenizer, name) for name in TOKENS}
    _check_tokenizer(encoder, home / "tokenizer.json", tokens)
    graphs = target / GRAPHS
    if graphs.exists() and not (graphs / FACTS).is_file():
        raise InputError("graphs go here, and what is there was not exported; move it, or name another output", graphs)
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{GRAPHS}-", dir=target) as work:
        made = Path(work) / "new"
        made.mkdir()
        distance = _write_graphs(models, tokens, made, int8)
        if target != home:
            for file in home.iterdir():
                if file.is_file() and file.name != WEIGHTS:
                    shutil.copy2(file, target / file.name)
        if graphs.exists():
            os.replace(graphs, Path(work) / "old")
        os.replace(made, graphs)
    size = sum(file.stat().st_size for file in graphs.iterdir())
    return Exported("+".join(tasks), target, distance, size)


def _check_tokenizer(encoder: WordEncoder, file: Path, tokens: Mapping[str, int | None]) -> None:
    """Make sure that tokenizer.json alone gives the pieces that the tokenizer gives.

    Raises:
        InputError: There is no such file, or it gives others.
    """
    exported = WordEncoder(ExportedTokenizer(file, tokens), encoder.max_length)
    words = [*list(encoder.tokenizer.get_vocab())[:: max(1, len(encoder.tokenizer) // 500)], *_WORDS]
    if odd := next((word for word in words if word and encoder.pieces(word) != exported.pieces(word)), None):
        raise InputError(f"reads {odd!r} otherwise than the model's tokenizer does; leave this model to PyTorch", file)


class _Vision(nn.Module):
    """Bytes (B, 3, S, S) to visual tokens."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.promu.encode_visual(pixels)


class _Answer(nn.Module):
    """Input ids, positions in them and visual tokens to emissions, logits, or both.

    Where relations are read off spans, fused vectors stand in place of logits.
    """

    def __init__(self, models: dict[str, Any]) -> None:
        super().__init__()
        self.finder, self.relater = models.get("joint") or models.get("ner"), models.get("re")
        self.head = _head_of(models)
        self.backbone = next(iter(models.values())).promu

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        word_index: torch.Tensor | None = None,
        marker_index: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        pairs: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        visual: torch.Tensor | None = None,
        image_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        more = {"position_ids": position_ids, "token_type_ids": token_type_ids}
        output = self.backbone(input_ids, attention_mask, visual=visual, image_mask=image_mask, **more)
        fused, spans = output.fused_text, [] if output.spans is None else [output.spans]
        answers = [] if self.finder is None else [self.finder.answer(fused, word_index, *spans)]
        if self.head in ("markers", "levitated"):
            assert self.relater is not None
            answers.append(self.relater.answer(fused, marker_index if pairs is None else pairs))
        if self.head in _FROM_VECTORS:
            answers.append(fused)
        return tuple(answers)


class _Pairs(nn.Module):
    """Fused vectors and pairs, or of a joint model words and spans, to logits."""

    def __init__(self, models: dict[str, Any]) -> None:
        super().__init__()
        self.relater, self.joint = models.get("re"), models.get("joint")

    def forward(
        self,
        fused_text: torch.Tensor,
        pairs: torch.Tensor | None = None,
        word_index: torch.Tensor | None = None,
        spans: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if self.relater is not None:
            return self.relater.answer(fused_text, pairs)
        assert self.joint is not None
        return self.joint.relate(fused_text, word_index, spans)


_FROM_VECTORS = ("spans", "joint")
"""Relation heads that are a graph of their own."""


def _head_of(models: dict[str, Any]) -> str | None:
    """The relation head of the tasks' models; None where they find no relations."""
    return "joint" if "joint" in models else models["re"].config.relation_head if "re" in models else None


@torch.inference_mode()
def _write_graphs(models: dict[str, Any], tokens: Mapping[str, int | None], folder: Path, int8: bool) -> float:
    """Write the graphs of the tasks' models, which share their backbone; returns an output's largest distance from
    PyTorch's."""
    model = next(iter(models.values()))
    size = model.config.image_size
    in_context = bool(model.config.contexts) and model.promu.has_segments
    head = _head_of(models)
    generator = torch.Generator().manual_seed(0)

    def draw(end: int, *shape: int, dtype: torch.dtype = torch.long) -> torch.Tensor:
        return torch.randint(0, end, shape, dtype=dtype, generator=generator)

    def inputs(rows: int, length: int) -> dict[str, dict[str, torch.Tensor]]:
        """Random inputs by the name of the graph."""
        mask = torch.ones(rows, length, dtype=torch.long)
        mask[0, length - 1 :] = 0
        given = {"input_ids": draw(model.config.text_config.vocab_size, rows, length), "attention_mask": mask}
        if in_context:
            given["token_type_ids"] = draw(2, rows, length)
        if "ner" in models or "joint" in models:
            given["word_index"] = draw(length - 1, rows, length // 2)
        if head == "markers":
            given["marker_index"] = draw(length - 1, rows, 2)
        graphs = {ANSWER: given}
        ends = draw(length - 1, 2 * rows, 2, 2).sort(-1).values + torch.tensor([0, 1])
        pairs = torch.cat([torch.arange(rows).repeat_interleave(2)[:, None], ends.flatten(1)], dim=1)
        if head == "levitated":
            arrays = {name: value.numpy() for name, value in given.items()}
            given |= tensors(levitate(arrays, pairs.numpy(), range(len(ENTITY_MARKERS))))
        if head in _FROM_VECTORS:
            graphs[PAIRS] = {FUSED: torch.randn(rows, length, model.config.hidden_size, generator=generator)}
        if head == "spans":
            graphs[PAIRS]["pairs"] = pairs
        if head == "joint":
            starts = draw(length // 2, rows, 3, 1)
            spans = torch.cat([starts, starts + 1 + draw(2, rows, 3, 1) * (starts + 1 < length // 2)], dim=-1)
            graphs[PAIRS] |= {"word_index": given["word_index"], "spans": spans}
        if size is None:
            return graphs
        pixels = draw(256, rows, 3, size, size, dtype=torch.uint8)
        image_mask = torch.ones(rows, dtype=torch.long)
        image_mask[1:] = 0
        given |= {"visual": model.promu.encode_visual(pixels), "image_mask": image_mask}
        return {**graphs, VISION: {"pixels": pixels}}

    modules: dict[str, nn.Module] = {ANSWER: _Answer(models), VISION: _Vision(model)}
    named = {"ner": "emissions", "joint": "emissions", "re": "logits"}
    outputs = {ANSWER: [named[task] for task in models], VISION: ["visual"]}
    if head in _FROM_VECTORS:
        modules[PAIRS], outputs[PAIRS] = _Pairs(models), ["logits"]
        outputs[ANSWER] = [*(name for name in outputs[ANSWER] if name != "logits"), FUSED]
    for name, given in inputs(2, 9).items():
        _write_graph(modules[name].eval(), given, folder / name, outputs[name])
        if int8:
            _to_int8(folder / name)
    distance = 0.0
    for rows, length in _SHAPES:
        for name, given in inputs(rows, length).items():
            graph = open_graph(folder / name)
            names = {value.name for value in graph.get_inputs()}
            answers = graph.run(None, {key: value.numpy() for key, value in given.items() if key in names})
            expected = modules[name](**given)
            for one, other in zip(answers, expected if isinstance(expected, tuple) else [expected], strict=True):
                distance = max(distance, float((torch.from_numpy(one) - other.float()).abs().max()))
    if not int8 and not distance <= PARITY:
        raise InputError(
            f"the exported graph is off by {distance:.2g}, more than {PARITY:g}; this model is not one that ONNX can "
            "compute, so leave it with PyTorch"
        )
    for one in models.values():
        if hasattr(one, "crf"):
            save_file({key: value.contiguous() for key, value in one.crf.state_dict().items()}, folder / CRF)
            share_as_folder(folder / CRF)
    facts = ExportedFacts(
        precision="int8" if int8 else "fp32",
        vision_checksum=vision_checksum(model),
        distance=distance,
        image_side=size,
        positions=model.config.max_positions,
        tokens=dict(tokens),
    )
    write_json(folder / FACTS, asdict(facts))
    return distance


def _write_graph(module: nn.Module, given: dict[str, torch.Tensor], path: Path, outputs: list[str]) -> None:
    """One graph whose rows, length, positions and visual tokens may be any number."""
    shapes: dict[str, Any] = {}
    for name, value in given.items():
        free = {0} if name in ("pixels", "image_mask", "marker_index", "pairs") else {0, 1}
        if name == "attention_mask":
            free = set(range(value.ndim))
        if name == "visual":
            free = {0, value.ndim - 2}  # the tokens are the last but one of (B, K+1, d) or (B, V, K+1, d)
        shapes[name] = dict.fromkeys(free, Dim.DYNAMIC)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = {"input_names": list(given), "output_names": outputs, "dynamic_shapes": shapes}
            form: Any = {"dynamo": True, "external_data": False, "verbose": False, **names}
            torch.onnx.export(module, (), str(path), kwargs=given, **form)
    except torch.onnx.errors.OnnxExporterError as error:
        raise InputError(f"this model has no ONNX form ({first_line(error)}); leave it with PyTorch") from None


def _to_int8(path: Path) -> None:
    """Weights of matrix products in int8, a scale for each column; all else stays."""
    from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

    whole = path.with_suffix(".fp32")
    quant_pre_process(path, whole, skip_symbolic_shape=True)
    # weights with a sign take the path that CPUs with VNNI multiply fastest
    quantize_dynamic(whole, path, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    whole.unlink()

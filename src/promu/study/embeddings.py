"""Figure 3: embeddings of regions and nouns, images and relations by a pre-trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from promu.alignment.labelling import relative_boxes, square_crop
from promu.corpora.images import load_image
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.evaluation.pretrained import encode_images, evaluating, text_vectors, tokens
from promu.modeling.inputs import WordEncoder
from promu.modeling.label_prompts import ENTITY_TEMPLATES, RELATION_TEMPLATES, prompts
from promu.modeling.loading import load_model, load_tokenizer
from promu.modeling.losses import patch_coverage, pool_regions
from promu.modeling.pretraining import PromuForPreTraining
from promu.progress import track
from promu.schema import NO_RELATION
from promu.tasks.task import TASKS


def alignment(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean squared distance of positive pairs, E ||x - y||^2 (Wang & Isola 2020, alpha = 2); 0 is best, 2 is chance.

    The rows of `first` and `second` (N, D) belong together; they are normalised here.
    """
    return float((_unit(first) - _unit(second)).square().sum(-1).mean())


def uniformity(vectors: torch.Tensor) -> float:
    """log E exp(-2 ||x - y||^2) over pairs of different rows (Wang & Isola 2020, t = 2); lower is more even.

    `vectors` (N, D) has at least two rows; they are normalised here.
    """
    return float(torch.pdist(_unit(vectors)).square().mul(-2).exp().mean().log())


def nearest_agreement(vectors: torch.Tensor, labels: torch.Tensor, neighbours: int = 5) -> float:
    """Mean share of the nearest other rows of a row, by cosine, that have its label: vectors (N, D), labels (N,)."""
    unit = _unit(vectors)
    similar = unit @ unit.T
    similar.fill_diagonal_(-torch.inf)
    nearest = similar.topk(min(neighbours, len(unit) - 1), dim=-1).indices
    return float((labels[nearest] == labels[:, None]).float().mean())


def nearest_is_own(vectors: torch.Tensor, prototypes: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the rows (N, D) whose nearest prototype (K, D), by cosine, is that of their label (N,) in 0..K-1."""
    return float(((_unit(vectors) @ _unit(prototypes).T).argmax(-1) == labels).float().mean())


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return functional.normalize(vectors.float(), dim=-1)


BATCH = 64


def embeddings_job(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Vectors of regions and nouns, and of images and relations: figures, and points on a plane (t-SNE).

    In the space of L_CIT, a region is a square crop, an image is whole, nouns and relations are prompts. Fused vectors
    are e_obj of Eq 7 for a region and the fused CLS for an image, both with an empty caption. The noun of a region is
    the label of its detector, the relation of an image is that of its post.

    Args:
        settings: `model` (folder), `corpus` (folder), `posts`, `images` (of relation extraction), `items` (of
            either kind, at most), `seed`.
        out: Not used.

    Returns:
        For `regions` and `images`: figures, and `points` (x, y, label, whether it is a prompt).

    Raises:
        InputError: The model has no shared space, or too few regions or images have a label among its candidates.
    """
    model = load_model(PromuForPreTraining, settings["model"]).eval()
    if not hasattr(model, "space"):
        raise InputError("this model was pre-trained without L_CIT, so its regions and nouns share no space")
    encoder = WordEncoder.of(load_tokenizer(settings["model"]), model.config)
    rng = np.random.default_rng(settings["seed"])
    results = {}
    for name, sample in track((("regions", _regions), ("images", _images)), "embeddings"):
        vectors, fused, labels = sample(settings, model, encoder, rng)
        results[name] = _figures(model, encoder, vectors, fused, labels, name, settings["seed"])
    return results


Sampled = tuple[torch.Tensor, torch.Tensor, list[str]]
"""Vectors in L_CIT's space (N, D), fused vectors (N, d), labels."""


def _regions(
    settings: Mapping[str, Any], model: PromuForPreTraining, encoder: WordEncoder, rng: np.random.Generator
) -> Sampled:
    corpus = PairShards(settings["corpus"])
    nouns = set(model.config.nouns)
    crops: list[Image.Image] = []
    fused: list[torch.Tensor] = []
    labels: list[str] = []
    for index in rng.permutation(corpus.images).tolist():
        row = corpus.image(index)
        regions = [region for region in row.regions if region.label in nouns]
        if not regions:
            continue
        image = row.decode()
        boxes = relative_boxes(row.width, row.height, regions)[None]
        fused.append(_fuse(model, encoder, encode_images(model, [image]), boxes)[1][0])
        crops += [square_crop(image, region) for region in regions]
        labels += [region.label for region in regions]
        if len(labels) >= settings["items"]:
            break
    _check_labels(labels, "regions with a label among the nouns", settings["corpus"])
    vectors = [
        _project(model, encode_images(model, crops[start : start + BATCH])) for start in range(0, len(crops), BATCH)
    ]
    return torch.cat(vectors), torch.cat(fused), labels


def _images(
    settings: Mapping[str, Any], model: PromuForPreTraining, encoder: WordEncoder, rng: np.random.Generator
) -> Sampled:
    posts = [
        post
        for post in TASKS["re"].read(Path(settings["posts"]), settings.get("format"))
        if post.image is not None and post.relations[0].type != NO_RELATION
    ]
    chosen = [posts[index] for index in rng.permutation(len(posts))[: settings["items"]].tolist()]
    labels = [relation_words(post.relations[0].type) for post in chosen]
    _check_labels(labels, "posts with an image and a relation", settings["posts"])
    vectors, fused = [], []
    for start in range(0, len(chosen), BATCH):
        files = [Path(settings["images"]) / str(post.image) for post in chosen[start : start + BATCH]]
        visual = encode_images(model, [load_image(file) for file in files])
        vectors.append(_project(model, visual))
        fused.append(_fuse(model, encoder, visual, None)[0])
    return torch.cat(vectors), torch.cat(fused), labels


def relation_words(label: str) -> str:
    """A relation label as a prompt says it: "/per/org/member_of" is "member of"."""
    return label.rpartition("/")[2].replace("_", " ")


def _check_labels(labels: Sequence[str], what: str, where: str) -> None:
    if len(set(labels)) < 2 or len(labels) < 4:
        raise InputError(f"{len(labels)} {what} of {len(set(labels))} kinds are here; figure 3 needs more", where)


def _project(model: PromuForPreTraining, visual: torch.Tensor) -> torch.Tensor:
    """Encoded images in L_CIT's space (B, D)."""
    with evaluating(model):
        return model.project_images(visual).float().cpu()


def _fuse(
    model: PromuForPreTraining, encoder: WordEncoder, visual: torch.Tensor, boxes: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fused CLS (B, d) and, with boxes, e_obj (B, R, d) of encoded images with an empty caption."""
    with evaluating(model):
        batch = tokens(model, encoder, [encoder.text("")] * len(visual))
        output = model.promu(**batch, visual=visual)
        regions = torch.zeros(0)
        if boxes is not None:
            coverage = patch_coverage(boxes.to(model.device), model.config.grid)
            regions = pool_regions(output.fused_visual[:, -coverage.shape[-1] :], coverage).float().cpu()
    return output.fused_text[:, 0].float().cpu(), regions


def _figures(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    vectors: torch.Tensor,
    fused: torch.Tensor,
    labels: Sequence[str],
    kind: str,
    seed: int,
) -> dict[str, Any]:
    from sklearn.manifold import TSNE

    names = sorted(set(labels))
    templates, template = (ENTITY_TEMPLATES, "1") if kind == "regions" else (RELATION_TEMPLATES, "A")
    texts = [encoder.text(prompt) for prompt in prompts(names, template, templates)]
    prompt_vectors = text_vectors(model, encoder, texts, BATCH)
    numbers = torch.tensor([names.index(label) for label in labels])
    both = torch.cat([vectors, prompt_vectors])
    tsne = TSNE(perplexity=min(30.0, (len(both) - 1) / 3), init="random", metric="cosine", random_state=seed, n_jobs=1)
    return {
        "items": len(labels),
        "labels": len(names),
        "alignment": alignment(vectors, prompt_vectors[numbers]),
        "uniformity": uniformity(vectors),
        "nearest_prompt": 100 * nearest_is_own(vectors, prompt_vectors, numbers),
        "neighbours": 100 * nearest_agreement(vectors, numbers),
        "fused_neighbours": 100 * nearest_agreement(fused, numbers),
        "points": [
            [round(float(x), 2), round(float(y), 2), label, index >= len(labels)]
            for index, ((x, y), label) in enumerate(
                zip(tsne.fit_transform(both.numpy()), [*labels, *names], strict=True)
            )
        ],
    }

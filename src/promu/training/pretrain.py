"""Pre-training: captions to a tokenizer, a teacher, its labels, and the backbone under the joint loss (Eq 11)."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, set_seed

from promu.alignment.candidates import frequent_nouns, read_candidates, read_lines
from promu.alignment.label_store import LabelHeader, LabelStore
from promu.alignment.labelling import label_pictures
from promu.alignment.regions import build_detector
from promu.alignment.teacher import SelfTrainedTeacher
from promu.corpora.captions import read_captions
from promu.corpora.pictures import load_picture
from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.dual_encoder import PromuDualEncoder
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.schema import CaptionPair
from promu.training.loop import Progress, fit
from promu.training.pair_batches import PairCollator, caption_batch
from promu.training.pictures import PictureFolder
from promu.training.recipe import PretrainRecipe
from promu.training.run_folder import begin, discard_checkpoints, finish, finished_result
from promu.training.setup import build_model, encoder_config, load_model, load_tokenizer, resolve, save_folder
from promu.training.views import random_views
from promu.training.wordpiece import train_wordpiece

logger = logging.getLogger(__name__)


def pretrain(recipe: PretrainRecipe, progress: Progress | None = None) -> dict[str, Any]:
    """Run a recipe and return what it writes to `result.json`.

    Under `recipe.out`: `tokenizer/`, `teacher/`, `labels/`, `model/`, `log.jsonl`, `result.json`. Each part is made
    once; a killed run goes on with the first part that is not whole.

    Raises:
        InputError: Data, encoder or folder cannot be used.
    """
    out = Path(recipe.out)
    settings = recipe.model_dump(mode="json")
    if (finished := finished_result(out, settings)) is not None:
        return finished
    started = time.perf_counter()
    images = Path(recipe.data.images)
    pairs, skipped = usable_pairs(read_captions(Path(recipe.data.captions)), images, recipe.data.missing)
    for path in (recipe.data.nouns, recipe.data.relations):
        read_candidates(Path(path))  # what is wrong with them is said before the hours, not after
    begin(out, settings)
    tokenizer = prepare_tokenizer(recipe)
    teacher_folder = train_teacher(recipe, pairs, tokenizer, out, progress)
    store = _label(recipe, pairs, teacher_folder, out, progress)

    set_seed(recipe.seed)
    model = build_model(
        PromuForPreTraining,
        recipe.model,
        tokenizer,
        num_entity_candidates=len(store.header.nouns),
        num_relation_candidates=len(store.header.relations),
        loss_weights=recipe.losses.weights(),
    )
    if model.config.image_size is None:
        raise InputError("pre-training needs a vision encoder; set model.vision")
    if recipe.warm_start:
        warm_start(model, teacher_folder)
    encoder = WordEncoder(tokenizer, model.config.max_length)
    collate = PairCollator(pairs, images, encoder, store, recipe.losses, model.config.image_size, recipe.crop)
    log = fit(model, len(pairs), collate, recipe.training, out, recipe.seed, "pre-training", progress=progress)
    save_folder(out / "model", model, tokenizer)
    result = {
        "pairs": len(pairs),
        "matched": sum(pair.matched for pair in pairs),
        "skipped": skipped,
        "pictures": len({pair.image for pair in pairs}),
        "nouns": len(store.header.nouns),
        "relations": len(store.header.relations),
        "last": log[-1],
        "seconds": round(time.perf_counter() - started, 2),
    }
    finish(out, result)
    return result


def warm_start(model: PromuForPreTraining, teacher_folder: Path) -> None:
    """Begin the student's encoders and projections with the teacher's.

    Raises:
        InputError: The student has a weight of the teacher's name and another shape, or lacks it.
    """
    student = model.state_dict()
    for name, weight in load_model(PromuDualEncoder, teacher_folder).state_dict().items():
        target = name if name.startswith("space.") else f"promu.{name}"
        if target.startswith("space.") and not hasattr(model, "space"):
            continue
        if target not in student or student[target].shape != weight.shape:
            raise InputError(
                f"warm_start: the teacher's {name} has no place in the student; give both the same encoders, "
                "the student's text side twice the teacher's layers",
                teacher_folder,
            )
        student[target].copy_(weight)


def usable_pairs(pairs: Sequence[CaptionPair], images: Path, missing: str) -> tuple[list[CaptionPair], int]:
    """The pairs whose picture can be read, and how many were skipped.

    Raises:
        InputError: A picture is missing or broken and `missing` is `require`, or no pair is left.
    """
    reasons: dict[str, InputError | None] = {}
    for pair in pairs:
        if pair.image not in reasons:
            try:
                load_picture(images / pair.image, target=(32, 32))  # a header alone does not show a truncated one
                reasons[pair.image] = None
            except InputError as error:
                if missing == "require":
                    raise InputError(f"{error.reason}; mend it, or set data.missing: skip", error.path) from None
                logger.warning("%s; its pairs are skipped", error)
                reasons[pair.image] = error
    kept = [pair for pair in pairs if reasons[pair.image] is None]
    if not kept:
        raise InputError("no caption pair with a readable picture is left", images)
    return kept, len(pairs) - len(kept)


def train_teacher(
    recipe: PretrainRecipe,
    pairs: Sequence[CaptionPair],
    tokenizer: PreTrainedTokenizerBase,
    out: Path,
    progress: Progress | None,
) -> Path:
    """The folder of the self-trained teacher: L_CIT alone on the matched pairs, then frozen."""
    settings = recipe.teacher
    if settings.init is not None:
        return Path(settings.init)
    folder = out / "teacher"
    if (folder / "model" / "model.safetensors").is_file():
        discard_checkpoints(folder)
        return folder / "model"
    assert settings.text is not None and settings.vision is not None
    set_seed(settings.seed)
    config = PromuConfig(
        text_config=encoder_config(settings.text, vocab_size=len(tokenizer)),
        vision_config=encoder_config(settings.vision),
        **settings.config,
    )
    model = PromuDualEncoder(config)
    encoder = WordEncoder(tokenizer, config.max_length)
    matched = [pair for pair in pairs if pair.matched]
    texts = [encoder.text(pair.caption) for pair in matched]
    pictures = PictureFolder(Path(recipe.data.images), config.image_size, "require")

    def collate(rows: Sequence[int]) -> dict[str, torch.Tensor]:
        chosen = [matched[row] for row in rows]
        pixels = torch.stack([pictures.get(pair.image) for pair in chosen])  # type: ignore[misc]
        no_boxes = torch.zeros(len(rows), 1, 4)
        pixels, _, _ = random_views(pixels, no_boxes, no_boxes[..., 0], settings.crop)
        return {**caption_batch(encoder, [texts[row] for row in rows], chosen), "pixel_values": pixels}

    fit(model, len(matched), collate, settings.training, folder, settings.seed, "teacher", progress=progress)
    save_folder(folder / "model", model, tokenizer)
    discard_checkpoints(folder)
    return folder / "model"


def prepare_tokenizer(recipe: PretrainRecipe) -> PreTrainedTokenizerBase:
    """The tokenizer that the recipe names, or one trained on the captions and kept in `out/tokenizer`."""
    if isinstance(recipe.tokenizer, str):
        return load_tokenizer(resolve(recipe.tokenizer))
    folder = Path(recipe.out) / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        texts = [pair.caption for pair in read_captions(Path(recipe.data.captions))]
        for path in recipe.tokenizer.texts:
            texts += read_lines(Path(path))
        temporary = folder.with_name("tokenizer.tmp")
        train_wordpiece(texts, recipe.tokenizer.size, recipe.tokenizer.min_frequency).save_pretrained(temporary)
        os.replace(temporary, folder)
    return load_tokenizer(str(folder))


def _label(
    recipe: PretrainRecipe, pairs: Sequence[CaptionPair], teacher_folder: Path, out: Path, progress: Progress | None
) -> LabelStore:
    settings, data = recipe.labels, recipe.data
    teacher = SelfTrainedTeacher(teacher_folder)
    lexicon = read_candidates(Path(data.nouns))
    nouns = frequent_nouns((pair.caption for pair in pairs), lexicon, settings.num_nouns)
    if not nouns:
        raise InputError("none of these nouns occurs in the captions; name the corpus's own", data.nouns)
    detector_id = data.detector
    if data.regions is not None:
        detector_id += ":" + hashlib.sha256(Path(data.regions).read_bytes()).hexdigest()[:16]
    header = LabelHeader(
        teacher=teacher.identity,
        detector=detector_id,
        nouns=tuple(noun for noun, _ in nouns),
        relations=tuple(read_candidates(Path(data.relations), settings.num_relations)),
        entity_template=settings.entity_template,
        relation_template=settings.relation_template,
        temperature=settings.temperature or teacher.temperature,
        top_k=settings.top_k,
    )
    return label_pictures(
        teacher,
        build_detector(data.detector, None if data.regions is None else Path(data.regions)),
        [pair.image for pair in pairs],
        Path(data.images),
        header,
        out / "labels",
        None if progress is None else lambda done, total: progress("labels", done, total),
    )

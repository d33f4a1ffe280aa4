"""Pre-training: a corpus to a tokenizer, a teacher, its labels, and the backbone under the joint loss (Eq 11)."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import numpy as np
import torch
from transformers import set_seed

from promu.config import load_recipe
from promu.errors import InputError
from promu.evaluation.agreement import teacher_agreement
from promu.evaluation.pairs import flat_figures, mean_losses, measure_pairs
from promu.evaluation.pretrained import EncodedImages
from promu.files import write_json
from promu.modeling.distributed import in_order, join_group
from promu.modeling.initial_model import build_model, refuse_other_tokens
from promu.modeling.inputs import WordEncoder
from promu.modeling.loading import load_model, save_folder
from promu.modeling.losses import JointLoss
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.report.label_report import SAMPLES as SAMPLES_FILE
from promu.report.label_report import join_samples, sample_predictions
from promu.report.run_report import suspicious, write_run_report
from promu.runs import RunFolder
from promu.training.batches import CorpusOrder, Sample
from promu.training.feature_cache import texts_of, views_of
from promu.training.loop import fit
from promu.training.pair_batches import PairCollator
from promu.training.prepare import Prepared, prepare
from promu.training.recipe import PretrainRecipe, ViewSettings
from promu.training.tag_batches import caption_collator

logger = logging.getLogger(__name__)

VALIDATED = 1000
"""Pairs of dev that the losses are measured on during a run; half as many of each kind for the AUCs."""
SAMPLES = 8
"""Images whose labels a run keeps for its report, as they were before and after."""


class PretrainResult(TypedDict):
    """What came of a pre-training run, as in its `result.json`.

    Attributes:
        skipped: Pairs that building the corpus left out, by reason.
        nouns, relations: Candidates of Eq 6 and Eq 9.
        last: The log's last line of training: `step`, `loss`, each loss by name, and so on.
        dev: The log's last line of validation, its figures named `eval_...`; None without images to validate on.
        warnings: What looks suspicious in the log, a sentence each.
    """

    pairs: int
    matched: int
    skipped: dict[str, int]
    images: int
    nouns: int
    relations: int
    last: dict[str, float]
    dev: dict[str, float] | None
    warnings: list[str]
    seconds: float


def pretrain(recipe: str | Path | Mapping[str, Any] | PretrainRecipe, overrides: Sequence[str] = ()) -> PretrainResult:
    """Pre-train a backbone: corpus, tokenizer, teacher, soft pseudo-labels, joint loss (Eq 11).

    Under the recipe's `out`: `corpus/` (where the recipe builds one), `tokenizer/`, `teacher/`, `labels/`, `model/`,
    `log.jsonl`, `samples.json`, `report.html`, `result.json`. Each part is made once; a killed run goes on with the
    first part that is not whole, and a finished one returns its result. Under `torchrun` several processes train
    together.

    Args:
        recipe: Name of a recipe that ships with promu, YAML file, settings, or the object.
        overrides: `key.path=value` settings that win over the recipe's.

    Raises:
        InputError: The recipe is not legal, or data, encoder or folder cannot be used.

    Example:
        ```python
        import promu

        result = promu.pretrain("newsreel-pretrain", ["training.epochs=1", "teacher.training.epochs=1"])
        print(result["last"]["loss"])
        ```
    """
    recipe = load_recipe(recipe, PretrainRecipe, overrides)
    out = Path(recipe.out)
    settings = recipe.model_dump(mode="json")
    if (finished := RunFolder(out).result(settings)) is not None:
        return cast(PretrainResult, finished)
    started = time.perf_counter()
    join_group()
    ready = prepare(recipe)
    set_seed(recipe.seed)
    model = student(recipe, ready)
    encoder = WordEncoder.of(ready.tokenizer, model.config)
    log = _train(recipe, ready, model, encoder)
    with in_order() as first:
        if first:
            _save(recipe, ready, model, encoder, log, time.perf_counter() - started)
        return cast(PretrainResult, RunFolder(out).result(settings))


def student(recipe: PretrainRecipe, ready: Prepared) -> PromuForPreTraining:
    """The model as it is before the first step.

    Raises:
        InputError: It has no vision encoder, or no place for the teacher's weights that it should start from.
    """
    model = build_model(
        PromuForPreTraining,
        recipe.model,
        ready.tokenizer,
        nouns=list(ready.store.header.nouns),
        relations=list(ready.store.header.relations),
        loss_weights=recipe.losses.weights(),
    )
    if model.config.image_size is None:
        raise InputError("pre-training needs a vision encoder; set model.vision")
    if recipe.warm_start:
        if ready.teacher_folder is None:
            raise InputError("warm_start begins with a self-trained teacher's weights; this teacher is off the shelf")
        refuse_other_tokens(ready.tokenizer, str(ready.teacher_folder))
        warm_start(model, ready.teacher_folder)
    if not model.fuses:  # what no loss reads neither learns nor decays, and no process waits for its gradient
        model.promu.fusion.requires_grad_(False)
    return model


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
                f"warm_start: the teacher's {name} has no place in the student; give both the same encoders, and the "
                "student's text side twice the teacher's layers or a fusion stack of its own (fusion_layers)",
                teacher_folder,
            )
        student[target].copy_(weight)


def _train(
    recipe: PretrainRecipe, ready: Prepared, model: PromuForPreTraining, encoder: WordEncoder
) -> list[dict[str, Any]]:
    out = Path(recipe.out)
    views = views_of(model.promu, ready.corpus, recipe.views, out / "features", recipe.seed)
    # vectors of captions cannot be cached where each step masks other tokens or adds other tags
    changing = recipe.losses.mlm or recipe.losses.tags
    texts = None if changing else texts_of(model.promu, encoder, ready.corpus, out / "features")
    captions = caption_collator(recipe.losses, ready.corpus, encoder, views, recipe.seed, texts, recipe.caption_drop)
    collate = PairCollator(captions, ready.store, recipe.losses)
    before = out / "samples-before.json"
    with in_order():
        if not before.is_file():
            write_json(before, sample_predictions(model, encoder, ready.corpus, ready.store, _samples(ready), "before"))
    validate, loss = _validation(recipe, ready, model, encoder), JointLoss.of(model)
    order = CorpusOrder(ready.corpus, matched_only=_reads_true_pairs_alone(recipe))
    return fit(model, order, collate, recipe.training, out, recipe.seed, "pre-training", validate, loss=loss)


def _reads_true_pairs_alone(recipe: PretrainRecipe) -> bool:
    """Whether falsified pairs are left out: a caption with tags is to be the image's, where no loss asks if it is."""
    return recipe.losses.tags and not recipe.losses.itm


def _validation(
    recipe: PretrainRecipe, ready: Prepared, model: PromuForPreTraining, encoder: WordEncoder
) -> Callable[[], dict[str, float]] | None:
    """What is measured on dev on the way: retrieval, matching, agreement with the teacher, the parts of the loss."""
    dev, store = ready.dev, ready.dev_store
    if dev is None or store is None:
        return None
    views = views_of(model.promu, dev, ViewSettings(crop=1.0, cached=1), Path(recipe.out) / "features", recipe.seed)
    captions = caption_collator(recipe.losses, dev, encoder, views, recipe.seed)
    collate = PairCollator(captions, store, recipe.losses)
    # drawn at random: every n-th pair may be of one kind
    drawn = np.random.default_rng(0).permutation(len(dev))
    if _reads_true_pairs_alone(recipe):
        drawn = drawn[dev.matched[drawn]]
    rows = sorted(drawn[:VALIDATED].tolist())

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for start in range(0, len(rows), 64):
            yield collate([Sample(0, row) for row in rows[start : start + 64]])

    def validate() -> dict[str, float]:
        images = EncodedImages(model, dev)
        scores = measure_pairs(encoder, images, rerank=0, auc_pairs=VALIDATED // 2)
        agreement = teacher_agreement(model, encoder, images, store)
        figures = flat_figures(scores, agreement, mean_losses(model, batches()))
        model.train()
        return figures

    return validate


def _samples(ready: Prepared) -> range:
    """The images whose labels are kept: spread over the corpus."""
    return range(0, ready.corpus.images, max(1, ready.corpus.images // SAMPLES))


def _save(
    recipe: PretrainRecipe,
    ready: Prepared,
    model: PromuForPreTraining,
    encoder: WordEncoder,
    log: list[dict[str, Any]],
    seconds: float,
) -> None:
    out, corpus = Path(recipe.out), ready.corpus
    after = sample_predictions(model, encoder, corpus, ready.store, _samples(ready), "after")
    before = json.loads((out / "samples-before.json").read_text(encoding="utf-8"))
    write_json(out / SAMPLES_FILE, join_samples(before, after))
    model.config.promu_training = {"recipe": recipe.model_dump(mode="json")}
    save_folder(out / "model", model, ready.tokenizer)
    warnings = suspicious(log)
    for sentence in warnings:
        logger.warning("%s", sentence)
    result = PretrainResult(
        pairs=len(corpus),
        matched=int(corpus.matched.sum()),
        skipped=corpus.header.get("skipped", {}),
        images=corpus.images,
        nouns=len(ready.store.header.nouns),
        relations=len(ready.store.header.relations),
        last=next(line for line in reversed(log) if "loss" in line),
        dev=next((line for line in reversed(log) if "loss" not in line), None),
        warnings=warnings,
        seconds=round(seconds, 2),
    )
    RunFolder(out).finish(result)
    write_run_report(out)

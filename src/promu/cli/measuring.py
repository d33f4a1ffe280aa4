"""`promu evaluate pairs` and `promu evaluate regions`: a pre-trained model on captions and on gold boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from promu.cli.console import note, print_json, print_table, progress_bar, progress_bars
from promu.errors import InputError

WAYS = {"caption_to_picture": "caption → picture", "picture_to_caption": "picture → caption"}
AGAINST = {"falsified": "falsified captions", "random": "random captions"}


def pairs(
    model: Path,
    /,
    *,
    captions: Path | None = None,
    images: Path | None = None,
    corpus: Path | None = None,
    missing_pictures: Literal["error", "skip"] = "error",
    seed: int = 0,
    rerank: int = 20,
    batch_size: int = 64,
    json: bool = False,
) -> None:
    """Measure a pre-trained model on caption pairs: retrieval both ways, and matched against falsified captions.

    The pairs come from a file of captions and a folder of pictures, or from a corpus that `promu corpus build` made.
    Where no caption of the file is falsified, falsified ones are made: near in meaning, of another picture.

    Args:
        model: The model folder of a pre-training run, or of its teacher.
        captions: CSV (image,caption) or JSON lines.
        images: Folder of their pictures.
        corpus: Folder of a corpus, instead of captions and pictures.
        missing_pictures: What a missing or broken picture does: stop, or have its pairs skipped and counted.
        seed: Which falsified captions are made, and which pairs are drawn where there are more than are read.
        rerank: How many of a query's best answers are put in the order of the matching head; 0 leaves that out.
        batch_size: Pairs a forward pass.
        json: Print JSON instead of tables.
    """
    if (corpus is None) == (captions is None and images is None) or (captions is None) != (images is None):
        raise InputError("give either --captions and --images, or --corpus")
    _require_folder(images)
    _require_positive("--batch-size", batch_size, 1)
    _require_positive("--rerank", rerank, 0)
    from promu.quiet import quiet

    quiet()
    from promu.corpora.captions import read_captions
    from promu.corpora.shards import PairShards
    from promu.training.validation.pair_folder import PairFolder
    from promu.training.validation.pair_inference import open_pair_model
    from promu.training.validation.pair_validation import evaluate_pairs

    loaded, encoder = open_pair_model(model)
    counts: dict[str, Any] = {"skipped_pictures": 0, "skipped_pairs": 0, "falsified_made": 0}
    source: PairShards | PairFolder
    if corpus is not None:
        source = PairShards(corpus)
    else:
        assert captions is not None and images is not None
        source = PairFolder(read_captions(captions), images, missing_pictures, seed)
        counts = {
            "skipped_pictures": len(source.skipped),
            "skipped_pairs": source.skipped_pairs,
            "falsified_made": source.made,
        }
    if counts["skipped_pairs"]:
        note(
            f"{counts['skipped_pairs']} pairs were skipped: {counts['skipped_pictures']} pictures are missing or broken"
        )
    with progress_bars() as progress:
        result = evaluate_pairs(
            loaded, encoder, source, seed=seed, batch_size=batch_size, rerank=rerank, progress=progress
        )
    result = {**result, **counts}
    for name in ("agreement", "losses"):  # figures of a training run
        del result[name]
    if json:
        print_json(result)
    else:
        _print_pairs(result)


def regions(
    model: Path,
    /,
    *,
    instances: Path,
    images: Path,
    synonyms: Path | None = None,
    teacher: str | None = None,
    missing_pictures: Literal["error", "skip"] = "error",
    batch_size: int = 32,
    json: bool = False,
) -> None:
    """Measure how often the nouns that a pre-trained model gives to gold boxes name the boxes' categories.

    Args:
        model: The model folder of a pre-training run with the loss coe.
        instances: COCO instances JSON with the gold boxes.
        images: Folder of the pictures.
        synonyms: Table of the nouns that name a category, category<TAB>noun, noun, ... a line; COCO's by default.
        teacher: Also measure this teacher: the model folder of a self-trained one, or a CLIP-type model by name.
        missing_pictures: What a missing or broken picture does: stop, or have its boxes skipped and counted.
        batch_size: Pictures a forward pass.
        json: Print JSON instead of tables.
    """
    _require_folder(images)
    _require_positive("--batch-size", batch_size, 1)
    from promu.quiet import quiet

    quiet()
    from promu.alignment.synonyms import read_synonyms
    from promu.alignment.teacher import load_teacher
    from promu.corpora.coco import read_coco
    from promu.corpora.pictures import load_picture
    from promu.training.validation.pair_inference import open_pair_model
    from promu.training.validation.region_validation import evaluate_regions, readable_boxes

    table = read_synonyms(synonyms)
    loaded, encoder = open_pair_model(model)
    gold, skipped = readable_boxes(read_coco(instances), images, missing_pictures)
    if skipped:
        boxes = sum(skipped.values())
        note(f"{boxes} boxes were skipped: {len(skipped)} pictures are missing or broken")
    with progress_bar("pictures") as advance:
        result = evaluate_regions(
            loaded,
            encoder,
            gold,
            lambda image: load_picture(images / image),
            table,
            teacher=None if teacher is None else load_teacher(_kind(teacher), teacher),
            batch_size=batch_size,
            advance=advance,
        )
    result = {**result, "skipped_pictures": len(skipped), "skipped_boxes": sum(skipped.values())}
    if json:
        print_json(result)
    else:
        _print_regions(result)


def _kind(teacher: str) -> str:
    """Whether a teacher is self-trained or off the shelf, by what its folder holds."""
    from promu.modeling.configuration import PromuConfig
    from promu.training.setup import read_json_object

    config = Path(teacher) / "config.json"
    own = config.is_file() and read_json_object(config).get("model_type") == PromuConfig.model_type
    return "self-trained" if own else "hub"


def _require_folder(images: Path | None) -> None:
    if images is not None and not images.is_dir():
        raise InputError("no such folder of pictures; correct --images", images)


def _require_positive(option: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{option} is {value}; at least {least} is needed")


def _print_pairs(result: Mapping[str, Any]) -> None:
    matched, falsified = (result["pairs"][name] for name in ("matched", "falsified"))
    made = f", {result['falsified_made']} of them made here" if result["falsified_made"] else ""
    print(
        f"{result['pictures']} pictures, {result['captions']} different captions; "
        f"{matched} matched pairs, {falsified} falsified{made}"
    )
    if result["recall"] is None:
        print("no recall: this model has no shared space (it was pre-trained without cit)")
    else:
        _print_recall("recall, %", result["recall"], result["recall"]["standard_error"])
    if result["rerank"] is not None:
        again = result["rerank"]
        drawn = f"{again['captions']} captions, {again['pictures']} pictures"
        _print_recall(f"before re-ranking the best {again['top']} ({drawn})", again["before"])
        _print_recall(f"after re-ranking by the matching head ({drawn})", again["after"])
        _print_recall(f"after re-ranking by the head and the cosine together ({drawn})", again["summed"])
    auc = result["auc"]
    rows = [
        [
            f"matched ({auc['pairs']['matched']}) against {AGAINST[name]} ({auc['pairs'][name]})",
            *(
                "–" if (auc[judge] or {}).get(name) is None else f"{auc[judge][name]:.3f}"
                for judge in ("cosine", "itm")
            ),
        ]
        for name in AGAINST
    ]
    print_table("ROC-AUC", ["", "cosine", "matching head"], rows)


def _print_recall(title: str, recall: Mapping[str, Any], errors: Mapping[str, Any] | None = None) -> None:
    ks = list(recall["caption_to_picture"])
    rows = [
        [
            name,
            *(f"{recall[way][k]:.1f}" + ("" if errors is None else f" ± {errors[way][k]:.1f}") for k in ks),
        ]
        for way, name in WAYS.items()
    ]
    print_table(title, ["", *(f"R@{k}" for k in ks)], rows)


def _print_regions(result: Mapping[str, Any]) -> None:
    own = result["model"]
    print(
        f"{own['boxes']} boxes of {own['categories']} categories in {result['pictures']} pictures, named by "
        f"{result['nouns']} nouns and an empty caption"
    )
    if own["unnameable"]:
        names = ", ".join(f"{name} ({count})" for name, count in own["unnameable"].items())
        print(
            f"{sum(own['unnameable'].values())} more boxes were not judged, no noun of the model naming their "
            f"{len(own['unnameable'])} categories: {names}"
        )
    rows = [
        [
            name,
            *(f"{scores[mean][rank]:.1f}" for mean in ("micro", "macro") for rank in ("top1", "top5")),
        ]
        for name, scores in (("model", own), ("teacher", result["teacher"]))
        if scores is not None
    ]
    rows.append([f"always {own['constant']['noun']}", f"{own['constant']['top1']:.1f}", "", "", ""])
    print_table(
        "boxes whose category is named, %",
        ["", "top 1", "top 5", "top 1, mean of categories", "top 5, mean of categories"],
        rows,
    )
    print_table(
        "by category",
        ["", "boxes", "top 1", "top 5"],
        (
            [name, str(count["boxes"]), str(count["top1"]), str(count["top5"])]
            for name, count in own["per_category"].items()
        ),
    )

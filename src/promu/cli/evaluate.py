"""`promu evaluate`: a fine-tuned model on a file of gold, a pre-trained one on caption pairs and gold boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from promu.cli.console import named_files, note, print_json, print_table, progress_bars
from promu.cli.score import print_scores
from promu.errors import InputError, counted
from promu.schema import MissingPairImage, MissingPostImage, Scheme

if TYPE_CHECKING:
    from promu.evaluation.entailment import EntailmentReport
    from promu.evaluation.noun_grounding import NounGroundingReport
    from promu.evaluation.pairs import PairReport
    from promu.evaluation.regions import RegionReport

WAYS = {"caption_to_image": "caption → image", "image_to_caption": "image → caption"}
AGAINST = {"falsified": "falsified captions", "random": "random captions"}


evaluate = App(
    name="evaluate",
    help="Measure a model: fine-tuned ones on gold (ner, re, joint), pre-trained ones on pairs, regions, grounding and "
    "entailment.",
)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """What `promu evaluate pairs` is given beside the model.

    Args:
        captions: CSV (image,caption) or JSON lines.
        images: Folder of their images.
        corpus: Folder of a corpus, instead of captions and images.
        missing_images: What a missing or broken image does: stop, or have its pairs skipped and counted.
        seed: Seed of the falsified captions, and of the pairs drawn where there are more than are used.
        rerank: Number of best answers of a query that the matching head re-ranks; 0 leaves that out.
        batch_size: Pairs in a forward pass.
    """

    captions: Path | None = None
    images: Path | None = None
    corpus: Path | None = None
    missing_images: MissingPairImage = "raise"
    seed: int = 0
    rerank: int = 20
    batch_size: int = 64


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """What `promu evaluate regions` is given beside the model.

    Args:
        instances: COCO instances JSON with the gold boxes.
        images: Folder of the images.
        synonyms: Table of the nouns that name a category, a line each: category<TAB>noun, noun, ...; by default COCO's.
        teacher: Evaluate this teacher too: the model folder of a self-trained one, or the name of a CLIP-type model.
        missing_images: What a missing or broken image does: stop, or have its boxes skipped and counted.
        batch_size: Images in a forward pass.
    """

    instances: Path
    images: Path
    synonyms: Path | None = None
    teacher: str | None = None
    missing_images: MissingPairImage = "raise"
    batch_size: int = 32


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GroundingOptions:
    """What `promu evaluate grounding` is given beside the model.

    Args:
        instances: COCO instances JSON with the gold boxes.
        captions: COCO captions JSON (.json), or CSV (image,caption) or JSON lines.
        images: Folder of the images.
        regions: File or model of the detector that finds the regions to choose from; left out, the gold boxes.
        detector: What the regions are: coco (a file of boxes), hf (a model) or yolo (an ONNX file, of PicoDet too).
        confidence: Regions with a lower score are left out.
        max_regions: Regions an image at most.
        synonyms: Table of the nouns that name a category, a line each: category<TAB>noun, noun, ...; by default COCO's.
        missing_images: What a missing or broken image does: stop, or have its boxes skipped and counted.
        batch_size: Captions in a forward pass.
    """

    instances: Path
    captions: Path
    images: Path
    regions: Path | None = None
    detector: str = "yolo"
    confidence: float = 0.3
    max_regions: int = 10
    synonyms: Path | None = None
    missing_images: MissingPairImage = "raise"
    batch_size: int = 32


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EntailmentOptions:
    """What `promu evaluate entailment` is given beside the model.

    Args:
        pairs: CSV (image,hypothesis,label) or JSON lines; a label is entailment, neutral or contradiction.
        images: Folder of the images.
        missing_images: What a missing or broken image does: stop, or have its pairs skipped and counted.
        seed: Seed of the control that exchanges images.
        batch_size: Pairs in a forward pass.
    """

    pairs: Path
    images: Path
    missing_images: MissingPairImage = "raise"
    seed: int = 0
    batch_size: int = 64


@evaluate.command
def entailment(model: Path, /, options: EntailmentOptions, *, json: bool = False) -> None:
    """Evaluate whether a pre-trained model scores what an image entails above what it contradicts.

    Beside it stand two controls: the same with images exchanged at random, and a classifier of the sentences alone.

    Args:
        model: Model folder of pre-training, or of its teacher.
        json: Print JSON instead of a table.
    """
    from promu.evaluation.entailment import evaluate_entailment

    _measure(evaluate_entailment, model, options, "pairs", None if json else _print_entailment)


@evaluate.command
def pairs(model: Path, /, options: PairOptions | None = None, *, json: bool = False) -> None:
    """Evaluate a pre-trained model on caption pairs: retrieval both ways, and matched against falsified captions.

    The pairs come from a file of captions and a folder of images, or from a corpus of `promu corpus build`. If no
    caption of the file is falsified, falsified ones are made: near in meaning, of another image.

    Args:
        model: Model folder of pre-training, or of its teacher.
        json: Print JSON instead of tables.
    """
    from promu.evaluation.pairs import evaluate_pairs

    _measure(evaluate_pairs, model, options or PairOptions(), "pairs", None if json else _print_pairs)


@evaluate.command
def regions(model: Path, /, options: RegionOptions, *, json: bool = False) -> None:
    """Evaluate how often the nouns that a pre-trained model gives to gold boxes name the boxes' categories.

    Args:
        model: Model folder of pre-training with the loss coe.
        json: Print JSON instead of tables.
    """
    from promu.evaluation.regions import evaluate_regions

    _measure(evaluate_regions, model, options, "boxes", None if json else _print_regions)


@evaluate.command
def grounding(model: Path, /, options: GroundingOptions, *, json: bool = False) -> None:
    """Evaluate how well a pre-trained model finds the regions that the nouns of captions mean, without training for it.

    Beside it stand the region whose detector's label the noun names, and a random region.

    Args:
        model: Model folder of pre-training with the loss coe.
        json: Print JSON instead of a table.
    """
    from promu.evaluation.noun_grounding import evaluate_noun_grounding

    _measure(evaluate_noun_grounding, model, options, "boxes", None if json else _print_grounding)


def _measure(
    evaluation: Callable[..., Any],
    model: Path,
    options: PairOptions | RegionOptions | GroundingOptions | EntailmentOptions,
    unit: str,
    show: Callable[[Any], None] | None,
) -> None:
    """Evaluate, say what was skipped, and show the report; without `show` it is printed as JSON."""
    from promu.hub import quiet

    quiet()
    with progress_bars():
        report = evaluation(model, **vars(options))
    if skipped := report[f"skipped_{unit}"]:
        images = counted(report["skipped_images"], "image is", "images are")
        one = {"pairs": "pair", "boxes": "box"}[unit]
        note(f"{counted(skipped, f'{one} was', f'{unit} were')} skipped: {images} missing or broken")
    (show or print_json)(report)


def _print_pairs(report: PairReport) -> None:
    matched, falsified = (report["pairs"][name] for name in ("matched", "falsified"))
    made = f", {report['falsified_made']} of them made here" if report["falsified_made"] else ""
    print(
        f"{counted(report['images'], 'image')}, {counted(report['captions'], 'different caption')}; "
        f"{counted(matched, 'matched pair')}, {falsified} falsified{made}"
    )
    if report["recall"] is None:
        print("no recall: this model has no shared space (it was pre-trained without cit)")
    else:
        _print_recall("recall, %", report["recall"], report["recall"]["standard_error"])
    if report["rerank"] is not None:
        again = report["rerank"]
        drawn = f"{counted(again['captions'], 'caption')}, {counted(again['images'], 'image')}"
        _print_recall(f"before re-ranking the best {again['top']} ({drawn})", again["before"])
        _print_recall(f"after re-ranking by the matching head ({drawn})", again["after"])
        _print_recall(f"after re-ranking by the head and the cosine together ({drawn})", again["summed"])
    auc = report["auc"]
    rows = []
    for name, words in AGAINST.items():
        values = [(judge or {}).get(name) for judge in (auc["cosine"], auc["itm"])]
        title = f"matched ({auc['pairs']['matched']}) against {words} ({auc['pairs'][name]})"
        rows.append([title, *("–" if value is None else f"{value:.3f}" for value in values)])
    print_table("ROC-AUC", ["", "cosine", "matching head"], rows)


def _print_recall(title: str, recall: Mapping[str, Any], errors: Mapping[str, Any] | None = None) -> None:
    ks = list(recall["caption_to_image"])
    rows = [
        [name, *(f"{recall[way][k]:.1f}" + ("" if errors is None else f" ± {errors[way][k]:.1f}") for k in ks)]
        for way, name in WAYS.items()
    ]
    print_table(title, ["", *(f"R@{k}" for k in ks)], rows)


def _print_entailment(report: EntailmentReport) -> None:
    counts = ", ".join(f"{count} {label}" for label, count in report["pairs"].items())
    print(f"{counts}; {report['images']} images")
    judges = (
        ("cosine", report["cosine"]),
        ("cosine, images exchanged", report["shuffled_cosine"]),
        ("matching head", report["itm"]),
        ("matching head, images exchanged", report["shuffled_itm"]),
        ("sentences alone", report["hypothesis_only"]),
    )
    rows = [
        [name, *("–" if value is None else f"{value:.3f}" for value in (one["contradiction"], one["neutral"]))]
        for name, one in judges
        if one is not None
    ]
    print_table("ROC-AUC of entailment", ["", "against contradiction", "against neutral"], rows)


def _print_grounding(report: NounGroundingReport) -> None:
    print(
        f"{counted(report['nouns'], 'noun')} that {'names' if report['nouns'] == 1 else 'name'} a gold box, in "
        f"{counted(report['captions'], 'caption')} of {counted(report['images'], 'image')}; "
        f"{report['shown']} with a right region to choose"
    )
    judges = {"model": report["model"], "detector's label": report["label"], "random region": report["random"]}
    rows = [
        [name, f"{share['all']:.1f}", f"{share['shown']:.1f}"] for name, share in judges.items() if share is not None
    ]
    print_table("nouns with the right region, %", ["", "of all", "where there is one"], rows)


def _print_regions(report: RegionReport) -> None:
    scores = report["model"]
    print(
        f"{counted(scores['boxes'], 'box', 'boxes')} of {counted(scores['categories'], 'category', 'categories')} in "
        f"{counted(report['images'], 'image')}, named by {counted(report['nouns'], 'noun')} and an empty caption"
    )
    if scores["unnameable"]:
        names = ", ".join(f"{name} ({count})" for name, count in scores["unnameable"].items())
        print(
            f"not scored: {counted(sum(scores['unnameable'].values()), 'box', 'boxes')} of "
            f"{counted(len(scores['unnameable']), 'category', 'categories')} for which the model has no noun: {names}"
        )
    rows = [
        [name, *(f"{one[mean][rank]:.1f}" for mean in ("micro", "macro") for rank in ("top1", "top5"))]
        for name, one in (("model", scores), ("teacher", report["teacher"]))
        if one is not None
    ]
    rows.append([f"always {scores['constant']['noun']}", f"{scores['constant']['top1']:.1f}", "", "", ""])
    columns = ["", "top 1", "top 5", "top 1, mean of categories", "top 5, mean of categories"]
    print_table("boxes whose category is named, %", columns, rows)
    counts = ([name, *map(str, count.values())] for name, count in scores["per_category"].items())
    print_table("by category", ["", "boxes", "top 1", "top 5"], counts)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GoldOptions:
    """What `promu evaluate ner`, `re`, `joint` and those of extensions are given beside the model.

    Args:
        data: File with the gold.
        format: Its format; left out, posts for a .jsonl file, else the task's own: conll, mnre or jmere.
        scheme: How the tags of CoNLL files mark entities; auto finds it out.
        images: Folder of the posts' images.
        missing_images: What a missing or broken image does: stop, or have its post read as text.
        groups: JSON file, an object of group name by post id; adds figures by group.
        predictions: Write the model's answers here, in the format of the gold.
        batch_size: Posts a forward pass.
        threshold: Leave out answers with a lower score before they are scored; fitted is the model's own, with which it
            extracts. By default all answers count, as in published figures.
        types: Entity type of the gold and what the model calls it, where they differ: --types.OTHER MISC.
        report: Write an HTML page here: the figures, and precision and recall by threshold.
        context: NAME=FILE: texts about the posts that the model reads under this name.
        allow_leaks: Score although contexts say labels of the gold.
        json: Print JSON instead of tables.
    """

    data: Path
    format: str | None = None
    scheme: Scheme = "auto"
    images: Path | None = None
    missing_images: MissingPostImage = "raise"
    groups: Path | None = None
    predictions: Path | None = None
    batch_size: int = 64
    threshold: float | Literal["fitted"] | None = None
    types: dict[str, str] | None = None
    report: Path | None = None
    context: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    allow_leaks: bool = False
    json: bool = False


@evaluate.command(name="ner")
def evaluate_ner(model: Path, /, options: GoldOptions) -> None:
    """Score a fine-tuned model's entities against gold (CoNLL data, or posts in a .jsonl file).

    Without --images the posts are read as text alone, which is then said.

    Args:
        model: The model folder of a fine-tuning run.
    """
    _evaluate("ner", model, options)


@evaluate.command(name="re")
def evaluate_re(model: Path, /, options: GoldOptions) -> None:
    """Score a fine-tuned model's relations against gold (MNRE data, or posts in a .jsonl file).

    Without --images the posts are read as text alone, which is then said.

    Args:
        model: The model folder of a fine-tuning run.
    """
    _evaluate("re", model, options)


@evaluate.command(name="joint")
def evaluate_joint(model: Path, /, options: GoldOptions) -> None:
    """Score a model's quintuples against gold (JMERE data, or posts in a .jsonl file).

    A joint model finds entities and relations at once. A folder with ner/ and re/ is scored on the same set as a
    pipeline: entities first, then the relation of every pair of them. Without --images the posts are read as text
    alone, which is then said.

    Args:
        model: The model folder of a fine-tuning run, or a folder with joint/, or with ner/ and re/.
    """
    _evaluate("joint", model, options)


def add_extension_tasks() -> None:
    """Give each task of an installed package its command, as promu's own tasks have one."""
    from promu.extensions import extensions

    for entry in extensions("promu.tasks"):
        if entry.name not in evaluate:
            evaluate.command(_command_of(entry.name), name=entry.name)


def _command_of(task: str) -> Callable[..., None]:
    def command(model: Path, /, options: GoldOptions) -> None:
        _evaluate(task, model, options)

    command.__doc__ = f"""Score a model of the task {task}, which an installed package adds, against gold.

    Args:
        model: The model folder of a fine-tuning run.
    """
    return command


def _evaluate(task: str, model: Path, options: GoldOptions) -> None:
    predictions = options.predictions
    if options.report is not None and not options.report.absolute().parent.is_dir():
        raise InputError("no such folder to write the report to; make it first", options.report.parent)
    if predictions is not None and not predictions.parent.is_dir():
        raise InputError("no such folder to write predictions to; make it first", predictions.parent)
    from promu.files import refuse_overwriting
    from promu.hub import quiet

    if predictions is not None:
        refuse_overwriting(predictions, options.data, options.groups)

    quiet()
    from promu.extraction.evaluate_model import evaluate

    settings = {
        name: getattr(options, name)
        for name in ("format", "scheme", "images", "missing_images", "groups", "batch_size", "threshold")
    }
    settings |= {"types": options.types, "allow_leaks": options.allow_leaks}
    contexts = named_files(options.context)
    with progress_bars():
        result = evaluate(model, options.data, task, contexts=contexts, **settings)
    if result.unknown_labels:
        names = ", ".join(f"{name} ({count})" for name, count in result.unknown_labels.items())
        note(f"the model cannot give labels that the gold has, and misses them all: {names}")
    if result.as_text:
        why = "no --images" if result.reads_images else "the model reads text alone"
        if options.images is not None:
            why = f"{counted(result.missing, 'image')} missing or broken"
        rows = counted(len(result.predictions), "pair" if task == "re" else "post")
        note(f"read as text, without an image: {result.as_text} of {rows} ({why})")
    if result.threshold is not None:
        shown = result.threshold if isinstance(result.threshold, str) else f"{result.threshold:.3f}"
        note(f"answers below the threshold ({shown}) are left out; published figures are without one")
    elif result.fitted:
        note(f"all answers are scored; in extraction those below {result.fitted:.3f} are left out (--threshold fitted)")
    from promu.evaluation.joint_scores import JointScores
    from promu.evaluation.ner import NerScores
    from promu.evaluation.relation import RelationScores
    from promu.tasks.task import TASKS

    if predictions is not None:
        TASKS[task].write(predictions, result.predictions, options.format)
    if options.report is not None:
        from promu.report.run_report import write_evaluation_report

        named = ("precision", "recall", "f1")
        facts = [(f"{value:.1f}", name) for name, value in result.scores.to_dict().items() if name in named]
        facts += [("none" if result.threshold is None else str(result.threshold), "threshold")]
        title = f"{model} on {options.data.name}"
        write_evaluation_report(options.report, title, facts, result.curve)
    if options.json:
        print_json(result.to_dict())
        return
    if isinstance(result.scores, NerScores | RelationScores | JointScores):
        print_scores([result.scores])
    else:  # of an extension
        figures = {name: value for name, value in result.scores.to_dict().items() if isinstance(value, int | float)}
        posts = counted(len(result.predictions), "post")
        print_table(f"{task}, {posts}", ["", ""], [[name, f"{value:g}"] for name, value in figures.items()])
    if result.long_posts.posts:
        print(result.long_posts.sentence())

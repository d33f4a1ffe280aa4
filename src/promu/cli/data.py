"""`promu newsreel` and `promu check`: make data, look at data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from promu.cli.console import note, print_json, print_table, progress_bars
from promu.schema import MissingPairImage

if TYPE_CHECKING:
    from promu.corpora.joint_sets import Fit
    from promu.corpora.shards import PairShards


def newsreel(
    out: Path,
    /,
    *,
    seed: int = 0,
    size: int = 48,
    pairs: int = 16000,
    ner_posts: tuple[int, int, int] = (400, 200, 500),
    re_posts: tuple[int, int, int] = (400, 200, 500),
    undecided: float = 0.6,
    falsified: float = 0.5,
    unrelated: float = 0.15,
    dropped_mentions: float = 0.12,
    relation_phrase: float = 0.55,
    noise: float = 8.0,
    tail: float = 0.0,
    json: bool = False,
) -> None:
    """Draw the built-in corpus: captioned images and posts in the published formats, determined by the settings.

    Args:
        out: The folder to make; if it holds this very corpus already, nothing is drawn again.
        seed: Seed of the world: names, scenes, texts, images.
        size: Width and height of an image in pixels.
        pairs: Number of pairs of image and caption.
        ner_posts: Posts for entities: train, dev and test.
        re_posts: Posts for relations: train, dev and test.
        undecided: Share of posts whose text decides neither type nor relation, so that the image must.
        falsified: Share of pairs whose caption comes from another, similar image.
        unrelated: Share of the posts decided by their text that come with an image of something else.
        dropped_mentions: Share of the things in an image whose kind its caption does not tell.
        relation_phrase: Share of captions that tell the relation their image shows.
        noise: Standard deviation of the pixel noise, of 255.
        tail: How much rarer each entity type and relation of the posts is than the one before: the nth has a weight of
            1 / n ** tail; 0 makes all as frequent.
        json: Print JSON instead of lines.
    """
    from promu.newsreel import NewsreelSettings, write_newsreel

    settings = NewsreelSettings(
        seed=seed,
        size=size,
        pairs=pairs,
        ner_posts=ner_posts,
        re_posts=re_posts,
        undecided=undecided,
        falsified=falsified,
        unrelated=unrelated,
        dropped_mentions=dropped_mentions,
        relation_phrase=relation_phrase,
        noise=noise,
        tail=tail,
    )
    with progress_bars():
        report = write_newsreel(out, settings)
    if json:
        print_json(
            {
                "path": str(report.path),
                "reused": report.reused,
                "settings": settings.to_dict(),
                "counts": report.counts,
                "text_only_ceiling": {"ner": report.ner_ceiling, "re": report.re_ceiling},
            }
        )
        return
    print(f"{report.path}: {'already there, nothing drawn' if report.reused else 'drawn'}, seed {seed}")
    width = max(map(len, report.counts))
    for name, count in report.counts.items():
        print(f"  {name:<{width}}  {count:>7,}")
    print(
        f"text-only ceiling on test (best F1 without images): entities {report.ner_ceiling:.1f}, "
        f"relations {report.re_ceiling:.1f}"
    )


def check(path: Path, /, *, format: str, images: Path | None = None, json: bool = False) -> int:
    """Read a file or a whole set; say what is in it, and every malformed line as `file:line: reason`.

    Of a whole set also what its splits share: texts, images by name, and with --images images by content. A file is
    named by its checksum where that is known.

    Exit status 2 when a line is malformed or an image missing or broken.

    Args:
        path: A file, or the folder of a set.
        format: One of conll, conll-lenient, mnre, jmere, posts, captions, newsclippings, coco.
        images: Folder of images; missing and broken ones are then named.
        json: Print JSON instead of lines.
    """
    from promu.corpora.check import check as check_corpus

    report = check_corpus(path, format, images)
    if json:
        print_json(report.to_dict())
    else:
        for line in report.lines():
            print(line)
    return 0 if report.ok else 2


fewshot_app = App(
    name="fewshot", help="Joint few-shot sets: sample them from labelled posts, or draw them in the built-in world."
)


@fewshot_app.command(name="sample")
def sample(
    data: Path,
    out: Path,
    /,
    *,
    format: Literal["jmere", "mnre", "posts"] = "jmere",
    train: int = 250,
    dev: int = 250,
    seed: int = 17,
    relations: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    json: bool = False,
) -> None:
    """Draw a training and a dev set with the relation distribution of a whole set, every relation present.

    No text is in both. Pairs of an MNRE file are grouped into posts, `None` left out. What is written, `train.json` and
    `val.json` in the folder, are JMERE files, with captions and knowledge where the whole set has them.

    Args:
        data: The whole set.
        out: The folder to make.
        format: Of the whole set.
        train: Posts to train on.
        dev: Posts to choose by; 0 draws none.
        seed: Of the choice.
        relations: Relations that must be there; those of the whole set if not given.
        json: Print JSON instead of a table.
    """
    from promu.corpora.joint_sets import read_joint, sample_few_shot, write_few_shot

    joint = read_joint(data, format)
    sets = sample_few_shot(joint.posts, train, dev, seed, relations)
    files = write_few_shot(out, joint, sets)
    if json:
        print_json(
            {
                "seed": seed,
                "whole": {"posts": len(joint.posts), **joint.left_out()},
                "texts_drawn_already": sets.repeats,
                "sets": {split: {"path": str(files[split]), **fit.to_dict()} for split, fit in sets.fits.items()},
            }
        )
        return
    for what, count in joint.left_out().items():
        note(f"{count:,} {what}")
    print_table(
        f"relations in {len(joint.posts):,} posts, and in those drawn (seed {seed})",
        ["", "whole", "share", *(column for split in sets.fits for column in (split, "share"))],
        _rows(sets.fits),
    )
    for split, fit in sets.fits.items():
        print(f"{files[split]}: {fit.posts} posts, Jensen-Shannon divergence {fit.divergence:.4f} bits")
        if fit.absent:
            note(f"{split} lacks {', '.join(fit.absent)}: too few texts have it for both sets")


@fewshot_app.command(name="draw")
def draw(
    out: Path,
    /,
    *,
    seed: int = 0,
    size: int = 48,
    posts: tuple[int, int, int] = (500, 250, 500),
    undecided: float = 0.6,
    known: float = 0.6,
    relation_phrase: float = 0.3,
    noise: float = 8.0,
    json: bool = False,
) -> None:
    """Draw a joint set in the built-in world: quintuples, images, captions, and knowledge from the world's own facts.

    Args:
        out: The folder to make: train.json, val.json, test.json (JMERE), images, regions.json, groups.json.
        seed: Of names, scenes, texts, images.
        size: Width and height of an image in pixels.
        posts: Posts of train, dev and test.
        undecided: Share of posts whose text decides neither types nor relation.
        known: Share of posts whose knowledge tells the relation.
        relation_phrase: Share of captions that tell the relation.
        noise: Standard deviation of the pixel noise, of 255.
        json: Print JSON instead of lines.
    """
    from promu.newsreel.joint_world import JointSettings, write_joint

    settings = JointSettings(seed, size, posts, undecided, known, relation_phrase, noise)
    with progress_bars():
        counts = write_joint(out, settings)
    if json:
        print_json({"path": str(out), "counts": counts})
        return
    print(f"{out}: drawn, seed {seed}")
    for name, count in counts.items():
        print(f"  {name:<26}  {count:>6,}")


@fewshot_app.command(name="pipeline")
def pipeline(train: Path, dev: Path, test: Path, out: Path, /, *, json: bool = False) -> None:
    """Write a joint set as CoNLL and MNRE files, so that a pipeline of two models learns from the same posts.

    Each quintuple becomes a pair of MNRE's; every other pair of a post's entities, either way round, is `None`.

    Args:
        train: JMERE file to train on.
        dev: JMERE file to choose by.
        test: JMERE file to test on.
        out: The folder to make: ner/train.txt, valid.txt, test.txt and re/mnre_train.txt, mnre_val.txt, mnre_test.txt.
        json: Print JSON instead of a table.
    """
    from promu.corpora.joint_sets import write_pipeline_sets

    counts = write_pipeline_sets({"train": train, "valid": dev, "test": test}, out)
    if json:
        print_json({"path": str(out), "sets": counts})
        return
    columns = ["posts", "entities", "relations", "none_pairs"]
    rows = ([split, *(f"{found[name]:,}" for name in columns)] for split, found in counts.items())
    print_table(str(out), ["", "posts", "entities", "pairs", "None pairs"], rows)
    for split, found in counts.items():
        if found["overlapping_entities"]:
            note(f"{split}: {found['overlapping_entities']} entities overlap others and are not in the CoNLL file")


def _rows(fits: Mapping[str, Fit]) -> Iterator[list[str]]:
    whole = next(iter(fits.values())).whole
    columns = [whole, *(fit.relations for fit in fits.values())]
    sums = [sum(column.values()) for column in columns]
    for name in whole:
        yield [
            name,
            *(
                cell
                for column, total in zip(columns, sums, strict=True)
                for cell in (f"{column.get(name, 0):,}", f"{100 * column.get(name, 0) / total:.1f} %")
            ),
        ]


corpus_app = App(name="corpus", help="Make a corpus of captions and images for pre-training, or look at one.")


@corpus_app.command(name="build")
def build(
    captions: Path,
    /,
    *,
    out: Path,
    images: Path | None = None,
    format: Literal["auto", "captions", "newsclippings", "folder"] = "auto",
    detector: str = "none",
    regions: str | None = None,
    confidence: float = 0.3,
    max_regions: int = 10,
    class_names: Path | None = None,
    missing_images: MissingPairImage = "raise",
    falsify: Literal["keep", "none", "similar", "uniform"] = "keep",
    share: float = 0.5,
    text_encoder: str | None = None,
    side: int | None = None,
    dev: int = 0,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Make a corpus: Parquet shards of images with their captions and regions. Started again, it goes on.

    Args:
        captions: CSV or JSON lines of image and caption, NewsCLIPpings annotations (with data.json beside them), or a
            folder of images, each with its captions in a .txt file of its name.
        out: The folder to make; with --dev it gets two corpora, train and dev.
        images: Folder of images; not needed where the captions are a folder.
        format: What the captions are; auto sees for itself.
        detector: What finds regions: coco (a file of boxes), hf (a model), yolo (an ONNX file) or none.
        regions: The detector's file, folder or hub name.
        confidence: Regions with a lower score are left out.
        max_regions: Regions an image at most.
        class_names: File with one class name a line, for a YOLO file without its own.
        missing_images: Stop at an image or caption that cannot be used (raise), or leave it out and count it (skip).
        falsify: Pairs whose caption is another image's: as the set has them (keep), left out (none), or made, of
            captions near in meaning (similar) or of any (uniform).
        share: Share of all pairs that made ones are to be.
        text_encoder: Text encoder that says which captions are near, such as
            sentence-transformers/all-MiniLM-L6-v2, a folder, or package:NAME/PATH; without it words are compared.
        side: Longest side in pixels; larger images are stored as JPEG of that size. Without it files are kept.
        dev: Number of images to hold out, with all that is captioned with them.
        seed: Seed of what is held out and of the falsified pairs.
        json: Print JSON instead of lines.
    """
    from promu.alignment.corpus_build import CorpusSettings, build_corpus
    from promu.errors import InputError

    if images is None and not captions.is_dir():
        raise InputError(f"--images is missing: name the folder of the images that {captions} is about")
    settings = CorpusSettings(
        captions,
        images or captions,
        format=format,
        detector=detector,
        regions=regions,
        confidence=confidence,
        max_regions=max_regions,
        class_names=class_names,
        missing_images=missing_images,
        falsify=falsify,
        share=share,
        text_encoder=text_encoder,
        side=side,
        dev=dev,
        seed=seed,
    )
    with progress_bars():
        result = build_corpus(settings, out)
    if json:
        print_json(result)
        return
    print(f"{out}: {result['read']:,} pairs read, {result['kept']:,} kept, {result['made']:,} falsified ones made")
    for reason, count in result["skipped"]["pairs"].items():
        print(f"  skipped: {count:,} {reason}")
    for sentence in result["skipped"]["examples"]:
        note(sentence)
    _print_parts({str(_folder(out, name, result["parts"])): part for name, part in result["parts"].items()})


@corpus_app.command(name="show")
def show(corpus: Path, /, *, first: int = 5, json: bool = False) -> None:
    """Say what a corpus holds: counts, and its first images with captions and regions.

    Args:
        corpus: A corpus, or the folder that `promu corpus build --dev` made.
        first: Images shown of each.
        json: Print JSON instead of tables; with the settings it was built with.
    """
    from promu.corpora.shards import HEADER, PairShards

    folders = [corpus / part for part in ("train", "dev") if (corpus / part / HEADER).is_file()]
    if (corpus / HEADER).is_file() or not folders:
        folders = [corpus]
    opened = {folder: PairShards(folder) for folder in folders}
    shown = {str(folder): _first_images(shards, first) for folder, shards in opened.items()}
    if json:
        print_json({str(folder): {**shards.header, "first": shown[str(folder)]} for folder, shards in opened.items()})
        return
    _print_parts({str(folder): shards.header for folder, shards in opened.items()})
    for name, images in shown.items():
        for image in images:
            print(f"{name}: {image['image']}, {image['width']} x {image['height']}")
            for caption in image["captions"]:
                print(f"  {'     ' if caption['matched'] else 'false'} {caption['text']}")
            for region in image["regions"]:
                box = ", ".join(f"{edge:.0f}" for edge in region["box"])
                print(f"  region {region['label']} {region['score']:.2f} ({box})")


def _folder(out: Path, part: str, parts: Mapping[str, Any]) -> Path:
    return out / part if len(parts) > 1 else out


def _first_images(shards: PairShards, first: int) -> list[dict[str, Any]]:
    return [
        {
            "image": image.image,
            "width": image.width,
            "height": image.height,
            "captions": [{"text": text, "matched": matched} for text, matched in image.captions],
            "regions": [
                {"box": list(region.box), "label": region.label, "score": region.score} for region in image.regions
            ],
        }
        for image in (shards.image(index) for index in range(min(first, shards.images)))
    ]


def _print_parts(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """A table of what corpora hold, out of their headers; one that another program wrote may say less."""
    columns = ("images", "pairs", "matched", "falsified", "shards")
    print_table(
        "corpora",
        ["", *columns, "regions", "MB"],
        (
            [
                name,
                *(_count(header.get(column)) for column in columns),
                _count((header.get("regions") or {}).get("kept")),
                "" if "bytes" not in header else f"{header['bytes'] / 1e6:.1f}",
            ]
            for name, header in parts.items()
        ),
    )
    for name, header in parts.items():
        made = header.get("made") or {}
        if made.get("mean_similarity") is not None:
            print(f"{name}: falsified captions are near their true ones at a cosine of {made['mean_similarity']:.3f}")


def _count(value: Any) -> str:
    return "" if value is None else f"{value:,}"


candidates_app = App(name="candidates", help="Candidates for prompts: nouns of the captions, relations of Wikidata.")

SHOWN = 30
"""Candidates that the table shows; the file holds them all."""


@candidates_app.command(name="nouns")
def nouns(
    source: Path,
    /,
    *,
    pipeline: str,
    top: int = 1000,
    out: Path,
    stop: Path | None = None,
    processes: int = 1,
    json: bool = False,
) -> None:
    """The most frequent nouns of the captions that belong to their image, found by a spaCy pipeline.

    Args:
        source: A corpus folder, or a file of captions (CSV or JSON lines).
        pipeline: A spaCy pipeline that tags parts of speech: its folder, or the name of an installed one.
        top: How many nouns to keep.
        out: The file to write: a noun a line, after a tab its count.
        stop: File of words that are never candidates, one a line; left out, promu's own short list.
        processes: Processes that share the work.
        json: Print JSON instead of a table.
    """
    from promu.alignment.candidates import count_nouns, most_frequent, read_stop_list

    _check_top(top)
    stopped = read_stop_list(stop)
    captions = _captions(source)
    with progress_bars():
        counts = count_nouns(captions, pipeline, processes)
    found, words = len(counts), counts.total()
    taken = {word: counts.pop(word) for word in stopped if word in counts}
    kept = most_frequent(counts, top)
    notes = [
        f"{len(kept)} of {found} nouns in {len(captions)} captions of {source.name}, by {Path(pipeline).name}",
        f"{len(taken)} of the others stand on the stop list, {found - len(taken) - len(kept)} are rarer",
    ]
    _write_candidates(out, notes, kept)
    if json:
        print_json(
            {
                "captions": len(captions),
                "nouns_found": found,
                "occurrences": words,
                "stopped": taken,
                "kept": dict(kept),
                "out": str(out),
            }
        )
        return
    print_table("nouns", ["noun", "count"], ((noun, f"{count:,}") for noun, count in kept[:SHOWN]))
    _print_end(notes, out)


@candidates_app.command(name="relations")
def relations(table: Path, /, *, top: int = 100, out: Path, meta: Path | None = None, json: bool = False) -> None:
    """The most used Wikidata properties that relate two things.

    Args:
        table: CSV of properties with the columns ID, label, description, Data type and Count.
        top: How many relations to keep.
        out: The file to write: a label a line, after a tab its uses and ID.
        meta: File of rules that name properties about Wikimedia's own pages; left out, promu's own.
        json: Print JSON instead of a table.
    """
    from promu.alignment.candidates import ITEM, read_meta_rules, read_properties
    from promu.alignment.candidates import relations as most_used

    _check_top(top)
    properties, rules = read_properties(table), read_meta_rules(meta)
    items = sum(item.data_type == ITEM for item in properties)
    usable = most_used(properties, rules, len(properties))
    kept = usable[:top]
    notes = [
        f"{len(kept)} of {len(properties)} properties of {table.name}",
        f"{len(properties) - items} of the others take no item as value, {items - len(usable)} are meta, "
        f"{len(usable) - len(kept)} are used less",
    ]
    _write_candidates(out, notes, [(item.label, f"{item.uses}\t{item.id}") for item in kept])
    if json:
        print_json(
            {
                "properties": len(properties),
                "item_valued": items,
                "meta": items - len(usable),
                "kept": {item.id: {"label": item.label, "uses": item.uses} for item in kept},
                "out": str(out),
            }
        )
        return
    rows = ((item.label, item.id, f"{item.uses:,}") for item in kept[:SHOWN])
    print_table("relations", ["relation", "property", "uses"], rows)
    _print_end(notes, out)


def _check_top(top: int) -> None:
    """Refuse to keep less than one candidate."""
    from promu.errors import InputError

    if top < 1:
        raise InputError(f"--top must be 1 or more, found {top}")


def _write_candidates(out: Path, notes: Sequence[str], rows: Sequence[tuple[str, object]]) -> None:
    """Write what `read_candidates` reads: notes as comments, then a candidate a line with its figures."""
    from promu.errors import InputError
    from promu.files import write_lines

    if not rows:
        raise InputError("no candidate was found, so nothing is written; is this the right input?", out)
    write_lines(out, [*(f"# {note}" for note in notes), *(f"{name}\t{figures}" for name, figures in rows)])


def _captions(source: Path) -> list[str]:
    """Every caption that belongs to its image: a falsified pair's caption is counted with its own image."""
    from promu.corpora.captions import read_captions
    from promu.corpora.shards import PairShards
    from promu.errors import InputError

    pairs = PairShards(source).pairs() if source.is_dir() else read_captions(source)
    captions = [pair.caption for pair in pairs if pair.matched]
    if not captions:
        raise InputError("no caption here belongs to its image, so there is none to count nouns in", source)
    return captions


def _print_end(notes: Sequence[str], out: Path) -> None:
    for line in notes:
        print(line)
    print(out)

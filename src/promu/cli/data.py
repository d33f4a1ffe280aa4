"""`promu newsreel`, `fetch`, `check`, `fewshot`, `corpus` and `candidates`: make data, look at data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from promu.alignment.candidates import write_nouns, write_relations
from promu.alignment.corpus_settings import CorpusSettings
from promu.cli.console import named_files, note, print_json, print_table, progress_bars
from promu.corpora.check import check as check_corpus
from promu.corpora.joint_sets import read_joint, sample_few_shot, write_few_shot, write_pipeline_sets
from promu.corpora.shards import describe_corpora
from promu.errors import InputError, counted
from promu.newsreel import NewsreelSettings, write_newsreel
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.schema import Scheme

Flat = Parameter(name="*")  # settings whose fields are options of the command
SHOWN = 30  # candidates that a table shows; the file holds them all


def newsreel(out: Path, /, *, settings: Annotated[NewsreelSettings | None, Flat] = None, json: bool = False) -> None:
    """Draw the built-in corpus: captioned images and posts in the published formats, determined by the settings.

    Args:
        out: The folder to make; if it holds this very corpus already, nothing is drawn again.
        settings: What to draw.
        json: Print JSON instead of lines.
    """
    settings = settings or NewsreelSettings()
    with progress_bars():
        report = write_newsreel(out, settings)
    if json:
        result = {"path": str(report.path), "reused": report.reused, "settings": settings.model_dump(mode="json")}
        print_json({**result, "counts": report.counts, "upper_bounds": report.upper_bounds})
        return
    print(f"{report.path}: {'already there, nothing drawn' if report.reused else 'drawn'}, seed {settings.seed}")
    width = max(map(len, report.counts))
    for name, count in report.counts.items():
        print(f"  {name:<{width}}  {count:>7,}")
    print("upper bounds on test (best F1 of a reader of these alone):")
    for task, bounds in report.upper_bounds.items():
        print(f"  {task:<3}  " + ", ".join(f"{seen} {f1:.1f}" for seen, f1 in bounds.items()))


def check(
    path: Path,
    /,
    *,
    format: str,
    scheme: Scheme = "auto",
    images: Path | None = None,
    model: Path | None = None,
    tokenizer: str | None = None,
    max_length: int | None = None,
    context: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    json: bool = False,
) -> int:
    """Read a file or a whole set; say what is in it, and what is malformed as `file:line: reason`, each kind once.

    Of a whole set also what its splits share: texts, images by name, and with --images images by content. A file is
    named by its content where that is known. Exit status 2 when a line is malformed, an image missing or broken, or a
    context says a label of the gold.

    Args:
        path: A file, or the folder of a set.
        format: One of conll, mnre, jmere, gmner, fmnerg, fmnerg-coarse, posts, spans, doccano, label-studio, prodigy,
            brat, spacy, captions, newsclippings, coco.
        scheme: How the tags of CoNLL files mark entities; auto finds it out.
        images: Folder of images; missing and broken ones are then named.
        model: Folder of a fine-tuned model; posts that are longer than it reads are then counted, and what they lose.
        tokenizer: In place of a model, a tokenizer: folder, hub name, package:NAME/PATH.
        max_length: With a tokenizer, the tokens that will be read, by default 80.
        context: NAME=FILE: texts about the posts; says for how many there are some, and what they say of the gold.
        json: Print JSON instead of lines.
    """
    report = check_corpus(path, format, images, scheme)
    lengths: dict[str, Any] = {}
    if (model, tokenizer, max_length) != (None, None, None):
        from promu.hub import quiet
        from promu.tasks.reachable_gold import check_lengths

        quiet()
        sound = [one.path for one in report.files if not one.problems]
        for file in sound:
            lengths |= check_lengths(file, format, model, tokenizer, max_length, scheme)
    contexts: dict[str, Any] = {}
    if (files := named_files(context)) and report.ok:
        from promu.evaluation.leaks import check_contexts

        contexts = check_contexts(path, format, files, scheme)
    if json:
        long_posts = {"long_posts": {file: long.to_dict() for file, long in lengths.items()}} if lengths else {}
        said = {"contexts": {name: one.to_dict() for name, one in contexts.items()}} if contexts else {}
        print_json({**report.to_dict(), **long_posts, **said})
    else:
        print("\n".join([*report.lines(), *(f"{file}: {long.sentence()}" for file, long in lengths.items())]))
        print("".join(f"{line}\n" for name, one in contexts.items() for line in one.lines(name)), end="")
    return 0 if report.ok and not any(one.leaks for one in contexts.values()) else 2


def fetch(
    *names: str,
    source: Annotated[Path | None, Parameter(name="--from")] = None,
    to: Path | None = None,
    listing: Annotated[bool, Parameter(name="--list")] = False,
    json: bool = False,
) -> int:
    """Fetch published sets, each file verified by its checksum; what broke off goes on at the next call.

    Exit status 2 when a file is still missing.

    Args:
        names: Sets, see --list.
        source: A folder or an archive (zip, tar) got by hand, in place of the network: its files are known by their
            checksums, its images by the names in the set's records.
        to: The folder of sets, in place of $PROMU_DATA (~/.cache/promu/data).
        listing: Say which sets there are, with size, licence and what each lacks.
        json: Print JSON instead of lines.
    """
    from promu.corpora.fetch import fetch as run
    from promu.corpora.published_sets import published_sets
    from promu.files import data_folder

    if listing:
        sets = published_sets()
        if json:
            print_json({name: {**one.model_dump(mode="json"), "size": one.size} for name, one in sets.items()})
            return 0
        print(f"fetched into {to or data_folder()}")
        for name, one in sets.items():
            print(f"\n{name}: {one.title}\n  {one.size / 1e6:.1f} MB, licence: {one.licence}\n  cite: {one.citation}")
            if one.lacks:
                print(f"  lacks {one.lacks}")
        return 0
    if not names:
        raise InputError("name the sets to fetch; promu fetch --list says which there are")
    with progress_bars():
        results = run(names, source=source, folder=to)
    if json:
        print_json([{**asdict(one), "folder": str(one.folder), "complete": one.complete} for one in results])
    for result in () if json else results:
        print(f"{result.name}: {len(result.fetched)} fetched, {len(result.there)} there already, in {result.folder}")
        for path, reason in result.missing.items():
            print(f"  missing: {path} {reason}")
        if result.images[1]:
            print(f"  images: {result.images[0]:,} of the {result.images[1]:,} that the records name")
        for image, reason in list(result.broken_images.items())[:10]:
            print(f"  left out: {image} {reason}")
        if result.left_out[0]:
            print(f"  left out: {counted(result.left_out[0], 'other file')}, such as {', '.join(result.left_out[1])}")
        lacks = published_sets()[result.name].lacks
        if lacks and not result.images[0]:
            print(f"  lacks {lacks}; then: promu fetch {result.name} --from ARCHIVE")
    return 0 if all(one.complete for one in results) else 2


fewshot_app = App(name="fewshot", help="Few-shot sets, sampled from labelled posts or drawn in the built-in world.")


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
    joint = read_joint(data, format)
    sets = sample_few_shot(joint.posts, train, dev, seed, relations)
    files = write_few_shot(out, joint, sets)
    if json:
        about = {"seed": seed, "whole": {"posts": len(joint.posts), **joint.left_out}}
        drawn = {split: {"path": str(files[split]), **fit.to_dict()} for split, fit in sets.fits.items()}
        print_json({**about, "texts_drawn_already": sets.repeats, "sets": drawn})
        return
    for what, count in joint.left_out.items():
        note(f"{count:,} {what}")
    whole = next(iter(sets.fits.values())).whole
    found = {"whole": whole, **{split: fit.relations for split, fit in sets.fits.items()}}
    rows = {name: [name] for name in whole}
    for counts in found.values():
        for name, row in rows.items():
            row += [f"{counts.get(name, 0):,}", f"{100 * counts.get(name, 0) / sum(counts.values()):.1f} %"]
    title = f"relations in {counted(len(joint.posts), 'post')}, and in those drawn (seed {seed})"
    print_table(title, ["", *(column for split in found for column in (split, "share"))], rows.values())
    for split, fit in sets.fits.items():
        print(f"{files[split]}: {counted(fit.posts, 'post')}, Jensen-Shannon divergence {fit.divergence:.4f} bits")
        if fit.absent:
            note(f"{split} lacks {', '.join(fit.absent)}: too few texts have it for both sets")


@fewshot_app.command(name="draw")
def draw(out: Path, /, *, settings: Annotated[JointSettings | None, Flat] = None, json: bool = False) -> None:
    """Draw a joint set in the built-in world: quintuples, images, captions, and knowledge from the world's own facts.

    Args:
        out: The folder to make: train.json, val.json, test.json (JMERE), images, regions, groups, and a card.
        settings: What to draw.
        json: Print JSON instead of lines.
    """
    settings = settings or JointSettings()
    with progress_bars():
        report = write_joint(out, settings)
    if json:
        print_json({"path": str(out), **asdict(report)})
        return
    print(f"{out}: drawn, seed {settings.seed}")
    for name, count in report.counts.items():
        print(f"  {name:<26}  {count:>6,}")
    print("upper bounds on test (best F1 of a reader of these alone), first relation of a post:")
    print("  " + ", ".join(f"{seen} {f1:.1f}" for seen, f1 in report.upper_bounds.items()))


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
    counts = write_pipeline_sets({"train": train, "valid": dev, "test": test}, out)
    if json:
        print_json({"path": str(out), "sets": counts})
        return
    columns = ["posts", "entities", "relations", "none_pairs"]
    rows = ([split, *(f"{found[name]:,}" for name in columns)] for split, found in counts.items())
    print_table(str(out), ["", "posts", "entities", "pairs", "None pairs"], rows)
    for split, found in counts.items():
        if found["overlapping_entities"]:
            overlapping = counted(
                found["overlapping_entities"], "entity overlaps others and is", "entities overlap others and are"
            )
            note(f"{split}: {overlapping} not in the CoNLL file")


corpus_app = App(name="corpus", help="Make a corpus of captions and images for pre-training, or look at one.")


@corpus_app.command(name="build")
def build(settings: Annotated[CorpusSettings, Flat], *, out: Path, json: bool = False) -> None:
    """Make a corpus: Parquet shards of images with their captions and regions. Started again, it goes on.

    Args:
        settings: What to make it of.
        out: The folder to make; with --dev it gets two corpora, train and dev.
        json: Print JSON instead of lines.
    """
    from promu.alignment.corpus_build import build_corpus

    with progress_bars():
        result = build_corpus(settings, out)
    if json:
        print_json(result)
        return
    read, made = counted(result["read"], "pair"), counted(result["made"], "falsified one")
    print(f"{out}: {read} read, {result['kept']:,} kept, {made} made")
    for reason, count in result["skipped"]["pairs"].items():
        print(f"  skipped: {count:,} {reason}")
    for sentence in result["skipped"]["examples"]:
        note(sentence)
    _print_parts({str(out / name if settings.dev else out): part for name, part in result["parts"].items()})


@corpus_app.command(name="filter")
def filter_(
    corpus: Path,
    /,
    *,
    model: Path,
    out: Path,
    threshold: float = 0.5,
    write: bool = True,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Make a corpus of the captions that a model holds for those of their images, and of those that it writes (BLIP).

    Started again, it goes on. A recipe does the same with `data.filter`.

    Args:
        corpus: A corpus.
        model: The model folder of a pre-training with L_ITM and L_LM (--set losses=blip).
        out: The folder to make.
        threshold: Captions whose probability of belonging to the image is lower are left out.
        write: Let the model also write a caption for each image.
        seed: Of what it writes.
        json: Print JSON instead of a line.
    """
    from promu.hub import quiet
    from promu.training.caption_filter import filter_captions

    quiet()
    with progress_bars():
        done = filter_captions(corpus, model, out, threshold=threshold, write=write, seed=seed)
    if json:
        print_json(done.to_dict())
        return
    lost = f", {counted(done.images_dropped, 'image')} left out" if done.images_dropped else ""
    of = f"{done.kept:,} of {counted(done.kept + done.dropped, 'caption')} kept, {done.made:,} written"
    print(f"{out}: {counted(done.images, 'image')}{lost}; {of}")


@corpus_app.command(name="show")
def show(corpus: Path, /, *, first: int = 5, json: bool = False) -> None:
    """Say what a corpus holds: counts, and its first images with captions and regions.

    Args:
        corpus: A corpus, or the folder that `promu corpus build --dev` made.
        first: Images shown of each.
        json: Print JSON instead of tables; with the settings it was built with.
    """
    described = describe_corpora(corpus, first)
    if json:
        print_json(described)
        return
    _print_parts(described)
    for name, header in described.items():
        for image in header["first"]:
            print(f"{name}: {image['image']}, {image['width']} x {image['height']}")
            for caption in image["captions"]:
                print(f"  {'     ' if caption['matched'] else 'false'} {caption['text']}")
            for region in image["regions"]:
                box = ", ".join(f"{edge:.0f}" for edge in region["box"])
                print(f"  region {region['label']} {region['score']:.2f} ({box})")


def _print_parts(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """A table of what corpora hold, out of their headers; one that another program wrote may say less."""
    columns = ("images", "pairs", "matched", "falsified", "shards")
    rows = []
    for name, header in parts.items():
        counts = [*(header.get(column) for column in columns), (header.get("regions") or {}).get("kept")]
        size = f"{header['bytes'] / 1e6:.1f}" if "bytes" in header else ""
        rows.append([name, *("" if count is None else f"{count:,}" for count in counts), size])
    print_table("corpora", ["", *columns, "regions", "MB"], rows)
    for name, header in parts.items():
        similarity = (header.get("made") or {}).get("mean_similarity")
        if similarity is not None:
            print(f"{name}: falsified captions are near their true ones at a cosine of {similarity:.3f}")


candidates_app = App(name="candidates", help="Candidates for prompts: nouns of the captions, relations of Wikidata.")


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
    with progress_bars():
        found = write_nouns(source, out, pipeline, top, stop, processes)
    if json:
        print_json({name: value for name, value in asdict(found).items() if name != "notes"} | {"out": str(out)})
        return
    print_table("nouns", ["noun", "count"], ((noun, f"{count:,}") for noun, count in islice(found.kept.items(), SHOWN)))
    print("\n".join((*found.notes, str(out))))


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
    found = write_relations(table, out, top, meta)
    if json:
        kept = {item.id: {"label": item.label, "uses": item.uses} for item in found.kept}
        counts = {"properties": found.properties, "item_valued": found.item_valued, "meta": found.meta}
        print_json({**counts, "kept": kept, "out": str(out)})
        return
    rows = ((item.label, item.id, f"{item.uses:,}") for item in found.kept[:SHOWN])
    print_table("relations", ["relation", "property", "uses"], rows)
    print("\n".join((*found.notes, str(out))))

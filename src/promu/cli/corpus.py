"""`promu corpus build` and `promu corpus show`: captions and pictures made into what pre-training reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from promu.cli.console import note, print_json, print_table, progress_bars

if TYPE_CHECKING:
    from promu.corpora.shards import PairShards

app = App(name="corpus", help="Make a corpus of captions and pictures for pre-training, or look at one.")


@app.command(name="build")
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
    missing: Literal["require", "skip"] = "require",
    falsify: Literal["keep", "none", "similar", "uniform"] = "keep",
    share: float = 0.5,
    text_encoder: str | None = None,
    side: int | None = None,
    dev: int = 0,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Make a corpus: Parquet shards of pictures with their captions and regions. Started again, it goes on.

    Args:
        captions: CSV or JSON lines of image and caption, NewsCLIPpings annotations (with data.json beside them), or a
            folder of pictures, each with its captions in a .txt file of its name.
        out: The folder to make; with --dev it gets two corpora, train and dev.
        images: Folder of pictures; not needed where the captions are a folder.
        format: What the captions are; auto sees for itself.
        detector: What finds regions: coco (a file of boxes), hf (a model), yolo (an ONNX file) or none.
        regions: The detector's file, folder or hub name.
        confidence: Regions with a lower score are left out.
        max_regions: Regions a picture at most.
        class_names: File with one class name a line, for a YOLO file without its own.
        missing: Stop at a picture or caption that cannot be used (require), or leave it out and count it (skip).
        falsify: Pairs whose caption is another picture's: as the set has them (keep), left out (none), or made, of
            captions near in meaning (similar) or of any (uniform).
        share: Share of all pairs that made ones are to be.
        text_encoder: Text encoder that says which captions are near, such as
            sentence-transformers/all-MiniLM-L6-v2, a folder, or package:NAME/PATH; without it words are compared.
        side: Longest side in pixels; larger pictures are stored as JPEG of that size. Without it files are kept.
        dev: Number of pictures to hold out, with all that is captioned with them.
        seed: Seed of what is held out and of the falsified pairs.
        json: Print JSON instead of lines.
    """
    from promu.alignment.corpus_build import build_corpus
    from promu.alignment.corpus_settings import CorpusSettings
    from promu.errors import InputError

    if images is None and not captions.is_dir():
        raise InputError(f"--images is missing: name the folder of the pictures that {captions} is about")
    settings = CorpusSettings(
        captions,
        images or captions,
        format=format,
        detector=detector,
        regions=regions,
        confidence=confidence,
        max_regions=max_regions,
        class_names=class_names,
        missing=missing,
        falsify=falsify,
        share=share,
        text_encoder=text_encoder,
        side=side,
        dev=dev,
        seed=seed,
    )
    with progress_bars() as advance:
        result = build_corpus(settings, out, advance)
    if json:
        print_json(result)
        return
    print(f"{out}: {result['read']:,} pairs read, {result['kept']:,} kept, {result['made']:,} falsified ones made")
    for reason, count in result["skipped"]["pairs"].items():
        print(f"  skipped: {count:,} {reason}")
    for sentence in result["skipped"]["examples"]:
        note(sentence)
    _print_parts({str(_folder(out, name, result["parts"])): part for name, part in result["parts"].items()})


@app.command(name="show")
def show(corpus: Path, /, *, first: int = 5, json: bool = False) -> None:
    """Say what a corpus holds: counts, and its first pictures with captions and regions.

    Args:
        corpus: A corpus, or the folder that `promu corpus build --dev` made.
        first: Pictures shown of each.
        json: Print JSON instead of tables; with the settings it was built with.
    """
    from promu.corpora.shards import HEADER, PairShards

    folders = [corpus / part for part in ("train", "dev") if (corpus / part / HEADER).is_file()]
    if (corpus / HEADER).is_file() or not folders:
        folders = [corpus]
    opened = {folder: PairShards(folder) for folder in folders}
    shown = {str(folder): _first_pictures(shards, first) for folder, shards in opened.items()}
    if json:
        print_json({str(folder): {**shards.header, "first": shown[str(folder)]} for folder, shards in opened.items()})
        return
    _print_parts({str(folder): shards.header for folder, shards in opened.items()})
    for name, pictures in shown.items():
        for picture in pictures:
            print(f"{name}: {picture['image']}, {picture['width']} x {picture['height']}")
            for caption in picture["captions"]:
                print(f"  {'     ' if caption['matched'] else 'false'} {caption['text']}")
            for region in picture["regions"]:
                box = ", ".join(f"{edge:.0f}" for edge in region["box"])
                print(f"  region {region['label']} {region['score']:.2f} ({box})")


def _folder(out: Path, part: str, parts: Mapping[str, Any]) -> Path:
    return out / part if len(parts) > 1 else out


def _first_pictures(shards: PairShards, first: int) -> list[dict[str, Any]]:
    return [
        {
            "image": picture.image,
            "width": picture.width,
            "height": picture.height,
            "captions": [{"text": text, "matched": matched} for text, matched in picture.captions],
            "regions": [
                {"box": list(region.box), "label": region.label, "score": region.score} for region in picture.regions
            ],
        }
        for picture in (shards.picture(index) for index in range(min(first, shards.pictures)))
    ]


def _print_parts(parts: Mapping[str, Mapping[str, Any]]) -> None:
    """A table of what corpora hold, out of their headers; one that another program wrote may say less."""
    columns = ("pictures", "pairs", "matched", "falsified", "shards")
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

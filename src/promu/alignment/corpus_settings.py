"""What a corpus is made of: settings of `promu corpus build`, which a recipe may hold too, and what a detector is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol

from PIL import Image
from pydantic import Field, model_validator

from promu.config import Count, NotNegativeInt, Place, PlacePath, Settings, Share
from promu.schema import MissingPairImage, Region

Format = Literal["auto", "captions", "newsclippings", "folder"]


class CorpusSettings(Settings):
    """How to build a corpus from caption pairs and images."""

    captions: PlacePath = Field(
        description="CSV or JSON lines of image and caption; NewsCLIPpings annotations as released, a file or a folder "
        "of subsets; or a folder of images, each with its captions in a .txt file of its name"
    )
    images: PlacePath | None = Field(
        default=None,
        description="folder of the images, unless the captions are a folder of them; null: that of NewsCLIPpings' base",
    )
    base: PlacePath | None = Field(
        default=None,
        description="VisualNews' `data.json`, for NewsCLIPpings; null looks beside the annotations and in "
        "`visual_news/origin` of the folders above",
    )
    format: Literal["auto", "captions", "newsclippings", "folder"] = Field(
        default="auto", description="what the captions are; `auto` finds out"
    )
    detector: str = Field(
        default="none",
        description="what finds regions: `coco` (a file of boxes), `hf` (a model), `yolo` (an ONNX file, of PicoDet "
        "too) or `none`",
    )
    regions: Place | None = Field(default=None, description="the detector's file, folder or hub name")
    confidence: Share = Field(default=0.3, description="regions with a lower score are left out")
    max_regions: Count = Field(default=10, description="regions an image at most")
    class_names: PlacePath | None = Field(
        default=None, description="file of class names by line, for a YOLO file without"
    )
    missing_images: MissingPairImage = Field(
        default="raise",
        description="an image or caption that cannot be used: `raise` stops, `skip` leaves it out and counts it",
    )
    falsify: Literal["keep", "none", "similar", "uniform"] = Field(
        default="keep",
        description="pairs whose caption is another image's: as the set has them (`keep`), left out (`none`), or made, "
        "of captions near in meaning (`similar`) or of any (`uniform`); made ones need a set of true pairs only",
    )
    share: Annotated[float, Field(gt=0.0, le=0.9)] = Field(default=0.5, description="share of made pairs in all")
    text_encoder: Place | None = Field(
        default=None,
        description="text encoder that says which captions are near, such as sentence-transformers/all-MiniLM-L6-v2, a "
        "folder, or package:NAME/PATH; without it words are compared",
    )
    side: Count | None = Field(default=None, description="longest side in pixels; larger images are shrunk to JPEGs")
    dev: NotNegativeInt = Field(default=0, description="images to hold out, at random, as `dev` beside `train`")
    shard: Count = Field(default=4096, description="images a shard at most")
    seed: NotNegativeInt = Field(default=0, description="seed of what is held out and of the falsified pairs")

    @model_validator(mode="after")
    def _base_of_newsclippings(self) -> CorpusSettings:
        if self.base is not None and self.format not in ("auto", "newsclippings"):
            raise ValueError(f"a base is NewsCLIPpings' only, and the format is {self.format!r}; leave the base out")
        return self

    @model_validator(mode="after")
    def _encoder_for_similar(self) -> CorpusSettings:
        if self.text_encoder is not None and self.falsify != "similar":
            raise ValueError("a text encoder serves falsify 'similar' only; set that, or leave the encoder out")
        return self

    @property
    def image_folder(self) -> Path:
        return self.captions if self.images is None else self.images

    @property
    def made(self) -> bool:
        return self.falsify in ("similar", "uniform")


class Detector(Protocol):
    """Anything that names the regions of images.

    `identity` names the detector and what its regions depend on; it changes whenever they would.
    """

    identity: str

    def detect(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        """The regions of each upright RGB image, best first: in its pixels, clipped to it, none without area.

        Images may have any sizes; `names` are their file names.
        """


class DetectorSettings(Settings):
    """What is kept of a detector's answer."""

    confidence: Share = Field(default=0.3, description="regions with a lower score are left out")
    max_regions: Count = Field(default=10, description="regions an image at most, the best")
    class_names: PlacePath | None = Field(
        default=None, description="file of class names by line, for a YOLO file without"
    )

    def identify(self, kind: str, checksum: str) -> str:
        """The identity of a detector: kind, checksum of all it was made from, and these settings."""
        return f"{kind}:{checksum[:16]}@{self.confidence:g}/{self.max_regions}"

    def keep(self, found: Iterable[Region], size: tuple[int, int]) -> list[Region]:
        """The regions to keep of an image of (width, height) pixels: best first, clipped, none without area."""
        kept: list[Region] = []
        for region in sorted(found, key=lambda region: -region.score):
            if region.score < self.confidence or len(kept) == self.max_regions:
                break
            x0, y0, x1, y1 = region.box
            box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1])))
            if box[0] < box[2] and box[1] < box[3]:
                kept.append(Region(box, region.label, region.score))
        return kept

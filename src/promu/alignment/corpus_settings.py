"""What a corpus is made of: the settings of `promu corpus build`, which a recipe for pre-training may hold too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from promu.config import Count, NotNegativeInt, Settings, Share
from promu.schema import MissingPairImage

Format = Literal["auto", "captions", "newsclippings", "folder"]
Falsify = Literal["keep", "none", "similar", "uniform"]


class CorpusSettings(Settings):
    """How to build a corpus from caption pairs and images."""

    captions: Path = Field(
        description="CSV or JSON lines of image and caption, NewsCLIPpings annotations (with data.json beside them), "
        "or a folder of images, each with its captions in a .txt file of its name"
    )
    images: Path | None = Field(
        default=None, description="folder of the images; not needed where the captions are a folder"
    )
    format: Format = Field(default="auto", description="what the captions are; `auto` finds out")
    detector: str = Field(
        default="none",
        description="what finds regions: `coco` (a file of boxes), `hf` (a model), `yolo` (an ONNX file) or `none`",
    )
    regions: str | None = Field(default=None, description="the detector's file, folder or hub name")
    confidence: Share = Field(default=0.3, description="regions with a lower score are left out")
    max_regions: Count = Field(default=10, description="regions an image at most")
    class_names: Path | None = Field(
        default=None, description="file with one class name a line, for a YOLO file without its own"
    )
    missing_images: MissingPairImage = Field(
        default="raise",
        description="an image or caption that cannot be used: `raise` stops, `skip` leaves it out and counts it",
    )
    falsify: Falsify = Field(
        default="keep",
        description="pairs whose caption is another image's: as the set has them (`keep`), left out (`none`), or made, "
        "of captions near in meaning (`similar`) or of any (`uniform`); made ones need a set of true pairs only",
    )
    share: Annotated[float, Field(gt=0.0, le=0.9)] = Field(
        default=0.5, description="share of all pairs that made ones are to be"
    )
    text_encoder: str | None = Field(
        default=None,
        description="text encoder that says which captions are near, such as sentence-transformers/all-MiniLM-L6-v2, a "
        "folder, or package:NAME/PATH; without it words are compared",
    )
    side: Count | None = Field(
        default=None,
        description="longest side in pixels; larger images are stored as JPEG of that size, without it files are kept",
    )
    dev: NotNegativeInt = Field(
        default=0,
        description="images to hold out, chosen at random: the corpus is then `train` and `dev` in its folder",
    )
    shard: Count = Field(default=4096, description="images a shard at most")
    seed: NotNegativeInt = Field(default=0, description="seed of what is held out and of the falsified pairs")

    @model_validator(mode="after")
    def _encoder_for_similar(self) -> CorpusSettings:
        if self.text_encoder is not None and self.falsify != "similar":
            raise ValueError("a text encoder serves falsify 'similar' only; set that, or leave the encoder out")
        return self

    @property
    def image_folder(self) -> Path:
        """The folder of the images."""
        return self.captions if self.images is None else self.images

    @property
    def made(self) -> bool:
        """Whether falsified pairs are made."""
        return self.falsify in ("similar", "uniform")

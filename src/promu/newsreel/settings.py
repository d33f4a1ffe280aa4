"""The settings of drawn data, with their limits; together with the seed they determine every byte of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from promu.config import Settings, Share


def _whole(value: object) -> object:
    """Refuse what would silently become a whole number: True, or 48.5 cut off."""
    if isinstance(value, bool | float):
        raise ValueError(f"should be a whole number, found {value!r}")
    return value


Seed = Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=2**63)]
Size = Annotated[int, BeforeValidator(_whole), Field(ge=32, le=512)]
Posts = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=1_000_000)]
SomePosts = Annotated[Posts, Field(ge=1)]
Noise = Annotated[float, Field(ge=0.0, le=64.0)]
Boxes = Literal["detector", "gold"]
BOXES = "Regions as a small detector would find them, or the boxes of what was drawn."


class NewsreelSettings(Settings):
    """What `promu newsreel` draws: caption pairs, and posts for both tasks."""

    seed: Seed = Field(default=0, description="Seed of the world: names, scenes, texts, images.")
    size: Size = Field(default=48, description="Width and height of an image in pixels.")
    pairs: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=10_000_000)] = Field(
        default=16000, description="Number of pairs of image and caption."
    )
    ner_posts: tuple[Posts, Posts, Posts] = Field(
        default=(1000, 200, 500), description="Posts for entities: train, dev, test."
    )
    re_posts: tuple[Posts, Posts, Posts] = Field(
        default=(1000, 200, 500), description="Posts for relations: train, dev, test."
    )
    ambiguous: Share = Field(
        default=0.6, description="Share of posts whose text decides neither type nor relation, so that the image must."
    )
    falsified: Share = Field(default=0.5, description="Share of pairs whose caption comes from another, similar image.")
    unrelated: Share = Field(
        default=0.15, description="Share of the posts decided by their text that come with an image of something else."
    )
    dropped_mentions: Share = Field(
        default=0.12, description="Share of the things in an image that its caption mentions without their kind."
    )
    relation_phrase: Share = Field(
        default=0.35, description="Share of captions that state the relation their image shows."
    )
    arrangement_phrase: Share = Field(
        default=0.9, description="Share of the other captions of two things that say how these stand."
    )
    boxes: Boxes = Field(default="detector", description=BOXES)
    noise: Noise = Field(default=8.0, description="Standard deviation of the pixel noise, of 255.")
    tail: Annotated[float, Field(ge=0.0, le=2.0)] = Field(
        default=0.0,
        description="Exponent of the long tail of the posts' labels: the nth entity type, and the nth relation, has a "
        "weight of 1 / n ** tail; 0 makes all as frequent.",
    )


class JointSettings(Settings):
    """What `promu fewshot draw` draws: posts with quintuples, captions and knowledge."""

    seed: Seed = Field(default=0, description="Seed of names, scenes, texts, images.")
    size: Size = Field(default=48, description="Width and height of an image in pixels.")
    posts: tuple[SomePosts, SomePosts, SomePosts] = Field(
        default=(500, 250, 500), description="Posts of train, dev and test."
    )
    ambiguous: Share = Field(default=0.6, description="Share of posts whose text decides neither types nor relation.")
    relation_fact: Share = Field(default=0.6, description="Share of posts whose knowledge states the relation.")
    relation_phrase: Share = Field(
        default=0.3, description="Share of captions that state the relation their image shows."
    )
    boxes: Boxes = Field(default="detector", description=BOXES)
    noise: Noise = Field(default=8.0, description="Standard deviation of the pixel noise, of 255.")

"""What can be asked of the drawn corpus, checked on creation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from promu.errors import InputError


@dataclass(frozen=True)
class NewsreelSettings:
    """Settings of a drawn corpus; together with the seed they determine every byte of it.

    Attributes:
        seed: Seed of the world: names, scenes, texts, images.
        size: Width and height of an image in pixels.
        pairs: Number of caption pairs.
        ner_posts: Posts for named entity recognition: train, dev, test.
        re_posts: Posts for relation extraction: train, dev, test.
        undecided: Share of posts whose text decides neither type nor relation, so that the image must.
        falsified: Share of caption pairs whose caption comes from another, similar image.
        unrelated: Share of the posts decided by their text that come with an image of something else.
        dropped_mentions: Share of the things in an image whose kind its caption does not tell.
        relation_phrase: Share of captions that tell the relation their image shows.
        noise: Standard deviation of the pixel noise, of 255.
        tail: Exponent of the long tail of the posts' labels: the nth entity type, and the nth relation, is drawn with a
            weight of 1 / n ** tail; 0 makes all as frequent.

    Raises:
        InputError: A value is out of range; the message says which and what is allowed.
    """

    seed: int = 0
    size: int = 48
    pairs: int = 16000
    ner_posts: tuple[int, int, int] = (400, 200, 500)
    re_posts: tuple[int, int, int] = (400, 200, 500)
    undecided: float = 0.6
    falsified: float = 0.5
    unrelated: float = 0.15
    dropped_mentions: float = 0.12
    relation_phrase: float = 0.55
    noise: float = 8.0
    tail: float = 0.0

    def __post_init__(self) -> None:
        _check_whole("seed", self.seed, 0, 2**63 - 1)
        _check_whole("size", self.size, 32, 512)
        _check_whole("pairs", self.pairs, 0, 10_000_000)
        for name in ("ner_posts", "re_posts"):
            counts = getattr(self, name)
            if not isinstance(counts, tuple | list) or len(counts) != 3:
                raise InputError(f"newsreel: {name} is {counts!r}; give three whole numbers: train, dev and test posts")
            for count in counts:
                _check_whole(name, count, 0, 1_000_000)
            object.__setattr__(self, name, tuple(counts))
        for name in ("undecided", "falsified", "unrelated", "dropped_mentions", "relation_phrase"):
            _check_number(name, getattr(self, name), 0.0, 1.0)
        _check_number("noise", self.noise, 0.0, 64.0)
        _check_number("tail", self.tail, 0.0, 2.0)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready data; no tail leaves no trace, so corpora drawn before there was one are known."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return values if self.tail else {name: value for name, value in values.items() if name != "tail"}


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"newsreel: {name} is {value!r}; allowed is a whole number from {low} to {high}")


def _check_number(name: str, value: object, low: float, high: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise InputError(f"newsreel: {name} is {value!r}; allowed is a number from {low:g} to {high:g}")

"""Images on their way into a corpus: read once, shown to be sound, looked at by the detector, shrunk where asked."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from promu.alignment.detector import Detector
from promu.corpora.captions import NamedImage, Skipped
from promu.corpora.images import load_image, probe_image
from promu.corpora.shards import CaptionedImage
from promu.errors import InputError
from promu.files import usable_cores
from promu.schema import MissingPairImage, Region

MAX_BYTES = 200_000_000
"""A bigger file is not read: it is a film or a damaged file, not a photograph."""
BATCH = 16
"""Images that are decoded, and given to the detector, at once."""
QUALITY = 90
"""JPEG quality of shrunk images."""

_WORKERS = min(8, usable_cores())


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image as it goes into a shard, and a digest of the bytes it had as a file."""

    row: CaptionedImage
    content: bytes


@dataclass(frozen=True, slots=True)
class _Loaded:
    data: bytes
    size: tuple[int, int]
    content: bytes
    upright: Image.Image | None


def prepare_images(
    named: Sequence[NamedImage],
    images: Path,
    side: int | None,
    detector: Detector | None,
    policy: MissingPairImage,
    skipped: Skipped,
    regions: Counter[str],
) -> Iterator[list[Prepared]]:
    """Yield the images that can be read, a list for every `BATCH` named ones.

    Args:
        named: Images with their captions.
        images: The folder that their names are paths in.
        side: Longest side in pixels; a larger image is stored as a JPEG of that size. None keeps every file's bytes.
        detector: What finds regions; it sees each image upright and in full size. None finds none.
        policy: Whether an image that cannot be read is raised (`raise`) or counted (`skip`).
        skipped: Where the pairs of such images are counted.
        regions: Where regions are counted: "kept", "clipped" at the image's edge (kept too), and "dropped" because
            less than a pixel of them lies in the image.

    Raises:
        InputError: With `raise`, the first image that cannot be read, with the place that names it.
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(named), BATCH):
            batch = named[start : start + BATCH]
            loaded: list[tuple[NamedImage, _Loaded]] = []
            results = pool.map(lambda item: _load(images / item.image, side, detector is not None), batch)
            for item, result in zip(batch, results, strict=True):
                if isinstance(result, _Loaded):
                    loaded.append((item, result))
                    continue
                reason = f"image {item.image!r}: {result.reason}"
                if policy == "raise":
                    raise InputError(f"{reason}; or leave such images out: --missing-images skip", item.path, item.line)
                kind = result.kind or "broken image"
                skipped.add(InputError(reason, item.path, item.line, kind), len(item.captions))
            found = _detect(loaded, detector)
            yield [
                Prepared(
                    CaptionedImage(
                        item.image,
                        image.data,
                        *image.size,
                        item.captions,
                        _fit(boxes, image, regions),
                    ),
                    image.content,
                )
                for (item, image), boxes in zip(loaded, found, strict=True)
            ]


def _load(path: Path, side: int | None, whole: bool) -> _Loaded | InputError:
    """Read and decode an image; `whole` keeps it in full size, for the detector."""
    try:
        data = _read(path)
        info = probe_image(data)
        shrink = side is not None and max(info.width, info.height) > side
        # a JPEG that will be shrunk is decoded at a fraction of its size, which still reads it to the end
        target = (side, side) if side is not None and shrink and not whole else None
        upright = load_image(data, target=target)
    except InputError as error:
        return error
    content = hashlib.blake2b(data, digest_size=16).digest()
    stored = upright
    if side is not None and shrink:
        stored = upright.copy()
        stored.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        stored.save(buffer, "JPEG", quality=QUALITY)
        data = buffer.getvalue()
    return _Loaded(data, stored.size, content, upright if whole else None)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"the image is too large: {size:,} bytes, more than {MAX_BYTES:,}; shrink it", kind="image too large"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such image; check the name and the folder of images", kind="missing image") from None
    except OSError as error:
        raise InputError(f"the image cannot be read ({error.strerror})") from None
    return data


def _detect(loaded: Sequence[tuple[NamedImage, _Loaded]], detector: Detector | None) -> list[list[Region]]:
    if detector is None or not loaded:
        return [[] for _ in loaded]
    images = [image.upright for _, image in loaded if image.upright is not None]
    return detector.detect(images, [item.image for item, _ in loaded])


def _fit(found: Sequence[Region], image: _Loaded, counts: Counter[str]) -> tuple[Region, ...]:
    """Regions of the upright image in full size to the frame of the stored one, cut at its edges."""
    kept = []
    for region in found:
        assert image.upright is not None
        scales = [stored / full for stored, full in zip(image.size, image.upright.size, strict=True)] * 2
        box = [edge * scale for edge, scale in zip(region.box, scales, strict=True)]
        x0, y0, x1, y1 = (min(max(edge, 0.0), limit) for edge, limit in zip(box, image.size * 2, strict=True))
        if x1 - x0 < 1.0 or y1 - y0 < 1.0:
            counts["dropped"] += 1
            continue
        counts["kept"] += 1
        counts["clipped"] += [x0, y0, x1, y1] != box
        kept.append(Region((x0, y0, x1, y1), region.label, region.score))
    return tuple(kept)

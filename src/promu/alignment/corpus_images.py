"""Images on their way into a corpus: read once, shown to be sound, looked at by the detector, shrunk where asked."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image

from promu.alignment.corpus_settings import CorpusSettings, Detector
from promu.corpora.captions import NamedImage, Skipped
from promu.corpora.images import load_image, probe_image
from promu.corpora.shards import CaptionedImage
from promu.errors import InputError
from promu.files import usable_cores
from promu.schema import Region

MAX_BYTES = 200_000_000
"""A bigger file is not read: it is a film or a damaged file, not a photograph."""
BATCH = 16
"""Images that are decoded, and given to the detector, at once."""
QUALITY = 90
"""JPEG quality of shrunk images."""

_WORKERS = min(8, usable_cores())


def prepare_images(
    named: Sequence[NamedImage],
    settings: CorpusSettings,
    detector: Detector | None,
    skipped: Skipped,
    regions: Counter[str],
) -> Iterator[list[CaptionedImage]]:
    """Yield the images that can be read, a list for every `BATCH` named ones.

    Args:
        named: Images with their captions.
        settings: Whose folder of images, longest side, and way with images that cannot be read.
        detector: What finds regions; it sees each image upright and in full size. None finds none.
        skipped: Where the pairs of images that cannot be read are counted.
        regions: Where regions are counted: "kept", "clipped" at the image's edge (kept too), and "dropped" because
            less than a pixel of them lies in the image.

    Raises:
        InputError: Unless such images are skipped, the first that cannot be read, with the place that names it.
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(named), BATCH):
            batch = named[start : start + BATCH]
            loaded: list[tuple[CaptionedImage, Image.Image]] = []
            results = pool.map(lambda item: _load(item, settings, detector is not None), batch)
            for item, result in zip(batch, results, strict=True):
                if not isinstance(result, InputError):
                    loaded.append(result)
                    continue
                reason = f"image {item.image!r}: {result.reason}"
                if settings.missing_images == "raise":
                    raise InputError(f"{reason}; or leave such images out: --missing-images skip", item.path, item.line)
                kind = result.kind or "broken image"
                skipped.add(InputError(reason, item.path, item.line, kind), len(item.captions))
            if detector is None or not loaded:
                yield [image for image, _ in loaded]
                continue
            found = detector.detect([upright for _, upright in loaded], [image.image for image, _ in loaded])
            yield [
                replace(image, regions=_scaled(boxes, upright.size, image, regions))
                for (image, upright), boxes in zip(loaded, found, strict=True)
            ]


def _load(named: NamedImage, settings: CorpusSettings, whole: bool) -> tuple[CaptionedImage, Image.Image] | InputError:
    """An image as it will be stored, and decoded upright: in full size if `whole`, for the detector."""
    side = settings.side
    try:
        data = _read(settings.image_folder / named.image)
        info = probe_image(data)
        shrink = side is not None and max(info.width, info.height) > side
        # a JPEG that will be shrunk is decoded at a fraction of its size, which still reads it to the end
        upright = load_image(data, target=(side, side) if side is not None and shrink and not whole else None)
    except InputError as error:
        return error
    digest = hashlib.blake2b(data, digest_size=16).digest()
    stored = upright
    if side is not None and shrink:
        stored = upright.copy()
        stored.thumbnail((side, side), Image.Resampling.LANCZOS)
        stored.save(buffer := io.BytesIO(), "JPEG", quality=QUALITY)
        data = buffer.getvalue()
    return CaptionedImage(named.image, data, *stored.size, named.captions, digest=digest), upright


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            reason = f"the image is too large: {size:,} bytes, more than {MAX_BYTES:,}; shrink it"
            raise InputError(reason, kind="image too large")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such image; check the name and the folder of images", kind="missing image") from None
    except OSError as error:
        raise InputError(f"the image cannot be read ({error.strerror})") from None


def _scaled(
    found: Sequence[Region], size: tuple[int, int], stored: CaptionedImage, counts: Counter[str]
) -> tuple[Region, ...]:
    """Regions of an upright image of full `size` to the frame of the stored one, cut at its edges."""
    limits = (stored.width, stored.height) * 2
    scales = (stored.width / size[0], stored.height / size[1]) * 2
    kept = []
    for region in found:
        box = [edge * scale for edge, scale in zip(region.box, scales, strict=True)]
        x0, y0, x1, y1 = (min(max(edge, 0.0), limit) for edge, limit in zip(box, limits, strict=True))
        if x1 - x0 < 1.0 or y1 - y0 < 1.0:
            counts["dropped"] += 1
            continue
        counts["kept"] += 1
        counts["clipped"] += [x0, y0, x1, y1] != box
        kept.append(Region((x0, y0, x1, y1), region.label, region.score))
    return tuple(kept)

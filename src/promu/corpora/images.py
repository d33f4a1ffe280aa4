"""Images from files, made uniform: upright, opaque, eight-bit RGB."""

from __future__ import annotations

import io
import logging
import re
import struct
import unicodedata
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from promu.errors import InputError
from promu.files import shorten

logger = logging.getLogger(__name__)

MAX_PIXELS = 50_000_000

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif")
"""Endings of the names of image files."""

_ADDRESS = re.compile(r"(?:^|/)(?:https?|ftp):/|^data:", re.IGNORECASE)
# Only formats that hold a photograph: others run programs (EPS) or hold several sizes.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
_NAMES = "JPEG, PNG, GIF, WebP, BMP, TIFF or AVIF"
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders are known to raise on damaged data, beside their own OSError.
_DECODER_FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What an image's header says: size in pixels as stored (before EXIF rotation), and format."""

    width: int
    height: int
    format: str


def probe_image(source: Path | str | bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Read an image's header only; the pixels may still turn out to be broken.

    Raises:
        InputError: missing, empty, not an image, or more than `max_pixels`.
    """
    data, path = read_image(source)
    with _open(data, path, max_pixels) as image:
        return ImageInfo(image.width, image.height, image.format or "unknown")


def find_image(path: Path) -> Path:
    """The file of an image: the one named, or the same picture's under another ending or in another Unicode form.

    Data sets name `1.jpg` where the file is `1.png` or `1.JPG`, some systems write é as two characters in names, and
    Windows separates folders by a backslash.
    A name that no file has is returned as it is.

    Raises:
        InputError: There is no such file, but several that differ in nothing but their ending.

    Example:
        ```python
        from pathlib import Path

        from promu.corpora.images import find_image

        find_image(Path("images/1.jpg"))  # images/1.png, if that alone is there
        ```
    """
    try:
        if path.is_file() or not path.name:
            return path
        if "\\" in str(path) and (other := find_image(Path(str(path).replace("\\", "/")))).is_file():
            return other  # as Windows separates folders
        for form in ("NFC", "NFD"):
            other = path.with_name(unicodedata.normalize(form, path.name))  # type: ignore[arg-type]
            if other.is_file():
                return other
        endings = [ending for lower in ENDINGS for ending in (lower, lower.upper())]
        bare = path.with_suffix("") if path.suffix.lower() in ENDINGS else path
        found = [one for ending in endings if (one := bare.with_name(bare.name + ending)).is_file()]
    except (OSError, ValueError):  # a name that no system takes; reading it says so
        return path
    if len(found) > 1 and not all(one.samefile(found[0]) for one in found):  # a file system may ignore case
        names = ", ".join(one.name for one in found)
        reason = f"no such image, but {names}; give the post the full name of one of them, or remove the others"
        raise InputError(reason, path, kind="missing image")
    return found[0] if found else path


def load_image(
    source: Path | str | bytes | Image.Image, max_pixels: int = MAX_PIXELS, target: tuple[int, int] | None = None
) -> Image.Image:
    """Decode an image to RGB: EXIF rotation applied, transparency on white, the first frame of an animation.

    Args:
        source: A file, its bytes, or an opened image.
        max_pixels: More are refused, from the header, before any is decoded.
        target: (width, height) in pixels that the caller will shrink to. A big JPEG is then decoded at a half, quarter
            or eighth of its size, never below `target`; the result's size is thus not the file's.

    Returns:
        An image of mode RGB that shares nothing with `source`.

    Raises:
        InputError: missing, empty, truncated, not an image, too many pixels, or a kind that has no RGB meaning.
    """
    if isinstance(source, Image.Image):
        _check_size(source.size, None, max_pixels)
        return _decode(source, None, target)
    data, path = read_image(source)
    with _open(data, path, max_pixels) as image:
        return _decode(image, path, target)


def read_image(source: Path | str | bytes) -> tuple[bytes, Path | None]:
    """The bytes of an image's file, not decoded, and the file that they come from (see `find_image`).

    Raises:
        InputError: missing, empty, or not to be read.
    """
    if not isinstance(source, str | Path | bytes):
        raise InputError(f"an image is a file, its bytes or an opened image, and this is {shorten(source)}")
    if isinstance(source, str | Path) and _ADDRESS.search(str(source)):
        reason = "an address, and nothing is fetched; download the image and name its file"
        raise InputError(reason, str(source), kind="missing image")
    path = None if isinstance(source, bytes) else Path(source)
    try:
        if path is not None and not path.is_file():
            path = find_image(path)
        data = source if isinstance(source, bytes) else Path(str(path)).read_bytes()
    except FileNotFoundError:
        reason = "no such image; check the name and the folder of images"
        raise InputError(reason, path, kind="missing image") from None
    except (OSError, ValueError) as error:
        raise InputError(f"the image cannot be read ({error})", path) from None
    if not data:
        raise InputError("the image has 0 bytes; fetch it again", path, kind="image of 0 bytes")
    return data, path


def _open(data: bytes, path: Path | None, max_pixels: int) -> Image.Image:
    Image.init()
    try:
        with warnings.catch_warnings():
            # Our limit is checked below; Pillow only warns.
            warnings.simplefilter("ignore", category=Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])
    except UnidentifiedImageError:
        raise InputError(_not_an_image(data), path) from None
    except Image.DecompressionBombError as error:
        # Pillow's own limit, beyond any max_pixels in use; the size is in its sentence.
        reason = f"the image is too large, over {max_pixels:,} pixels: {error}; shrink it"
        raise InputError(reason, path, kind="image too large") from None
    except _DECODER_FAULTS as error:
        raise InputError(f"the image is broken ({_describe(error)}); fetch it again", path) from None
    _check_size(image.size, path, max_pixels)
    return image


def _check_size(size: tuple[int, int], path: Path | None, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        reason = f"the image has {width:,} x {height:,} pixels, more than {max_pixels:,}; shrink it or raise the limit"
        raise InputError(reason, path, kind="image too large")
    if width * height == 0:
        raise InputError(f"the image has no pixels ({width} x {height})", path)


def _decode(image: Image.Image, path: Path | None, target: tuple[int, int] | None) -> Image.Image:
    try:
        orientation = _orientation(image)
        if target is not None and image.format in ("JPEG", "MPO"):
            image.draft("RGB", (target[1], target[0]) if orientation >= 5 else target)
        image.load()
        upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
        return _to_rgb(upright, path)
    except InputError:
        raise
    except _DECODER_FAULTS as error:
        raise InputError(f"the image is truncated or broken ({_describe(error)}); fetch it again", path) from None


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none. Viewers ignore EXIF they cannot parse, and so do we."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _DECODER_FAULTS as error:
        # A broken image fails again, and is reported, when its pixels are decoded.
        logger.warning("EXIF data ignored: %s", _describe(error))
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _to_rgb(image: Image.Image, path: Path | None) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep(image, path).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    # convert returns the same object for an RGB image, whose pixels would then be shared with the caller's.
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image.Image, path: Path | None) -> Image.Image:
    """Sixteen bits a pixel to eight; Pillow's own conversion cuts values at 255 and gives white."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        reason = f"the image's values (mode {image.mode}) are neither 8 nor 16 bits, so what is white is not known"
        raise InputError(f"{reason}; save it as 8-bit PNG", path)
    return Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8))


def _not_an_image(data: bytes) -> str:
    head = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image (an expired link?); fetch it again"
    if b"<svg" in head:
        return f"an SVG drawing; render it to {_NAMES} first"
    return f"not an image of a known format, or its beginning is broken; {_NAMES} is expected"


def _describe(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__

"""Images of every kind, sound and broken."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from promu.corpora.check import check
from promu.corpora.images import find_image, load_image, probe_image
from promu.errors import InputError

RED = (200, 30, 30)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and whose pixels are all but missing."""
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(b"\0" * 1000)]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def two_halves() -> Image.Image:
    """16 x 8, left half red, right half blue."""
    image = Image.new("RGB", (16, 8), RED)
    image.paste((30, 30, 200), (8, 0, 16, 8))
    return image


def near(colour: object, expected: tuple[int, int, int], by: int = 6) -> bool:
    assert isinstance(colour, tuple)
    return all(abs(a - b) <= by for a, b in zip(colour, expected, strict=True))


@pytest.mark.parametrize("source", ["path", "str", "bytes", "image"])
def test_sources(tmp_path: Path, source: str) -> None:
    original = two_halves()
    path = tmp_path / "a.png"
    original.save(path)
    sources: dict[str, Path | str | bytes | Image.Image] = {
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "image": original,
    }
    image = load_image(sources[source])
    assert image.mode == "RGB" and image.size == (16, 8)
    assert image.getpixel((0, 0)) == RED
    image.putpixel((0, 0), (0, 0, 0))
    assert original.getpixel((0, 0)) == RED


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    """Whatever the stored turn, the image comes out as PIL's own transposition of it."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(two_halves(), exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert load_image(data).tobytes() == expected.tobytes()
    assert load_image(data).size == ((8, 16) if orientation >= 5 else (16, 8))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_does_not_matter() -> None:
    assert load_image(encoded(two_halves(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\xff\xff")).size == (16, 8)


def test_transparency_becomes_white() -> None:
    image = Image.new("RGBA", (2, 1), (*RED, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    assert load_image(encoded(image)).getpixel((1, 0)) == (255, 255, 255)
    assert load_image(encoded(image)).getpixel((0, 0)) == RED
    grey = Image.new("LA", (1, 1), (0, 128))
    assert near(load_image(encoded(grey)).getpixel((0, 0)), (127, 127, 127))
    keyed = encoded(Image.new("RGB", (1, 1), RED), transparency=RED)
    assert load_image(keyed).getpixel((0, 0)) == (255, 255, 255)


def test_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([*RED, 0, 0, 0])
    image.putpixel((1, 0), 1)
    assert load_image(encoded(image)).getpixel((0, 0)) == RED
    assert load_image(encoded(image, "GIF", transparency=1)).getpixel((1, 0)) == (255, 255, 255)


def test_cmyk_grey_and_black_and_white() -> None:
    assert near(
        load_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((4, 4)), (255, 0, 0), 12
    )
    assert load_image(encoded(Image.new("L", (1, 1), 77))).getpixel((0, 0)) == (77, 77, 77)
    assert load_image(encoded(Image.new("1", (1, 1), 1))).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_keep_their_shades() -> None:
    values = np.array([[0, 0x4000, 0x8000, 0xFFFF]], dtype=np.uint16)
    image = load_image(encoded(Image.fromarray(values)))
    assert [image.getpixel((x, 0)) for x in range(4)] == [(0, 0, 0), (64, 64, 64), (128, 128, 128), (255, 255, 255)]
    with pytest.raises(InputError, match="neither 8 nor 16 bits"):
        load_image(encoded(Image.new("F", (1, 1), 0.5), "TIFF"))


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), (0, 0, 255))]
    for format in ("GIF", "PNG", "WEBP"):
        data = encoded(
            frames[0],
            format,
            save_all=True,
            append_images=frames[1:],
            **({"lossless": True} if format == "WEBP" else {}),
        )
        assert near(load_image(data).getpixel((1, 1)), RED)


def test_a_target_makes_big_jpegs_smaller_but_never_too_small() -> None:
    data = encoded(Image.new("RGB", (1600, 800), RED), "JPEG")
    image = load_image(data, target=(200, 100))
    assert image.size == (200, 100)
    assert load_image(data, target=(300, 100)).size == (400, 200)
    assert load_image(data).size == (1600, 800)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(Image.new("RGB", (1600, 800), RED), "JPEG", exif=exif)
    assert load_image(turned, target=(100, 200)).size == (100, 200)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(50_000, 50_000), (12_000, 12_000), (8_000, 8_000)])
def test_too_many_pixels_are_refused_at_once(size: tuple[int, int]) -> None:
    data = png_header(*size)
    begin = time.perf_counter()
    for read in (load_image, probe_image):
        with pytest.raises(InputError, match="50,000,000"):
            read(data)
    assert time.perf_counter() - begin < 1.0
    with pytest.raises(InputError, match="16 x 8 pixels, more than 100"):
        load_image(two_halves(), max_pixels=100)


def test_bad_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such image; check the name and the folder"):
        load_image(tmp_path / "absent.jpg")
    with pytest.raises(InputError, match="cannot be read"):
        load_image(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        load_image("a\0b.jpg")
    with pytest.raises(InputError, match="0 bytes"):
        load_image(b"")
    for other in (3, np.zeros((2, 2, 3), np.uint8)):
        with pytest.raises(InputError, match="an image is a file, its bytes or an opened image, and this is"):
            load_image(other)  # type: ignore[arg-type]
    for address in ("https://example.org/a.jpg", tmp_path / "http://example.org/a.jpg", "data:image/png;base64,AA"):
        with pytest.raises(InputError, match="an address, and nothing is fetched"):
            load_image(address)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(InputError, match=r"empty.jpg: the image has 0 bytes"):
        load_image(empty)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for format in ("JPEG", "PNG", "GIF", "WEBP"):
        data = encoded(noise, format)
        with pytest.raises(InputError, match=r"truncated|broken"):
            load_image(data[: len(data) // 2])
    with pytest.raises(InputError, match="an SVG drawing; render it"):
        load_image(b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>')
    with pytest.raises(InputError, match="an HTML page, not an image"):
        load_image(b"<!DOCTYPE html><html>404</html>")
    with pytest.raises(InputError, match="not an image of a known format"):
        load_image(b"%PDF-1.4")


def test_probe(tmp_path: Path) -> None:
    info = probe_image(encoded(two_halves(), "JPEG"))
    assert (info.width, info.height, info.format) == (16, 8, "JPEG")


SOUND = [
    *(encoded(two_halves(), format) for format in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")),
    encoded(two_halves(), "TIFF", compression="tiff_lzw"),
    encoded(two_halves().convert("P"), "PNG"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged EXIF
@given(data=st.sampled_from(SOUND), edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6))))
def test_damaged_images_are_read_or_refused(data: bytes, edits: list[tuple[float, bytes]]) -> None:
    for place, replacement in edits:
        at = int(place * len(data))
        data = data[:at] + replacement + data[at + max(1, len(replacement)) :]
    try:
        image = load_image(data, max_pixels=1_000_000)
    except InputError as error:
        assert 10 < len(error.reason) < 1000
    else:
        assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("1.png", "1.jpg"),
        ("1.JPG", "1.jpg"),
        ("1.jpeg", "1.png"),
        ("1.jpg", "1"),
        ("a.b.png", "a.b.jpg"),
        ("a.b.png", "a.b"),
        ("Bjo\u0308rn.jpg", "Bj\u00f6rn.jpg"),
        ("Bj\u00f6rn.jpg", "Bjo\u0308rn.jpg"),
        ("folder/1.png", "folder\\1.png"),
        ("folder/1.png", "folder\\1.jpg"),
    ],
)
def test_an_image_under_another_ending_is_found(tmp_path: Path, file: str, name: str) -> None:
    (tmp_path / "folder").mkdir()
    two_halves().save(tmp_path / file, "PNG")
    found = find_image(tmp_path / name)
    assert found.samefile(tmp_path / file)
    assert load_image(tmp_path / name).size == (16, 8) and probe_image(tmp_path / name).format == "PNG"


def test_several_images_that_a_name_may_mean_are_named(tmp_path: Path) -> None:
    for name in ("1.png", "1.gif"):
        two_halves().save(tmp_path / name)
    with pytest.raises(InputError, match=r"1\.jpg: no such image, but 1\.png, 1\.gif; give the post the full name"):
        load_image(tmp_path / "1.jpg")
    for name in ("2.jpg", "1.jpg.txt", "..", ""):
        with pytest.raises(InputError):
            load_image(tmp_path / name)


def test_check_says_which_images_have_another_name(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(5):
        two_halves().save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "posts.txt").write_text("".join(f"IMGID:{number}\na\tO\n\n" for number in range(5)))
    report = check(tmp_path / "posts.txt", "conll", tmp_path / "images")
    assert report.ok and report.files[0].images.renamed == 5
    assert "    under another name: 5 (0.jpg is 0.png, 1.jpg is 1.png, 2.jpg is 2.png, …)" in report.lines()

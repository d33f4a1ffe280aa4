"""Caption pairs as a folder: beside `dog.jpg` lies `dog.txt`, one caption a line; folders within are read too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from promu.corpora.captions import require_image_path
from promu.errors import InputError
from promu.files import fault, filled_lines
from promu.schema import CaptionPair

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif")


def iterate_picture_folder(
    folder: str | Path, problems: list[InputError] | None = None
) -> Iterator[tuple[Path, int, CaptionPair]]:
    """Yield (file of captions, line, pair) in the order of the names; files with other endings are no part of the set.

    Args:
        folder: The folder; pictures are named by their path in it.
        problems: Where a picture without captions, or captions without a picture, go; None raises the first.

    Raises:
        InputError: There is no such folder, or no pair in it; without `problems` also what is wrong with a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder of pictures; check the path", folder)
    seen = False
    for root, folders, files in os.walk(folder):
        folders.sort()
        names = set(files)
        stems = {Path(name).stem for name in files if _is_picture(name)}
        for name in sorted(files):
            path = Path(root) / name
            try:
                if _is_picture(name):
                    image = require_image_path(path.relative_to(folder).as_posix(), "the picture's name")
                    if f"{path.stem}.txt" not in names:
                        raise InputError("the picture has no caption; write a text file of its name beside it")
                elif path.suffix == ".txt" and path.stem not in stems:
                    raise InputError("no picture beside this file of captions; put it there or take the file away")
            except InputError as error:
                fault(problems, InputError(error.reason, path))
                continue
            if _is_picture(name):
                for captions, number, line in _captions(path.with_suffix(".txt"), problems):
                    seen = True
                    yield captions, number, CaptionPair(image, line)
    if not seen:
        raise InputError(f"no picture ({', '.join(PICTURES)}) with a caption in a .txt file of its name here", folder)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURES)


def _captions(path: Path, problems: list[InputError] | None) -> Iterator[tuple[Path, int, str]]:
    try:
        for number, line in filled_lines(path, problems):
            if line is not None:
                yield path, number, line.strip()
    except InputError as error:  # an empty file, or one that cannot be read
        if problems is None:
            raise
        problems.append(error)

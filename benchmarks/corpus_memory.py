"""Peak memory of building a corpus, at some size and at ten times that size.

python benchmarks/corpus_memory.py [IMAGES] [--json FILE]

Each build is a process of its own; images are noise of 256 x 192 pixels with five captions, and falsified captions
are made for all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from promu.alignment.corpus_build import build_corpus
from promu.alignment.corpus_settings import CorpusSettings

DIFFERENT = 200
"""Images that are drawn; the others are further names of these."""
COLOURS = ("red", "green", "blue", "white", "black")
THINGS = ("dog", "kite", "boat", "house", "tree", "man", "ball")


def draw(folder: Path, images: int) -> None:
    """A caption file and a folder of images."""
    (folder / "images").mkdir()
    with (folder / "captions.csv").open("w") as file:
        file.write("image,caption\n")
        for index in range(images):
            path = folder / "images" / f"{index}.jpg"
            if index < DIFFERENT:
                values = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
                Image.fromarray(values).resize((256, 192)).save(path)
            else:
                path.hardlink_to(folder / "images" / f"{index % DIFFERENT}.jpg")
            words = COLOURS[index % 5], THINGS[index % 7]
            file.writelines(f"{index}.jpg,a {words[0]} {words[1]} of number {index} seen {k} times\n" for k in range(5))


def measure(images: int) -> dict[str, float]:
    """Build in this process: seconds, and peak memory in MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, images)
        began = time.perf_counter()
        settings = CorpusSettings(captions=folder / "captions.csv", images=folder / "images", falsify="similar")
        build_corpus(settings, folder / "corpus")
        seconds = time.perf_counter() - began
    return {
        "images": images,
        "seconds": round(seconds, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Measure both sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help="only this size, in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.images)))
        return
    rows = []
    for images in (options.images, 10 * options.images):
        words = [sys.executable, __file__, str(images), "--one"]
        rows.append(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))
    print("| images | seconds | peak MB |\n|---|---|---|")
    for row in rows:
        print(f"| {row['images']:,} | {row['seconds']} | {row['peak_mb']:,} |")
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

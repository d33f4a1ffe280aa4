"""`promu extract`: a model at work on posts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from promu.cli.console import note, progress_bar
from promu.errors import InputError

if TYPE_CHECKING:
    from promu.extraction.result import Extraction


def extract(
    *,
    model: Path,
    text: str | None = None,
    image: Path | None = None,
    input: Path | None = None,
    images: Path | None = None,
    missing_pictures: Literal["error", "text-only"] = "error",
    output: Path | None = None,
    batch_size: int = 32,
) -> None:
    """Extract entities and relations: one JSON line a post.

    Args:
        model: A folder with ner/ and re/, or one fine-tuned model.
        text: One post's text.
        image: Its picture.
        input: Posts in JSON lines, each {"text"} or {"tokens"}, with optional "id" and "image".
        images: Folder that the posts' pictures are named in; by default the folder of --input.
        missing_pictures: What a missing or broken picture does: stop, or have its post read as text.
        output: Write here, whole or not at all, in place of standard output.
        batch_size: Posts a forward pass.
    """
    if (text is None) == (input is None):
        raise InputError("give either --text or --input; see promu extract --help")
    if text is None and image is not None:
        raise InputError("--image goes with --text; the posts of --input name their own")
    if input is None and images is not None:
        raise InputError("--images goes with --input; give the picture of --text as --image")
    if images is not None and not images.is_dir():
        raise InputError("no such folder of pictures; correct --images", images)
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", output.parent)
    if batch_size < 1:
        raise InputError(f"--batch-size is {batch_size}; at least 1 is needed")
    from promu.corpora.posts import from_text, read_post_lines
    from promu.files import write_text

    lines = [from_text(text)] if text is not None else read_post_lines(input or "")
    from promu.quiet import quiet

    quiet()
    from promu.extraction.extractor import Extractor

    extractor = Extractor.from_pretrained(model)
    counts: Counter[str] = Counter()
    found: Iterable[Extraction]
    if text is not None:
        found = [extractor(text, image, missing_pictures=missing_pictures)]
    else:
        folder = images if images is not None or input is None else input.parent
        found = extractor.extract(lines, batch_size, images=folder, missing_pictures=missing_pictures)

    def written() -> Iterator[str]:
        with progress_bar("extracting") as advance:
            for done, result in enumerate(found, start=1):
                counts[result.picture] += 1
                advance(done, len(lines))
                yield json.dumps(result.to_dict(), ensure_ascii=False) + "\n"

    if output is not None:
        write_text(output, written())
    else:
        for line in written():
            print(line, end="")
    if counts["missing"]:
        note(f"{counts['missing']} of {len(lines)} posts were read as text: their picture is missing or broken")
    if counts["unread"]:
        note(f"{counts['unread']} of {len(lines)} posts were read without their picture: the model reads text alone")

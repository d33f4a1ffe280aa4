"""`promu extract`: a model at work on posts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from promu.cli.console import note, print_table, progress_bars
from promu.errors import InputError
from promu.progress import track
from promu.schema import MissingPostImage

if TYPE_CHECKING:
    from promu.extraction.result import Extraction


def extract(
    *,
    model: str,
    text: str | None = None,
    image: Path | None = None,
    input: Path | None = None,
    images: Path | None = None,
    missing_images: MissingPostImage = "raise",
    output: Path | None = None,
    entity_threshold: float = 0.0,
    relation_threshold: float = 0.0,
    explain: bool = False,
    batch_size: int = 32,
    workers: int = 1,
    engine: Literal["local", "ray"] = "local",
    backend: Literal["torch", "onnx"] = "torch",
    device: str | None = None,
    precision: Literal["fp32", "bf16", "int8"] | None = None,
) -> None:
    """Extract entities and relations: one JSON line a post.

    With --input and --output, posts of any number: what cannot be read goes with its reason to a file of dead letters
    beside the output (out.dead.jsonl), and the same command, given again, goes on where it was stopped.

    Args:
        model: A folder with ner/ and re/, or one fine-tuned model; or the name of such a folder on the hub.
        text: One post's text.
        image: Its image.
        input: Posts, each with text (or tokens) and optional id and image: .jsonl, .csv or .parquet.
        images: Folder that the posts' images are named in; by default the folder of --input.
        missing_images: A missing or broken image: stop, or read its post as text.
        output: Write here, .jsonl or .parquet, in place of standard output.
        entity_threshold: Leave out entities with a lower score.
        relation_threshold: Leave out relations with a lower score.
        explain: Add which words, patches and regions of the image the model attended to.
        batch_size: Posts a forward pass.
        workers: Processes that extract, each with models of its own (with --output).
        engine: Who runs the workers: this machine, or Ray (promu[ray]).
        backend: What computes: PyTorch, or what promu export has made.
        device: cpu, cuda, ...; by default the best there is.
        precision: fp32 (the default), bf16 where it is computed natively, int8 with --backend onnx.
    """
    if (text is None) == (input is None):
        raise InputError("give either --text or --input; see promu extract --help")
    if text is None and image is not None:
        raise InputError("--image goes with --text; the posts of --input name their own")
    if input is None and images is not None:
        raise InputError("--images goes with --input; give the image of --text as --image")
    if images is not None and not images.is_dir():
        raise InputError("no such folder of images; correct --images", images)
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", output.parent)
    if input is not None and output is None and input.suffix.lower() in (".csv", ".parquet"):
        raise InputError("tables are read with --output alone; name a file to write to", input)
    if batch_size < 1:
        raise InputError(f"--batch-size is {batch_size}; at least 1 is needed")
    if (workers != 1 or engine != "local") and (input is None or output is None):
        raise InputError("--workers and --engine go with --input and --output; see promu extract --help")
    settings: dict[str, Any] = {
        "missing_images": missing_images,
        "entity_threshold": entity_threshold,
        "relation_threshold": relation_threshold,
        "explain": explain,
    }
    folder = images if images is not None or input is None else input.parent
    if input is not None and output is not None:
        opened = {"device": device, "precision": precision, "backend": backend, "batch_size": batch_size}
        _bulk(input, output, {"model": model, "images": str(folder), **opened, **settings}, workers, engine)
        return
    from promu.hub import quiet

    quiet()
    from promu.corpora.posts import from_text, read_post_lines

    lines = [from_text(text)] if text is not None else read_post_lines(input or "")
    from promu.extraction.extractor import Extractor

    extractor = Extractor.from_pretrained(model, device, precision, backend)
    if text is not None:
        found: Iterable[Extraction] = [extractor(lines[0], image, **settings)]
    else:
        found = extractor.extract(lines, batch_size, images=folder, **settings)
    _write(found, len(lines), output)


def _write(found: Iterable[Extraction], total: int, output: Path | None) -> None:
    """Extractions to a file, or to standard output."""
    from promu.files import write_text

    counts: Counter[str] = Counter()

    def written() -> Iterator[str]:
        with progress_bars():
            for result in track(found, "extracting", total):
                counts[result.image] += 1
                yield json.dumps(result.to_dict(), ensure_ascii=False) + "\n"

    if output is not None:
        write_text(output, written())
    else:
        for line in written():
            print(line, end="")
    _tell(total, counts["missing"], counts["unread"])


def _tell(posts: int, as_text: int, unread: int, cut: int = 0) -> None:
    """What not everyone would expect of the posts that were read."""
    if as_text:
        note(f"{as_text} of {posts} posts were read as text: their image is missing or broken")
    if unread:
        note(f"{unread} of {posts} posts were read without their image: the model reads text alone")
    if cut:
        note(f"{cut} of {posts} posts were longer than the model takes, and read up to there")


def _bulk(source: Path, output: Path, settings: dict[str, Any], workers: int, engine: str) -> None:
    """A file of any size to a file, with its dead letters."""
    _prepare()
    from promu.extraction.bulk import BulkSettings, dead_letters, extract_file

    with progress_bars():
        result = extract_file(source, output, BulkSettings(**settings), workers, engine, _prepare)
    _tell(result.extracted, result.as_text, result.unread, result.cut)
    note(f"{result.posts} posts in, {result.extracted} out, {result.dead} dead letters")
    if result.dead:
        note(f"what could not be read is in {dead_letters(output)}")


def _prepare() -> None:
    """Make this process, or a worker, ready for a long run."""
    import logging

    from promu.extraction.backends import keep_few_kernels
    from promu.hub import quiet

    keep_few_kernels()
    quiet()
    # what they say of single posts is counted, and millions of them would bury the rest
    for name in ("promu.extraction.extractor", "promu.extraction.passes"):
        logging.getLogger(name).setLevel(logging.ERROR)


def export(model: str, *, to: Literal["onnx"], int8: bool = False, output: Path | None = None) -> None:
    """Export a model for extraction without PyTorch's weights (promu extract --backend onnx).

    Args:
        model: A folder with ner/ and re/, or one fine-tuned model; or the name of such a folder on the hub.
        to: The form: onnx.
        int8: Weights in eight bits: a quarter of the size and faster on a CPU, with slightly other scores.
        output: A folder to be made, whole without the old one; by default the graphs go into the model's own folder.
    """
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", output.parent)
    from promu.hub import quiet

    quiet()
    from promu.extraction.onnx_export import export_models

    done = export_models(model, int8, output)
    rows = [[one.task, str(one.folder), f"{one.bytes / 2**20:.1f} MiB", f"{one.distance:.1e}"] for one in done]
    print_table(f"Exported to {to}, {'int8' if int8 else 'fp32'}", ["task", "folder", "graphs", "off by at most"], rows)

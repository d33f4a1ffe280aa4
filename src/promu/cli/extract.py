"""`promu extract`: a model at work on posts."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from promu.cli.console import named_files, note, print_json, print_table, progress_bars
from promu.errors import InputError, counted
from promu.extraction.extraction_config import ExtractionConfig
from promu.files import write_text

if TYPE_CHECKING:
    from promu.extraction.extractor import Extractor
    from promu.extraction.result import Extraction

SHOWN = 10
"""Posts that cannot be read are named up to so many."""


def extract(
    *,
    model: str,
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    image: Path | None = None,
    input: Path | None = None,
    images: Path | None = None,
    out: Path | None = None,
    context: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    config: Annotated[ExtractionConfig | None, Parameter(name="*", consume_multiple=True)] = None,
    workers: int = 1,
    engine: Literal["local", "ray"] = "local",
    backend: Literal["torch", "onnx"] | None = None,
    device: str | None = None,
    precision: Literal["fp32", "bf16", "int8"] | None = None,
    json: bool = False,
) -> None:
    """Extract entities and relations, one JSON line for each post.

    With --input and --out, the posts may be of any number. Posts that cannot be read go with the reason to a file
    beside the output (out.dead.jsonl), and the same command, given again, goes on where it was stopped. Without
    --out they are named on standard error, and the others are printed.

    Args:
        model: A folder with ner/ and re/, or one fine-tuned model; or the name of such a folder on the hub.
        text: One post's text.
        image: Its image.
        input: Posts, each with text (or tokens) and optional id and image: .jsonl, .csv or .parquet.
        images: Folder that the posts' images are named in; by default the folder of --input.
        context: NAME=FILE: texts about the posts that the model reads under this name, by image or id; or with --text
            NAME=TEXT.
        out: Write here, .jsonl, .parquet or .csv, in place of standard output.
        workers: Processes that extract, each with models of its own (with --out).
        engine: Who runs the workers: this machine, or Ray (promu[ray]).
        backend: What computes: PyTorch, or what promu export has made; by default PyTorch if the folder has weights.
        device: cpu, cuda, ...; by default the best there is.
        precision: fp32 (the default), bf16 where it is computed natively; int8 of a folder that was exported so.
        json: With --input and --out, print as JSON what became of the posts. Answers are JSON anyway.
    """
    if (text is None) == (input is None):
        raise InputError("give either --text or --input; see promu extract --help")
    if text is None and image is not None:
        raise InputError("--image goes with --text; the posts of --input name their own")
    if input is None and images is not None:
        raise InputError("--images goes with --input; give the image of --text as --image")
    if images is not None and not images.is_dir():
        raise InputError("no such folder of images; correct --images", images)
    if out is not None and not out.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", out.parent)
    if (workers != 1 or engine != "local") and (input is None or out is None):
        raise InputError("--workers and --engine go with --input and --out; see promu extract --help")
    config = config or ExtractionConfig()
    contexts = named_files(context)
    if input is not None and out is not None:
        _prepare_worker()
        from promu.extraction.bulk import dead_letters, extract_file
        from promu.extraction.bulk_part import BulkSettings

        settings = BulkSettings(model, str(images or input.parent), device, precision, backend, config, contexts)
        with progress_bars():
            done = extract_file(input, out, settings, workers, engine, _prepare_worker)
        if json:
            print_json({**asdict(done), "out": str(out), "dead_letters": str(dead_letters(out)) if done.dead else None})
            return
        _note_exceptions(asdict(done))
        note(f"{counted(done.posts, 'post')} in, {done.extracted:,} out, {counted(done.dead, 'dead letter')}")
        if done.encoded:
            note(f"images encoded by all models: {done.encoded:,}; shared by posts of the same image: {done.reused:,}")
        if done.dead:
            note(f"what could not be read is in {dead_letters(out)}")
        return
    if out is not None and out.suffix.lower() != ".jsonl":
        raise InputError("one post is written as .jsonl; name such a file", out)
    _prepare_worker()
    from promu.extraction.bulk_part import counts_of
    from promu.extraction.extractor import Extractor

    extractor = Extractor.from_pretrained(model, device, precision, backend, config)
    if input is not None:
        _print_all(extractor, input, images or input.parent, config, contexts)
        return
    with progress_bars():  # of a long text
        result = extractor({"text": str(text), "contexts": contexts}, image)
    line = _line(result)
    if out is not None:
        write_text(out, [line])
    else:
        print(line, end="")
    for warning in result.warnings:
        note(warning)
    _note_exceptions({**counts_of(result), "far": 0, "warned": 0})


def _print_all(
    extractor: Extractor, source: Path, images: Path, config: ExtractionConfig, contexts: Mapping[str, str]
) -> None:
    """Print the answers to a file of posts, a line each; what cannot be read is said instead."""
    from promu.corpora.context_files import read_contexts, with_record_contexts
    from promu.corpora.sources import read_source
    from promu.extraction.bulk_part import counts_of, extract_records, with_id

    counts: Counter[str] = Counter()
    bad: list[InputError] = []
    found = read_source(source)
    files = {name: read_contexts(file) for name, file in contexts.items()}
    records = (
        (place, one if isinstance(one, InputError) else with_record_contexts(with_id(one, source, place), files))
        for place, one in found
    )
    with progress_bars():
        for number, _, result in extract_records(extractor, records, images, config):
            if isinstance(result, InputError):
                bad.append(InputError(str(result), source, number) if result.path is None else result)
                continue
            counts.update(counts_of(result))
            print(_line(result), end="")
    if bad and not counts:
        raise InputError(
            f"{bad[0].reason} (none of {counted(len(bad), 'post')} could be read)", bad[0].path, bad[0].line
        )
    for problem in bad[:SHOWN]:
        note(f"left out: {problem}")
    if len(bad) > SHOWN:
        note(f"left out: {len(bad) - SHOWN:,} more; with --out a file beside it lists all of them")
    _note_exceptions(counts)


def _line(result: Extraction) -> str:
    return json.dumps(result.to_dict(), ensure_ascii=False) + "\n"


def _note_exceptions(counts: Mapping[str, int]) -> None:
    """Say how many posts were not read whole; each output says which."""
    posts = counted(counts["extracted"], "post")
    for name, what in (
        ("as_text", "read as text, the image being missing or broken (image_reason in the output)"),
        ("unread", "read without the image, by a model that reads text alone"),
        ("far", "with entities too far apart to be asked about (far_pairs in the output)"),
        ("warned", "with a warning (warnings in the output)"),
    ):
        if counts.get(name):
            note(f"{what}: {counts[name]:,} of {posts}")


def _prepare_worker() -> None:
    """Make this process, or a worker, ready for a long run."""
    from promu.hub import keep_few_kernels, quiet

    keep_few_kernels()
    quiet()
    # messages about single posts are counted instead: millions of them would bury the rest
    logging.getLogger("promu.extraction.extractor").setLevel(logging.ERROR)


def export(model: str, *, to: Literal["onnx"], int8: bool = False, out: Path | None = None, json: bool = False) -> None:
    """Export a model for extraction without PyTorch: promu[runtime] is enough for what comes out.

    Args:
        model: A folder with ner/ and re/, or one fine-tuned model; or the name of such a folder on the hub.
        to: The form: onnx.
        int8: Weights in eight bits: a quarter of the size and faster on a CPU, with slightly other scores.
        out: A folder to be made, whole without the old one; by default the graphs go into the model's own folder.
        json: Print JSON instead of a table.
    """
    if out is not None and not out.absolute().parent.is_dir():
        raise InputError("no such folder to write to; make it first", out.parent)
    from promu.hub import quiet

    quiet()
    from promu.extraction.onnx_export import export_models

    done = export_models(model, int8, out)
    if json:
        models = [{**asdict(one), "folder": str(one.folder)} for one in done]
        print_json({"to": to, "precision": "int8" if int8 else "fp32", "models": models})
        return
    rows = [[one.task, str(one.folder), f"{one.bytes / 2**20:.1f} MiB", f"{one.distance:.1e}"] for one in done]
    print_table(f"Exported to {to}, {'int8' if int8 else 'fp32'}", ["task", "folder", "graphs", "off by at most"], rows)

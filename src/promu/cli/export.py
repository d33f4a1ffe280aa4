"""`promu export`: models in the form that fast runtimes take."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from promu.cli.console import print_table
from promu.errors import InputError


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
    from promu.quiet import quiet

    quiet()
    from promu.extraction.export import export_models

    done = export_models(model, int8, output)
    rows = [[one.task, str(one.folder), f"{one.bytes / 2**20:.1f} MiB", f"{one.distance:.1e}"] for one in done]
    print_table(f"Exported to {to}, {'int8' if int8 else 'fp32'}", ["task", "folder", "graphs", "off by at most"], rows)

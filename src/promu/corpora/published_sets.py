"""The published sets that promu can fetch: where each is, its checksums, its licence, and what it lacks.

The table is `data/published_sets.yaml`. A new set is an entry there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from promu.errors import InputError

GITHUB = re.compile(r"github:(?P<repo>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{7,40}):(?P<path>.+)")
MIRRORS = (
    "https://raw.githubusercontent.com/{repo}/{commit}/{path}",
    "https://cdn.jsdelivr.net/gh/{repo}@{commit}/{path}",
    "https://github.com/{repo}/raw/{commit}/{path}",
)
"""Where a file of a repository can be had, the first that answers."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Part(_Record):
    path: str


class PublishedFile(_Part):
    """One file of a set.

    Attributes:
        path: Where it lies in the set's folder, parts divided by /.
        size: In bytes.
        sha256: Of its bytes.
        source: Where it is published, see `addresses`; None if only by hand or in an archive.
    """

    size: int = Field(gt=0)
    sha256: Digest
    source: str | None = Field(default=None, alias="from")


class PublishedFolder(_Part):
    """A folder of many small files, known by one checksum (`folder_checksum`).

    Attributes:
        path: Its name in the set's folder, and in the archive.
        suffix: Of its files.
        count: Number of files.
        size: Of all files, in bytes.
    """

    suffix: str
    count: int = Field(gt=0)
    size: int = Field(gt=0)
    sha256: Digest


class PublishedSet(_Record):
    """One set. `archives` are addresses of archives that hold files without an address of their own.

    Attributes:
        format: The format that `promu check` reads it in.
        lacks: What is not published with it, and who hands it out.
        images: What names an image in its records, where they name one; `promu fetch SET --from ARCHIVE` unpacks those.
    """

    title: str
    format: str
    licence: str
    citation: str
    lacks: str | None = None
    images: str | None = None
    archives: tuple[str, ...] = ()
    files: tuple[PublishedFile, ...] = Field(min_length=1)
    folders: tuple[PublishedFolder, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files) + sum(folder.size for folder in self.folders)


@cache
def published_sets() -> Mapping[str, PublishedSet]:
    """The sets by name.

    >>> published_sets()["mnre"].files[0].path
    'mnre_train.txt'
    """
    text = (Path(__file__).parent / "data" / "published_sets.yaml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, PublishedSet]).validate_python(yaml.safe_load(text))


def find_set(name: str) -> PublishedSet:
    """The set of that name.

    Raises:
        InputError: There is none.
    """
    found = published_sets().get(name)
    if found is None:
        raise InputError(f"no published set is called {name!r}; there are {', '.join(published_sets())}")
    return found


def addresses(source: str) -> list[str]:
    """The addresses of a file that is published at `source`, in the order to try.

    >>> addresses("https://example.org/a.txt")
    ['https://example.org/a.txt']
    >>> addresses("github:someone/data@0123456:a.txt")[0]
    'https://raw.githubusercontent.com/someone/data/0123456/a.txt'
    """
    match = GITHUB.fullmatch(source)
    return [mirror.format(**match.groupdict()) for mirror in MIRRORS] if match else [source]


def folder_checksum(files: Iterable[tuple[str, str]]) -> str:
    """One checksum for many files, given as (name, SHA-256 of the bytes) in any order.

    It is the SHA-256 of the lines `sha256  name`, sorted by name, as `sha256sum` prints them.
    """
    lines = (f"{digest}  {name}\n" for name, digest in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()

"""The one error type a user is meant to read, and the wording that many messages share."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from importlib.metadata import Distribution

    from packaging.requirements import Requirement

_VALUES = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|…)|"(?:[^"\\]|\\.)*(?:"|…)|\d[\d,.]*""")
"""What differs between two sentences of one kind: quoted values, cut ones too, and numbers."""


class InputError(ValueError):
    """Input that promu cannot use: one clear sentence with the place, the value and the remedy.

    The command line prints it without a traceback and exits with code 2; the service answers 4xx.

    Args:
        reason: What is wrong and what to do about it, without the place.
        path: The file (or folder) it was found in, if any.
        line: The 1-based line in that file, if any.
        kind: The word or two under which such errors are counted, such as "missing image"; None where nobody counts.

    Example:
        ```python
        from promu import Extractor, InputError

        try:
            Extractor.from_pretrained("no/such/folder")
        except InputError as error:
            print(error)  # what is wrong, where, and what to do
        ```
    """

    def __init__(
        self, reason: str, path: str | Path | None = None, line: int | None = None, kind: str | None = None
    ) -> None:
        self.reason = reason
        self.kind = kind
        self.path = str(path) if path is not None else None
        self.line = line
        place = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(place + reason)

    @property
    def pattern(self) -> str:
        """The sentence without its values: the same for all records that are wrong in the same way."""
        return _VALUES.sub("…", self.reason)

    def at(self, path: str | Path | None, line: int | None = None) -> InputError:
        """The same error with its place, for whoever knows the file of a record."""
        return InputError(self.reason, path, line, self.kind)


class Problems(list[InputError]):
    """What is wrong in files of any size: of each kind the first in full, the others counted.

    Readers append to it as to any list. A file that is wrong in every line is thus one entry, in the memory of one.

    Example:
        ```python
        from promu.errors import InputError, Problems

        problems = Problems()
        for line in range(2, 100_002):
            problems.append(InputError(f"the word {line} has no tag", "train.txt", line))
        assert (len(problems), problems.total) == (1, 100_000)
        assert str(problems.sentences()[0]).endswith("has no tag (100,000 times: lines 2, 3, 4, 5, …)")
        ```
    """

    KINDS, LINES = 100, 4

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._lines: dict[tuple[str | None, str], list[int]] = {}
        self._counts: dict[tuple[str | None, str], int] = {}

    def append(self, error: InputError) -> None:
        """Count a problem, and keep it if it is the first of its kind, and the kind one of the first `KINDS`."""
        key = (error.path, error.pattern)
        self.total += 1
        if key not in self._counts:
            if len(self) >= self.KINDS:
                return
            super().append(error)
        self._counts[key] = self._counts.get(key, 0) + 1
        lines = self._lines.setdefault(key, [])
        if error.line is not None and len(lines) < self.LINES and error.line not in lines:
            lines.append(error.line)

    def count(self, error: InputError) -> int:  # type: ignore[override]
        """How often there was a problem of this kind."""
        return self._counts.get((error.path, error.pattern), 0)

    def sentences(self) -> list[InputError]:
        """Each kind once, with its count and its first lines where there is more than one."""
        return [self._counted(error) for error in self]

    def _counted(self, error: InputError) -> InputError:
        count = self.count(error)
        if count < 2:
            return error
        lines = self._lines[error.path, error.pattern]
        where = f": lines {', '.join(map(str, lines))}{', …' if count > len(lines) else ''}" if lines else ""
        return InputError(f"{error.reason} ({count:,} times{where})", error.path, error.line, error.kind)


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what it counts, in the singular for one.

    Args:
        number: How many.
        one: What one of them is called; a verb may follow, such as "post was".
        many: What several are called, where that is not `one` with an s.

    Example:
        ```python
        from promu.errors import counted

        assert counted(1, "post") == "1 post"
        assert counted(1_200, "entity", "entities") == "1,200 entities"
        ```
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def first_line(error: Exception) -> str:
    """What a library's error says, for a sentence of ours: its first line without a full stop, or the error's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")


def needs_extra(what: str, package: str, extra: str) -> InputError:
    """The error for a package that is not installed: what needs it, and the command that brings it here.

    Example:
        ```python
        from promu.errors import needs_extra

        print(needs_extra("the service", "fastapi", "serve"))  # the service needs fastapi, which is not installed; ...
        ```
    """
    return InputError(f"{what} needs {package}, which is not installed; {install_command(extra)}")


TRAINING = ("accelerate", "matplotlib", "pyarrow", "scipy", "tensorboard", "torch", "transformers")
"""The packages of the extra `train`, which all that is no extraction from exported models may need."""


def lacking(error: ModuleNotFoundError, what: str) -> InputError | None:
    """The error for a package of the extra `train` that is not installed; None for any other module."""
    package = str(error.name).partition(".")[0]
    return needs_extra(what, package, "train") if package in TRAINING else None


def install_command(extra: str) -> str:
    """The command that adds an extra to this installation of promu, from where promu itself came.

    That is a clone, a wheel or a repository, as pip has noted it (PEP 610). Where that is gone or unknown, the command
    names the libraries of the extra, which every package index has.
    """
    import importlib.metadata

    try:
        distribution = importlib.metadata.distribution("promu")
    except importlib.metadata.PackageNotFoundError:  # imported from its source
        return f"pip install -e {shlex.quote(f'{Path(__file__).parents[2]}[{extra}]')}"
    noted: dict[str, Any] = json.loads(distribution.read_text("direct_url.json") or "{}")
    url = str(noted.get("url", ""))
    local = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None
    if local is not None and local.exists():
        editable = "-e " if noted.get("dir_info", {}).get("editable") else ""
        return f"pip install {editable}{shlex.quote(f'{local}[{extra}]')}"
    if "vcs_info" in noted:
        source = f"{noted['vcs_info']['vcs']}+{url}@{noted['vcs_info']['commit_id']}"
        return f"pip install {shlex.quote(f'promu[{extra}] @ {source}')}"
    if local is None and url:
        return f"pip install {shlex.quote(f'promu[{extra}] @ {url}')}"
    libraries = [str(one).partition(";")[0].strip() for one in extra_requirements(distribution, extra)]
    return f"pip install {' '.join(map(shlex.quote, libraries))}"


def extra_requirements(distribution: Distribution, extra: str) -> list[Requirement]:
    """What an extra adds to what a distribution requires; for "" what it requires by itself."""

    from packaging.requirements import Requirement

    def applies(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

    every = map(Requirement, distribution.requires or [])
    return [each for each in every if applies(each, extra) and (extra == "" or not applies(each, ""))]

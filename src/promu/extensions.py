"""What installed packages add to promu: choices by name, found through entry points.

A package declares, in its `pyproject.toml`,

    [project.entry-points."promu.fusions"]
    gated = "my_package.fusions:GatedFusion"

and `fusion: gated` is legal in a recipe. The groups are `promu.fusions`, `promu.teachers`, `promu.detectors`,
`promu.formats` and `promu.tasks`. An extension is imported when its name is asked for, not before, so that one that is
broken stops only those who use it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from promu.errors import InputError, first_line

Choice = TypeVar("Choice")


class Choices(Mapping[str, Choice]):
    """Choices by name: promu's own, and those of installed packages.

    Args:
        group: The group of entry points, such as `promu.fusions`.
        own: Those of promu.
        fits: Whether what an extension names can be such a choice.
        what: What it must be, for the error: "a subclass of Fusion".

    Raises:
        InputError: When a name is asked for: an extension's name is promu's own or that of another extension; it cannot
            be imported; it is something else than such a choice.

    Example:
        ```python
        from promu.corpora.formats import FORMATS

        assert "conll" in FORMATS and FORMATS["conll"].kind == "posts"
        ```
    """

    def __init__(
        self, group: str, own: Mapping[str, Choice], fits: Callable[[Any], bool] = callable, what: str = "a callable"
    ) -> None:
        self.group, self.own = group, dict(own)
        self._fits, self._what = fits, what

    def __getitem__(self, name: str) -> Choice:
        offered = [entry for entry in extensions(self.group) if entry.name == name]
        if not offered:
            return self.own[name]
        (first, *others) = offered
        if name in self.own or others:
            taken = "promu itself" if name in self.own else _package(others[0])
            raise InputError(
                f"{_package(first)} adds {name!r} to {self.group}, but {taken} has that name already; rename it in the "
                "package's entry points, or uninstall one"
            )
        return self._load(first)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.own, *(entry.name for entry in extensions(self.group)))))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in tuple(self)

    def _load(self, entry: EntryPoint) -> Choice:
        where = f"{_package(entry)} adds {entry.name!r} to {self.group} as {entry.value}"
        try:
            choice: Choice = entry.load()
        except (ImportError, AttributeError, SyntaxError) as error:
            kind = type(error).__name__
            raise InputError(
                f"{where}, which cannot be imported ({kind}: {first_line(error)}); mend or uninstall it"
            ) from error
        if not self._fits(choice):
            raise InputError(f"{where}, which is {type(choice).__name__} and not {self._what}; correct its entry point")
        return choice


def extensions(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group in installed packages, by name; nothing is imported."""
    return _entry_points(group, tuple(sys.path))


@lru_cache(maxsize=64)
def _entry_points(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Of the packages on `path`, which is `sys.path`: a scan of it takes some hundredths of a second."""
    found = {(entry.name, entry.value, _package(entry)): entry for entry in entry_points(group=group)}
    return tuple(found[key] for key in sorted(found))


def _package(entry: EntryPoint) -> str:
    return "an installed package" if entry.dist is None else f"the package {entry.dist.name!r}"

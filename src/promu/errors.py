"""The one error type a user is meant to read, and what it takes over from others."""

from __future__ import annotations

from pathlib import Path


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

    def at(self, path: str | Path | None, line: int | None = None) -> InputError:
        """The same error with its place, for whoever knows the file of a record."""
        return InputError(self.reason, path, line, self.kind)


def first_line(error: Exception) -> str:
    """What a library's error says, for a sentence of ours: its first line without a full stop, or the error's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")

"""Which group each post belongs to, read from a file: figures can be split by "text decides" and "picture decides"."""

from __future__ import annotations

from pathlib import Path

from promu.errors import InputError
from promu.files import read_json_document


def read_groups(path: str | Path) -> dict[str, str]:
    """Read group names by post id from a JSON object such as `{"17_06_1": "text", "17_06_2": "picture"}`.

    Raises:
        InputError: The file cannot be read, or is no such object.
    """
    value = read_json_document(Path(path))
    if not isinstance(value, dict) or not value:
        raise InputError('must hold one JSON object, {"<post id>": "<group>", ...}, with at least one post', path)
    for name, group in value.items():
        if not isinstance(group, str):
            raise InputError(f"the group of post {name!r} is {group!r}; a group is a string", path)
    return value

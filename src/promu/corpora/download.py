"""One file over HTTP, whole or not at all: from the first mirror that gives its bytes, resumed where it broke off."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from promu.errors import InputError
from promu.files import checksum, make_folder
from promu.progress import report

OTHER_BYTES = "other bytes than published (the checksum differs)"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a mirror.

    Attributes:
        connect, read: Seconds until a connection stands, and between two pieces of an answer.
        slowest: Bytes a second; a mirror that gave less over `watch` seconds is left for the next.
        tries: How often a mirror that breaks off is asked for the rest, each time that it gave something.
    """

    connect: float = 10.0
    read: float = 30.0
    slowest: float = 2048.0
    watch: float = 30.0
    tries: int = 20


def download(
    urls: Sequence[str], target: Path, size: int | None, sha256: str | None, patience: Patience | None = None
) -> None:
    """Fetch a file to `target`.

    What has arrived stays beside it as `.NAME.part` when the download breaks off, and the next call goes on there.

    Args:
        urls: Mirrors, in the order to try.
        size, sha256: What the file must be; None for an archive, whose members are verified by whoever unpacks it.

    Raises:
        InputError: No mirror gave the file; the sentence says what each gave. Or the folder cannot be written.
    """
    patience = patience or Patience()
    make_folder(target.parent)
    part = target.with_name(f".{target.name}.part")
    faults = []
    timeout = httpx.Timeout(patience.read, connect=patience.connect)
    headers = {"Accept-Encoding": "identity", "User-Agent": "promu"}
    with httpx.Client(timeout=timeout, headers=headers, follow_redirects=True) as client:
        for url in urls:
            begun = part.exists()
            fault = _from_mirror(client, url, part, target.name, size, sha256, patience)
            if (
                fault == OTHER_BYTES and begun
            ):  # what another mirror began may be what was wrong: once more, from nothing
                fault = _from_mirror(client, url, part, target.name, size, sha256, patience)
            if fault is None:
                os.replace(part, target)
                return
            faults.append(f"{url}: {fault}")
    raise InputError(f"not fetched; {'; '.join(faults)}", target)


def _from_mirror(
    client: httpx.Client, url: str, part: Path, name: str, size: int | None, sha256: str | None, patience: Patience
) -> str | None:
    """Fill `part` from one mirror; what is wrong with the mirror, or None when the file is whole and right."""
    fault = _fill(client, url, part, name, size, patience)
    if fault is None and sha256 is not None and checksum(part) != sha256:
        part.unlink()
        return OTHER_BYTES
    return fault


def _fill(client: httpx.Client, url: str, part: Path, name: str, size: int | None, patience: Patience) -> str | None:
    """Ask one mirror until `part` is whole; what went wrong, or None."""
    fault: str | None = "gave nothing"
    for _ in range(patience.tries):
        before = part.stat().st_size if part.exists() else 0
        if size is not None and before == size:
            return None
        try:
            fault = _ask(client, url, part, before, name, size, patience)
        except httpx.HTTPError as error:
            fault = f"{type(error).__name__} {error}".strip()
        except httpx.InvalidURL as error:
            return str(error)
        if fault is None:
            return None
        after = part.stat().st_size if part.exists() else 0
        if after <= before:  # it gave nothing more: the next mirror
            break
    return fault


def _ask(
    client: httpx.Client, url: str, part: Path, have: int, name: str, size: int | None, patience: Patience
) -> str | None:
    """One request for what is missing; what went wrong, or None when the file is whole."""
    with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            return "no such part of the file"
        if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            return f"{answer.status_code} {answer.reason_phrase}"
        if answer.status_code == httpx.codes.OK or not _continues(answer, have):
            have = 0  # a server that knows no ranges starts again
            if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                part.unlink(missing_ok=True)
                return f"another part than asked for ({answer.headers.get('Content-Range', 'without range')})"
        promised = answer.headers.get("Content-Length")
        whole = size if size is not None else have + int(promised) if promised and promised.isdecimal() else None
        started, got = time.monotonic(), 0
        with part.open("ab" if have else "wb") as file:
            for chunk in answer.iter_raw():
                if whole is not None and have + got + len(chunk) > whole:
                    file.close()
                    part.unlink()
                    return f"more than the {whole:,} bytes that it should be"
                file.write(chunk)
                got += len(chunk)
                report(f"fetching {name}", have + got, whole or have + got)
                passed = time.monotonic() - started
                if passed > patience.watch and got / passed < patience.slowest:
                    return f"too slow ({got / passed:,.0f} bytes a second)"
    if whole is not None and have + got < whole:
        return f"broke off after {have + got:,} of {whole:,} bytes"
    return None


def _continues(answer: httpx.Response, have: int) -> bool:
    """Whether a partial answer begins where the file on disk ends."""
    return answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")

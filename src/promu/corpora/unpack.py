"""Files out of archives and folders got by hand: only those that are wanted, inside their folder, within limits."""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from promu.errors import InputError

MAX_MEMBERS = 1_000_000
_DAMAGED = (zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError, OSError)
MAX_RATIO = 200
"""How many times its packed size a member of a zip may unpack to, if that is over a MiB; text packs to a tenth."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive or folder: its path in there, parts divided by /, and its size in bytes."""

    path: str
    size: int

    @property
    def name(self) -> str:
        """Without folders."""
        return PurePosixPath(self.path).name


class Holder(Protocol):
    """What holds files: a zip, a tar, a folder."""

    def members(self) -> Iterator[Member]:
        """Its regular files, in their order."""
        ...

    def read(self, member: Member) -> bytes:
        """The bytes of one, no more than its size.

        Raises:
            InputError: It cannot be read, or is larger than it says.
        """
        ...


@contextmanager
def opened(path: Path) -> Iterator[Holder]:
    """A folder, or a zip or tar archive (plain, gzip, bzip2 or xz), known by its content.

    Nothing is written by this, so no path in an archive can lead anywhere: links, devices and absolute paths are left
    out, and members are read one by one.

    Raises:
        InputError: There is no such file, it is no archive, or holds more than `MAX_MEMBERS`.
    """
    if path.is_dir():
        yield _Folder(path)
    elif not path.is_file():
        raise InputError("no such file or folder; check the path", path)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield _Zip(path, archive)
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            yield _Tar(path, archive)
    else:
        raise InputError("is neither a folder nor a zip or tar archive; unpack it and name its folder", path)


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _safe(path: str) -> bool:
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and ":" not in parts[0]


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def members(self) -> Iterator[Member]:
        for file in sorted(self._path.rglob("*")):
            if file.is_file():
                yield Member(file.relative_to(self._path).as_posix(), file.stat().st_size)

    def read(self, member: Member) -> bytes:
        return (self._path / member.path).read_bytes()


class _Zip:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        _few(path, len(archive.infolist()))
        self._infos = {info.filename: info for info in archive.infolist()}

    def members(self) -> Iterator[Member]:
        for info in self._infos.values():
            if not info.is_dir() and _safe(info.filename):
                yield Member(info.filename, info.file_size)

    def read(self, member: Member) -> bytes:
        info = self._infos[member.path]
        if info.file_size > 1 << 20 and info.file_size > MAX_RATIO * max(info.compress_size, 1):
            reason = f"{member.path} unpacks to {info.file_size:,} bytes out of {info.compress_size:,}: refused"
            raise InputError(f"{reason}, this is no archive of such data", self._path)
        try:
            with self._archive.open(info) as file:
                return _bounded(file, member, self._path)
        except (zipfile.BadZipFile, *_DAMAGED) as error:
            raise InputError(f"{member.path} cannot be unpacked ({error}); get the archive again", self._path) from None


class _Tar:
    def __init__(self, path: Path, archive: tarfile.TarFile) -> None:
        self._path, self._archive = path, archive

    def members(self) -> Iterator[Member]:
        try:
            for number, info in enumerate(self._archive):
                _few(self._path, number)
                if info.isfile() and _safe(info.name):
                    yield Member(info.name, info.size)
        except (tarfile.TarError, *_DAMAGED) as error:
            raise InputError(f"cannot be unpacked ({error}); get the archive again", self._path) from None

    def read(self, member: Member) -> bytes:
        try:
            file = self._archive.extractfile(member.path)
            assert file is not None
            with file:
                return _bounded(file, member, self._path)
        except (tarfile.TarError, *_DAMAGED) as error:
            raise InputError(f"{member.path} cannot be unpacked ({error}); get the archive again", self._path) from None


def _bounded(file: IO[bytes], member: Member, path: Path) -> bytes:
    data = file.read(member.size + 1)
    if len(data) > member.size:
        raise InputError(f"{member.path} is larger than the archive says: refused", path)
    return data


def _few(path: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise InputError(f"holds more than {MAX_MEMBERS:,} files: refused", path)

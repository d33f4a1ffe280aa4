"""Fetch published sets into the data folder: downloaded, or taken from a folder or an archive, each file verified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from promu.corpora.captions import iterate_captions
from promu.corpora.download import Patience, download
from promu.corpora.formats import read_posts
from promu.corpora.images import probe_image
from promu.corpora.published_sets import (
    PublishedFile,
    PublishedFolder,
    PublishedSet,
    addresses,
    find_set,
    folder_checksum,
)
from promu.corpora.unpack import Holder, Member, digest, opened
from promu.errors import InputError
from promu.files import atomic, checksum, data_folder, make_folder, read_json_document, shorten
from promu.progress import track

MAX_IMAGE_BYTES = 50 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one set.

    Attributes:
        name, folder: The set, and where it lies.
        there: Files that were there and right.
        fetched: Files that came now.
        missing: Files that are still missing, as {path: why}.
        images: Images of the set's records that lie in `images/`, of how many; (0, 0) where nobody asked.
        broken_images: Images of the archive that are none, as {name: why}. They were left out.
        left_out: Other files of the archive, which belong to no set asked for: how many, and the first of them.

    Example:
        ```python
        from pathlib import Path
        from promu import Fetched

        result = Fetched("mnre", Path("data/mnre"), missing={"mnre_test.txt": "404 Not Found"})
        assert not result.complete
        ```
    """

    name: str
    folder: Path
    there: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    images: tuple[int, int] = (0, 0)
    broken_images: dict[str, str] = field(default_factory=dict)
    left_out: tuple[int, tuple[str, ...]] = (0, ())

    @property
    def complete(self) -> bool:
        """Whether every published file is there."""
        return not self.missing


def fetch(
    names: str | Sequence[str],
    *,
    source: str | Path | None = None,
    folder: str | Path | None = None,
    patience: Patience | None = None,
) -> list[Fetched]:
    """Fetch published sets (`published_sets`) into a folder; what is there and right is not fetched again.

    A file is there whole and verified (size and SHA-256), or not at all. What broke off goes on at the next call.

    Args:
        names: A set, or several.
        source: A folder or an archive (zip, tar) got by hand, in place of the network. Files are known by their
            checksums, whatever their names; images by the names in the set's records.
        folder: In place of `data_folder()`; each set gets a folder of its name in it.
        patience: How long to wait for a mirror.

    Returns:
        What became of each set, in order. A set that is not complete says in `missing` what failed.

    Raises:
        InputError: No such set; the source cannot be read, or holds nothing of the sets; the folder cannot be written.

    Example:
        ```python
        from promu import InputError, fetch

        try:
            (result,) = fetch("twitter2017", source="mytweets")  # without source: from where it is published
            print(result.folder, result.complete)
        except InputError as error:
            print(error)  # the folder holds no file of Twitter-2017
        ```
    """
    sets = {name: find_set(name) for name in ([names] if isinstance(names, str) else names)}
    root = Path(folder) if folder is not None else data_folder()
    results = []
    for name, published in sets.items():
        target = root / name
        make_folder(target)
        there = _verified(published, target)
        missing = [file for file in published.files if file.path not in there]
        folders = [part for part in published.folders if part.path not in there]
        if source is not None:
            results.append(_take(name, published, Path(source), target, there, missing, folders))
        else:
            results.append(_download(name, published, target, there, missing, folders, patience))
    return results


def _verified(published: PublishedSet, target: Path) -> list[str]:
    """The files and folders of a set that lie there and are right."""
    found = []
    for file in published.files:
        path = target / file.path
        if path.is_file() and path.stat().st_size == file.size and checksum(path) == file.sha256:
            found.append(file.path)
    for part in published.folders:
        path = target / part.path
        if path.is_dir():
            digests = [(one.name, checksum(one)) for one in path.iterdir() if one.name.endswith(part.suffix)]
            if folder_checksum(digests) == part.sha256:
                found.append(part.path)
    return found


def _download(
    name: str,
    published: PublishedSet,
    target: Path,
    there: list[str],
    missing: list[PublishedFile],
    folders: list[PublishedFolder],
    patience: Patience | None,
) -> Fetched:
    fetched, faults = [], {}
    by_archive = [file for file in missing if file.source is None]
    for file in missing:
        if file.source is None:
            continue
        try:
            download(addresses(file.source), target / file.path, file.size, file.sha256, patience)
            fetched.append(file.path)
        except InputError as error:
            faults[file.path] = error.reason
    if (by_archive or folders) and published.archives:
        archive = target / ".archive"
        try:
            urls = [url for one in published.archives for url in addresses(one)]
            download(urls, archive, None, None, patience)
            with opened(archive) as holder:
                taken, _ = _members(holder, target, by_archive, folders)
            fetched += taken
        except InputError as error:
            faults |= {wanted.path: error.reason for wanted in (*by_archive, *folders)}
        finally:
            archive.unlink(missing_ok=True)
    for wanted in (*by_archive, *folders):
        if wanted.path not in fetched:
            faults.setdefault(wanted.path, "has no address; get it by hand and give it with --from")
    return Fetched(name, target, tuple(there), tuple(fetched), faults)


def _take(
    name: str,
    published: PublishedSet,
    source: Path,
    target: Path,
    there: list[str],
    missing: list[PublishedFile],
    folders: list[PublishedFolder],
) -> Fetched:
    """Take a set's files and images out of a folder or an archive."""
    with opened(source) as holder:
        taken, others = _members(holder, target, missing, folders)
        images, broken = 0, {}
        wanted = _image_names(published, target) if published.images else set()
        for member in track(others, "unpacking images", len(others)) if wanted else ():
            if member.name not in wanted:
                continue
            problem = _place_image(holder, member, target / "images" / member.name)
            if problem is None:
                images += 1
            else:
                broken[member.name] = problem
    if not (taken or images or there):
        raise InputError(
            f"holds no file of {name}: none has the checksum of one, and no image bears a name of one", source
        )
    faults = {one.path: f"is not in {source}" for one in (*missing, *folders) if one.path not in taken}
    held = sum((target / "images" / image).is_file() for image in wanted)
    strangers = [member.path for member in others if member.name not in wanted]
    left_out = (len(strangers), tuple(strangers[:3]))
    return Fetched(name, target, tuple(there), tuple(taken), faults, (held, len(wanted)), broken, left_out)


def _members(
    holder: Holder, target: Path, missing: Sequence[PublishedFile], folders: Sequence[PublishedFolder]
) -> tuple[list[str], list[Member]]:
    """Take files by their checksums and folders by theirs; what was taken, and the members that are neither."""
    by_size: dict[int, list[PublishedFile]] = {}
    for file in missing:
        by_size.setdefault(file.size, []).append(file)
    taken: list[str] = []
    others: list[Member] = []
    parts: dict[str, list[Member]] = {part.path: [] for part in folders}
    for member in holder.members():
        candidates = by_size.get(member.size, [])
        matches: list[PublishedFile] = []
        if candidates:
            data = holder.read(member)
            sha256 = digest(data)
            matches = [file for file in candidates if file.sha256 == sha256]
            for file in matches:  # the same bytes may stand in several places
                _write(target / file.path, data)
                taken.append(file.path)
        for part in folders:
            if member.name.endswith(part.suffix) and f"/{part.path}/" in f"/{member.path}":
                parts[part.path].append(member)
                break
        else:
            if not matches:
                others.append(member)
    for part in folders:
        if len(parts[part.path]) == part.count and sum(member.size for member in parts[part.path]) == part.size:
            data_of = {member.name: holder.read(member) for member in track(parts[part.path], "unpacking", part.count)}
            if folder_checksum((name, digest(data)) for name, data in data_of.items()) == part.sha256:
                with atomic(target / part.path, folder=True) as building:
                    for name, data in data_of.items():
                        (building / name).write_bytes(data)
                taken.append(part.path)
    return list(dict.fromkeys(taken)), others


def _write(path: Path, data: bytes) -> None:
    make_folder(path.parent)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _place_image(holder: Holder, member: Member, path: Path) -> str | None:
    """Unpack one image; what is wrong with it, or None."""
    if path.is_file():
        return None
    if member.size > MAX_IMAGE_BYTES:
        return f"has {member.size:,} bytes, more than {MAX_IMAGE_BYTES:,}"
    try:
        data = holder.read(member)
        probe_image(data)
    except InputError as error:
        return shorten(error.reason, 120)
    _write(path, data)
    return None


def _image_names(published: PublishedSet, target: Path) -> set[str]:
    """The names of the images that the records of a set name, as far as its files are there."""
    names: set[str] = set()
    for file in published.files:
        path = target / file.path
        if not path.is_file():
            continue
        if published.images == "IMGID":  # the records of CoNLL files begin with it, whatever their columns are
            lines = path.read_text(encoding="utf-8").splitlines()
            names |= {f"{line.removeprefix('IMGID:').strip()}.jpg" for line in lines if line.startswith("IMGID:")}
        elif published.images == "file_name":  # COCO
            names |= {str(one["file_name"]) for one in read_json_document(path).get("images", [])}
        elif published.format == "captions":
            names |= {Path(pair.image).name for _, pair in iterate_captions(path)}
        elif published.format == "mnre" or path.name in ("train.json", "val.json", "test.json"):
            names |= {post.image for post in read_posts(path, published.format) if post.image}
    return names

"""Which photos there are, and which are held out: an index for a million, kept between runs.

Names lie in one block of memory, so that worker processes share it instead of copying a million
objects. A large folder's index is kept in the user's cache, and read from there as long as no
folder below it has been changed since: adding, removing and renaming files changes the time of
their folder. A time as young as the index itself proves nothing, and the folder is read again.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload
from zipfile import BadZipFile

import numpy as np

from fst.images.files import SUFFIXES
from fst.system.errors import InputError
from fst.system.files import atomic_path, cache_folder

WORTH_KEEPING = 10_000  # photos: fewer are listed in no time
YOUNG = 2_000_000_000  # nanoseconds: as coarse as the times of some file systems are
FORMAT = 1  # of the files in the cache


class PhotoIndex(Sequence[Path]):
    """The paths of photos below ``root``, sorted; items are made when they are asked for.

    Args:
        root: Folder that the names are relative to.
        names: All names in one block of bytes.
        ends: Where each name ends, in order.
        keys: The first 8 bytes of each name's SHA-256, see `ranked`.
        rows: Which of the names this index consists of; by default all.
    """

    def __init__(
        self,
        root: Path,
        names: np.ndarray,
        ends: np.ndarray,
        keys: np.ndarray,
        rows: np.ndarray | None = None,
    ) -> None:
        self.root, self.names, self.ends, self.keys = root, names, ends, keys
        self.rows = np.arange(len(ends)) if rows is None else rows

    @classmethod
    def of_names(cls, root: Path, names: list[bytes]) -> "PhotoIndex":
        """Index of names relative to ``root``, as the file system spells them."""
        names = sorted(names)
        ends = np.cumsum([len(name) for name in names], dtype=np.int64)
        keys = b"".join(map(_key, names))
        return cls(root, np.frombuffer(b"".join(names), np.uint8), ends, np.frombuffer(keys, ">u8"))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, k: int) -> Path: ...

    @overload
    def __getitem__(self, k: slice) -> "PhotoIndex": ...

    def __getitem__(self, k: int | slice) -> "Path | PhotoIndex":
        if isinstance(k, slice):
            return self.select(self.rows[k])
        row = self.rows[k]
        begin = self.ends[row - 1] if row else 0
        return self.root / os.fsdecode(self.names[begin : self.ends[row]].tobytes())

    def select(self, rows: np.ndarray) -> "PhotoIndex":
        """Another index of the same names."""
        return PhotoIndex(self.root, self.names, self.ends, self.keys, rows)

    def ranked(self) -> Iterator[int]:
        """Rows in the order of a hash of their names: a choice that other photos do not change."""
        return iter(self.rows[np.argsort(self.keys[self.rows], kind="stable")].tolist())

    def without(self, rows: Sequence[int]) -> "PhotoIndex":
        """An index of what is not among ``rows``."""
        return self.select(self.rows[~np.isin(self.rows, rows)])

    def without_names(self, names: Iterable[str]) -> "PhotoIndex":
        """An index of what has none of these names, relative to ``root``."""
        keys = b"".join(_key(os.fsencode(name)) for name in names)
        return self.select(
            self.rows[~np.isin(self.keys[self.rows], np.frombuffer(keys, self.keys.dtype))]
        )

    def at(self, rows: Sequence[int]) -> list[Path]:
        return list(self.select(np.array(rows, dtype=np.int64)))


def _key(name: bytes) -> bytes:
    return hashlib.sha256(name).digest()[:8]


def index_folder(root: Path) -> PhotoIndex:
    """Every picture below a folder, hidden ones left out; see `fst.images.index.find_images`.

    Raises:
        InputError: There is no such folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of pictures, found no such folder")
    place = _place("folder", root)
    if (known := _load(place)) and _unchanged(root, known):
        return _index(root, known)
    now = time.time_ns()
    names, folders = [], {}
    for folder, changed, files in _walk(os.fsencode(root)):
        folders[folder] = changed
        names += [folder + file for file in files]
    found = PhotoIndex.of_names(root, names)
    if len(found) >= WORTH_KEEPING and max(folders.values()) < now - YOUNG:
        told = {"folders": {os.fsdecode(name): changed for name, changed in folders.items()}}
        _save(place, found, told)
    return found


def index_annotations(root: Path, annotations: Path) -> PhotoIndex:
    """The pictures that a COCO JSON file lists, by their ``file_name`` relative to ``root``.

    Raises:
        InputError: It cannot be read, or is none.
    """
    place = _place("annotations", root, annotations)
    try:
        status = annotations.stat()
        told = {"size": status.st_size, "changed": status.st_mtime_ns}
        known = _load(place)
        if known and json.loads(str(known["told"])) == told:
            return _index(root, known)
        with annotations.open(encoding="utf-8") as file:
            images = json.load(file, object_pairs_hook=_names_only)["images"]
        names = {os.fsencode(name.lstrip("/")) for name in images}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{annotations}: expected a COCO annotation file (JSON with images and file_name), "
            f"found none ({error!r}); check data.annotations"
        ) from error
    found = PhotoIndex.of_names(root, list(names))
    if len(found) >= WORTH_KEEPING and status.st_mtime_ns < time.time_ns() - YOUNG:
        _save(place, found, told)
    return found


def find_images(folder: str | Path) -> list[Path]:
    """Every file below a folder whose suffix is a picture's, sorted; hidden ones left out.

    Raises:
        InputError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of pictures, found no such folder")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _names_only(pairs: list[tuple[str, object]]) -> object:
    """What is kept of a JSON object: of most nothing, so that large files need little memory."""
    found = dict(pairs)
    return found if "images" in found else found.get("file_name")


def _walk(root: bytes) -> Iterator[tuple[bytes, int, list[bytes]]]:
    """Folders below ``root``: name relative to it ending in /, time of change, pictures in it."""
    suffixes = tuple(suffix.encode() for suffix in SUFFIXES)
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        path = os.path.join(root, folder)
        try:
            changed, files = os.stat(path).st_mtime_ns, []
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name.startswith(b"."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(folder + entry.name + b"/")
                    elif entry.name.lower().endswith(suffixes) and entry.is_file():
                        files.append(entry.name)
        except OSError as error:
            raise InputError(
                f"{os.fsdecode(path)}: expected a folder that can be read, but it cannot "
                f"({error.strerror}); check its permissions"
            ) from error
        yield folder, changed, files


def _unchanged(root: Path, known: dict[str, np.ndarray]) -> bool:
    try:
        folders = json.loads(str(known["told"]))["folders"]
        return all(os.stat(root / name).st_mtime_ns == time for name, time in folders.items())
    except (OSError, ValueError, KeyError):
        return False


def _place(kind: str, *paths: Path) -> Path:
    text = "\0".join([kind, *(os.path.abspath(path) for path in paths)])
    name = hashlib.sha256(os.fsencode(text)).hexdigest()[:24]
    return cache_folder() / "photos" / f"{name}.npz"


def _index(root: Path, known: dict[str, np.ndarray]) -> PhotoIndex:
    return PhotoIndex(root, known["names"], known["ends"], known["keys"])


def _load(place: Path) -> dict[str, np.ndarray] | None:
    try:
        with place.open("rb") as file, np.load(file) as parts:
            known = dict(parts)
        return known if known["format"] == FORMAT and "told" in known else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _save(place: Path, index: PhotoIndex, told: Mapping[str, object]) -> None:
    parts: dict[str, Any] = {"names": index.names, "ends": index.ends, "keys": index.keys}
    with suppress(InputError), atomic_path(place) as temporary, temporary.open("wb") as file:
        np.savez(file, format=FORMAT, told=json.dumps(told), **parts)

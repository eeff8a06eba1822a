"""Files that are there whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fst.errors import InputError


def check_folder(path: str | Path) -> None:
    """Raise an `InputError` unless a folder can be made and written at ``path``; makes nothing."""
    path = Path(path).absolute()
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir():
        raise InputError(
            f"{path}: expected a folder to write into, but {nearest} is a file; try another place"
        )
    if not os.access(nearest, os.W_OK):
        raise InputError(
            f"{path}: expected a folder to write into, found {nearest} read-only; try another place"
        )


def make_folder(path: str | Path) -> Path:
    """Create a folder and its parents where missing.

    Raises:
        InputError: It cannot be created or written into.
    """
    path = Path(path)
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: expected a folder to write into, but it cannot be made ({error.strerror}); "
            "try another place"
        ) from error
    return path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; it takes its place when the block ends well.

    When the block fails the temporary file is removed and ``path`` is as it was.

    Raises:
        InputError: The system refuses the file (no permission, disk full).
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
        try:
            yield Path(name)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)  # mkstemp and safetensors hide files from others
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); try another place"
        ) from error

"""Files that are there whole or not at all."""

import os
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fst.system.errors import InputError

_HOST = re.sub(r"[^\w.]", "_", platform.node())[:40]
_UMASK = os.umask(0)  # asking sets it for the whole process, so once, before there are threads
os.umask(_UMASK)


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

    When the block fails the temporary file is removed and ``path`` is as it was. Its name is
    hidden, ends in the suffix of ``path``, and says whose it is, for `remove_leftovers`.

    Raises:
        InputError: The system refuses the file (no permission, disk full).
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".fst-{_HOST}-{os.getpid()}-", suffix=path.suffix
        )
        os.close(handle)
        try:
            yield Path(name)
            os.chmod(name, 0o666 & ~_UMASK)  # mkstemp and safetensors hide files from others
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); try another place"
        ) from error


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove what `atomic_path` left in ``folders`` when a process of this machine was killed.

    Files of running processes stay, but for this one's: call it while nothing is being written.
    """
    ours = re.compile(rf"\.fst-{re.escape(_HOST)}-(\d+)-\w+(\.|$)")
    for folder in {folder for folder in folders if folder.is_dir()}:
        for path in folder.iterdir():
            match = ours.match(path.name)
            if match and not _runs_elsewhere(int(match[1])):
                try:
                    path.unlink(missing_ok=True)
                except OSError:  # someone else's: an eyesore, and no reason to stop
                    continue


def _runs_elsewhere(process: int) -> bool:
    """Whether another process of this number is alive; on Windows, where asking can kill, yes."""
    if process == os.getpid():
        return False
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def cache_folder() -> Path:
    """Where compiled and exported networks are kept: ``fst`` in the user's cache folder.

    Nothing can be kept for a user without a home.
    """
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "fst"
    try:
        return Path.home() / ".cache" / "fst"
    except RuntimeError:
        return Path(os.devnull) / "fst"

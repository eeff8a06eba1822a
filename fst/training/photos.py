"""Which photos a training sees, and which are held out from it."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from fst.images.index import PhotoIndex, index_annotations, index_folder
from fst.system.errors import InputError


def list_photos(root: str | Path, annotations: str | Path | None = None) -> PhotoIndex:
    """Paths of the photos of a flat or nested folder, or of those that a COCO JSON file lists.

    Raises:
        InputError: No such folder or file, or fewer than two photos.
    """
    root = Path(root).expanduser()
    if annotations is None:
        paths = index_folder(root)
    else:
        paths = index_annotations(root, Path(annotations).expanduser())
    if len(paths) < 2:
        raise InputError(
            f"{root}: expected at least 2 photos to train on, found {len(paths)}; "
            "set data.root to a folder of photos"
        )
    return paths


def leave_out(paths: PhotoIndex, names: Path) -> PhotoIndex:
    """The photos without those that a text file names, relative to their folder, one by line.

    Raises:
        InputError: There is no such file, or fewer than two photos are left.
    """
    try:
        lines = names.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"data.exclude: expected a text file of names by line, found none at {names} "
            f"({error}); fst check-photos --list makes one"
        ) from error
    left = paths.without_names(line for line in lines if line)
    if len(left) < 2:
        raise InputError(
            f"data.exclude: expected at least 2 photos to be left of {len(paths)}, {names} leaves "
            f"{len(left)}"
        )
    return left


def split_photos(
    paths: PhotoIndex, held_out: int, usable: Callable[[Path], bool]
) -> tuple[PhotoIndex, list[Path]]:
    """Training and held-out photos; the latter are fixed: chosen by a hash of the relative path.

    At most a fifth of the photos, and at least one, is held out: the first that are usable.
    """
    count = max(1, min(held_out, len(paths) // 5))
    fit = (row for row in paths.ranked() if usable(paths.at([row])[0]))
    chosen = list(islice(fit, count))
    return paths.without(chosen), paths.at(chosen)

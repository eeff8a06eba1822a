"""Folders of photos: which photo becomes which file, and which mask belongs to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fst.images import (
    SUFFIXES,
    Animation,
    Photo,
    check_output,
    find_images,
    read_photo,
    read_picture,
)
from fst.images.photo import full
from fst.stylizer.controls import LUMA
from fst.system.errors import InputError


@dataclass(frozen=True)
class Job:
    """One photo to repaint.

    Attributes:
        source: The photo.
        target: The file to write.
        name: Its path below the folder it was found in, or its file name.
    """

    source: Path
    target: Path
    name: Path


def plan(inputs: Sequence[Path], output: Path | None, label: str = "") -> list[Job]:
    """What becomes what; folders keep their tree below the output folder.

    Args:
        inputs: Photos, and folders of photos.
        output: A file for the only photo, else a folder. None: the current folder, in which a photo
            becomes ``<photo>-<label>.<suffix>``, and a folder the folder ``<folder>-<label>``.
        label: See ``output``.

    Raises:
        InputError: An input is missing, a folder has no photos, or two photos or a photo and its
            output would be the same file.
    """
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: expected a picture, found no such file")
    if output is not None and names_a_file(inputs, output):
        check_output(output)
        jobs = [Job(inputs[0], output, Path(inputs[0].name))]
    else:
        jobs = [job for path in inputs for job in _expand(path, output, label)]
    sources = {job.source.resolve() for job in jobs}
    taken: dict[Path, Path] = {}
    for job in jobs:
        if job.target in taken:
            raise InputError(
                f"{job.target}: expected one photo for it, found {taken[job.target]} and "
                f"{job.source}"
            )
        if job.target.resolve() in sources:
            raise InputError(f"{job.target}: is one of the photos; try another output")
        taken[job.target] = job.source
    return jobs


def names_a_file(inputs: Sequence[Path], output: Path | None) -> bool:
    """Whether ``output`` is the file of the only photo, and not a folder."""
    one = len(inputs) == 1 and not inputs[0].is_dir()
    return one and output is not None and bool(output.suffix) and not output.is_dir()


def _expand(path: Path, output: Path | None, label: str) -> list[Job]:
    """The photos of one input; none from inside the output folder."""
    if not path.is_dir():
        # what can be read but not written becomes PNG
        suffix = path.suffix if path.suffix.lower() in SUFFIXES else ".png"
        name = f"{path.stem}-{label}{suffix}" if output is None else path.stem + suffix
        return [Job(path, (output or Path()) / name, Path(path.name))]
    if output is None:
        output = Path(f"{path.resolve().name}-{label}")
    photos, painted = find_images(path), output.resolve()
    if path.resolve() in painted.parents:  # an earlier run's paintings are no photos
        photos = [photo for photo in photos if painted not in photo.resolve().parents]
    if not photos:
        raise InputError(f"{path}: expected photos ({', '.join(SUFFIXES)}) in it, found none")
    names = [photo.relative_to(path) for photo in photos]
    return [Job(path / name, output / name, name) for name in names]


def without_existing(jobs: Sequence[Job]) -> list[Job]:
    """The jobs whose file is not there yet; files are whole (`fst.system.files`), or not there."""
    return [job for job in jobs if not job.target.exists()]


class Masks:
    """Where to repaint: one mask for every photo, or a folder of them.

    Args:
        path: A picture, white where the photo is repainted; or a folder in which the mask of a
            photo has the photo's `Job.name`, with any suffix.

    Raises:
        InputError: There is no such file, or it is no picture.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._one, self._many = None, {}
        if not path.is_dir():
            self._one = _read_mask(path)
            return
        for found in find_images(path):
            name = found.relative_to(path)
            self._many[name] = found
            self._many.setdefault(name.with_suffix(""), found)

    def __call__(self, job: Job, size: tuple[int, int]) -> np.ndarray:
        """The mask of a photo of ``size`` (width, height): float32 in [0, 1], of its aspect.

        Raises:
            InputError: There is none, it is no picture, or of another aspect.
        """
        mask = self._one
        if mask is None:
            found = self._many.get(job.name) or self._many.get(job.name.with_suffix(""))
            if found is None:
                raise InputError(
                    f"{job.source}: expected a mask for it at {self.path / job.name} (any suffix), "
                    "found none"
                )
            mask = _read_mask(found)
        (width, height), (mask_height, mask_width) = size, mask.shape
        if abs(width * mask_height / (height * mask_width) - 1) > 0.03:  # rounding in small masks
            raise InputError(
                f"{job.source}: expected a mask of the photo's aspect ({width}x{height}), found "
                f"{mask_width}x{mask_height}; try --mask with a folder of masks"
            )
        return mask


def _read_mask(path: Path) -> np.ndarray:
    """``(H, W)`` float32 in [0, 1]: how light a picture is; what is transparent counts as black."""
    photo = read_photo(path)
    white = np.float32(full(photo.pixels.dtype))
    gray = photo.pixels @ LUMA / white
    return gray if photo.alpha is None else gray * (photo.alpha / white)


def read_job(job: Job, masks: Masks | None = None) -> tuple[Photo | Animation, dict[str, Any]]:
    """A job's picture, and what a `Stylizer` is to be told for it alone.

    Raises:
        InputError: The photo or its mask cannot be read.
    """
    picture = read_picture(job.source)
    return picture, {"mask": masks(job, picture.size)} if masks else {}

"""PNG and TIFF of 16 bits a channel, at full depth: Pillow has no such colour pictures.

libvips decodes them and converts their colours, in 16 bit as well.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from fst.images.decoding import as_stored
from fst.images.metadata import read_metadata, read_orientation
from fst.images.photo import Photo
from fst.system.errors import InputError, install_hint

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_UNSIGNED = 1


def is_deep(file: Image.Image, stream: BinaryIO) -> bool:
    """Whether an open file holds gray or RGB of 16 bits; ``stream`` are its bytes."""
    if file.format == "PNG":
        place = stream.tell()
        stream.seek(24)  # the depth, in the header that every PNG file begins with
        depth = stream.read(1)[0]
        stream.seek(place)
        return depth == 16
    if file.format != "TIFF":
        return False
    tags = file.tag_v2  # type: ignore[attr-defined]  # of Pillow's TIFF images
    return (
        set(tags.get(_BITS_PER_SAMPLE, ())) == {16}
        and tags.get(_PHOTOMETRIC) in (0, 1, 2)  # gray either way round, RGB
        and set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) == {_UNSIGNED}
    )


def decode_deep(file: Image.Image, path: Path) -> Photo:
    """The photo in a file that `is_deep`, uint16; ``file`` gives what is beside the pixels.

    Raises:
        InputError: pyvips is not installed.
    """
    try:
        import pyvips
    except (ImportError, OSError) as error:  # OSError: without libvips
        raise InputError(
            f"{path}: expected pyvips for a picture of 16 bits, found it missing; "
            f"try {install_hint('deep')}"
        ) from error

    def load(to_srgb: bool) -> np.ndarray:
        # the same path may hold another file than when libvips last looked: revalidate
        image = pyvips.Image.new_from_file(
            str(path), access="sequential", fail_on="error", revalidate=True
        )
        if to_srgb:
            image = image.icc_transform("srgb", embedded=True, depth=16, intent="perceptual")
        return image.numpy()

    profile = bool(file.info.get("icc_profile"))
    try:
        array = load(to_srgb=profile)
    except pyvips.Error:
        if not profile:
            raise
        profile = False  # broken, or for another kind of picture
        array = load(to_srgb=False)
    array = _upright(array.reshape(*array.shape[:2], -1), read_orientation(file))
    colors = 3 if array.shape[2] > 2 else 1
    alpha = array[..., colors].copy() if array.shape[2] > colors else None
    pixels = array[..., :colors]
    pixels = np.repeat(pixels, 3, axis=2) if colors == 1 else np.ascontiguousarray(pixels)
    return Photo(pixels, alpha, read_metadata(file, profile))


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    if orientation == 1:
        return array
    shape = array.shape if orientation < 5 else (array.shape[1], array.shape[0], *array.shape[2:])
    upright = np.empty(shape, array.dtype)
    as_stored(upright, orientation)[:] = array
    return upright

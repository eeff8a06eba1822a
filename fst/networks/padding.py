"""Sides in whole strides: what the network needs, and what it does to sizes that are not.

Reflected pixels are added at the right and at the bottom; the caller crops its result.
"""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from fst.system.errors import InputError

MIN_SIDE = 16  # px: twice what reflection at a quarter of the size needs; smaller is no photo
STRIDE = 4  # px: two convolutions of stride 2


def check_sides(height: int, width: int) -> None:
    """Raise an `InputError` for an image that is smaller than the network's padding needs."""
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"image: expected at least {MIN_SIDE}x{MIN_SIDE} px, found {width}x{height}; "
            "try enlarging it first"
        )


def missing_pixels(side: int) -> int:
    """How many pixels a side lacks to whole strides: 0 to 3."""
    return -side % STRIDE


def pad_to_strides(batch: Tensor) -> Tensor:
    """``(N, C, H, W)`` with H and W in whole strides.

    Raises:
        InputError: A side is shorter than 16 px.
    """
    height, width = batch.shape[-2:]
    check_sides(height, width)
    beyond = (0, missing_pixels(width), 0, missing_pixels(height))
    return F.pad(batch, beyond, mode="reflect")


def pad_pixels_to_strides(pixels: np.ndarray) -> np.ndarray:
    """`pad_to_strides` of an array ``(H, W, C)``; the array itself where nothing is missing.

    Raises:
        InputError: A side is shorter than 16 px.
    """
    height, width = pixels.shape[:2]
    check_sides(height, width)
    beyond = (0, missing_pixels(height)), (0, missing_pixels(width)), (0, 0)
    return np.pad(pixels, beyond, mode="reflect") if any(map(any, beyond)) else pixels

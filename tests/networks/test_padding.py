import itertools

import numpy as np
import pytest
import torch

from fst.networks import (
    MIN_SIDE,
    STRIDE,
    missing_pixels,
    pad_pixels_to_strides,
    pad_to_strides,
)
from fst.system.errors import InputError


def test_tensors_and_arrays_are_padded_alike_to_whole_strides():
    for height, width in itertools.product(range(MIN_SIDE, MIN_SIDE + STRIDE + 1), repeat=2):
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        padded = pad_pixels_to_strides(pixels)
        rows, columns, _ = padded.shape
        assert rows % STRIDE == columns % STRIDE == 0
        assert (rows - height, columns - width) == (missing_pixels(height), missing_pixels(width))
        assert rows - height < STRIDE
        assert np.array_equal(padded[:height, :width], pixels)
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        assert np.array_equal(pad_to_strides(batch)[0].permute(1, 2, 0), padded)


def test_a_picture_in_whole_strides_is_not_copied():
    pixels = np.zeros((16, 20, 3), np.uint8)
    assert pad_pixels_to_strides(pixels) is pixels


@pytest.mark.parametrize("pad", [pad_to_strides, pad_pixels_to_strides])
def test_a_side_under_16_px_is_refused(pad):
    picture = torch.zeros(1, 3, 40, 15) if pad is pad_to_strides else np.zeros((40, 15, 3))
    with pytest.raises(InputError, match=r"^image: expected at least 16x16 px, found 15x40; try"):
        pad(picture)

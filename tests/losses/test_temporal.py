"""What moves with the photo costs nothing, what is tied to the stride does."""

import pytest
import torch

from fst.losses.temporal import shift_error

STRIDE = 4


@pytest.mark.parametrize("number", [0, 4])
def test_what_is_tied_to_the_stride_is_an_error_and_what_moves_is_none(number):
    photos = torch.rand(3, 3, 32, 32)
    errors = []
    for strength in (0.0, 0.1, 0.2):

        def grid(pictures, strength=strength):
            """The pictures, and a grid of 4 px that does not move with them."""
            out = pictures.clone()
            out[..., ::STRIDE, ::STRIDE] += strength
            return out

        errors.append(shift_error(grid, photos, grid(photos), number, STRIDE).item())
    assert errors[0] == 0
    assert errors[1] > 1e-3
    assert errors[2] == pytest.approx(4 * errors[1], rel=0.1)


def test_fifteen_batches_look_at_all_fifteen_shifts():
    photos, seen = torch.rand(3, 3, 32, 32), []
    for number in range(15):
        shift_error(lambda moved: seen.append(moved) or 0 * moved, photos, photos, number, STRIDE)
    windows = {
        (down, right): photos[:2, :, down : down + 28, right : right + 28]
        for down in range(4)
        for right in range(4)
    }
    shifts = [k for moved in seen for k, window in windows.items() if torch.equal(moved, window)]
    assert sorted(shifts) == sorted(windows.keys() - {(0, 0)})

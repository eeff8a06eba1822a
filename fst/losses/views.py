"""How training shows pictures to a loss network that only predicts another."""

from torch import Tensor

MIRRORED = (), (3,), (2,), (2, 3)  # along which axes, in turn


def training_view(number: int, grid: int, *images: Tensor) -> tuple[Tensor, ...]:
    """``(N, C, H, W)`` images as training should show them to a loss network, each time otherwise.

    To one that only predicts another a picture that is mirrored, or moved by less than ``grid``
    pixels, is another one, about which it is wrong in another way: with numbers one after the other
    they are mirrored left to right, top to bottom or both, and lack up to ``grid`` - 1 first rows
    and columns.
    """
    if grid == 1:
        return images
    down, right = divmod(number // len(MIRRORED) % grid**2, grid)
    axes = MIRRORED[number % len(MIRRORED)]
    return tuple(each[..., down:, right:].flip(axes) for each in images)

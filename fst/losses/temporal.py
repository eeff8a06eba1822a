"""Whether strokes move with the photo: what flickers in a video, and the grid of the stride."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

GRID = 50  # times: a grid is seen where other differences are not
WINDOW = 4  # strides: in which a grid is looked for; it changes with the picture
FLAT = 2e-3  # standard deviation of a picture in [0, 1] below which it shows nothing: half a level


def shift_error(
    net: Callable[[Tensor], Tensor], photos: Tensor, stylized: Tensor, number: int, stride: int
) -> Tensor:
    """How much strokes do not move with the photo, relative to the picture's own variance.

    Half of the photos are stylized again, moved by less than the network's stride: another shift
    for every batch, all of them in turn. What the two pictures do not share flickers in a video,
    and the part of it that repeats with the stride is a grid, which the style loss takes for the
    grain of the canvas: it counts `GRID` times.

    Args:
        net: ``(N, 3, H, W)`` RGB in [0, 1] to the same.
        photos: ``(N, 3, H, W)`` RGB in [0, 1], at least five strides a side.
        stylized: The network's answer to them, the same shape.
        number: Of the batch; it decides the shift.
        stride: Of the network, px.

    Returns:
        A scalar: 0 where every stroke moves along.
    """
    some = slice((len(photos) + 1) // 2)
    down, right = divmod(number * 7 % (stride**2 - 1) + 1, stride)
    # the same for all shifts, and a multiple of the stride where the photos are
    height, width = (side - stride for side in photos.shape[-2:])
    window = some, slice(None), slice(down, down + height), slice(right, right + width)
    error = net(photos[window]) - stylized[window]
    energy = error.square().mean() + GRID * _grid(error, stride).square().mean()
    return energy / stylized.detach().var((2, 3)).mean().clamp_min(FLAT**2)


def _grid(pictures: Tensor, stride: int) -> Tensor:
    """What repeats with the stride: local means by phase, less those of all phases."""
    height, width = (side // (WINDOW * stride) * WINDOW * stride for side in pictures.shape[-2:])
    phases = F.pixel_unshuffle(pictures[..., :height, :width], stride).unflatten(1, (3, -1))
    means = F.avg_pool2d(phases.flatten(0, 1), WINDOW)  # (3 N, phases, H, W)
    return means - means.mean(1, keepdim=True)

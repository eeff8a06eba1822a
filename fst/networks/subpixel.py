"""Convolutions that give the four pixels of a 2x2 square at once: the same sums, sooner.

Two ideas, for training here and for inference in `fst.engines.simplify`:

1. A convolution of a picture with every pixel repeated multiplies the same numbers up to four
   times. `phase_kernels` are four smaller kernels, one for each pixel of a square, that see the
   picture before it was repeated (sub-pixel convolution, Shi et al., arXiv:1609.05158).
2. Matrix units multiply by sixteen channels or more: three colours leave them idle. With
   `square_kernels` the four pixels of a square are twelve channels, at half of the size.

In training both run under the compiler only, where they pay. Results differ from the plain
convolution's by rounding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.networks.layers import RepeatedBorder, compiled_for_training

SQUARE = ((0, 0), (0, 1), (1, 0), (1, 1))  # row and column of its pixels, in the order used here


def phase_kernels(weight: Tensor) -> list[Tensor]:
    """What a 3x3 kernel over repeated pixels multiplies the pixels before with.

    Row ``2i`` of the repeated picture sees rows ``i-1, i, i`` of the one before, row ``2i+1`` sees
    ``i, i, i+1``: kernel rows that meet the same row are summed; likewise columns.

    Args:
        weight: ``(D, C, 3, 3)``.

    Returns:
        For each pixel of `SQUARE` a kernel ``(D, C, 2, 2)``; the first of a pair begins a pixel
        before the square, the second on it.
    """
    return [kernel for rows in _halves(weight, 2) for kernel in _halves(rows, 3)]


def _halves(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three rows (or columns) as two, as the first and as the second pixel of a pair needs them."""
    first, middle, last = weight.split(1, dim)
    return torch.cat((first, middle + last), dim), torch.cat((first + middle, last), dim)


def square_kernels(kernels: Sequence[Tensor]) -> list[Tensor]:
    """Kernels of the pixels of `SQUARE`, ``(D, C, K, K)``, shifted to see one window: ``K + 1``."""
    return [
        F.pad(kernel, (column, 1 - column, row, 1 - row))
        for kernel, (row, column) in zip(kernels, SQUARE, strict=True)
    ]


def convolve_doubled(x: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 convolution of ``(N, C, H, W)`` with every pixel repeated, reflected by one pixel.

    Returns:
        ``(N, D, H, 4 W)``, channels-last: four pixels of a square side by side, which
        `interleave` puts in place; what treats all pixels alike can come before.
    """
    kernels = torch.cat(square_kernels(phase_kernels(weight)))  # (4 D, C, 3, 3)
    squares = F.conv2d(RepeatedBorder.apply(x), kernels)  # (N, 4 D, H, W)
    count, _, height, width = squares.shape
    pixels = squares.permute(0, 2, 3, 1).reshape(count, height, 4 * width, -1)
    return pixels.permute(0, 3, 1, 2)


def interleave(x: Tensor) -> Tensor:
    """``(N, D, H, 4 W)`` of `convolve_doubled` as a picture: ``(N, D, 2 H, 2 W)``."""
    count, channels, height, width = x.shape
    squares = x.permute(0, 2, 3, 1).unflatten(2, (width // 4, 2, 2))  # (N, H, W, 2, 2, D)
    rows = squares.transpose(2, 3).reshape(count, 2 * height, width // 2, channels)
    return rows.permute(0, 3, 1, 2)


class ColourConv(nn.Conv2d):
    """``nn.Conv2d`` without padding and stride, to few channels; its output's sides are even."""

    bias: Tensor

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, D, H - K + 1, W - K + 1)
        if not compiled_for_training():
            return super().forward(x)
        weight = torch.stack(square_kernels([self.weight] * 4), 1).flatten(0, 1)
        # of stride 4 along a row, which would take no shuffling, oneDNN 3.12 gives nonsense in bf16
        return F.pixel_shuffle(F.conv2d(x, weight, self.bias.repeat_interleave(4), stride=2), 2)

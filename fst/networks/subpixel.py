"""Convolutions that give four pixels at once: the same sums, sooner.

Matrix units multiply by sixteen channels or more: three colours leave them idle, and repeated
pixels let them multiply the same again. So in training the convolution to colours gives twelve
channels at half of the size, and one that follows a doubling of the size sees the picture before
it, its kernels summed where they meet a pixel twice. Results differ by rounding only.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.networks.layers import RepeatedBorder


def convolve_doubled(x: Tensor, weight: Tensor) -> Tensor:
    """A 3x3 convolution of ``(N, C, H, W)`` with every pixel repeated, reflected by one pixel.

    Returns:
        ``(N, D, H, 4 W)``, channels-last: four pixels of a square side by side, which
        `interleave` puts in place; what treats all pixels alike can come before.
    """
    rows = _among_the_pixels_before(weight, 2)
    phases = torch.cat([phase for row in rows for phase in _among_the_pixels_before(row, 3)])
    found = F.conv2d(RepeatedBorder.apply(x), phases)
    count, _, height, width = found.shape
    pixels = found.permute(0, 2, 3, 1).reshape(count, height, 4 * width, -1)
    return pixels.permute(0, 3, 1, 2)


def interleave(x: Tensor) -> Tensor:
    """``(N, D, H, 4 W)`` of `convolve_doubled` as a picture: ``(N, D, 2 H, 2 W)``."""
    count, channels, height, width = x.shape
    squares = x.permute(0, 2, 3, 1).unflatten(2, (width // 4, 2, 2))  # (N, H, W, 2, 2, D)
    rows = squares.transpose(2, 3).reshape(count, 2 * height, width // 2, channels)
    return rows.permute(0, 3, 1, 2)


def _among_the_pixels_before(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """What the three rows or columns of a kernel meet, from the first and the second of a pair."""
    first, middle, last = weight.split(1, dim)
    nothing = torch.zeros_like(middle)
    before, after = (first, middle + last, nothing), (nothing, first + middle, last)
    return torch.cat(before, dim), torch.cat(after, dim)


class ColourConv(nn.Conv2d):
    """``nn.Conv2d`` without padding and stride, to few channels; its output's sides are even."""

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and torch.compiler.is_compiling()):
            return super().forward(x)
        places = [(column, 1 - column, row, 1 - row) for row in (0, 1) for column in (0, 1)]
        weight = torch.stack([F.pad(self.weight, place) for place in places], 1).flatten(0, 1)
        # of stride 4 along a row, which would take no shuffling, oneDNN 3.12 gives nonsense in bf16
        return F.pixel_shuffle(F.conv2d(x, weight, self.bias.repeat_interleave(4), stride=2), 2)

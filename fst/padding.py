"""Reflection padding and repeated pixels, with gradients that stay in channels-last memory.

Eagerly PyTorch's own are fast. The compiler's gradient of reflection padding asks of every pixel
which of nine reflections lie on it, and keeps the answer in the other memory format.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Reflect(torch.autograd.Function):
    """Reflection padding; its gradient folds rows, then columns."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        ctx.size = size
        return F.pad(x, (size,) * 4, mode="reflect")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows = _fold(gradient.permute(0, 2, 3, 1), ctx.size, 1)
        return _fold(rows, ctx.size, 2).permute(0, 3, 1, 2), None


def _fold(gradient: Tensor, size: int, dim: int) -> Tensor:
    """Add to a dimension of ``(N, H, W, C)`` what lies on the reflections before and after it."""
    inside = gradient.shape[dim] - 2 * size
    before = gradient.narrow(dim, 0, size).flip(dim)
    after = gradient.narrow(dim, inside + size, size).flip(dim)
    found = gradient.narrow(dim, size, inside)
    found = found + _place(before, dim, 1, inside)
    return found + _place(after, dim, inside - 1 - size, inside)


def _place(strip: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A strip of ``(N, H, W, C)`` on zeros of ``length`` along a dimension."""
    end = length - start - strip.shape[dim]
    return F.pad(strip, (0, 0) * (3 - dim) + (start, end))


class ReflectionPad(nn.ReflectionPad2d):
    """Reflection padding, with a gradient for the compiler in training."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and torch.compiler.is_compiling():
            return _Reflect.apply(x, self.padding[0])
        return super().forward(x)


class RepeatedBorder(torch.autograd.Function):
    """A border of one pixel that repeats the one beside it: ``(N, C, H + 2, W + 2)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.pad(x, (1,) * 4, mode="replicate")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        found = gradient.permute(0, 2, 3, 1)
        for dim in (1, 2):
            inside = found.shape[dim] - 2
            first, last = found.narrow(dim, 0, 1), found.narrow(dim, inside + 1, 1)
            found = found.narrow(dim, 1, inside) + _place(first, dim, 0, inside)
            found = found + _place(last, dim, inside - 1, inside)
        return found.permute(0, 3, 1, 2)


def repeat_pixels(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` at twice the size, every pixel four times."""
    count, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1)[:, :, None, :, None]  # (N, H, 1, W, 1, C)
    found = rows.expand(-1, -1, 2, -1, 2, -1).reshape(count, 2 * height, 2 * width, channels)
    return found.permute(0, 3, 1, 2)

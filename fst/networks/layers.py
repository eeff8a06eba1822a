"""The transformer network's layers, fast: their gradients are written out.

1. `InstanceNorm`: PyTorch's kernel copies channels-last images to the other layout and back, and
   its gradient takes twice the passes over memory.
2. `ReflectionPad`: the compiler's gradient asks of every pixel which of nine reflections lie on it,
   and keeps the answer in the other memory format. Eagerly PyTorch's own is fast.
3. `RepeatPixels` and `RepeatedBorder`: what upsampling needs, channels-last.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def compiled_for_training() -> bool:
    """Whether the compiler is reading a pass of which the gradient will be asked for."""
    return torch.is_grad_enabled() and torch.compiler.is_compiling()


class _Normalize(torch.autograd.Function):
    """Instance norm with its gradient written out: two sums and one multiply-add.

    Autograd's own keeps the gradients of scale and shift in the precision of the images, and takes
    twice the passes over memory. Sums go by rows first, as channels-last memory lies, which keeps
    float32 exact enough without the compiler's compensated sums.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        values = x.float()
        mean = _mean(values)
        inverse = torch.rsqrt(_mean((values - mean).square()) + eps)
        scale = weight.float().view(1, -1, 1, 1) * inverse
        ctx.save_for_backward(x, weight, mean, inverse)
        return (values * scale + (bias.float().view(1, -1, 1, 1) - mean * scale)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse = ctx.saved_tensors
        normal, values = (x.float() - mean) * inverse, gradient.float()
        along, shift = _mean(values * normal), _mean(values)
        scale = weight.float().view(1, -1, 1, 1) * inverse
        of_x = (values - shift - normal * along) * scale
        area = x.shape[2] * x.shape[3]
        of_weight, of_bias = (
            (area * means.sum((0, 2, 3))).to(weight.dtype) for means in (along, shift)
        )
        return of_x.to(x.dtype), of_weight, of_bias, None


def _mean(images: Tensor) -> Tensor:
    """Means of ``(N, C, H, W)`` by image and channel, by rows first: ``(N, C, 1, 1)``."""
    rows = images.permute(0, 2, 3, 1)  # as channels-last memory lies
    return rows.mean(2, keepdim=True).mean(1, keepdim=True).permute(0, 3, 1, 2)


class InstanceNorm(nn.Module):
    """Normalise every channel of every image to its own mean and variance, then scale and shift.

    The same function as ``nn.InstanceNorm2d(affine=True)``, written as reductions and one
    multiply-add: PyTorch's kernel copies channels-last images to the other layout and back. The
    statistics are float32 whatever the precision of the images.
    """

    eps = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            if torch.is_grad_enabled():
                return _Normalize.apply(x, self.weight, self.bias, self.eps)
            var, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0, keepdim=True)
            scale = self.weight.float().view(1, -1, 1, 1) * torch.rsqrt(var + self.eps)
            shift = self.bias.float().view(1, -1, 1, 1) - mean * scale
            return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype))


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
    folded = gradient.narrow(dim, size, inside)
    folded = folded + _place(before, dim, 1, inside)
    return folded + _place(after, dim, inside - 1 - size, inside)


def _place(strip: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A strip of ``(N, H, W, C)`` on zeros of ``length`` along a dimension."""
    end = length - start - strip.shape[dim]
    return F.pad(strip, (0, 0) * (3 - dim) + (start, end))


class ReflectionPad(nn.ReflectionPad2d):
    """Reflection padding, with a gradient for the compiler in training."""

    def forward(self, x: Tensor) -> Tensor:
        if compiled_for_training():
            return _Reflect.apply(x, self.padding[0])
        return super().forward(x)


class RepeatedBorder(torch.autograd.Function):
    """A border of one pixel that repeats the one beside it: ``(N, C, H + 2, W + 2)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.pad(x, (1,) * 4, mode="replicate")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        folded = gradient.permute(0, 2, 3, 1)
        for dim in (1, 2):
            inside = folded.shape[dim] - 2
            first, last = folded.narrow(dim, 0, 1), folded.narrow(dim, inside + 1, 1)
            folded = folded.narrow(dim, 1, inside) + _place(first, dim, 0, inside)
            folded = folded + _place(last, dim, inside - 1, inside)
        return folded.permute(0, 3, 1, 2)


class RepeatPixels(nn.Module):
    """Twice the size by repeating pixels: ``nn.Upsample(scale_factor=2)``, channels-last."""

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, C, 2 H, 2 W)
        count, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1)[:, :, None, :, None]  # (N, H, 1, W, 1, C)
        repeated = pixels.expand(-1, -1, 2, -1, 2, -1)  # (N, H, 2, W, 2, C)
        return repeated.reshape(count, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)

"""A frozen loss network on CPUs with bf16 units: weights prepared once, ReLU in convolutions.

Under autocast PyTorch converts a frozen layer's weights at every pass, and ReLU is a pass over
memory of its own. Here the weights are converted once, and oneDNN's convolution ends with ReLU. The
gradient is a convolution, too, whose kernel is prepared as well. The activations are those of
autocast to bf16, bit for bit; so were the gradients where it was tried (AMX).

What costs, besides convolutions, is the bytes moved. PyTorch's pooling keeps the places of the
maxima, four times as many bytes as the maxima. Where a compiler is at hand, pooling keeps none: its
gradient looks for the greatest of four again, and takes ReLU's gradient in the same pass. The
results are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_POOL = ([2, 2], [2, 2], [0, 0], [1, 1], False)  # kernel, stride, padding, dilation, ceil mode


class SpaceToDepth(nn.Module):
    """2x2 pixels as channels, one pixel's after another's; an odd last row or column is left out.

    ``(N, C, H, W)`` to ``(N, 4 C, H / 2, W / 2)``.
    """

    def forward(self, x: Tensor) -> Tensor:
        return space_to_depth(x)


class LossNetwork(nn.Module):
    """A frozen network whose passes are fused where they can be.

    Attributes:
        compiled: Whether `FusedFeatures` may compile; to be set before the first pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.compiled = False
        self._fused: FusedFeatures | None = None

    def _apply(self, *args: Any, **settings: Any) -> "LossNetwork":
        self._fused = None  # its weights are copies
        return super()._apply(*args, **settings)

    def load_state_dict(self, *args: Any, **settings: Any) -> Any:
        self._fused = None
        return super().load_state_dict(*args, **settings)

    def can_fuse(self, images: Tensor) -> bool:
        """Whether passes of these images may be those of `fuse`."""
        return bf16_kernels_available(images)

    def fuse(self, layers: nn.Sequential) -> "FusedFeatures":
        """The passes of ``layers``, prepared once."""
        self._fused = self._fused or FusedFeatures(layers, self.compiled)
        return self._fused


@dataclass(frozen=True)
class _Convolution:
    """A frozen convolution, prepared: bf16, channels-last."""

    kernel: Tensor
    turned: Tensor  # the kernel of its gradient: turned around, in- and outputs exchanged
    bias: Tensor | None
    rectified: bool  # whether ReLU follows

    @classmethod
    def of(cls, layer: nn.Conv2d, rectified: bool) -> "_Convolution":
        kernel = layer.weight.detach().bfloat16()
        bias = None if layer.bias is None else layer.bias.detach().bfloat16()
        turned = kernel.transpose(0, 1).flip(2, 3)
        last = torch.channels_last
        return cls(
            kernel.contiguous(memory_format=last), turned.contiguous(memory_format=last), bias,
            rectified,
        )  # fmt: skip


class FusedFeatures:
    """A loss network's layers (convolutions, most with ReLU, 2x2 pooling) with prepared weights.

    Args:
        layers: Frozen; their weights are copied to bf16.
        compiled: Whether passes over memory are those that ``torch.compile`` makes: fewer.
    """

    def __init__(self, layers: nn.Sequential, compiled: bool = False) -> None:
        self.compiled = compiled
        self.steps: list[_Convolution | nn.MaxPool2d | SpaceToDepth] = []
        self.ends: list[int] = []  # index in ``layers`` of what a step computes
        for index, layer in enumerate(layers):
            if isinstance(layer, nn.Conv2d):
                rectified = isinstance(layers[index + 1], nn.ReLU)
                self.steps.append(_Convolution.of(layer, rectified))
                self.ends.append(index + rectified)
            elif isinstance(layer, nn.MaxPool2d | SpaceToDepth):
                self.steps.append(layer)
                self.ends.append(index)

    def __call__(self, images: Tensor, wanted: Sequence[int]) -> tuple[Tensor, ...]:
        """Activations of normalised ``(N, C, H, W)`` images at these indices, shallow to deep."""
        count = self.ends.index(max(wanted)) + 1
        keep = tuple(step for step in range(count) if self.ends[step] in set(wanted))
        return _Pass.apply(images, self, keep)

    def pool(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of 2x2 pixels the greatest; and where it was, if `unpool` wants to know."""
        if self.compiled:
            return _compile(_pool)(x), None
        return F.max_pool2d(x, 2, return_indices=True)

    def unpool(self, gradient: Tensor, x: Tensor, pooled: Tensor, chosen: Tensor | None) -> Tensor:
        """The gradient of pooling, and of the ReLU before it."""
        if self.compiled:
            return _compile(_unpool)(gradient, x, pooled)
        gradient = _rectify(gradient, pooled)
        return torch.ops.aten.max_pool2d_with_indices_backward(gradient, x, *_POOL, chosen)

    def add_and_rectify(self, gradient: Tensor | None, own: Tensor, y: Tensor) -> Tensor:
        """The gradient of ReLU, from what follows it and what an activation was asked for."""
        if gradient is None:
            return torch.ops.aten.threshold_backward(own, y, 0)
        if self.compiled:
            return _compile(_add_and_rectify)(gradient, own, y)
        return _rectify(gradient.add_(own), y)


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, net: FusedFeatures, keep: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        x = images.bfloat16().contiguous(memory_format=torch.channels_last)
        outputs, chosen = [], []  # by step; where of four the greatest was, None of a convolution
        for step in net.steps[: keep[-1] + 1]:
            indices = None
            if isinstance(step, _Convolution):
                x = _convolve(x, step.kernel, step.bias, step.rectified)
            elif isinstance(step, nn.MaxPool2d):
                x, indices = net.pool(x)
            else:
                x = step(x)
            outputs.append(x)
            chosen.append(indices)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(*outputs, *chosen)
            ctx.net, ctx.keep, ctx.dtype = net, keep, images.dtype
        return tuple(outputs[k] for k in keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        given = dict(zip(ctx.keep, gradients, strict=True))
        count, net = ctx.keep[-1] + 1, ctx.net
        saved: list[Any] = [None if each is None else each.detach() for each in ctx.saved_tensors]
        outputs, chosen = saved[:count], saved[count:]
        gradient, through = None, False  # through: ReLU's gradient is taken already
        for k in reversed(range(count)):
            step = net.steps[k]
            if isinstance(step, SpaceToDepth):
                if gradient is not None:
                    gradient = depth_to_space(gradient, outputs[k - 1].shape)
                through = False
                continue
            if isinstance(step, nn.MaxPool2d):
                if gradient is not None:  # where the greatest of four is 0, so are all
                    gradient = net.unpool(gradient, outputs[k - 1], outputs[k], chosen[k])
                through = True
                continue
            own = given.get(k)
            if own is not None:
                own = own.contiguous(memory_format=torch.channels_last)
                gradient = net.add_and_rectify(gradient, own, outputs[k])
            elif gradient is not None and step.rectified and not through:
                gradient = _rectify(gradient, outputs[k])
            if gradient is not None:
                gradient = _convolve(gradient, step.turned, None, False)
                through = False
        return None if gradient is None else gradient.to(ctx.dtype), None, None


def _rectify(gradient: Tensor, y: Tensor) -> Tensor:
    """ReLU's gradient, in the memory of what it is given."""
    return torch.ops.aten.threshold_backward.grad_input(gradient, y, 0, grad_input=gradient)


def _squares(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` as ``(N, H / 2, 2, W / 2, 2, C)``, an odd last row or column left out."""
    height, width = x.shape[2] // 2, x.shape[3] // 2
    whole = x.permute(0, 2, 3, 1)[:, : 2 * height, : 2 * width]
    return whole.unflatten(1, (height, 2)).unflatten(3, (width, 2))


def space_to_depth(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` as ``(N, 4 C, H / 2, W / 2)``."""
    return _squares(x).transpose(2, 3).flatten(3).permute(0, 3, 1, 2)


def depth_to_space(x: Tensor, shape: torch.Size) -> Tensor:
    """What `space_to_depth` makes of this is ``x``; 0 where that left something out."""
    pixels = x.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1)).transpose(2, 3)
    return _whole(pixels.flatten(3, 4).flatten(1, 2), shape)


def _whole(x: Tensor, shape: torch.Size) -> Tensor:
    """``(N, H, W, C)`` as ``(N, C, H, W)`` with the last row and column that an odd size has."""
    down, right = shape[2] - x.shape[1], shape[3] - x.shape[2]
    if down or right:  # padding by nothing copies
        x = F.pad(x, (0, 0, 0, right, 0, down))
    return x.permute(0, 3, 1, 2)


def _pool(x: Tensor) -> Tensor:
    return _squares(x).amax((2, 4)).permute(0, 3, 1, 2)


def _unpool(gradient: Tensor, x: Tensor, pooled: Tensor) -> Tensor:
    """The gradient of pooling and of the ReLU before it: to the first of the greatest of four."""
    greatest = pooled.permute(0, 2, 3, 1)
    left = torch.where(greatest > 0, gradient.permute(0, 2, 3, 1), 0)
    rows, squares = [], _squares(x)
    for row in (0, 1):
        pixels = []
        for column in (0, 1):
            chosen = squares[:, :, row, :, column] == greatest
            pixels.append(torch.where(chosen, left, 0))
            left = torch.where(chosen, 0, left)
        rows.append(torch.stack(pixels, 3))
    return _whole(torch.stack(rows, 2).flatten(1, 2).flatten(2, 3), x.shape)


def _add_and_rectify(gradient: Tensor, own: Tensor, y: Tensor) -> Tensor:
    return gradient.copy_(torch.where(y > 0, gradient + own, 0))


@cache
def _compile(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return torch.compile(function, dynamic=True)


def bf16_kernels_available(images: Tensor) -> bool:
    """Whether autocast asks for bf16 and the kernels are there."""
    return (
        images.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
    """A convolution of the same size, and ReLU of it."""
    one, same, then = [1, 1], [weight.shape[-1] // 2] * 2, "relu" if relu else "none"
    convolve = torch.ops.mkldnn._convolution_pointwise
    return convolve(x, weight, bias, same, one, one, 1, then, [], "")

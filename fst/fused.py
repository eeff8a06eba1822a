"""A frozen VGG's passes on CPUs with bf16 units: weights prepared once, ReLU in the convolution.

Under autocast PyTorch converts a frozen layer's weights at every pass and runs ReLU as a pass over
memory of its own. Here the weights are converted once, oneDNN's convolution ends with ReLU, and the
gradient is a convolution with the kernel turned around, also prepared. The activations are those
of autocast to bf16, bit for bit; so were the gradients where it was tried (AMX).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_POOL = ([2, 2], [2, 2], [0, 0], [1, 1], False)  # kernel, stride, padding, dilation, ceil mode


class FusedFeatures:
    """The layers of a VGG (convolutions with ReLU, 2x2 pooling) with prepared weights.

    Args:
        layers: Frozen; their weights are copied to bf16.
    """

    def __init__(self, layers: nn.Sequential) -> None:
        self.steps: list[tuple[Tensor, Tensor, Tensor] | None] = []  # None is pooling
        self.ends: list[int] = []  # index in ``layers`` of what a step computes
        for index, layer in enumerate(layers):
            if isinstance(layer, nn.Conv2d):
                weight = layer.weight.detach().bfloat16()
                bias = layer.bias.detach().bfloat16()
                turned = weight.transpose(0, 1).flip(2, 3)
                both = (w.contiguous(memory_format=torch.channels_last) for w in (weight, turned))
                self.steps.append((*both, bias))
                self.ends.append(index + 1)  # ReLU's
            elif isinstance(layer, nn.MaxPool2d):
                self.steps.append(None)
                self.ends.append(index)

    def __call__(self, images: Tensor, wanted: Sequence[int]) -> tuple[Tensor, ...]:
        """Activations of normalised ``(N, 3, H, W)`` images at these indices, shallow to deep."""
        count = self.ends.index(max(wanted)) + 1
        keep = tuple(step for step in range(count) if self.ends[step] in set(wanted))
        return _Pass.apply(images, self, keep)


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, net: FusedFeatures, keep: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        x = images.bfloat16().contiguous(memory_format=torch.channels_last)
        outputs, chosen = [], []  # by step; where of four the greatest was, None of a convolution
        for parts in net.steps[: keep[-1] + 1]:
            indices = None
            if parts is None:
                x, indices = F.max_pool2d(x, 2, return_indices=True)
            else:
                weight, _, bias = parts
                x = _convolve(x, weight, bias, "relu")
            outputs.append(x)
            chosen.append(indices)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(*outputs, *chosen)
            ctx.net, ctx.keep, ctx.dtype = net, keep, images.dtype
        return tuple(outputs[step] for step in keep)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None]:
        given = dict(zip(ctx.keep, gradients, strict=True))
        count = ctx.keep[-1] + 1
        outputs, chosen = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        gradient, through = None, False  # through: ReLU's gradient is taken already
        for step in reversed(range(count)):
            if given.get(step) is not None:
                own = given[step].contiguous(memory_format=torch.channels_last)
                gradient = own if gradient is None else gradient.add_(own)
                through = False
            if gradient is None:
                continue
            pooled = chosen[step] is not None
            if not through:
                gradient = torch.ops.aten.threshold_backward(gradient, outputs[step], 0)
            if pooled:  # where the greatest of four is 0, all are: the ReLU before is done
                gradient = torch.ops.aten.max_pool2d_with_indices_backward(
                    gradient, outputs[step - 1], *_POOL, chosen[step]
                )
            else:
                gradient = _convolve(gradient, ctx.net.steps[step][1], None, "none")
            through = pooled
        return None if gradient is None else gradient.to(ctx.dtype), None, None


def usable(images: Tensor) -> bool:
    """Whether autocast asks for bf16 and the kernels are there."""
    return (
        images.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, then: str) -> Tensor:
    one, same = [1, 1], [weight.shape[-1] // 2] * 2
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, same, one, one, 1, then, [], "")

"""The transformer network: a photo in, the painted photo out, in one forward pass.

Sources: Johnson et al. 2016 (arXiv:1603.08155 and its supplement, table 1), with the batch norm
replaced by instance norm (Ulyanov et al., arXiv:1607.08022).

Departures from the papers:

1. Nearest-neighbour upsampling and a convolution instead of transposed convolutions, which leave
   a checkerboard (Odena et al. 2016).
2. Reflection padding at every convolution. The paper pads the photo once by 40 px and lets the
   residual blocks shrink it again.
3. The last activation is a sigmoid, so that colours are RGB in [0, 1]; the paper scales a tanh to
   the range of its Caffe inputs.
4. The photo is centred to [-1, 1] on the way in, for the same reason.
5. Sizes that are no multiple of 4 are padded by reflection at the right and bottom, and cropped.
"""

from collections.abc import Callable, Mapping
from operator import mod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.errors import InputError, check_whole
from fst.padding import ReflectionPad, repeat_pixels
from fst.phases import ColourConv, convolve_doubled, interleave

MIN_SIDE = 16  # px: twice what reflection at a quarter of the size needs; smaller is no photo
WIDENING_NOISE = 0.05  # of a weight's standard deviation: enough for twins to part ways
STRIDE = 4  # px: two convolutions of stride 2


def check_sides(height: int, width: int) -> None:
    """Raise an `InputError` for an image that is smaller than the network's padding needs."""
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"image: expected at least {MIN_SIDE}x{MIN_SIDE} px, found {width}x{height}; "
            "try enlarging it first"
        )


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
        found = (values - shift - normal * along) * scale
        area = x.shape[2] * x.shape[3]
        of_weight, of_bias = (
            (area * means.sum((0, 2, 3))).to(weight.dtype) for means in (along, shift)
        )
        return found.to(x.dtype), of_weight, of_bias, None


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


class ConvBlock(nn.Sequential):
    """Reflection padding, convolution, instance norm and, unless told otherwise, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__(
            ReflectionPad(kernel // 2),
            nn.Conv2d(inputs, outputs, kernel, stride, bias=False),  # instance norm drops a bias
            InstanceNorm(outputs),
            *([nn.ReLU(inplace=True)] if relu else []),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity; no ReLU after the sum (Gross and Wilber 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvBlock(channels, channels, 3), ConvBlock(channels, channels, 3, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Twice(nn.Module):
    """Twice the size by repeating pixels: ``nn.Upsample(scale_factor=2)``, channels-last."""

    def forward(self, x: Tensor) -> Tensor:
        return repeat_pixels(x)


class UpsampleBlock(nn.Sequential):
    """Twice the size by repeating pixels, then a 3x3 convolution (departure 1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(Twice(), ConvBlock(inputs, outputs, 3))

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and torch.compiler.is_compiling():
            _, conv, *rest = self[1]
            x = convolve_doubled(x, conv.weight)
            for layer in rest:
                x = layer(x)
            return interleave(x)
        return super().forward(x)


class TransformerNet(nn.Module):
    """Johnson et al.'s image transformation network.

    Args:
        width: Channels of the first layer, at least 1. 32 is the paper's 32-64-128; 16 is four
            times cheaper.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        check_whole("network width", width, 1)
        self.encoder = nn.Sequential(
            ConvBlock(3, width, 9),  # (N, width, H, W)
            ConvBlock(width, 2 * width, 3, stride=2),  # (N, 2 width, H/2, W/2)
            ConvBlock(2 * width, 4 * width, 3, stride=2),  # (N, 4 width, H/4, W/4)
        )
        self.residual = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(5)))
        self.decoder = nn.Sequential(
            UpsampleBlock(4 * width, 2 * width),  # (N, 2 width, H/2, W/2)
            UpsampleBlock(2 * width, width),  # (N, width, H, W)
            ReflectionPad(4),
            ColourConv(width, 3, 9),  # (N, 3, H, W)
            nn.Sigmoid(),  # departure 3
        )

    def forward(self, x: Tensor) -> Tensor:
        """Stylize ``(N, 3, H, W)`` RGB in [0, 1]; H and W from 16 up; same shape and range out.

        Raises:
            InputError: A side is shorter than 16 px.
        """
        height, width = x.shape[-2:]
        check_sides(height, width)
        padded = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
        out = self.decoder(self.residual(self.encoder(2 * padded - 1)))  # departure 4
        return out[..., :height, :width]


NETWORKS: dict[str, Callable[..., nn.Module]] = {"transformer": TransformerNet}


def build_network(name: str, **arguments: Any) -> nn.Module:
    """Build a network from what a checkpoint says of it: its name and constructor arguments.

    Raises:
        InputError: No network has this name, or it does not take these arguments.
    """
    if name not in NETWORKS:
        raise InputError(f"network: expected one of {', '.join(NETWORKS)}, found {name!r}")
    try:
        return NETWORKS[name](**arguments)
    except TypeError as error:
        raise InputError(f"network {name!r} does not take {arguments}: {error}") from error


def begin_with(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give ``net`` the weights of a network as wide as it, or narrower by a whole factor.

    A wider network computes nearly the same at first (Net2WiderNet, Chen et al., arXiv:1511.05641):
    channels are repeated, what they feed is divided by their number, and noise tells them apart.

    Raises:
        InputError: The weights are those of another kind of network, or of a wider one.
    """
    own = net.state_dict()
    fits = own.keys() == weights.keys() and all(
        own[name].ndim == found.ndim and not any(map(mod, own[name].shape, found.shape))
        for name, found in weights.items()
    )
    if not fits:
        raise InputError(
            "init: expected the weights of a network of the same kind, as wide or narrower by a "
            "whole factor, found others; set network to what init was trained with, or init=null"
        )
    net.load_state_dict({name: _repeat(found, own[name]) for name, found in weights.items()})


def _repeat(found: Tensor, wanted: Tensor) -> Tensor:
    times = [new // old for new, old in zip(wanted.shape, found.shape, strict=True)]
    repeated = found.repeat(times)
    if found.ndim == 1:  # of norms, and the last bias
        return repeated
    spread = WIDENING_NOISE * found.std() if max(times) > 1 else 0
    return repeated / times[1] + spread / times[1] * torch.randn_like(repeated)

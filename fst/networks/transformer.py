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

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.networks.layers import InstanceNorm, ReflectionPad, Twice
from fst.networks.subpixel import ColourConv, convolve_doubled, interleave
from fst.system.errors import InputError, check_whole

MIN_SIDE = 16  # px: twice what reflection at a quarter of the size needs; smaller is no photo
STRIDE = 4  # px: two convolutions of stride 2


def check_sides(height: int, width: int) -> None:
    """Raise an `InputError` for an image that is smaller than the network's padding needs."""
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"image: expected at least {MIN_SIDE}x{MIN_SIDE} px, found {width}x{height}; "
            "try enlarging it first"
        )


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

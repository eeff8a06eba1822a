"""The same function with less arithmetic: what a trained network is rewritten to for inference.

1. `UpsampleConv`: repeating every pixel 2x2 and convolving 3x3 multiplies the same numbers up to
   four times. One 2x2 convolution with four times the channels, whose outputs interleave, gives
   the same with 4/9 of the products (`fst.networks.subpixel`).
2. `BlockConv`: three output channels fill 3 of the 16 lanes of a vector unit. Convolving 2x2 blocks
   of pixels as channels fills 12, at 100/81 of the products.
3. `fold_statistics`: with known statistics an instance norm is a scale and a shift, and both
   disappear into the convolution before it. Each pixel then depends on its receptive field only,
   which is what tiles need (`fst.stylizer.tiles`).
4. `deploy`: the first convolution takes 8-bit values minus a colour. Both are exact in bf16, which
   [-1, 1] is not, and instance norm removes any constant: minus the picture's mean, a dark or flat
   picture keeps its detail.

All are exact up to rounding.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.networks import ConvBlock, InstanceNorm, TransformerNet, UpsampleBlock
from fst.networks.subpixel import ColourConv, phase_kernels, square_kernels

LOOK = 8  # px: every eighth row and column say enough of a picture's mean colour
GRAY = 127.5  # what `TransformerNet` subtracts, in 8-bit values


class UpsampleConv(nn.Module):
    """Nearest-neighbour upsampling by 2, reflection padding by 1 and a 3x3 convolution, as one.

    At the border, reflecting the upsampled image is repeating the source's last row.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        # the last pixel of a square first: seen by one window, it ends in front of the others
        kernels = phase_kernels(conv.weight.detach().float())[::-1]
        self.weight = nn.Parameter(torch.stack(kernels, 1).flatten(0, 1))  # (4 D, C, 2, 2)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, D, 2 H, 2 W)
        phases = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.weight, self.bias)
        return F.pixel_shuffle(phases, 2)[..., 1:-1, 1:-1]


class BlockConv(nn.Module):
    """A convolution of stride 1 and odd kernel without padding, over 2x2 blocks as channels.

    The input's sides, the border included, must be even.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        kernels = square_kernels([conv.weight.detach().float()] * 4)
        weight = torch.stack(kernels, 1).flatten(0, 1)  # (4 D, C, K + 1, K + 1)
        self.weight = nn.Parameter(F.pixel_unshuffle(weight, 2))  # (4 D, 4 C, half, half)
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, D, H - K + 1, W - K + 1)
        return F.pixel_shuffle(F.conv2d(F.pixel_unshuffle(x, 2), self.weight, self.bias), 2)


class DeployedNet(nn.Sequential):
    """What engines run: ``255 * photo - colour``, ``(N, 3, H, W)``, to RGB in [0, 1].

    H and W are multiples of 4. The parts are those of `TransformerNet`, each simplified.
    """

    encoder: nn.Sequential
    residual: nn.Sequential
    decoder: nn.Sequential

    def __init__(self, net: TransformerNet) -> None:
        parts = {"encoder": net.encoder, "residual": net.residual, "decoder": net.decoder}
        super().__init__(OrderedDict[str, nn.Module](parts))

    @property
    def first(self) -> nn.Conv2d:
        """The convolution that sees the picture."""
        return cast(ConvBlock, self.encoder[0]).conv


def simplify(net: TransformerNet) -> TransformerNet:
    """A copy of a trained network with rewrites 1 and 2; the given one stays as it is."""
    net = copy.deepcopy(net)
    for parent in list(net.modules()):
        for child in list(parent.children()):
            if isinstance(child, UpsampleBlock):
                after = child.block.after_conv
                _replace(parent, child, nn.Sequential(UpsampleConv(child.block.conv), *after))
            elif isinstance(child, ColourConv):
                _replace(parent, child, BlockConv(child))
    return net.requires_grad_(False).eval()


def _replace(parent: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module into the place of a parent's child."""
    (name,) = (name for name, child in parent.named_children() if child is old)
    setattr(parent, name, new)


def deploy(net: TransformerNet, colour: Tensor | None = None) -> DeployedNet:
    """A trained network as engines run it: simplified, without its padding to whole strides.

    Args:
        net: Trained; or folded by `fold_statistics`.
        colour: Of a folded network only: what will be subtracted from its pictures, ``(3,)`` in
            8-bit values, best their mean. Where there are norms, any colour may be subtracted.
    """
    assert bool(norms(net)) == (colour is None), "a colour belongs to a folded network"
    deployed = DeployedNet(simplify(net))
    first = deployed.first
    first.weight = nn.Parameter(first.weight * (2 / 255), requires_grad=False)
    if colour is not None:
        shift = shift_by_colour(deployed, colour)
        first.bias = nn.Parameter(cast(Tensor, first.bias) + shift, requires_grad=False)
    return deployed


def shift_by_colour(net: DeployedNet, colour: Tensor) -> Tensor:
    """How much larger the first convolution's outputs are with gray subtracted than with a colour.

    Args:
        net: Deployed.
        colour: ``(3,)``, in 8-bit values.

    Returns:
        ``(channels,)``.
    """
    return net.first.weight.sum((2, 3)) @ (colour - GRAY)


def mean_colour(batch: Tensor) -> Tensor:
    """The mean colours of ``(N, 3, H, W)`` in [0, 1] as ``(N, 3, 1, 1)``, whole 8-bit values."""
    return (255 * batch.mean((2, 3), keepdim=True)).round()


def norms(net: nn.Module) -> list[InstanceNorm]:
    """The instance norms of a network in the order in which they run."""
    return [module for module in net.modules() if isinstance(module, InstanceNorm)]


def fold_statistics(
    net: TransformerNet, statistics: Iterable[tuple[Tensor, Tensor]]
) -> TransformerNet:
    """A copy of a network without norms, as if every norm saw these statistics.

    Args:
        net: Not simplified yet.
        statistics: Variance and mean of every norm's input, each ``(channels,)``, in the order of
            `norms`.
    """
    net = copy.deepcopy(net)
    blocks = [module for module in net.modules() if isinstance(module, ConvBlock)]
    for block, (var, mean) in zip(blocks, statistics, strict=True):
        conv, norm = block.conv, block.norm
        scale = norm.weight * torch.rsqrt(var + norm.eps)
        conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1))
        conv.bias = nn.Parameter(norm.bias - mean * scale)
        _replace(block, norm, nn.Identity())
    return net.requires_grad_(False).eval()

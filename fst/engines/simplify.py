"""The same function with less arithmetic: what a trained network is rewritten to for inference.

1. `UpsampleConv`: repeating every pixel 2x2 and convolving 3x3 multiplies the same numbers up to
   four times. One 2x2 convolution with four times the channels, whose outputs interleave, gives
   the same with 4/9 of the products (sub-pixel convolution, Shi et al., arXiv:1609.05158).
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
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.networks import ConvBlock, InstanceNorm, UpsampleBlock

LOOK = 8  # px: every eighth row and column say enough of a picture's mean colour
GRAY = 127.5  # what `TransformerNet` subtracts, in 8-bit values


class UpsampleConv(nn.Module):
    """Nearest-neighbour upsampling by 2, reflection padding by 1 and a 3x3 convolution, as one.

    An upsampled pixel row ``2i`` sees source rows ``i-1, i, i``, and row ``2i+1`` sees
    ``i, i, i+1``: kernel rows that meet the same source row are added up. At the border, reflecting
    the upsampled image is repeating the source's last row.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        outputs, inputs = conv.weight.shape[:2]
        # kernel row -> source row, for the odd output row first: it ends in front of the even one
        rows = torch.zeros(2, 2, 3)  # (phase, source row, kernel row)
        rows[0, 0, :2] = rows[0, 1, 2] = 1
        rows[1, 0, 0] = rows[1, 1, 1:] = 1
        weight = torch.einsum("pyk,qxl,oikl->opqiyx", rows, rows, conv.weight.float())
        self.weight = nn.Parameter(weight.reshape(4 * outputs, inputs, 2, 2).contiguous())
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, outputs, 2 H, 2 W)
        phases = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.weight, self.bias)
        return F.pixel_shuffle(phases, 2)[..., 1:-1, 1:-1]


class BlockConv(nn.Module):
    """A convolution of stride 1 and odd kernel without padding, over 2x2 blocks as channels.

    The input's sides, the border included, must be even.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        outputs, inputs, kernel, _ = conv.weight.shape
        wide = (kernel + 1) // 2  # blocks that a block of outputs sees
        rows = torch.zeros(2, 2, wide, kernel)  # (output row, row in block, block, kernel row)
        for out in range(2):
            for k in range(kernel):
                rows[out, (out + k) % 2, (out + k) // 2, k] = 1
        weight = torch.einsum("paYk,qbXl,oikl->opqiabYX", rows, rows, conv.weight.float())
        self.weight = nn.Parameter(weight.reshape(4 * outputs, 4 * inputs, wide, wide).contiguous())
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.repeat_interleave(4))

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(F.pixel_unshuffle(x, 2), self.weight, self.bias), 2)


def simplify(net: nn.Module) -> nn.Module:
    """A copy of a trained network with rewrites 1 and 2; the given one stays as it is."""
    net = copy.deepcopy(net)
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, UpsampleBlock):
                _, (_, conv, *rest) = child
                setattr(parent, name, nn.Sequential(UpsampleConv(conv), *rest))
            elif isinstance(child, nn.Conv2d) and child.out_channels == 3:
                setattr(parent, name, BlockConv(child))
    return net.requires_grad_(False).eval()


def deploy(net: nn.Module) -> nn.Sequential:
    """A trained network as engines run it: simplified, without its padding to whole strides.

    It takes ``255 * photo - colour``, ``(N, 3, H, W)``, H and W multiples of 4. The colour may be
    any, best the photo's mean; for a folded network it is the one given to `fold_statistics`.
    """
    colour = getattr(net, "colour", None)
    net = simplify(net)
    first = net.encoder[0][1]
    first.weight = nn.Parameter(first.weight * (2 / 255), requires_grad=False)
    if colour is not None:
        shift = first.weight.sum((2, 3)) @ (colour - GRAY)
        first.bias = nn.Parameter(first.bias + shift, requires_grad=False)
    return nn.Sequential(net.encoder, net.residual, net.decoder)


def mean_colour(batch: Tensor) -> Tensor:
    """The mean colours of ``(N, 3, H, W)`` in [0, 1] as ``(N, 3, 1, 1)``, whole 8-bit values."""
    return (255 * batch.mean((2, 3), keepdim=True)).round()


def norms(net: nn.Module) -> list[InstanceNorm]:
    """The instance norms of a network in the order in which they run."""
    return [module for module in net.modules() if isinstance(module, InstanceNorm)]


def fold_statistics(
    net: nn.Module, statistics: Iterable[tuple[Tensor, Tensor]], colour: Tensor
) -> nn.Module:
    """A copy of a network without norms, as if every norm saw these statistics.

    Args:
        net: Not simplified yet.
        statistics: Variance and mean of every norm's input, each ``(channels,)``, in the order of
            `norms`.
        colour: The picture's mean colour or one near it, ``(3,)`` in 8-bit values; kept as the
            attribute ``colour`` for `deploy`.
    """
    net = copy.deepcopy(net)
    blocks = [module for module in net.modules() if isinstance(module, ConvBlock)]
    for block, (var, mean) in zip(blocks, statistics, strict=True):
        conv, norm = block[1], block[2]
        scale = norm.weight * torch.rsqrt(var + norm.eps)
        conv.weight = nn.Parameter(conv.weight * scale.view(-1, 1, 1, 1))
        conv.bias = nn.Parameter(norm.bias - mean * scale)
        block[2] = nn.Identity()
    net.colour = colour
    return net.requires_grad_(False).eval()

"""The compact loss network: a narrow network that predicts VGG-19's activations.

It stands in for `fst.losses.vgg.VGGFeatures` where 550 MB of weights are not at hand or their
arithmetic takes too long. It gives activations of VGG's own channels, so that Gram matrices,
distances, weights and measures mean the same. How it was trained: research/compact/.

Its stem looks at half of the picture's size, with 2x2 pixels as channels (Shi et al.,
arXiv:1609.05158), then at a quarter, likewise: what VGG has there after `relu2_2`'s pooling is
predicted from few channels. From there on it is VGG itself with each convolution in three of lower
rank, 1x1 to few channels, 3x3, 1x1 to all of VGG's (Tucker-2, Kim et al., arXiv:1511.06530): what
the ReLUs are given has few directions, what they make of it has many. What lies between `relu3_1`
and `relu4_1` has channels of its own.

Layers before the prediction are linear maps of the stem's (`ProjectedFeatures`).
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.losses.distances import gram_matrix
from fst.losses.fused import LossNetwork, SpaceToDepth, bf16_kernels_available
from fst.styles import save_style
from fst.styles.cards import shipped_folder
from fst.styles.release import check_network, read_release
from fst.system.errors import InputError, check_whole

NAME = "compact_vgg19"
CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}  # VGG's, by block
GRID = 2  # px: a picture that moves by less is another one to the network
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1]
LAYERS = (
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_3", "relu4_1", "relu4_2",
    "relu4_3", "relu5_1",
)  # fmt: skip


# of the stem at a half of the picture's size and at a quarter; between relu3_1 and relu4_1, where
# the first is of a linear map
WIDTHS = (48, 32, 48), (64, 96), (64, 96, 96)
STEM = ("relu1_1",), ("relu1_2",), ("relu2_1", "relu2_2")  # what its first convolutions predict
RANKED = "relu3_1", "relu4_1", "relu4_2", "relu4_3", "relu4_4", "relu5_1"
# of these layers: channels before the 3x3 convolution, if it is not given few, and after it
RANKS = (64, 64), (96,), (256, 192), (256, 192), (256, 192), (256, 192)
STYLED = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # of the default loss


@dataclass
class ProjectedFeatures:
    """Activations that are linear maps of fewer channels, made only where they are asked for.

    The Gram matrix of what a linear map A makes of features with Gram matrix G is A G A^T.
    """

    features: Tensor  # (N, c, h, w)
    weight: Tensor  # (phases, C, c): one map, or four for a picture of twice the size
    style: Tensor  # likewise, of the Gram matrix
    size: tuple[int, int]  # H and W

    def gram(self) -> Tensor:
        """What `fst.losses.distances.gram_matrix` is of VGG's activations, ``(N, C, C)``."""
        gram = gram_matrix(self.features)[:, None]
        return (self.style @ gram @ self.style.mT).mean(1)

    def dense(self) -> Tensor:
        """The activations themselves, ``(N, C, H, W)``."""
        # channel C of phase p is C P + p to pixel_shuffle
        weight = self.weight.transpose(0, 1).flatten(0, 1)[..., None, None]
        wide = F.conv2d(self.features, weight.to(self.features.dtype))
        if len(self.weight) > 1:
            wide = F.pixel_shuffle(wide, 2)
        down, right = (side - found for side, found in zip(self.size, wide.shape[2:], strict=True))
        # of an odd side the last row or column again
        return F.pad(wide, (0, right, 0, down), mode="replicate") if down or right else wide


class CompactVGG(LossNetwork):
    """The network itself.

    Args:
        widths: Channels of its convolutions, see `WIDTHS`.
        ranks: Of its convolutions with VGG's channels, see `RANKS`.
    """

    def __init__(
        self, widths: Sequence[Sequence[int]] = WIDTHS, ranks: Sequence[Sequence[int]] = RANKS
    ) -> None:
        super().__init__()
        self.widths, self.ranks = (tuple(map(tuple, each)) for each in (widths, ranks))
        _check(self.widths, self.ranks)
        halves, quarters, (narrow, *between) = self.widths
        self.ends: dict[str, int] = {}  # which ReLU of the trunk a layer is made of
        layers, inputs = [], 3 * GRID**2
        for names, width in zip(STEM, halves, strict=True):
            layers += _convolution(inputs, width, 3)
            self.ends |= dict.fromkeys(names, len(layers) - 1)
            inputs = width
        layers.append(SpaceToDepth())
        inputs *= 4
        for width in quarters:
            layers += _convolution(inputs, width, 3)
            inputs = width
        layers += _convolution(inputs, CHANNELS[2], 1)
        inputs = CHANNELS[2]
        for name, ranks in zip(RANKED, self.ranks, strict=True):
            if name in ("relu4_1", "relu5_1"):
                layers.append(nn.MaxPool2d(2))
            outputs = CHANNELS[int(name[4])]
            layers += _in_three(inputs, ranks, outputs)
            self.ends[name] = len(layers) - 1
            inputs = outputs
            if name == "relu3_1":
                layers.append(_linear(inputs, narrow, 1))
                for before, width in itertools.pairwise((narrow, *between)):
                    layers += _convolution(before, width, 3)
                    inputs = width
                self.ends["relu3_3"] = len(layers) - 1
        self.trunk = nn.Sequential(*layers)
        self.adapters, self.styles = nn.ParameterDict(), nn.ParameterDict()
        for name in LAYERS:
            if name not in RANKED:
                width, block = self.conv(name).out_channels, int(name[4])
                shape = (4 if block == 1 else 1, CHANNELS[block], width)
                self.adapters[name] = torch.randn(shape) / width**0.5
                if name in STYLED:
                    self.styles[name] = self.adapters[name].detach().clone()
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.register_buffer("scale", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was made with, for a card."""
        return {"widths": self.widths, "ranks": self.ranks}

    def conv(self, name: str) -> nn.Conv2d:
        """The convolution whose ReLU a layer is made of."""
        return self.trunk[self.ends[name] - 1]

    @torch.no_grad()
    def rescale(self, name: str, factor: float) -> None:
        """Multiply the activations of a layer of `LAYERS`, and of no other."""
        if name in RANKED:
            conv = self.conv(name)
            conv.weight.mul_(factor)
            conv.bias.mul_(factor)
            for after in self.trunk[self.ends[name] :]:
                if isinstance(after, nn.Conv2d):
                    after.weight.div_(factor)
                    break
            return
        self.adapters[name].mul_(factor)
        if name in self.styles:
            self.styles[name].mul_(factor)

    @torch.no_grad()
    def shorten(self) -> None:
        """Make losses of the activations cheap: from maps to VGG's channels, maps to fewer.

        A map W is Q R, Q with orthonormal columns: distances of features W f and of their Gram
        matrices are those of R f. Scaled, so are they when divided by the number of channels.
        """
        for maps in self.adapters, self.styles:
            for name, weight in maps.items():
                phases, channels, width = weight.shape
                if phases == 1 and width < channels:  # the Gram matrices of phases are averaged
                    short = torch.linalg.qr(weight, mode="r").R * (width / channels) ** 0.5
                    maps[name] = nn.Parameter(short, requires_grad=weight.requires_grad)

    def train(self, mode: bool = True) -> "CompactVGG":
        self._fused = None  # the weights may have changed
        return super().train(mode)

    def forward(
        self, images: Tensor, layers: Sequence[str]
    ) -> dict[str, Tensor | ProjectedFeatures]:
        """Activations of ``(N, 3, H, W)`` RGB in [0, 1] as VGG-19 has them, shallow to deep.

        Those of block b are ``(N, C, H / 2^(b-1), W / 2^(b-1))``, sizes rounded down.
        """
        height, width = images.shape[-2:]
        even = images[..., : height // 2 * 2, : width // 2 * 2]
        normal = torch.addcmul(self.shift, even, self.scale)
        if not self.training and bf16_kernels_available(
            images
        ):  # half the bytes to move, here and on the way back
            normal = normal.bfloat16()
        halves = F.pixel_unshuffle(normal, GRID)
        ends = sorted({self.ends[name] for name in layers})
        found = dict(zip(ends, self._run(halves, ends), strict=True))
        answer = {}
        for name in filter(set(layers).__contains__, LAYERS):
            features = found[self.ends[name]]
            if name in RANKED:
                answer[name] = features
                continue
            size = (height, width) if name[4] == "1" else tuple(features.shape[2:])
            weight = self.adapters[name]
            style = self.styles[name] if name in STYLED else weight
            answer[name] = ProjectedFeatures(features, weight, style, size)
        return answer

    def _run(self, x: Tensor, ends: Sequence[int]) -> tuple[Tensor, ...]:
        if not self.training and bf16_kernels_available(x):
            return self.fused(self.trunk)(x, ends)
        found = []
        for k, layer in enumerate(self.trunk[: max(ends) + 1]):
            x = layer(x)
            if k in ends:
                found.append(x)
        return tuple(found)


def _linear(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    """A convolution of no bias, which no ReLU follows."""
    conv = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
    return conv


def _convolution(inputs: int, outputs: int, side: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, side, padding=side // 2)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return [conv, nn.ReLU()]


def _in_three(inputs: int, ranks: tuple[int, ...], outputs: int) -> list[nn.Module]:
    """A 3x3 convolution as one to few channels, a 3x3, and one to all; or without the first."""
    *first, last = ranks
    layers = []
    for width in first:
        layers.append(_linear(inputs, width, 1))
        inputs = width
    return [*layers, _linear(inputs, last, 3), *_convolution(last, outputs, 1)]


class CompactFeatures(nn.Module):
    """The compact network as a loss network: frozen, with the layers that a loss asks for.

    Args:
        layers: Names as of `fst.losses.vgg.VGGFeatures`; those there are in `LAYERS`.
        weights: A file of scripts/distill.py; None is the one that ships with the package.

    Attributes:
        grid: How training should show pictures, see `fst.losses.views.shown`.

    Raises:
        InputError: An unknown layer, or a file that cannot be had or used.
    """

    def __init__(self, layers: Sequence[str], weights: str | Path | None = None) -> None:
        super().__init__()
        for layer in layers:
            if layer not in LAYERS:
                raise InputError(
                    f"layer of the compact loss network: expected one of {', '.join(LAYERS)}; "
                    f"found {layer!r}; try loss/extractor=vgg19"
                )
        if not layers:
            raise InputError("layers of the compact loss network: expected at least one")
        self.layers = tuple(name for name in LAYERS if name in layers)
        shipped = shipped_folder() / "loss_networks" / f"{NAME}.safetensors"
        self.grid = GRID
        self.net, self.card = load_compact(Path(weights or shipped).expanduser())
        self.net.shorten()

    def forward(
        self, images: Tensor, layers: Sequence[str] | None = None
    ) -> dict[str, Tensor | ProjectedFeatures]:
        """Activations of ``(N, 3, H, W)`` RGB in [0, 1], by layer name, shallow to deep.

        ``layers`` narrows the answer to some of the layers given at construction.
        """
        return self.net(images, self.layers if layers is None else layers)

    def extra_repr(self) -> str:
        return f"layers: {', '.join(self.layers)}"


def _check(widths: tuple[tuple[int, ...], ...], ranks: tuple[tuple[int, ...], ...]) -> None:
    for width in itertools.chain(*widths, *ranks):
        check_whole("a width of the compact loss network", width, 1)
    lengths = tuple(map(len, widths)), tuple(map(len, ranks))
    if lengths != (tuple(map(len, WIDTHS)), tuple(map(len, RANKS))):
        raise InputError(
            f"widths and ranks of the compact loss network: expected as many as {_lists(WIDTHS)} "
            f"and {_lists(RANKS)} have, found {_lists(widths)} and {_lists(ranks)}"
        )


def _lists(widths: Sequence[Sequence[int]]) -> list[list[int]]:
    return [list(block) for block in widths]


def save_compact(path: Path, net: CompactVGG, card: dict[str, Any]) -> None:
    """Write a file of the network: eight bits a weight."""
    integers = [name for name, weight in net.state_dict().items() if weight.dim() > 1]
    save_style(path, net, card, integers)


def load_compact(path: Path) -> tuple[CompactVGG, dict[str, Any]]:
    """The network of a file, float32 and frozen; and its card.

    Raises:
        InputError: No such file, or no compact loss network.
    """
    card, weights = read_release(path)
    if card["network"]["name"] != NAME:
        raise InputError(
            f"{path}: expected a compact loss network, found the network "
            f"{card['network']['name']!r}; try loss.extractor.weights=null"
        )
    check_network(CompactVGG, card, weights, path)
    net = CompactVGG(**card["network"]["arguments"])
    net.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return net.requires_grad_(False).eval(), card

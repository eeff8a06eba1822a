"""The compact loss network: a narrow network whose layers predict VGG-19's activations.

It is trained by `fst.distillation` to stand in for `fst.vgg.VGGFeatures` where 550 MB of weights
are not at hand or their arithmetic takes too long. A linear adapter takes every named layer to
VGG's own channels, so that Gram matrices, distances, weights and measures mean the same.

A trunk of VGG's shape and a quarter of its width begins at half of the picture's size, with 2x2
pixels as channels (Shi et al., arXiv:1609.05158); at full size an adapter gives four pixels at
once. The Gram matrix of what a linear map A makes of features with Gram matrix G is A G A^T, so
activations of VGG's width are only made where they are asked for themselves.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.checkpoint import check_network, read_release, save_checkpoint, shipped_folder
from fst.distances import gram_matrix
from fst.errors import InputError, check_whole
from fst.fused import LossNetwork, Refinement, usable

NAME = "compact_vgg19"
CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}  # VGG's, by block
GRID = 2  # px: a picture that moves by less is another one to the network
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1]
TRUNK = {  # which convolution of the trunk each layer is predicted from
    "relu1_1": 0, "relu1_2": 1, "relu2_1": 2, "relu2_2": 2, "relu3_1": 4, "relu3_3": 5,
    "relu4_1": 7, "relu4_2": 8, "relu4_3": 8, "relu5_1": -1,
}  # fmt: skip
LAYERS = tuple(TRUNK)
# relu5_1 has the most directions
WIDTHS = (48, 48, 48), (96, 96, 96), (160, 160, 224), (256, 512, 512)
BLOCKS, PLAIN = (3, 3, 3), 2  # convolutions of the first blocks; of the last, before refinements
STYLED = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # have Gram matrices of their own


@dataclass
class Adapted:
    """Activations that are linear maps of narrow ones, made on demand."""

    features: Tensor  # (N, c, h, w)
    weight: Tensor  # (phases, C, c): one map, or four for a picture of twice the size
    style: Tensor  # likewise, of the Gram matrix
    size: tuple[int, int]  # H and W

    def gram(self) -> Tensor:
        """What `fst.distances.gram_matrix` is of VGG's activations, ``(N, C, C)``."""
        (phases, wide, narrow), area = self.style.shape, self.features[0, 0].numel()
        # products: of the activations themselves, or of the narrow ones and then of matrices
        directly = area * wide * (narrow + wide)
        by_matrices = area * narrow**2 + narrow * wide * (narrow + wide)
        if phases == 1 and directly < by_matrices:
            return gram_matrix(self._mapped(self.style))
        gram = gram_matrix(self.features)[:, None]
        return (self.style @ gram @ self.style.mT).mean(1)

    def dense(self) -> Tensor:
        """The activations themselves, ``(N, C, H, W)``."""
        wide = self._mapped(self.weight)
        if len(self.weight) > 1:
            wide = F.pixel_shuffle(wide, 2)
        down, right = (side - found for side, found in zip(self.size, wide.shape[2:], strict=True))
        # of an odd side the last row or column again
        return F.pad(wide, (0, right, 0, down), mode="replicate") if down or right else wide

    def _mapped(self, weight: Tensor) -> Tensor:
        # channel C of phase p is C P + p to pixel_shuffle
        weight = weight.transpose(0, 1).flatten(0, 1)[..., None, None]
        return F.conv2d(self.features, weight.to(self.features.dtype))


class CompactVGG(LossNetwork):
    """The network itself.

    Args:
        widths: Channels of the convolutions, block by block: three at a half of the picture's size,
            at a quarter and at an eighth, two or more at a sixteenth, of which those after the
            second add to what they are given and have its width.
    """

    def __init__(self, widths: Sequence[Sequence[int]] = WIDTHS) -> None:
        super().__init__()
        self.widths = tuple(map(tuple, widths))
        _check_widths(self.widths)
        layers: list[nn.Module] = []
        inputs = 3 * GRID**2
        for index, block in enumerate(self.widths):
            if layers:
                layers.append(nn.MaxPool2d(2))
            for number, outputs in enumerate(block):
                if index == len(BLOCKS) and number >= PLAIN:
                    conv = Refinement(outputs)
                else:
                    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
                    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                layers += [conv, nn.ReLU()]
                inputs = outputs
        self.trunk = nn.Sequential(*layers)
        self.ends = [k + 1 for k, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
        self.adapters, self.styles = nn.ParameterDict(), nn.ParameterDict()
        for name, conv in TRUNK.items():
            width, block = layers[self.ends[conv] - 1].out_channels, int(name[4])
            shape = (4 if block == 1 else 1, CHANNELS[block], width)
            self.adapters[name] = torch.randn(shape) / width**0.5
            if name in STYLED:
                self.styles[name] = self.adapters[name].detach().clone()
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        self.register_buffer("scale", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    @torch.no_grad()
    def widened(self, widths: Sequence[Sequence[int]]) -> "CompactVGG":
        """The same function with more channels: what these add begins at nothing.

        Raises:
            InputError: A width is less than this network's.
        """
        wide = CompactVGG(widths)
        narrow = self.state_dict()
        if len(wide.ends) < len(self.ends):
            raise _fewer(self.widths, widths)
        for name, weight in wide.state_dict().items():
            if name not in narrow:  # a refinement, which begins at nothing
                continue
            old = narrow[name]
            if any(new < had for new, had in zip(weight.shape, old.shape, strict=True)):
                raise _fewer(self.widths, widths)
            if weight.dim() == 4:  # a convolution: old channels do not see the new ones
                weight[: len(old)] = 0
            elif weight.dim() == 3:
                weight[..., old.shape[-1] :] = 0
            weight[tuple(map(slice, old.shape))] = old
        return wide

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

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Adapted]:
        """Activations of ``(N, 3, H, W)`` RGB in [0, 1] as VGG-19 has them, shallow to deep.

        Those of block b are ``(N, C, H / 2^(b-1), W / 2^(b-1))``, sizes rounded down.
        """
        height, width = images.shape[-2:]
        even = images[..., : height // 2 * 2, : width // 2 * 2]
        normal = torch.addcmul(self.shift, even, self.scale)
        if not self.training and usable(images):  # half the bytes to move, here and on the way back
            normal = normal.bfloat16()
        halves = F.pixel_unshuffle(normal, 2)
        ends = sorted({self.ends[TRUNK[name]] for name in layers})
        found = dict(zip(ends, self._run(halves, ends), strict=True))
        answer = {}
        for name in filter(set(layers).__contains__, LAYERS):
            features = found[self.ends[TRUNK[name]]]
            size = (height, width) if name[4] == "1" else tuple(features.shape[2:])
            weight = self.adapters[name]
            style = self.styles[name] if name in STYLED else weight
            answer[name] = Adapted(features, weight, style, size)
        return answer

    def _run(self, x: Tensor, ends: Sequence[int]) -> tuple[Tensor, ...]:
        if not self.training and usable(x):
            return self.fused(self.trunk)(x, ends)
        found = []
        for k, layer in enumerate(self.trunk[: max(ends) + 1]):
            x = layer(x)
            if k in ends:
                found.append(x)
        return tuple(found)


class CompactFeatures(nn.Module):
    """The compact network as a loss network: frozen, with the layers that a loss asks for.

    Args:
        layers: Names as of `fst.vgg.VGGFeatures`; those there are in `LAYERS`.
        weights: A file of scripts/distill.py; None is the one that ships with the package.

    Attributes:
        grid: How training should show pictures, see `fst.losses.shown`.

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

    def forward(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Adapted]:
        """Activations of ``(N, 3, H, W)`` RGB in [0, 1], by layer name, shallow to deep.

        ``layers`` narrows the answer to some of the layers given at construction.
        """
        return self.net(images, self.layers if layers is None else layers)

    def extra_repr(self) -> str:
        return f"layers: {', '.join(self.layers)}"


def _check_widths(widths: tuple[tuple[int, ...], ...]) -> None:
    *first, last = widths or ((),)
    for width in itertools.chain(*widths):
        check_whole("a width of the compact loss network", width, 1)
    if tuple(map(len, first)) != BLOCKS or len(last) < PLAIN or len(set(last[PLAIN - 1 :])) > 1:
        raise InputError(
            "widths of the compact loss network: expected three times three and then two or more, "
            f"equal from the second on; found {_lists(widths)}"
        )


def _fewer(had: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> InputError:
    return InputError(
        "widths of the compact loss network: expected at least "
        f"{_lists(had)}, found {_lists(found)}"
    )


def _lists(widths: Sequence[Sequence[int]]) -> list[list[int]]:
    return [list(block) for block in widths]


def four_bits(net: CompactVGG) -> list[str]:
    """The weights that a file has in four bits: the last block's kernels, and the map to relu5_1's
    activations, which no preset looks at but for their Gram matrix."""
    deep = net.ends[-len(net.widths[-1]) :]
    return [*(f"trunk.{end - 1}.weight" for end in deep), "adapters.relu5_1"]


def save_compact(path: Path, net: CompactVGG, card: dict[str, Any]) -> None:
    """Write a file of the network: eight bits a weight, four in those of `four_bits`."""
    bits = {name: 8 for name, weight in net.state_dict().items() if weight.dim() > 1}
    save_checkpoint(path, net, card, bits | dict.fromkeys(four_bits(net), 4))


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

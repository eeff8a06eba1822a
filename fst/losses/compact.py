"""The compact loss network: a narrow network that predicts VGG-19's activations.

It stands in for `fst.losses.vgg.VGGFeatures` where 550 MB of weights are not at hand or take too
long to compute with. It answers in VGG's own channels, so Gram matrices, distances, weights and
measures mean the same with it. How it was trained: research/compact/README.md.

1. The stem sees half of the picture's size, with 2x2 pixels as channels (Shi et al.,
   arXiv:1609.05158), then a quarter, likewise. From few channels it predicts what VGG has after the
   pooling of ``relu2_2``.
2. The rest is VGG itself with every convolution in three: 1x1 to few channels, 3x3, 1x1 to all of
   VGG's (Tucker-2, Kim et al., arXiv:1511.06530). What a ReLU of VGG is given has few directions,
   what it answers has many. Between ``relu3_1`` and ``relu4_1`` it has channels of its own.
3. The layers before ``relu3_1`` are linear maps of the stem's activations (`ProjectedFeatures`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.losses.distances import gram_matrix
from fst.losses.fused import LossNetwork, SpaceToDepth
from fst.styles.cards import shipped_folder
from fst.styles.release import check_network, read_release
from fst.system.errors import InputError

NAME = "compact_vgg19"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB in [0, 1]
GRID = 2  # px: to the network, a picture that moves by less is another picture
CHANNELS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 512}  # VGG's, by block
LAYERS = (
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_3", "relu4_1", "relu4_2",
    "relu4_3", "relu5_1",
)  # fmt: skip
STEM = ("relu1_1",), ("relu1_2",), ("relu2_1", "relu2_2")  # what its convolutions at half predict
RANKED = "relu3_1", "relu4_1", "relu4_2", "relu4_3", "relu4_4", "relu5_1"  # VGG's, in three each
OWN_STYLE = "relu1_1", "relu2_1"  # layers whose Gram matrices have a map of their own


@dataclass
class ProjectedFeatures:
    """Activations that are linear maps of fewer channels, made only where they are asked for.

    Attributes:
        features: The fewer channels, ``(N, c, h, w)``.
        weight: ``(1, C, c)``, the map; or ``(4, C, c)``, one for each of the 2x2 pixels that a
            position of the features stands for.
        style: The same for the Gram matrix.
        size: H and W of the activations.
    """

    features: Tensor
    weight: Tensor
    style: Tensor
    size: tuple[int, int]

    def gram(self) -> Tensor:
        """The Gram matrix of the activations, ``(N, C, C)``.

        That of a linear map A of features with Gram matrix G is A G A^T.
        """
        gram = gram_matrix(self.features)[:, None]
        return (self.style @ gram @ self.style.mT).mean(1)

    def dense(self) -> Tensor:
        """The activations themselves, ``(N, C, H, W)``."""
        # pixel_shuffle takes pixel p of channel k from channel 4 k + p
        kernel = self.weight.transpose(0, 1).flatten(0, 1)[..., None, None]
        wide = F.conv2d(self.features, kernel.to(self.features.dtype))
        if len(self.weight) > 1:
            wide = F.pixel_shuffle(wide, 2)
        down, right = (side - had for side, had in zip(self.size, wide.shape[2:], strict=True))
        # an odd side's last row or column was left out: repeat the one before
        return F.pad(wide, (0, right, 0, down), mode="replicate") if down or right else wide


class CompactVGG(LossNetwork):
    """The network itself, without weights; `load_compact` gives it those of a file.

    Args:
        widths: Channels of its own convolutions: of the three at half of the picture's size; of
            those at a quarter; of the linear map after ``relu3_1`` and of those up to ``relu4_1``.
        ranks: Of each of `RANKED` the channels before its 3x3 convolution and after it; only after
            it where it is given few channels already.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, widths: Sequence[Sequence[int]], ranks: Sequence[Sequence[int]]) -> None:
        super().__init__()
        halves, quarters, betweens = widths
        self.ends: dict[str, int] = {}  # the ReLU of the trunk that a layer is, or is a map of
        self.adapters, self.styles = nn.ParameterDict(), nn.ParameterDict()
        layers: list[nn.Module] = []
        channels = 3 * GRID**2
        for names, width in zip(STEM, halves, strict=True):
            layers += _convolution(channels, width, 3)
            channels = width
            for name in names:
                self._project(name, len(layers) - 1, channels)
        layers.append(SpaceToDepth())
        for before, width in pairwise((4 * channels, *quarters)):
            layers += _convolution(before, width, 3)
            channels = width
        layers += _convolution(channels, CHANNELS[2], 1)
        channels = CHANNELS[2]
        for name, few in zip(RANKED, ranks, strict=True):
            if name in ("relu4_1", "relu5_1"):
                layers.append(nn.MaxPool2d(2))
            *first, last = few
            for width in first:
                layers.append(_linear(channels, width, 1))
                channels = width
            layers.append(_linear(channels, last, 3))
            channels = CHANNELS[int(name[4])]
            layers += _convolution(last, channels, 1)
            self.ends[name] = len(layers) - 1
            if name == "relu3_1":
                layers.append(_linear(channels, betweens[0], 1))
                for before, width in pairwise(betweens):
                    layers += _convolution(before, width, 3)
                    channels = width
                self._project("relu3_3", len(layers) - 1, channels)
        self.trunk = nn.Sequential(*layers)
        # real also where the network is built without memory
        mean, std = (torch.tensor(v, device="cpu").view(1, 3, 1, 1) for v in (MEAN, STD))
        self.register_buffer("scale", 1 / std, persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def _project(self, name: str, end: int, width: int) -> None:
        """Make a layer a linear map of ``width`` channels of the trunk."""
        block = int(name[4])
        maps = torch.empty(4 if block == 1 else 1, CHANNELS[block], width)
        self.ends[name] = end
        self.adapters[name] = nn.Parameter(maps)
        if name in OWN_STYLE:
            self.styles[name] = nn.Parameter(maps.clone())

    def forward(
        self, images: Tensor, layers: Sequence[str]
    ) -> dict[str, Tensor | ProjectedFeatures]:
        """Activations of ``(N, 3, H, W)`` RGB in [0, 1] as VGG-19 has them, shallow to deep.

        Those of block b are ``(N, C, H / 2^(b-1), W / 2^(b-1))``, sizes rounded down.
        """
        height, width = images.shape[-2:]
        even = images[..., : height // GRID * GRID, : width // GRID * GRID]
        x = torch.addcmul(self.shift, even, self.scale)
        ends = sorted({self.ends[name] for name in layers})
        if self.can_fuse(images):
            # bfloat16 from here on: half the bytes to move, here and on the way back
            outputs = self.fuse(self.trunk)(F.pixel_unshuffle(x.bfloat16(), GRID), ends)
        else:
            outputs = self._run(F.pixel_unshuffle(x, GRID), ends)
        trunk = dict(zip(ends, outputs, strict=True))
        answer: dict[str, Tensor | ProjectedFeatures] = {}
        for name in (each for each in LAYERS if each in layers):
            features = trunk[self.ends[name]]
            if name in RANKED:
                answer[name] = features
                continue
            weight = self.adapters[name]
            style = self.styles[name] if name in OWN_STYLE else weight
            size = (height, width) if name[4] == "1" else (features.shape[2], features.shape[3])
            answer[name] = ProjectedFeatures(features, weight, style, size)
        return answer

    def _run(self, x: Tensor, ends: Sequence[int]) -> tuple[Tensor, ...]:
        outputs = []
        for index, layer in enumerate(self.trunk[: ends[-1] + 1]):
            x = layer(x)
            if index in ends:
                outputs.append(x)
        return tuple(outputs)


def _linear(inputs: int, outputs: int, side: int) -> nn.Conv2d:
    """A convolution of the same size without bias, before none or another convolution."""
    return nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)


def _convolution(inputs: int, outputs: int, side: int) -> list[nn.Module]:
    """A convolution of the same size, and ReLU."""
    return [nn.Conv2d(inputs, outputs, side, padding=side // 2), nn.ReLU()]


class CompactFeatures(nn.Module):
    """The compact network as a loss network: frozen, with the layers that a loss asks for.

    Args:
        layers: Some of `LAYERS`, named as by `fst.losses.vgg.VGGFeatures`.
        weights: A file of research/compact/distill.py; None is the one that ships with the package.

    Attributes:
        grid: px: to the network, a picture that moves by less, or is mirrored, is another picture.
            What trains with it should show it pictures in many views (`fst.training.views`).
        card: What the file says of itself.

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
        self.grid = GRID
        shipped = shipped_folder() / "loss_networks" / f"{NAME}.safetensors"
        self.net, self.card = load_compact(Path(weights or shipped).expanduser())
        _shorten(self.net.adapters)
        _shorten(self.net.styles)

    def forward(
        self, images: Tensor, layers: Sequence[str] | None = None
    ) -> dict[str, Tensor | ProjectedFeatures]:
        """Activations of ``(N, 3, H, W)`` RGB in [0, 1], by layer name, shallow to deep.

        Of layers that are linear maps of fewer channels it gives no more channels than these; their
        distances, and those of their Gram matrices, are those of all of VGG's channels.

        ``layers`` narrows the answer to some of the layers given at construction.
        """
        return self.net(images, self.layers if layers is None else layers)

    def extra_repr(self) -> str:
        return f"layers: {', '.join(self.layers)}"


@torch.no_grad()
def _shorten(maps: nn.ParameterDict) -> None:
    """Map to as many channels as are mapped, where these are fewer than VGG's.

    A map W is Q R, Q with orthonormal columns: distances of features W f, and of their Gram
    matrices, are those of R f. The factor keeps them when they are divided by the channels.
    """
    for name, weight in maps.items():
        phases, channels, width = weight.shape
        if phases == 1 and width < channels:  # Gram matrices of four maps are averaged: no Q
            short = torch.linalg.qr(weight, mode="r").R * (width / channels) ** 0.5
            maps[name] = nn.Parameter(short, requires_grad=False)


def load_compact(path: Path) -> tuple[CompactVGG, dict[str, Any]]:
    """The network of a file, float32, frozen, with all of VGG's channels; and the file's card.

    Raises:
        InputError: No such file, or no compact loss network.
    """
    card, weights = read_release(path)
    if card["network"]["name"] != NAME:
        raise InputError(
            f"{path}: expected a compact loss network, found the network "
            f"{card['network']['name']!r}; try loss.extractor.weights=null"
        )
    net = check_network(CompactVGG, card, weights, path)
    net.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return net.requires_grad_(False).eval(), card

"""The student: the compact loss network while it is trained, and the file it becomes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fst.losses.compact import RANKED, CompactVGG, load_compact
from fst.styles.quantized import SCALE
from fst.styles.release import write_release

MOST = 127  # of an int8


class Student(CompactVGG):
    """A `CompactVGG` with random weights to train.

    Attributes:
        arguments: What it was made with, for the card of its file.
    """

    def __init__(self, widths: Sequence[Sequence[int]], ranks: Sequence[Sequence[int]]) -> None:
        super().__init__(widths, ranks)
        self.arguments = {"widths": [*map(list, widths)], "ranks": [*map(list, ranks)]}
        for layer in self.trunk:
            if isinstance(layer, nn.Conv2d):
                follows = "linear" if layer.bias is None else "relu"
                nn.init.kaiming_normal_(layer.weight, nonlinearity=follows)
        for maps in self.adapters.values():
            nn.init.normal_(maps, std=maps.shape[-1] ** -0.5)
        for name, maps in self.styles.items():
            maps.data.copy_(self.adapters[name].data)

    def can_fuse(self, images: Tensor) -> bool:
        """Fused passes have no gradients of weights: only where these do not train."""
        return not self.training and super().can_fuse(images)

    def train(self, mode: bool = True) -> "Student":
        self._fused = None  # the weights may have changed since
        super().train(mode)
        return self

    @torch.no_grad()
    def rescale(self, name: str, factor: float) -> None:
        """Multiply the activations of one layer, and of no other."""
        if name in RANKED:  # others are made of these: the next convolution takes it back
            end = self.ends[name]
            self.trunk[end - 1].weight.mul_(factor)
            self.trunk[end - 1].bias.mul_(factor)
            after = (layer for layer in self.trunk[end:] if isinstance(layer, nn.Conv2d))
            if following := next(after, None):
                following.weight.div_(factor)
            return
        self.adapters[name].mul_(factor)
        if name in self.styles:
            self.styles[name].mul_(factor)


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers, and the scales they are multiplied by; `fst.styles.quantized` reads them.

    Args:
        weight: A kernel ``(O, I, h, w)``, or maps ``(..., O, I)``.

    Returns:
        int8 of the weight's shape, and float32 scales that broadcast: one for each output channel.
        The error is 1 % of the weights (RMS).

    >>> quantize(torch.tensor([[0.5, -1.0, 0.25]]))[0]
    tensor([[  64, -127,   32]], dtype=torch.int8)
    """
    inputs = [-3, -2, -1] if weight.dim() == 4 else [-1]
    scale = weight.abs().amax(inputs, keepdim=True) / MOST
    divisor = scale.clamp_min(torch.finfo(scale.dtype).tiny)  # a channel may be 0 throughout
    return (weight / divisor).round().char(), scale


def save_student(path: Path, net: Student, card: dict[str, Any]) -> None:
    """Write a file that `fst.losses.compact.load_compact` reads: eight bits a weight."""
    weights = {}
    for name, tensor in net.state_dict().items():
        weight = tensor.detach().to("cpu", torch.float32)
        if weight.dim() > 1:
            weights[name], weights[name + SCALE] = quantize(weight)
        else:
            weights[name] = weight.half()
    write_release(path, weights, card)


def load_student(path: Path) -> tuple[Student, dict[str, Any]]:
    """The network of a file, to train on; and the file's card."""
    net, card = load_compact(path)
    student = Student(**card["network"]["arguments"])
    student.load_state_dict(net.state_dict())
    return student, card

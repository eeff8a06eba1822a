"""Weights as small integers with a scale for each output channel, as release files hold them."""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"  # after the name of a tensor of integers, that of what it is multiplied by
TRIED = 40  # scales from which that of a channel in four bits is chosen
LEAST = 0.35  # of the scale that reaches the greatest weight: what is greater becomes the greatest


def to_integers(weight: Tensor, bits: int, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Integers and what they are multiplied by.

    Args:
        weight: A kernel ``(O, I, h, w)``, or maps ``(..., O, I)``.
        bits: 8, or 4 (8 where O is odd): half of the size, and an error of 0.1 to 0.2 (RMS over
            that of the weights) instead of 0.01.
        scale: What integers of four bits are to be multiplied by, where that is known.

    Returns:
        int8 of the weight's shape; or uint8 of half as many output channels, those of the second
        half in the upper four bits, all of them 8 more than they are. And float32 scales that
        broadcast.

    >>> to_integers(torch.tensor([[0.5, -1.0, 0.25]]), 8)[0]
    tensor([[  64, -127,   32]], dtype=torch.int8)
    """
    if weight.shape[_outputs(weight)] % 2:
        bits = 8
    inputs = [-3, -2, -1] if weight.dim() == 4 else [-1]
    most = 2 ** (bits - 1) - 1
    largest = weight.abs().amax(inputs, keepdim=True) / most
    if bits == 8:
        return _round(weight, largest, most).char(), largest
    if scale is None:
        scale, least = largest, torch.full_like(largest, torch.inf)
        for share in torch.linspace(1, LEAST, TRIED):
            tried = share * largest
            error = _round(weight, tried, most) * tried - weight
            error = error.square().sum(inputs, keepdim=True)
            scale = torch.where(error < least, tried, scale)
            least = torch.minimum(error, least)
    low, high = (_round(weight, scale, most) + 8).byte().chunk(2, _outputs(weight))
    return low | high << 4, scale


def _outputs(weight: Tensor) -> int:
    return 0 if weight.dim() == 4 else -2


def _round(weight: Tensor, scale: Tensor, most: int) -> Tensor:
    whole = scale.clamp_min(torch.finfo(scale.dtype).tiny)  # 0 of a channel of nothing
    return (weight / whole).round().clamp(-most, most)


def from_integers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a file with integers: those with a scale as float32, others as they are.

    Raises:
        ValueError: Integers without a scale, a scale without integers, or one that does not fit
            them. Says what was expected and what was found.
    """
    scales = {name: scale for name, scale in weights.items() if name.endswith(SCALE)}
    found = {name: weight for name, weight in weights.items() if name not in scales}
    for name, weight in found.items():
        scale = scales.pop(name + SCALE, None)
        if scale is None and weight.dtype.is_floating_point:
            continue
        if scale is None or weight.dtype not in (torch.int8, torch.uint8) or weight.dim() < 2:
            raise ValueError(f"{name} as floats or as integers with a scale, found {_kind(weight)}")
        if weight.dtype is torch.uint8:
            weight = torch.cat([weight & 15, weight >> 4], _outputs(weight)).float() - 8
        if (
            scale.dtype is not torch.float32
            or scale.dim() != weight.dim()
            or any(a not in (1, b) for a, b in zip(scale.shape, weight.shape, strict=True))
        ):
            raise ValueError(f"scales of {name} that fit {_kind(weight)}, found {_kind(scale)}")
        found[name] = weight.float() * scale
    for name in scales:
        raise ValueError(f"the integers that {name} is for, found none")
    return found


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"

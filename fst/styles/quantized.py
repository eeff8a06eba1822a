"""Weights as small integers with a scale for each output channel, as style files hold them."""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"  # after the name of a tensor of integers, that of what it is multiplied by
MOST = 127


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers and what they are multiplied by.

    Args:
        weight: A kernel ``(O, I, h, w)``, or maps ``(..., O, I)``.

    Returns:
        int8 of the weight's shape; and float32 scales that broadcast. The error is 0.01 (RMS over
        that of the weights).

    >>> quantize(torch.tensor([[0.5, -1.0, 0.25]]))[0]
    tensor([[  64, -127,   32]], dtype=torch.int8)
    """
    inputs = [-3, -2, -1] if weight.dim() == 4 else [-1]
    scale = weight.abs().amax(inputs, keepdim=True) / MOST
    whole = scale.clamp_min(torch.finfo(scale.dtype).tiny)  # 0 of a channel of nothing
    return (weight / whole).round().char(), scale


def dequantize(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
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
        if scale is None or weight.dtype is not torch.int8 or weight.dim() < 2:
            raise ValueError(f"{name} as floats or as integers with a scale, found {_kind(weight)}")
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

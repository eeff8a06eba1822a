"""Quantized weights: int8 with a float32 scale for each output channel.

A style file may hold such weights in the place of float16 ones; the file of the compact loss
network does. Beside the tensor ``NAME`` then lies ``NAME.scale``, which broadcasts against it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"  # after a quantized tensor's name: the name of what it is multiplied by


def dequantize(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a file: quantized ones as float32, others as they are.

    Raises:
        ValueError: Integers without a scale, a scale without integers, or one that does not fit
            them. Says what was expected and what was found.
    """
    scales = {name: scale for name, scale in weights.items() if name.endswith(SCALE)}
    floats = {name: weight for name, weight in weights.items() if name not in scales}
    for name, weight in floats.items():
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
        floats[name] = weight.float() * scale
    for name in scales:
        raise ValueError(f"the integers that {name} is for, found none")
    return floats


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"

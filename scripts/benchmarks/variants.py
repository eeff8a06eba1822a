"""The ways to run a network that are measured: uint8 frame ``(H, W, 3)`` in, the same out.

On a CUDA GPU the plain network runs in half precision, too: one word in anybody's script.
"""

import copy
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.measuring import say
from fst.engines import DTYPES, make_engine
from fst.system.errors import InputError

BASELINE = "plain fp32"

Repaint = Callable[[np.ndarray], np.ndarray]


class Plain:
    """A network called as it is, and the conversions that users write."""

    def __init__(self, net: nn.Module, device: torch.device, precision: str) -> None:
        self._device, self._dtype = device, DTYPES[precision]
        self._net = copy.deepcopy(net).to(device, self._dtype)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        photo = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)
        out = self._net(photo[None].to(self._device, self._dtype))[0].float()
        return out.mul(255).add_(0.5).clamp_(0, 255).permute(1, 2, 0).to("cpu", torch.uint8).numpy()


@dataclass
class Variant:
    """One way to run one network; ``make`` gives a fresh one."""

    name: str
    net: nn.Module
    precision: str
    make: Callable[[], Repaint]
    repaint: Repaint | None = None
    first_call: float | None = None

    @property
    def width(self) -> int:
        return width_of(self.net)


def width_of(net: nn.Module) -> int:
    """Channels of a network's first convolution."""
    return next(module for module in net.modules() if isinstance(module, nn.Conv2d)).out_channels


def variants_of(net: nn.Module, engines: list[str], device: torch.device) -> list[Variant]:
    """The plain network first, in float32; then all else that runs on the device."""
    plain = ["fp32", "fp16"] if device.type == "cuda" else ["fp32"]
    variants = [
        Variant(f"plain {name}", net, name, partial(Plain, net, device, name)) for name in plain
    ]
    for engine in engines:
        for name in DTYPES:
            make = partial(_make, net, device, engine, name)
            variants.append(Variant(f"{engine} {name}", net, name, make))
    return variants


def _make(net: nn.Module, device: torch.device, engine: str, precision: str) -> Repaint:
    return make_engine(net, device, engine, precision).stylize


def start(variants: list[Variant], frame: np.ndarray) -> list[Variant]:
    """Make all that this device has, and repaint a first picture with each."""
    started = []
    for variant in variants:
        begin = time.perf_counter()
        with suppress(InputError):  # not in this precision, or not on this device
            variant.repaint = variant.make()
            variant.repaint(frame)
            variant.first_call = time.perf_counter() - begin
            say(f"width {variant.width}, {variant.name}: {variant.first_call:.1f} s to start")
            started.append(variant)
    return started

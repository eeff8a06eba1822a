"""The ways to run a network that are measured: uint8 frame ``(H, W, 3)`` in, the same out.

On a CUDA GPU there are more than on a CPU: the plain network in half precision, in both layouts,
and CUDA graphs. That part has not been run on a GPU yet.
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
from fst.engines import DTYPES, Engine, make_engine
from fst.images import to_array, to_tensor
from fst.system.errors import InputError

BASELINE = "plain fp32"

Repaint = Callable[[np.ndarray], np.ndarray]


class Plain:
    """A network called as it is, and the conversions that users write."""

    def __init__(
        self, net: nn.Module, device: torch.device, precision: str, layout: torch.memory_format
    ) -> None:
        self._device, self._dtype, self._layout = device, DTYPES[precision], layout
        self._net = copy.deepcopy(net).to(device, self._dtype, memory_format=layout)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        photo = torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float().div(255)
        batch = photo[None].to(self._device, self._dtype).contiguous(memory_format=self._layout)
        out = self._net(batch)[0].float()
        return out.mul(255).add_(0.5).clamp_(0, 255).permute(1, 2, 0).to("cpu", torch.uint8).numpy()


class Graph:
    """An engine on a CUDA GPU, its kernels launched as one CUDA graph for each size."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._shape = engine, None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.shape != self._shape:
            self._capture(pixels)
        self._batch.copy_(to_tensor(pixels)[None])
        self._graph.replay()
        return to_array(self._out[0])

    def _capture(self, pixels: np.ndarray) -> None:
        self._shape = pixels.shape
        self._batch = to_tensor(pixels)[None].to(self._engine.device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # as PyTorch asks: some runs that are not captured
            for _ in range(3):
                self._engine(self._batch)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._out = self._engine(self._batch)


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
    layouts = {"": torch.contiguous_format}
    precisions = ["fp32"]
    if device.type == "cuda":
        layouts[" channels-last"] = torch.channels_last
        precisions = list(DTYPES)
    variants = [
        Variant(f"plain {name}{end}", net, name, partial(Plain, net, device, name, layout))
        for name in precisions
        for end, layout in layouts.items()
    ]
    for engine in engines:
        for name in DTYPES:
            make = partial(_make, net, device, engine, name)
            variants.append(Variant(f"{engine} {name}", net, name, make))
            if device.type == "cuda" and engine == "eager":
                make = partial(_make, net, device, engine, name, wrap=Graph)
                variants.append(Variant(f"graph {name}", net, name, make))
    return variants


def _make(
    net: nn.Module, device: torch.device, engine: str, precision: str, wrap: type | None = None
) -> Repaint:
    made = make_engine(net, device, engine, precision)
    return wrap(made) if wrap else made.stylize


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

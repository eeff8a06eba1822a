"""How fast a pass can be at best on this machine.

It is the longer one of two times:

1. Arithmetic: the multiply-adds of the convolutions at the rate of the best of some large matrix
   products. Only precisions that the machine computes in hardware count; in another one nothing is
   faster than in float32. Convolutions of pictures that were enlarged by repeating pixels count
   4/9, since repeated pixels need multiplying once (`fst.engines.simplify`). Winograd's transform
   could halve what is left; nothing here uses it.
2. Memory: what every convolution and every residual sum gives is written once and read once, at
   the rate of a large copy. An instance norm needs all of a picture before its first pixel, so that
   at least this has to wait in memory; padding, norms, ReLU and enlarging can happen on the way.
   Small pictures may stay in the CPU's cache, and be faster than this.

Arithmetic and memory work at the same time, hence the longer one and not the sum.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.measuring import seconds_of
from fst.engines import DTYPES
from fst.networks import ResidualBlock, UpsampleBlock
from fst.system.devices import has_bf16_units

BEST_OF = 10
REPEATED = 4 / 9  # of a 3x3 kernel's products over pixels repeated 2x2


@dataclass(frozen=True)
class Work:
    """What one pass has to do.

    Attributes:
        flops: Of all convolutions as the plain network has them, two for a multiply-add.
        least: Those that no engine gets around.
        values: Activations to write, and as many to read.
        pixels: Of the picture.
    """

    flops: float
    least: float
    values: int
    pixels: int


def watch(net: nn.Module, batch: Tensor) -> tuple[Tensor, Work]:
    """A pass over a batch ``(1, 3, H, W)``: what the network gives, and what it had to do."""
    repeated = {
        conv
        for block in net.modules()
        if isinstance(block, UpsampleBlock)
        for conv in block.modules()
    }
    flops = least = values = 0

    def count(module: nn.Module, _inputs: tuple[Tensor], out: Tensor) -> None:
        nonlocal flops, least, values
        if isinstance(module, nn.Conv2d):
            products = 2 * out.numel() * module.weight[0].numel()
            flops += products
            least += products * REPEATED if module in repeated else products
        if out.shape[1] != 3:  # the last one is the picture
            values += out.numel()

    watched = [module for module in net.modules() if isinstance(module, (nn.Conv2d, ResidualBlock))]
    hooks = [module.register_forward_hook(count) for module in watched]
    try:
        with torch.inference_mode():
            out = net(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return out, Work(flops, least, values, batch[0, 0].numel())


@dataclass(frozen=True)
class Rates:
    """What the machine can do: FLOP/s of each precision in hardware, and bytes per second."""

    products: dict[str, float]
    bandwidth: float

    def __str__(self) -> str:
        rates = [f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in self.products.items()]
        return f"matrix products {', '.join(rates)}; memory {self.bandwidth / 1e9:.1f} GB/s"

    @property
    def best(self) -> tuple[str, float]:
        """The fastest precision, and its FLOP/s."""
        return max(self.products.items(), key=lambda rate: rate[1])

    def maximum(self, other: "Rates") -> "Rates":
        """The higher ones of two measurements."""
        products = {name: max(rate, other.products[name]) for name, rate in self.products.items()}
        return Rates(products, max(self.bandwidth, other.bandwidth))

    def floor(self, work: Work, precision: str) -> float:
        """Seconds that a pass takes at least; see the module's text."""
        moved = 2 * work.values * DTYPES[precision].itemsize + 6 * work.pixels
        products = self.products.get(precision, self.products["fp32"])
        return max(work.least / products, moved / self.bandwidth)


def measure_rates(device: torch.device, quick: bool = False) -> Rates:
    """The machine's rates, each the best of several; ``quick`` ones are too low."""
    side, copied = (512, 1 << 22) if quick else (2048, 1 << 26)  # the copy exceeds any cache
    precisions = hardware_precisions(device)
    products = {name: _product_rate(DTYPES[name], device, side) for name in precisions}
    source = torch.ones(copied, device=device)
    target = torch.empty_like(source)
    best = _best(partial(target.copy_, source), device)
    return Rates(products, 2 * source.nbytes / best)


def hardware_precisions(device: torch.device) -> list[str]:
    """Those that the device has units for; what others take says nothing of the machine."""
    if device.type == "cpu":
        return ["fp32", "bf16"] if has_bf16_units() else ["fp32"]
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return ["fp32", "bf16", "fp16"]
    return ["fp32", "fp16"]


def _product_rate(dtype: torch.dtype, device: torch.device, side: int) -> float:
    """FLOPs per second of the best of three shapes: square, and as wide as convolutions are."""
    rates = []
    for rows, inner, columns in (
        (side, side, side),
        (8 * side, side // 4, side // 8),
        (side, side // 2, side // 2),
    ):
        a = torch.rand(rows, inner, device=device, dtype=dtype)
        b = torch.rand(inner, columns, device=device, dtype=dtype)
        rates.append(2 * rows * inner * columns / _best(partial(torch.mm, a, b), device))
    return max(rates)


def _best(action: partial, device: torch.device) -> float:
    seconds_of(action, device)
    return min(seconds_of(action, device) for _ in range(BEST_OF))

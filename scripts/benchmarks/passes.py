"""One pass over one picture, by every engine and by the plain network.

The baseline is what example scripts do: the plain network in float32, called on a contiguous
``(1, 3, H, W)`` tensor, with the conversions that users write. All take a uint8 frame ``(H, W, 3)``
and give one. There are two networks: the shipped style's, and one of width 32, the paper's, with
random weights.

The columns:

- images/s: from the median of the rounds; spread: the slowest round over the fastest. The variants
  take turns, and the ratios are medians of each round's ratio to the baseline of width 32, and to
  that of the same width. They still need a quiet machine: what other processes do to an engine
  depends on how its threads wait for each other.
- peak MiB: memory above what was resident before the picture, in a fresh engine that has seen a
  small picture only, since some keep their buffers; above all the first one's at this size.
- first call s: making the engine and its first picture, with empty caches. New size s: the first
  picture of a size that came later.
- floor x: how many times the time of `benchmarks.floor` it takes.
- PSNR dB: against the plain network's result before rounding; rounding to 8 bits alone is 59 dB.

The variants are those of `benchmarks.variants`.
"""

import importlib
import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest import mock

import numpy as np
import torch
from torch import nn

from benchmarks.floor import Rates, measure_rates, watch
from benchmarks.measuring import (
    EXAMPLES,
    fit,
    machine,
    peak_mib,
    psnr,
    rounds,
    say,
    times_faster,
    warn_of_load,
)
from benchmarks.variants import BASELINE, Variant, start, variants_of, width_of
from fst.engines import available_engines
from fst.images import read_photo, to_tensor
from fst.networks import TransformerNet, check_sides
from fst.styles import find_style, load_style
from fst.system.devices import choose_device
from fst.system.errors import InputError

TITLES = {
    "setting": "setting",
    "variant": "variant",
    "images_per_s": "images/s",
    "spread": "spread",
    "ratio": "ratio",
    "ratio_same_width": "same width",
    "peak_mib": "peak MiB",
    "first_call_s": "first call s",
    "new_size_s": "new size s",
    "floor_ratio": "floor x",
    "psnr": "PSNR dB",
}
WIDTH = 32  # of the baseline: the paper's
SMALL = 64  # px: side of a picture that takes hardly any memory
VIDEO = 640, 480  # measured with the style's network only
# times that torch.compile generates code before it gives up; all variants share the count, and its
# default of 8 would leave most of them uncompiled without a word
CODES = 64


def peak_of(variant: Variant, frame: np.ndarray, device: torch.device) -> float | None:
    """In a fresh one that knows a small picture; but compiled code keeps nothing, and takes long
    to make."""
    repaint = variant.repaint
    if not variant.name.startswith("compile"):
        repaint = variant.make()
        repaint(np.ascontiguousarray(frame[:SMALL, :SMALL]))
    return peak_mib(partial(repaint, frame), device)


def measure(
    variants: list[Variant],
    frame: np.ndarray,
    repeats: int,
    rates: Rates,
    device: torch.device,
    first: bool,
) -> Iterator[dict[str, object]]:
    """Rows of one size.

    Args:
        variants: Started ones; among them the baselines.
        frame: ``(H, W, 3)`` uint8.
        repeats: Rounds.
        rates: Of the machine.
        device: Of the variants.
        first: Whether they were started at this size.
    """
    height, width = frame.shape[:2]
    batch = to_tensor(frame)[None]
    exact, work = {}, {}
    for net in {variant.width: variant.net for variant in variants}.values():
        out, work[width_of(net)] = watch(net, batch)
        exact[width_of(net)] = 255 * out[0].permute(1, 2, 0).numpy()
    errors, new_size, peaks = [], [], []
    for variant in variants:
        begin = time.perf_counter()
        painted = variant.repaint(frame)
        new_size.append(None if first else time.perf_counter() - begin)
        errors.append(psnr(painted, exact[variant.width]))
        peaks.append(peak_of(variant, frame, device))
    seconds = rounds([partial(each.repaint, frame) for each in variants], repeats, device)
    plain = {
        variant.width: own
        for variant, own in zip(variants, seconds, strict=True)
        if variant.name == BASELINE
    }
    measured = zip(variants, seconds, new_size, peaks, errors, strict=True)
    for variant, own, new, peak, error in measured:
        floor = rates.floor(work[variant.width], variant.precision)
        yield {
            "setting": f"{width}x{height} width {variant.width}",
            "variant": variant.name,
            "images_per_s": 1 / statistics.median(own),
            "spread": max(own) / min(own),
            "ratio": times_faster(own, plain[WIDTH]),
            "ratio_same_width": times_faster(own, plain[variant.width]),
            "peak_mib": peak,
            "first_call_s": variant.first_call,
            "new_size_s": new,
            "floor_ratio": statistics.median(own) / floor,
            "psnr": error,
        }


@contextmanager
def cold_caches() -> Iterator[None]:
    """Empty caches of exported and compiled networks, for as long as this lasts."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        places = {"XDG_CACHE_HOME": folder, "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        with mock.patch.dict(os.environ, places):
            yield


def choose_engines(wanted: list[str] | None, device: torch.device) -> list[str]:
    """Those wanted, or all that are installed; their packages imported.

    Raises:
        InputError: One is not installed.
    """
    installed = available_engines()
    for name in wanted or installed:
        if name not in installed:
            raise InputError(f"engines: expected some of {', '.join(installed)}, found {name!r}")
    for package in {"openvino", "onnxruntime"} & set(wanted or installed):
        importlib.import_module(package)
    return wanted or installed


def networks(style: str) -> list[nn.Module]:
    """The baseline's, with random weights, and the style's; the latter alone if it is as wide."""
    torch.manual_seed(0)
    net, _ = load_style(find_style(style))
    if width_of(net) == WIDTH:
        return [net]
    return [TransformerNet(WIDTH).requires_grad_(False).eval(), net]


def run(args: Namespace) -> Iterator[list[dict[str, object]]]:
    """The rows of one size after the other; every row says which machine it is from."""
    for width, height in args.sizes:
        check_sides(height, width)
    device = choose_device(args.device)
    nets = networks(args.style)
    engines = choose_engines(args.engines, device)
    warn_of_load()
    photo = read_photo(EXAMPLES / "astronaut.jpg").image
    frames = [np.array(fit(photo, *size)) for size in args.sizes]
    with cold_caches():
        everything = [each for net in nets for each in variants_of(net, engines, device)]
        variants = start(everything, frames[0])
        rates = measure_rates(device, args.quick)
        for size, frame in zip(args.sizes, frames, strict=True):
            rates = measure_rates(device, args.quick).maximum(rates)
            say(f"{size[0]}x{size[1]}; {rates}")
            some = [
                each
                for each in variants
                if size != VIDEO or each.net is nets[-1] or each.name == BASELINE
            ]
            yield [
                {**row, "machine": machine()}
                for row in measure(some, frame, args.repeats, rates, device, frame is frames[0])
            ]

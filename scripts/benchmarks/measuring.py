"""Seconds, memory, differences, and how they are written."""

import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from fst.images import find_images
from fst.system.devices import has_bf16_units
from fst.system.errors import InputError
from fst.system.process import cores

EXAMPLES = Path(__file__).parents[2] / "examples"
STYLIZE = Path(__file__).parents[1] / "stylize.py"
BUSY = 0.3  # processes that run or want to, over the last minute
REST = 0.02  # seconds before each measurement: until the last engine's threads stop spinning

# The system counts into a process's peak what its parent had in memory when it started it. So a
# small one stands in between.
_STARTER = """
import json, subprocess, sys, time
start = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds, peak = time.perf_counter() - start, None
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak /= 2**20 if sys.platform == "darwin" else 2**10
except ImportError:  # Windows
    pass
print(json.dumps([seconds, peak]))
sys.exit(status)
"""


def say(line: str) -> None:
    """Progress, to stderr."""
    print(line, file=sys.stderr, flush=True)


def warn_of_load() -> None:
    """Say so when other processes are at work."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0
    if load > BUSY:
        say(f"the machine is busy (load {load:.1f}): expect wrong numbers")


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """How long something takes, until the device is done with it."""
    start = time.perf_counter()
    action()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start


def rounds(
    actions: Sequence[Callable[[], object]], repeats: int, device: torch.device
) -> list[list[float]]:
    """Seconds of every action, once a round.

    The actions take turns, every other round backwards: what slows the machine for a while slows
    all of them.
    """
    seconds: list[list[float]] = [[] for _ in actions]
    for number in range(repeats):
        turns = list(zip(actions, seconds, strict=True))
        for action, own in reversed(turns) if number % 2 else turns:
            time.sleep(REST)
            own.append(seconds_of(action, device))
    return seconds


def times_faster(seconds: Sequence[float], baseline: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    pairs = zip(seconds, baseline, strict=True)
    return statistics.median(theirs / ours for ours, theirs in pairs)


def psnr(picture: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, of values from 0 to 255; infinite for equal pictures."""
    difference = picture.astype(np.float32) - reference.astype(np.float32)
    error = float(np.square(difference).mean(dtype=np.float64))
    return 10 * math.log10(255**2 / error) if error else math.inf


def peak_mib(action: Callable[[], object], device: torch.device) -> float | None:
    """Memory that an action takes at its peak, above what was taken before; None if unknown.

    On a GPU it is the GPU's. Otherwise it is the process's, which only Linux tells.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        action()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with suppress(OSError, AttributeError):  # no glibc: what was freed may be counted as taken
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except OSError:
        action()
        return None
    before = _resident("VmRSS")
    action()
    return (_resident("VmHWM") - before) / 2**10


def _resident(name: str) -> int:
    """KiB of this process, by their name in its status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def run_child(*command: object, **environment: str) -> tuple[float, float | None]:
    """Run a Python script: seconds from start to end, and peak memory in MiB.

    Raises:
        InputError: It failed; with its line.
    """
    starter = [sys.executable, "-c", _STARTER, sys.executable, *map(str, command)]
    done = subprocess.run(
        starter, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{Path(str(command[0])).name}: {line.removeprefix('error: ')}")
    return tuple(json.loads(done.stdout))


def run_stylize(*arguments: object, **environment: str) -> tuple[float, float | None]:
    """`run_child` of ``scripts/stylize.py``."""
    return run_child(STYLIZE, *arguments, **environment)


def find_photos(folder: Path) -> list[Path]:
    """The photos of a folder, at least one.

    Raises:
        InputError: There is no such folder, or none in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of photos, found no such folder")
    photos = find_images(folder)
    if not photos:
        raise InputError(f"{folder}: expected photos in it, found none; try {EXAMPLES}")
    return photos


def fit(photo: Image.Image, width: int, height: int) -> Image.Image:
    """The photo's middle at a size, in its own aspect."""
    return ImageOps.fit(photo, (width, height), Image.Resampling.LANCZOS)


def machine() -> str:
    """CPU, cores, their units for bf16, GPU, and the versions that matter, as one line."""
    has = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot tell
    names = ("AMX", "amx_bf16"), ("AVX512-BF16", "avx512_bf16")
    units = " and ".join(label for label, name in names if has.get(name)) or "none"
    if units != "none" and not has_bf16_units():
        units += " (switched off)"
    parts = [str(has.get("cpu_name") or "unknown CPU"), f"{cores()} cores", f"bf16 units: {units}"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    for package in "torch", "openvino", "onnxruntime":
        with suppress(PackageNotFoundError):
            parts.append(f"{package} {version(package)}")
    return ", ".join(parts)


def digits(value: object) -> str:
    """A table's cell: three digits that count of a float, nothing of None, *equal* of infinity."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if not math.isfinite(value):
        return "equal" if value > 0 else str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"

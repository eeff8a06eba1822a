"""Which device computes, in which precision, compiled or not: every answer to it stands here."""

import os
import shutil
import sysconfig
from pathlib import Path

import torch

from fst.system.errors import InputError


def has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 in hardware, AMX or AVX512-BF16, and may do so."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    if not any(name in allowed for name in ("ALL", "DEFAULT", "16", "AMX", "AVX10")):
        return False
    units = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot tell
    return bool(units.get("amx_bf16") or units.get("avx512_bf16"))


def choose_device(name: str) -> torch.device:
    """A device by name; ``auto`` is the GPU where there is one.

    Raises:
        InputError: Not a device's name, or this machine or torch has none such.
    """
    if name == "auto":
        found = torch.accelerator.is_available()
        return torch.accelerator.current_accelerator() if found else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"device: expected one that this machine has, found {name!r} ({reason}); "
            "try cpu or auto"
        ) from error
    return device


WORTH_COMPILING = 200  # steps


def resolve_precision(precision: str, accelerator: str) -> str:
    """``auto`` becomes bf16-mixed where the device has bf16 units, else 32-true."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16-mixed" if fast else "32-true"


def resolve_compile(wanted: bool | str, steps: int) -> bool:
    """``auto`` compiles where there is a compiler, and steps enough to make up for its time.

    Raises:
        InputError: Another value, or true and no C++ compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    missing = None
    if shutil.which(compiler) is None:
        missing = f"no {compiler}"
    elif not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing = "no Python.h"
    if wanted == "auto":
        return missing is None and steps >= WORTH_COMPILING
    if not isinstance(wanted, bool):
        raise InputError(f"compile: expected auto, true or false, found {wanted!r}")
    if wanted and missing:
        raise InputError(
            f"compile: expected a C++ compiler and Python's headers, found {missing}; install g++ "
            "and python3-dev, or set compile=false"
        )
    return wanted


def pick_device(name: str) -> torch.device:
    """``auto`` is the first GPU, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"device: expected auto, cpu or a GPU of this machine, found {name!r} ({reason})"
        ) from error


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of ``precision``: ``32-true``, ``bf16-mixed`` or ``auto``.

    Raises:
        InputError: Another precision.
    """
    found = resolve_precision(precision, "cpu" if device.type == "cpu" else "gpu")
    if found not in ("32-true", "bf16-mixed"):
        raise InputError(f"precision: expected auto, 32-true or bf16-mixed, found {precision!r}")
    return torch.autocast(device.type, torch.bfloat16, enabled=found == "bf16-mixed")

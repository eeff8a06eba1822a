"""Which device computes, in which precision, compiled or not: every answer to it stands here."""

import os
import shutil
import sysconfig
from pathlib import Path

import torch

from fst.system.errors import InputError

WORTH_COMPILING = 200  # steps
# values of oneDNN's variable that leave AVX-512 without its bf16 products
WITHOUT_BF16_UNITS = ("AVX512_CORE", "AVX512_CORE_VNNI")


def has_bf16_kernels() -> bool:
    """Whether oneDNN has bf16 kernels for this CPU, in its units or imitated by AVX-512.

    Imitated they round likewise, and take longer than float32. ``ONEDNN_MAX_CPU_ISA`` counts.
    """
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 in hardware, AMX or AVX512-BF16: whether bf16 pays.

    ``ONEDNN_MAX_CPU_ISA`` counts: what it forbids, this CPU has not.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA", "")
    if not has_bf16_kernels() or limit.upper() in WITHOUT_BF16_UNITS:
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.11
        return torch.cpu._is_avx512_bf16_supported()
    units = torch.cpu.get_capabilities()
    return bool(units.get("amx_bf16") or units.get("avx512_bf16"))


def choose_device(name: str) -> torch.device:
    """A device by name; ``auto`` is the GPU where there is one.

    Raises:
        InputError: Not a device's name, or this machine or torch has none such.
    """
    if name == "auto":
        gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return gpu or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"device: expected auto, cpu or a GPU of this machine, found {name!r} ({reason}); "
            "try cpu or auto"
        ) from error
    return device


def resolve_precision(precision: str, accelerator: str) -> str:
    """``auto`` becomes bf16-mixed where the device has bf16 units, else 32-true."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        pays = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        pays = has_bf16_units()
    return "bf16-mixed" if pays else "32-true"


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


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of ``precision``: ``32-true``, ``bf16-mixed`` or ``auto``.

    Raises:
        InputError: Another precision.
    """
    resolved = resolve_precision(precision, "cpu" if device.type == "cpu" else "gpu")
    if resolved not in ("32-true", "bf16-mixed"):
        raise InputError(f"precision: expected auto, 32-true or bf16-mixed, found {precision!r}")
    return torch.autocast(device.type, torch.bfloat16, enabled=resolved == "bf16-mixed")

"""What the scripts that compose a config share: paintings, config nodes, errors as one line."""

import ctypes
import logging
import mmap
import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fst.errors import InputError, one_line_errors

WORTH_COMPILING = 200  # steps
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
HEAP = 7 * 2**28  # bytes: what glibc keeps is less than 2 GiB


def find_painting(style: DictConfig) -> Path:
    """The painting's file; a missing one is named with the page where it can be had."""
    path = Path(str(style.image)).expanduser()
    if path.is_file():
        return path
    if style.page is None:
        raise InputError(f"style.image: expected a picture, found no file at {path}")
    raise InputError(
        f"painting: expected {style.title} ({style.painter}, {style.year}) at {path}, found "
        f"no such file; get it from {style.page} and set paths.paintings or FST_PAINTINGS to "
        "its folder"
    )


def public(node: Mapping[str, Any]) -> dict[str, Any]:
    """A config node without hydra's own keys."""
    return {key: value for key, value in node.items() if not key.startswith("_")}


def named(node: dict[str, Any]) -> dict[str, Any]:
    """A config node with the last word of its target as ``name``."""
    return {"name": node["_target_"].rsplit(".", 1)[-1], **public(node)}


def one_line(error: Exception) -> str:
    """What hydra says in several lines; an InputError inside speaks for itself."""
    if isinstance(error.__cause__, InputError):
        return str(error.__cause__)
    if str(error).startswith("Could not override"):
        key = str(error).split("'")[1]
        reason = str(error.__cause__ or error).splitlines()[0]
        return (
            f"setting: expected a key of the config, found {key!r} ({reason}); --cfg job shows all"
        )
    return " ".join(str(error).split())


@contextmanager
def config_errors() -> Iterator[None]:
    """End the process with one line on an error of the user's or of hydra's."""
    with one_line_errors():
        try:
            yield
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(one_line(error)) from error


def run_alone(script: Callable[[], object]) -> None:
    """Run a function under ``hydra.main`` as a script does, with errors as one line."""
    keep_freed_memory()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra's own report takes six lines
    with config_errors():
        script()


def quiet_lightning() -> None:
    """Leave out what Lightning says that is known and of no use here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for known in (
        "does not have many workers",  # held-out photos are few
        "in eval mode at the start of training",  # the loss network stays so
        "not resumable",  # ours counts its photos
        "treespec, LeafSpec",  # Lightning 2.6 on torch 2.15
    ):
        warnings.filterwarnings("ignore", f".*{known}")


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


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, in large pages: else a step takes an eighth longer.

    Giving memory back and taking it anew costs a tenth of a step, small pages a thirtieth. Of use
    to processes that allocate the same large tensors again and again. Elsewhere than on glibc it
    does nothing.
    """
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(M_MMAP_MAX, 0)  # large blocks, too, come from the heap
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    block = libc.malloc(HEAP)  # takes addresses, no memory
    if block:
        first = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        size = block + HEAP - mmap.PAGESIZE - first
        for advice in mmap.MADV_DONTNEED, mmap.MADV_HUGEPAGE:
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), advice)
        libc.free(ctypes.c_void_p(block))


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


def quoted(path: Path) -> str:
    """As Hydra takes names with any characters in them."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

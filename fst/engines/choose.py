"""Which engine runs the network: PyTorch, torch.compile, onnxruntime or OpenVINO.

An engine takes a trained network and answers batches of any size in fixed precision. All run the
network as `fst.engines.simplify` rewrites it. openvino and onnxruntime come with the extra
``fast`` and are imported when they are used.

A new size costs nothing noticeable with any of them but ``compile``, which generates code for the
first picture, and again for the few kinds of sizes that its code does not cover, such as squares.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

from fst.engines.base import ENGINES, Engine
from fst.engines.onnx_engine import OnnxEngine
from fst.engines.torch_engine import CompileEngine, EagerEngine
from fst.networks import TransformerNet
from fst.system.devices import has_bf16_units
from fst.system.errors import InputError, install_hint


def make_engine(
    net: TransformerNet,
    device: torch.device,
    name: str = "auto",
    precision: str = "auto",
    colour: Tensor | None = None,
) -> Engine:
    """An engine for a network; ``auto`` is the best that is installed and right for the device.

    On a CPU that is openvino where it is installed, else eager; bf16 where the CPU has units for
    it (AMX or AVX512-BF16), else fp32. On a CUDA GPU it is eager in fp16, on others eager in fp32.

    Args:
        net: Trained; or folded by `fst.engines.simplify.fold_statistics`.
        device: Where to run.
        name: ``auto`` or one of `ENGINES`.
        precision: ``auto`` or a key of `DTYPES`. On a CPU without units for bf16 PyTorch rounds as
            asked, slower than in fp32; openvino would not, and refuses.
        colour: Of a folded network only, see `Engine`.

    Raises:
        InputError: An unknown name, an engine that is not installed or not for this device, or a
            precision that it does not have there.
    """
    if name not in ("auto", *ENGINES):
        raise InputError(f"engine: expected one of auto, {', '.join(ENGINES)}; found {name!r}")
    if name == "auto":
        name = "openvino" if device.type == "cpu" and _missing("openvino") is None else "eager"
    missing = _missing(name)
    if missing:
        raise InputError(
            f"engine {name}: {missing} is not installed; "
            f"try {install_hint('fast')}, or the engine eager"
        )
    if device.type != "cpu" and name in ("onnxruntime", "openvino"):
        raise InputError(f"engine {name}: runs on cpu, found {device}; try eager or compile")
    engine = _engine_class(name)
    return engine(net, device, _choose_precision(engine, device, precision), colour)


def _choose_precision(engine: type[Engine], device: torch.device, precision: str) -> str:
    can = tuple(p for p in engine.precisions if p != "fp16" or device.type != "cpu")
    if precision == "auto":
        best = {"cuda": "fp16", "cpu": "bf16" if has_bf16_units() else "fp32"}
        wanted = best.get(device.type, "fp32")
        return wanted if wanted in can else "fp32"
    if precision not in can:
        raise InputError(
            f"precision: expected auto or one of {', '.join(can)} for {engine.name} on "
            f"{device.type}, found {precision!r}"
        )
    if (engine.name, precision) == ("openvino", "bf16") and not has_bf16_units():
        raise InputError(  # it would compute float32 in silence, or imitate bf16 more slowly
            "precision: expected auto or fp32 for openvino on a CPU without bf16 units (AMX or "
            "AVX512-BF16), found 'bf16'; try fp32, or the engine eager"
        )
    return precision


def available_engines() -> list[str]:
    """The engines whose packages are installed."""
    return [name for name in ENGINES if _missing(name) is None]


def _missing(name: str) -> str | None:
    """The first package that an engine needs and that is not installed."""
    needed = {"onnxruntime": ("onnxruntime", "onnxscript"), "openvino": ("openvino",)}
    return next((each for each in needed.get(name, ()) if find_spec(each) is None), None)


def _engine_class(name: str) -> type[Engine]:
    if name == "openvino":
        from fst.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine
    return {"eager": EagerEngine, "compile": CompileEngine, "onnxruntime": OnnxEngine}[name]

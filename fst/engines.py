"""What runs the network: PyTorch, torch.compile, onnxruntime or OpenVINO, behind one interface.

An engine takes a trained network and answers batches of any size in fixed precision. All run the
network as `fst.deploy.simplify` rewrites it. openvino and onnxruntime come with the extra ``fast``
and are imported when they are used.

A new size costs nothing noticeable with any of them but ``compile``, which generates code for the
first picture, and again for the few kinds of sizes that its code does not cover, such as squares.
"""

import os
import warnings
from abc import ABC, abstractmethod
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.deploy import LOOK, deploy, mean_colour
from fst.errors import InputError
from fst.images import to_array, to_tensor
from fst.networks import STRIDE, check_sides

ENGINES = ("eager", "compile", "onnxruntime", "openvino")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine(ABC):
    """A network made ready for one device, in one precision.

    Attributes:
        name: One of `ENGINES`.
        precision: ``fp32``, ``bf16`` or ``fp16``: of the convolutions; statistics are float32.
        device: Where it runs.
        activation_bytes: Of the first layer's output, for each pixel of the picture.
        working_bytes: Memory that it takes at its peak for each pixel of the picture.
    """

    name: str
    precisions: tuple[str, ...]
    live: float  # activations of the first layer's size alive at the peak, as measured

    def __init__(self, net: nn.Module, device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        self.load(net)
        channels = next(m for m in net.modules() if isinstance(m, nn.Conv2d)).out_channels
        self.activation_bytes = channels * DTYPES[precision].itemsize
        self.working_bytes = self.activation_bytes * self.live

    def load(self, net: nn.Module) -> None:
        """Take a network, or other weights for the one taken before."""
        self._colour = getattr(net, "colour", None)  # of a folded network
        self._load(net)

    @abstractmethod
    def _load(self, net: nn.Module) -> None: ...

    @abstractmethod
    def _run(self, batch: Tensor, colour: Tensor) -> Tensor:
        """Stylize sizes that are multiples of 4.

        Args:
            batch: ``(N, 3, H, W)`` float32 in [0, 1], on any device.
            colour: ``(N, 3, 1, 1)``, in 8-bit values, for `fst.deploy.deploy`.

        Returns:
            The shape and range of ``batch``, float32, on `device`.
        """

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> Tensor:
        """Stylize ``(N, 3, H, W)`` float32 RGB in [0, 1], from 16 px a side; the same out.

        The input may be on any device; the output is on the engine's.

        Raises:
            InputError: A side is too short.
        """
        height, width = batch.shape[-2:]
        check_sides(height, width)
        padded = F.pad(batch, (0, -width % STRIDE, 0, -height % STRIDE), mode="reflect")
        if self._colour is not None:
            colour = self._colour.view(1, 3, 1, 1).expand(len(batch), -1, -1, -1)
        else:
            colour = mean_colour(batch[..., ::LOOK, ::LOOK])
        return self._run(padded, colour)[..., :height, :width]

    def stylize(self, pixels: np.ndarray) -> np.ndarray:
        """Stylize RGB ``(H, W, 3)``, uint8, uint16 or float32 in [0, 1]; a new array of that type.

        Raises:
            InputError: A side is shorter than 16 px.
        """
        return to_array(self(to_tensor(pixels)[None])[0], pixels.dtype)


class EagerEngine(Engine):
    """PyTorch as it is, channels last."""

    name, precisions, live = "eager", ("fp32", "bf16", "fp16"), 7

    def _load(self, net: nn.Module) -> None:
        net = deploy(net).to(self.device, DTYPES[self.precision], memory_format=torch.channels_last)
        if hasattr(self, "_net"):  # in place: code that was compiled for it stays valid
            self._net.load_state_dict(net.state_dict())
        else:
            self._net = net

    def _run(self, batch: Tensor, colour: Tensor) -> Tensor:
        centred = 255 * batch.to(self.device) - colour.to(self.device)
        dtype = DTYPES[self.precision]
        return self._net(centred.to(dtype, memory_format=torch.channels_last)).float()


class CompileEngine(EagerEngine):
    """torch.compile, for any size: the first picture takes tens of seconds."""

    name, live = "compile", 7

    def _load(self, net: nn.Module) -> None:
        fresh = not hasattr(self, "_net")
        super()._load(net)
        if fresh:
            self._net.compile(dynamic=True)  # in place

    def _run(self, batch: Tensor, colour: Tensor) -> Tensor:
        # PyTorch counts the versions of all engines of a thread together, and runs those beyond 8
        # uncompiled, without a word
        limit = torch._dynamo.config.patch(recompile_limit=64)
        with limit, warnings.catch_warnings():  # of the compiler, on its own internals
            warnings.simplefilter("ignore")
            return super()._run(batch, colour)


class OnnxEngine(Engine):
    """onnxruntime on the CPU, from the export that `fst.export` writes (and keeps in a cache)."""

    name, precisions, live = "onnxruntime", ("fp32",), 4.5

    def _load(self, net: nn.Module) -> None:
        from fst.export import cached_onnx, open_session

        self._session = open_session(cached_onnx(net))

    def _run(self, batch: Tensor, colour: Tensor) -> Tensor:
        (out,) = self._session.run(None, {"photo": batch.cpu().numpy()})
        return torch.from_numpy(out)


def make_engine(
    net: nn.Module, device: torch.device, name: str = "auto", precision: str = "auto"
) -> Engine:
    """An engine for a network; ``auto`` is the best that is installed and right for the device.

    On a CPU that is openvino where it is installed, else eager; bf16 where the CPU has units for
    it (AMX or AVX512-BF16), else fp32. On a CUDA GPU it is eager in fp16, on others eager in fp32.

    Raises:
        InputError: An unknown name, an engine that is not installed or not for this device, or a
            precision that it does not have.
    """
    if name not in ("auto", *ENGINES):
        raise InputError(f"engine: expected one of auto, {', '.join(ENGINES)}; found {name!r}")
    if name == "auto":
        name = "openvino" if device.type == "cpu" and _missing("openvino") is None else "eager"
    missing = _missing(name)
    if missing:
        raise InputError(
            f"engine {name}: {missing} is not installed; "
            'try pip install "fst[fast]", or the engine eager'
        )
    if device.type != "cpu" and name in ("onnxruntime", "openvino"):
        raise InputError(f"engine {name}: runs on cpu, found {device}; try eager or compile")
    engine = _engine_class(name)
    return engine(net, device, _choose_precision(engine, device, precision))


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
    return precision


def has_bf16_units() -> bool:
    """Whether this CPU multiplies bf16 in hardware, AMX or AVX512-BF16, and may do so."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    if not any(name in allowed for name in ("ALL", "DEFAULT", "16", "AMX", "AVX10")):
        return False
    units = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch cannot tell
    return bool(units.get("amx_bf16") or units.get("avx512_bf16"))


def available_engines() -> list[str]:
    """The engines whose packages are installed."""
    return [name for name in ENGINES if _missing(name) is None]


def _missing(name: str) -> str | None:
    """The first package that an engine needs and that is not installed."""
    needed = {"onnxruntime": ("onnxruntime", "onnxscript"), "openvino": ("openvino",)}
    return next((each for each in needed.get(name, ()) if find_spec(each) is None), None)


def _engine_class(name: str) -> type[Engine]:
    if name == "openvino":
        from fst.openvino_engine import OpenVinoEngine

        return OpenVinoEngine
    return {"eager": EagerEngine, "compile": CompileEngine, "onnxruntime": OnnxEngine}[name]

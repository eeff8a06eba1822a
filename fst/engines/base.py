"""What every engine has in common: a network made ready for one device, in one precision."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.engines.simplify import LOOK, mean_colour
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
            colour: ``(N, 3, 1, 1)``, in 8-bit values, for `fst.engines.simplify.deploy`.

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

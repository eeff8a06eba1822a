"""What every engine has in common: a network made ready for one device, in one precision."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from fst.engines.simplify import LOOK, mean_colour
from fst.images import to_array, to_tensor
from fst.networks import TransformerNet, pad_to_strides

ENGINES = ("eager", "compile", "onnxruntime", "openvino")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine(ABC):
    """A network made ready for one device, in one precision.

    Args:
        net: Trained; or folded by `fst.engines.simplify.fold_statistics`.
        device: Where it runs.
        precision: ``fp32``, ``bf16`` or ``fp16``: of the convolutions; statistics are float32.
        colour: Of a folded network only: what is subtracted from its pictures, as `deploy` takes
            it. From other pictures their own mean is subtracted.

    Attributes:
        name: One of `ENGINES`.
        precision: See above.
        device: See above.
        activation_bytes: Of the first layer's output, for each pixel of the picture.
        working_bytes: Memory that it takes at its peak for each pixel of the picture.
    """

    name: str
    precisions: tuple[str, ...]
    live: float  # activations of the first layer's size alive at the peak, as measured

    def __init__(
        self,
        net: TransformerNet,
        device: torch.device,
        precision: str,
        colour: Tensor | None = None,
    ) -> None:
        self.device, self.precision = device, precision
        self.load(net, colour)
        self.activation_bytes = net.width * DTYPES[precision].itemsize
        self.working_bytes = self.activation_bytes * self.live

    def load(self, net: TransformerNet, colour: Tensor | None = None) -> None:
        """Take another network of the same size; arguments as for the first."""
        self._colour = colour
        self._load(net)

    @abstractmethod
    def _load(self, net: TransformerNet) -> None: ...

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
        padded = pad_to_strides(batch)
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

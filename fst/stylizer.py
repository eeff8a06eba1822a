"""From a photo to a painted photo: which device, which layout, which checkpoint.

>>> stylize = Stylizer("starry_night")                  # doctest: +SKIP
>>> stylize(Image.open("photo.jpg")).save("out.png")    # doctest: +SKIP
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from fst.checkpoint import find_checkpoint, load_checkpoint
from fst.errors import InputError
from fst.images import to_image, to_tensor


class Stylizer:
    """One trained style, ready to repaint pictures.

    Args:
        style: The name of a shipped style, or the path of a release file.
        device: ``auto`` takes a GPU where there is one; or ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Attributes:
        card: What the release file says of itself (`fst.checkpoint`).
        device: The device chosen.

    Raises:
        InputError: No such style, a file that cannot be used, or no such device.
    """

    def __init__(self, style: str | Path, device: str = "auto") -> None:
        self.device = choose_device(device)
        net, self.card = load_checkpoint(find_checkpoint(style))
        self._net = net.to(self.device, memory_format=torch.channels_last)

    def __call__(self, picture: Image.Image | Tensor) -> Image.Image | Tensor:
        """Repaint a picture; the answer has its kind and its size.

        Args:
            picture: A PIL image, of which the RGB colours are repainted, mode RGB out; or RGB in
                [0, 1] as ``(3, H, W)`` or ``(N, 3, H, W)``, float32 out on the device of the input.
                At least 16 px a side.

        Raises:
            InputError: Of another shape, or too small.
        """
        if isinstance(picture, Image.Image):
            return to_image(self(to_tensor(picture)))
        if picture.ndim not in (3, 4) or picture.shape[-3] != 3 or not picture.is_floating_point():
            raise InputError(
                "picture: expected floats of shape (3, H, W) or (N, 3, H, W) in [0, 1], found "
                f"{picture.dtype} of shape {tuple(picture.shape)}"
            )
        batch = picture if picture.ndim == 4 else picture[None]
        return self._run(batch.float()).to(picture.device).view(picture.shape)

    @torch.inference_mode()
    def _run(self, batch: Tensor) -> Tensor:
        """``(N, 3, H, W)`` from any device to `device`; the place where other engines fit in."""
        try:
            return self._net(batch.to(self.device, memory_format=torch.channels_last)).contiguous()
        except RuntimeError as error:  # torch.OutOfMemoryError on a GPU, a plain one on CPUs
            if "memory" not in str(error):
                raise
            height, width = batch.shape[-2:]
            raise InputError(
                f"picture: {len(batch)} of {width}x{height} px do not fit into the memory of "
                f"{self.device}; try a smaller picture, or --device cpu"
            ) from error


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

"""A picture in memory, and its ways to tensors and PIL images and back.

Everywhere a picture is sRGB, upright, and its opacity apart from its colours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import torch
from numpy.typing import DTypeLike
from PIL import Image
from torch import Tensor

from fst.images.metadata import Metadata
from fst.system.errors import InputError

TYPES = (np.uint8, np.uint16, np.float32)  # of pixels; floats in [0, 1]
_BAND = 1 << 22  # values a band; large pictures are converted band by band to save memory


@final
@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Photo:
    """A picture as read from a file, or about to be written.

    Attributes:
        pixels: ``(H, W, 3)`` RGB, uint8, uint16, or float32 in [0, 1]; may be a memory-mapped file.
            Files are read as uint8 or uint16; a float32 photo is written as one of 16 bits.
        alpha: Opacity, ``(H, W)`` of the same type; None when the picture is opaque.
        metadata: What the file says beside the pixels.

    Raises:
        InputError: The pixels are of another shape or type.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] != 3 or dtype not in TYPES:
            raise InputError(
                "photo: expected pixels of shape (H, W, 3), uint8, uint16 or float32 in [0, 1], "
                f"found {dtype} of shape {shape}"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as PIL gives them."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def image(self) -> Image.Image:
        """The colours as a PIL image, mode RGB, 8 bit."""
        return Image.fromarray(to_bytes(self.pixels))

    @classmethod
    def from_image(cls, image: Image.Image) -> "Photo":
        """The colours of a PIL image of any mode, without its opacity."""
        return cls(np.asarray(image.convert("RGB")))


def bands(array: np.ndarray) -> Iterator[slice]:
    """Slices of whole rows that cover an array, each small enough to work on."""
    height = max(1, _BAND // max(1, array[0].size)) if len(array) else 1
    for top in range(0, len(array), height):
        yield slice(top, min(top + height, len(array)))


def to_bytes(array: np.ndarray) -> np.ndarray:
    """8 bit from any of the three types, rounded."""
    if array.dtype == np.uint8:
        return array
    result = np.empty(array.shape, np.uint8)
    for band in bands(array):
        if array.dtype == np.float32:
            result[band] = from_unit(array[band].clip(0, 1), np.uint8)
        else:
            result[band] = (array[band].astype(np.uint32) + 128) // 257
    return result


def from_unit(values: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Floats in [0, 1] as an array of one of the three types, rounded where it holds integers."""
    white = full(dtype)
    return values.astype(dtype) if white == 1 else np.rint(values * white).astype(dtype)


def as_integers(photo: Photo) -> Photo:
    """The photo as files hold it: of float32 one of 16 bits."""
    if photo.pixels.dtype != np.float32:
        return photo
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None:
        alpha = from_unit(alpha.clip(0, 1), np.uint16)
    return replace(photo, pixels=from_unit(pixels.clip(0, 1), np.uint16), alpha=alpha)


def flatten(photo: Photo) -> Image.Image:
    """The picture on white where it is transparent: a PIL image, mode RGB, 8 bit."""
    image = photo.image
    if photo.alpha is None:
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=Image.fromarray(to_bytes(photo.alpha)))
    return white


def with_alpha(photo: Photo) -> Image.Image:
    """The picture as a PIL image of 8 bits, mode RGBA, or RGB where it is opaque."""
    image = photo.image
    if photo.alpha is not None:
        image.putalpha(Image.fromarray(to_bytes(photo.alpha)))
    return image


def to_tensor(picture: Image.Image | np.ndarray) -> Tensor:
    """``(3, H, W)`` float32 RGB in [0, 1].

    Args:
        picture: A PIL image of any mode, or RGB as ``(H, W, 3)`` uint8, uint16, or float32 in
            [0, 1].
    """
    array = np.asarray(picture.convert("RGB")) if isinstance(picture, Image.Image) else picture
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(planes) / full(array.dtype)


def to_array(tensor: Tensor, dtype: DTypeLike = np.uint8) -> np.ndarray:
    """``(H, W, 3)`` of ``dtype`` (uint8, uint16 or float32) from ``(3, H, W)`` RGB, clipped."""
    values = tensor.detach().float().clamp(0, 1).permute(1, 2, 0).cpu()
    if dtype == np.float32:
        return values.contiguous().numpy()
    whole = values.mul(full(dtype)).round_()
    return whole.to(torch.uint16 if dtype == np.uint16 else torch.uint8).contiguous().numpy()


def full(dtype: DTypeLike) -> int:
    """The value of white: 255, 65535, or 1 for floats."""
    kind = np.dtype(dtype)
    return 1 if kind.kind == "f" else np.iinfo(kind).max


def to_image(tensor: Tensor) -> Image.Image:
    """A PIL image in mode RGB from ``(3, H, W)`` RGB; values outside [0, 1] are clipped."""
    return Image.fromarray(to_array(tensor))


def resize_shorter(image: Image.Image, side: int) -> Image.Image:
    """Scale so that the shorter side is ``side`` px; the aspect ratio stays."""
    scale = side / min(image.size)
    size = max(side, round(image.width * scale)), max(side, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def resize_longer(image: Image.Image, side: int) -> Image.Image:
    """Scale so that the longer side is ``side`` px; the aspect ratio stays."""
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)

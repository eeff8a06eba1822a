"""How much of the style goes where: blends of a photo with its stylized version.

All work on float32 colours in [0, 1], ``(..., 3)``, and are pixelwise.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fst.images import Photo, to_array, to_tensor
from fst.images.photo import from_unit, full, to_bytes
from fst.system.errors import InputError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in JPEG
FILL_PIXELS = 1 << 20  # transparent parts are filled with colours of a picture of this size
ROWS = 256  # px: pictures are blended in bands, so that a large one needs no float copy


@dataclass(frozen=True)
class Controls:
    """What a user may ask of one picture; the values given here are the plain style.

    Attributes:
        strength: 0 is the photo bit for bit, 1 the full style.
        preserve_color: Luminance from the stylized picture, chroma from the photo.
        mask: Where to stylize: ``(H, W)`` in [0, 1], or integers or a PIL image of which white is
            1; resized to the picture.
        scale: Size of the picture that the network sees, relative to the photo: below 1 the
            strokes are bigger, above 1 finer. The output has the photo's size.
        max_side: The longer side of the output, at most, in px.
    """

    strength: float = 1.0
    preserve_color: bool = False
    mask: np.ndarray | Image.Image | None = None
    scale: float = 1.0
    max_side: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise InputError(f"strength: expected 0 to 1, found {self.strength}")
        if not 0.05 <= self.scale <= 20:
            raise InputError(f"scale: expected 0.05 to 20, found {self.scale}")
        if self.max_side is not None and not self.max_side >= 16:
            raise InputError(f"max_side: expected 16 px or more, found {self.max_side}")
        if isinstance(self.mask, np.ndarray) and self.mask.ndim != 2:
            raise InputError(f"mask: expected shape (H, W), found {self.mask.shape}")

    @property
    def plain(self) -> bool:
        """Whether the stylized picture is the answer as it stands."""
        return self.strength == 1 and not self.preserve_color and self.mask is None


def transfer_luminance(photo: np.ndarray, stylized: np.ndarray) -> np.ndarray:
    """The photo's chroma with the stylized luminance: the same step for R, G and B, clipped."""
    step = (stylized - photo) @ LUMA
    return np.clip(photo + step[..., None], 0, 1)


def mix(photo: np.ndarray, stylized: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
    """``photo`` at amount 0, ``stylized`` at 1, linear in between; `amount` broadcasts."""
    return photo + amount * (stylized - photo)


def apply_controls(photo: np.ndarray, stylized: np.ndarray, controls: Controls) -> np.ndarray:
    """The picture that the controls ask for.

    Args:
        photo: ``(H, W, 3)`` uint8, uint16, or float32 in [0, 1].
        stylized: The same shape and type; may be overwritten.
        controls: ``strength``, ``preserve_color`` and ``mask`` count here.
    """
    if controls.plain:
        return stylized
    height, width = photo.shape[:2]
    mask = None if controls.mask is None else fit_mask(controls.mask, height, width)
    white = full(photo.dtype)
    for top in range(0, height, ROWS):
        band = slice(top, top + ROWS)
        before, after = (a[band].astype(np.float32) / white for a in (photo, stylized))
        if controls.preserve_color:
            after = transfer_luminance(before, after)
        amount = controls.strength if mask is None else controls.strength * mask[band, :, None]
        stylized[band] = from_unit(mix(before, after, amount), photo.dtype)
    return stylized


def fit_mask(mask: np.ndarray | Image.Image, height: int, width: int) -> np.ndarray:
    """A mask as ``(height, width)`` float32 in [0, 1].

    Raises:
        InputError: Its aspect ratio is another than the picture's.
    """
    shares = np.asarray(mask.convert("L")) if isinstance(mask, Image.Image) else mask
    if np.issubdtype(shares.dtype, np.integer):
        shares = shares / np.float32(full(shares.dtype))
    rows, columns = shares.shape
    # 3 %, and a pixel of rounding
    if abs(rows * width - columns * height) > 0.03 * columns * height + max(rows, columns):
        raise InputError(
            f"mask: expected the picture's aspect, {width}x{height} px, found {columns}x{rows}; "
            "try cropping it"
        )
    if (rows, columns) != (height, width):
        resized = Image.fromarray(shares.astype(np.float32)).resize((width, height))
        shares = np.asarray(resized)
    return np.clip(shares.astype(np.float32), 0, 1)


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """``(H, W, 3)`` of any of the three types at another size, antialiased."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype == np.uint8:
        size = (width, height)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    resized = F.interpolate(
        to_tensor(pixels)[None], (height, width), mode="bicubic", antialias=True
    )
    return to_array(resized[0].clamp(0, 1), pixels.dtype)


def limit_side(photo: Photo, side: int) -> Photo:
    """The photo scaled down so that its longer side is ``side`` px at most."""
    width, height = photo.size
    scale = side / max(width, height)
    if scale >= 1:
        return photo
    size = max(1, round(height * scale)), max(1, round(width * scale))
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None:
        pixels = fill_transparent(pixels, alpha)  # before colours are averaged
        alpha = resize(np.repeat(alpha[..., None], 3, axis=2), *size)[..., 0]
    return replace(photo, pixels=resize(pixels, *size), alpha=alpha)


def fill_transparent(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The picture with the colours of its surroundings where it is fully transparent.

    What is stored there is arbitrary, often black, and would bleed into the visible pixels through
    the network's receptive field and statistics.

    Args:
        pixels: ``(H, W, 3)``.
        alpha: ``(H, W)``.
    """
    clear = alpha == 0
    if not clear.any() or clear.all():
        return pixels
    seen = Image.fromarray((~clear).astype(np.uint8) * 255)
    shrink = max(1, round((clear.size / FILL_PIXELS) ** 0.5))
    small = [np.asarray(seen.reduce(shrink), np.float32) / 255]
    for k in range(3):
        known = Image.fromarray(to_bytes(pixels[..., k]) * ~clear)
        small.insert(k, np.asarray(known.reduce(shrink), np.float32) / 255)
    filled = _push_pull(torch.from_numpy(np.stack(small))[None])
    out = pixels.copy()
    for k in range(3):
        channel = Image.fromarray(filled[k].numpy()).resize(seen.size, Image.Resampling.BILINEAR)
        out[..., k][clear] = from_unit(np.asarray(channel)[clear], pixels.dtype)
    return out


def _push_pull(known: Tensor) -> Tensor:
    """``(3, h, w)`` colours everywhere, from ``(1, 4, h, w)``: colours times weight, weight.

    Halving until every pixel has met a known one, and back: each level fills the gaps of the next.
    """
    levels = [known]
    while levels[-1][:, 3].min() == 0:
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
    filled = levels[-1][:, :3] / levels[-1][:, 3:]
    for level in reversed(levels[:-1]):
        around = F.interpolate(filled, level.shape[-2:], mode="bilinear")
        filled = level[:, :3] + (1 - level[:, 3:]) * around
    return filled[0].clamp(0, 1)

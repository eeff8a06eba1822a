"""The only place where files become pictures and tensors, and back.

Everywhere else a picture is sRGB: a PIL image in mode RGB, or a tensor ``(3, H, W)`` in [0, 1].
What a file says of orientation (EXIF) and colour (ICC profile) is applied on the way in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from fst.errors import InputError
from fst.files import atomic_path

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@dataclass(frozen=True)
class Photo:
    """A picture as read from a file.

    Attributes:
        image: Mode RGB, upright, sRGB.
        alpha: Opacity, mode L, of the same size; None when the file has none.
    """

    image: Image.Image
    alpha: Image.Image | None = None


def read_photo(path: str | Path) -> Photo:
    """Read any picture Pillow can: upright, in sRGB, its opacity apart.

    16-bit and float grays are scaled to 8 bit; a broken ICC profile is ignored.

    Raises:
        InputError: There is no such file, it is no picture, or it is cut short.
    """
    path = Path(path)
    try:
        return _decode(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a picture, found no such file") from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: expected a picture ({', '.join(SUFFIXES)}), found something else in it"
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: expected a whole picture, found it unreadable ({reason})"
        ) from error


def _decode(path: Path) -> Photo:
    with Image.open(path) as file:
        file.load()
        image = ImageOps.exif_transpose(file)
    transparent = "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa")
    alpha = image.convert("RGBA").getchannel("A") if transparent else None
    return Photo(_to_srgb(image), alpha)


def _to_srgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_deep(image)
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa", "1"):
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # broken, or for another mode than the pixels'
            return image.convert("RGB")
        return converted
    return image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit and float grayscale to RGB; Pillow's own conversion clips at 255."""
    values = np.asarray(image).astype(np.float64)
    full = 65535.0
    if not image.mode.startswith("I;16"):  # the mode does not say the range; the values do
        highest = values.max(initial=0)
        full = 1.0 if image.mode == "F" and highest <= 1 else 255.0 if highest <= 255 else full
    scaled = np.rint(np.clip(values / full, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")


def resize_shorter(image: Image.Image, side: int) -> Image.Image:
    """Scale so that the shorter side is ``side`` px; the aspect ratio stays."""
    scale = side / min(image.size)
    size = max(side, round(image.width * scale)), max(side, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def to_tensor(image: Image.Image) -> Tensor:
    """``(3, H, W)`` float32 RGB in [0, 1] from a PIL image of any mode."""
    array = np.array(image.convert("RGB"))  # (H, W, 3) uint8, a copy that torch may own
    return torch.from_numpy(array).permute(2, 0, 1).contiguous().float() / 255


def to_image(tensor: Tensor) -> Image.Image:
    """A PIL image in mode RGB from ``(3, H, W)`` RGB; values outside [0, 1] are clipped."""
    array = tensor.detach().float().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(array.permute(1, 2, 0).cpu().numpy())


def save_photo(photo: Photo, path: str | Path) -> None:
    """Write a picture, whole or not at all; the suffix names the format.

    JPEG is written at quality 95 without chroma subsampling; it has no opacity, so a transparent
    picture is put on white.

    Raises:
        InputError: The suffix names no format that can be written, or the file cannot be.
    """
    path = Path(path)
    check_output(path)
    image = photo.image
    if photo.alpha is not None:
        if path.suffix.lower() in (".jpg", ".jpeg", ".bmp"):
            image = flatten(photo)
        else:
            image = image.copy()
            image.putalpha(photo.alpha)
    options = {"quality": 95, "subsampling": 0} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    with atomic_path(path) as temporary:
        image.save(temporary, **options)


def check_output(path: Path) -> None:
    """Raise an `InputError` unless the suffix of ``path`` names a format that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: expected a suffix among {', '.join(SUFFIXES)}; found {path.suffix!r}"
        )


def flatten(photo: Photo) -> Image.Image:
    """The picture on white where it is transparent, mode RGB."""
    if photo.alpha is None:
        return photo.image
    white = Image.new("RGB", photo.image.size, "white")
    white.paste(photo.image, mask=photo.alpha)
    return white


def find_images(folder: str | Path) -> list[Path]:
    """Every file below a folder whose suffix is a picture's, sorted; hidden ones left out.

    Raises:
        InputError: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of pictures, found no such folder")
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def contact_sheet(rows: Iterable[Iterable[Image.Image]], height: int, gap: int = 8) -> Image.Image:
    """Rows of pictures, all scaled to ``height`` px, on white with ``gap`` px between them."""
    scaled = [
        [image.resize((round(image.width * height / image.height), height)) for image in row]
        for row in rows
    ]
    width = max(sum(image.width + gap for image in row) for row in scaled) + gap
    sheet = Image.new("RGB", (width, (height + gap) * len(scaled) + gap), "white")
    for number, row in enumerate(scaled):
        left = gap
        for image in row:
            sheet.paste(image, (left, gap + number * (height + gap)))
            left += image.width + gap
    return sheet

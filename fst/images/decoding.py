"""From the bytes of a file to upright sRGB pixels, with Pillow.

Large pictures are converted band by band: beside Pillow's own image only the answer is held.
"""

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from fst.images.metadata import SRGB, read_metadata, read_orientation
from fst.images.photo import Photo
from fst.system.errors import InputError, install_hint

MAX_PIXELS = 500_000_000
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BAND = 1 << 20  # px converted at a time
_TRANSPARENT = ("LA", "PA", "La", "RGBA", "RGBa")

_lock = threading.Lock()
_readers = 0
_restore = ExitStack()


@contextmanager
def _our_limits() -> Iterator[None]:
    """Pillow with our size limit and without its warnings, in whatever thread, as files are read.

    Both are settings of the whole process. The first reader in changes them, the last one out puts
    them back.
    """
    global _readers
    with _lock:
        _readers += 1
        if _readers == 1:
            _restore.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.")
            _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow warns there, and refuses twice that
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if _readers == 0:
                _restore.close()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or wrong file makes Pillow raise into one clear line."""
    try:
        with _our_limits():
            yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a picture, found no such file") from error
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(
            f"{path}: expected a picture that can be read ({error.strerror})"
        ) from error
    except Image.DecompressionBombError as error:
        pixels = int(re.findall(r"\d+", str(error))[0])
        raise InputError(
            f"{path}: expected at most {MAX_PIXELS // 10**6} megapixels, found "
            f"{-(-pixels // 10**6)}; try a smaller copy"
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: expected a picture, found something else in it; try a JPEG, PNG, WebP, TIFF, "
            "HEIC or GIF file"
        ) from error
    except MemoryError as error:
        raise InputError(
            f"{path}: expected a picture that fits into the memory; try a smaller copy"
        ) from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        lines = dict.fromkeys(line.strip() for line in str(error).splitlines())
        reason = " ".join(lines) or type(error).__name__
        raise InputError(
            f"{path}: expected a whole picture, found it unreadable ({reason})"
        ) from error


def open_image(stream: BinaryIO, path: Path) -> Image.Image:
    """Read the header of a picture, whatever its file is called.

    Raises:
        InputError: It is larger than `MAX_PIXELS`, or HEIC without the package for it.
    """
    start = stream.read(32)
    if not start:
        raise InputError(f"{path}: expected a picture, found an empty file")
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC:
        register_heic(path)
    try:
        return Image.open(stream)
    except UnidentifiedImageError as error:
        if start[:4] not in (b"II*\0", b"MM\0*"):
            raise
        raise InputError(
            f"{path}: expected a whole TIFF of a common kind, found it cut short or uncommon; try "
            "saving it again as RGB of 8 or 16 bits"
        ) from error


def register_heic(path: Path) -> None:
    """Teach Pillow HEIC; an `InputError` that says what to install when it cannot be."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise InputError(
            f"{path}: expected pillow-heif for a HEIC picture, found it missing; "
            f"try {install_hint('heic')}"
        ) from error
    register_heif_opener()


def decode(file: Image.Image) -> Photo:
    """The photo in an open file, or in the frame that it stands at."""
    file.load()  # a TIFF file turns itself upright here, and forgets its orientation
    to_rgb, profile = _converter(file)
    metadata = read_metadata(file, profile)
    orientation = read_orientation(file)
    width, height = file.size if orientation < 5 else file.size[::-1]
    pixels = np.empty((height, width, 3), np.uint8)
    alpha = None
    if file.mode in _TRANSPARENT or "transparency" in file.info:
        alpha = np.empty((height, width), np.uint8)
    rows = max(1, _BAND // file.width)
    for top in range(0, file.height, rows):
        bottom = min(top + rows, file.height)
        band = file if rows >= file.height else file.crop((0, top, file.width, bottom))
        as_stored(pixels, orientation)[top:bottom] = np.asarray(to_rgb(band))
        if alpha is not None:
            opacity = band.convert("RGBA").getchannel("A")
            as_stored(alpha, orientation)[top:bottom] = np.asarray(opacity)
    return Photo(pixels, alpha, metadata)


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """A view of an upright picture ``(H, W, ...)`` as a file of this EXIF orientation stores it."""
    views: dict[int, Callable[[], np.ndarray]] = {
        1: lambda: upright,
        2: lambda: upright[:, ::-1],
        3: lambda: upright[::-1, ::-1],
        4: lambda: upright[::-1],
        5: lambda: upright.swapaxes(0, 1),
        6: lambda: np.rot90(upright),
        7: lambda: upright[::-1, ::-1].swapaxes(0, 1),
        8: lambda: np.rot90(upright, -1),
    }
    return views[orientation]()


def _converter(file: Image.Image) -> tuple[Callable[[Image.Image], Image.Image], bool]:
    """How bands of a loaded file become sRGB, and whether that uses the file's colour profile."""
    if file.mode in ("I", "F") or file.mode.startswith("I;16"):
        return _gray_scaler(file), False
    if packed := file.info.get("icc_profile"):
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(packed))
            mode = _profiled_mode(file.mode, source.profile.xcolor_space)
            transform = ImageCms.buildTransform(source, SRGB, mode, "RGB")
        except (ImageCms.PyCMSError, OSError):  # broken, or for another mode than the pixels'
            pass
        else:
            return partial(_apply_profile, mode=mode, transform=transform), True
    return lambda band: _to_mode(band, "RGB"), False


def _apply_profile(
    band: Image.Image, mode: str, transform: ImageCms.ImageCmsTransform
) -> Image.Image:
    """A new image in sRGB."""
    converted = ImageCms.applyTransform(_to_mode(band, mode), transform)
    assert converted is not None  # only of a band changed in place
    return converted


def _profiled_mode(mode: str, space: str) -> str:
    """The mode in which a profile of this colour space can read pixels of ``mode``."""
    if mode in ("1", "L", "LA", "La") and space == "GRAY":
        return "L"
    return "RGB" if mode in ("1", "P", *_TRANSPARENT) else mode


def _to_mode(band: Image.Image, mode: str) -> Image.Image:
    if band.mode != mode and "transparency" in band.info:
        band = band.convert("RGBA")  # straight to RGB, Pillow warns of what is lost
    return band.convert(mode)


def _gray_scaler(file: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """16-bit and float grayscale to 8 bit; Pillow's own conversion clips at 255."""
    full = 65535.0
    if not file.mode.startswith("I;16"):  # the mode does not say the range; the values do
        highest = file.getextrema()[1]
        assert not isinstance(highest, tuple)  # of one channel
        full = 1.0 if file.mode == "F" and highest <= 1 else 255.0 if highest <= 255 else full

    def scale(band: Image.Image) -> Image.Image:
        values = np.asarray(band).astype(np.float64)
        scaled = np.rint(np.clip(values / full, 0, 1) * 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")

    return scale

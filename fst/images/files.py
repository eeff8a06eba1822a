"""The only place where files become pictures, and back.

Everywhere else a picture is sRGB: a `Photo`, a PIL image in mode RGB, or a tensor ``(3, H, W)`` in
[0, 1]. What a file says of orientation (EXIF) and colour (ICC profile) is applied on the way in.
"""

import struct
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import features
from PIL.PngImagePlugin import PngInfo

from fst.images.animation_writers import write_animated_png, write_gif, write_webp
from fst.images.animations import Animation, is_animated, read_animation
from fst.images.decoding import decode, open_image, reading, register_heic
from fst.images.decoding_16bit import decode_deep, is_deep
from fst.images.encoding import write_png, write_tiff
from fst.images.metadata import LONGEST_IN_JPEG, Metadata, for_output, save_options
from fst.images.photo import Photo, as_integers, flatten, with_alpha
from fst.system.errors import InputError
from fst.system.files import atomic_path

_JPEG, _PNG, _TIFF, _HEIC = (".jpg", ".jpeg"), (".png",), (".tif", ".tiff"), (".heic", ".heif")
_AVIF = (".avif",) if "avif" in features.get_supported() else ()
SUFFIXES = (*_JPEG, *_PNG, ".webp", *_TIFF, ".bmp", ".gif", *_HEIC, *_AVIF)
ANIMATED = (".gif", ".webp", ".png")
_OPAQUE = (*_JPEG, ".bmp")
# px a side, by libjpeg, libwebp and the GIF format
_LONGEST = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".gif": 65535}


def read_photo(path: str | Path) -> Photo:
    """Read any picture: upright, in sRGB, its opacity apart; of an animation the first frame.

    16-bit PNG and TIFF give 16 bits, all else 8. A broken ICC profile is ignored.

    Raises:
        InputError: There is no such file, it is no picture, it is cut short, or it has more than
            `MAX_PIXELS`.
    """
    path = Path(path)
    with reading(path), path.open("rb") as stream:
        file = open_image(stream, path)
        return decode_deep(file, path) if is_deep(file, stream) else decode(file)


def read_picture(path: str | Path) -> Photo | Animation:
    """Read a photo as `read_photo` does, or an animated GIF, WebP or PNG with all its frames.

    Raises:
        InputError: As for `read_photo`.
    """
    path = Path(path)
    with reading(path), path.open("rb") as stream:
        animated = is_animated(open_image(stream, path))
    return read_animation(path) if animated else read_photo(path)


def save_picture(
    picture: Photo | Animation,
    path: str | Path,
    *,
    quality: int = 95,
    strip_metadata: bool = False,
) -> None:
    """Write a picture, whole or not at all; the suffix names the format.

    JPEG is written without chroma subsampling; it has no opacity, so a transparent picture is put
    on white. 16-bit pixels stay so in PNG and TIFF, and float32 becomes 16 bits there. Metadata
    goes into every format that takes it, and an sRGB profile where the source had one.

    Args:
        picture: A photo, or an animation, whose frames are asked for one after another.
        path: Where to; its folder is made where it is missing.
        quality: 1 to 100, of JPEG, WebP, HEIC and AVIF; the other formats lose nothing.
        strip_metadata: Leave out everything but the colour profile.

    Raises:
        InputError: The suffix names no format that can be written or that holds the picture, the
            file cannot be written, or ``quality`` is out of range.
    """
    path = Path(path)
    check_output(path)
    suffix = path.suffix.lower()
    if not 1 <= quality <= 100:
        raise InputError(f"quality: expected 1 to 100, found {quality}")
    if isinstance(picture, Animation):
        _save_animation(picture, path, quality, strip_metadata)
        return
    _check_sides(picture.size, path)
    metadata = for_output(picture.metadata, picture.size, strip_metadata)
    try:
        with atomic_path(path) as temporary:
            _save_photo(picture, temporary, metadata, quality)
    except (struct.error, RuntimeError, SystemError, UnicodeError) as error:
        raise InputError(
            f"{path}: expected a picture that a {suffix} file can hold, but its encoder refuses "
            f"({error}); try .png"
        ) from error


def _save_photo(photo: Photo, path: Path, metadata: Metadata, quality: int) -> None:
    photo, suffix = as_integers(photo), path.suffix.lower()
    deep = suffix in _PNG and photo.pixels.dtype == np.uint16
    if not deep and suffix not in (*_TIFF, ".gif"):
        image = flatten(photo) if suffix in _OPAQUE else with_alpha(photo)
        image.save(path, **_options(suffix, metadata, quality))
        return
    with path.open("wb") as stream:
        if suffix == ".gif":
            write_gif([photo], [0], 1, metadata, stream)
        else:
            (write_png if deep else write_tiff)(photo, metadata, stream)


def _save_animation(picture: Animation, path: Path, quality: int, strip: bool) -> None:
    suffix = path.suffix.lower()
    if suffix not in ANIMATED:
        raise InputError(
            f"{path}: expected a format for an animation of {len(picture)} frames "
            f"({', '.join(ANIMATED)}), found {path.suffix!r}"
        )
    frames = iter(picture)
    first = next(frames)
    _check_sides(first.size, path)
    metadata = for_output(first.metadata, first.size, strip)
    parts = (chain([first], frames), picture.durations, picture.loop, metadata)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        if suffix == ".webp":
            write_webp(*parts, stream, quality)
        else:
            (write_gif if suffix == ".gif" else write_animated_png)(*parts, stream)


def _options(suffix: str, metadata: Metadata, quality: int) -> dict[str, Any]:
    """What Pillow is told for a format: how to compress, and the metadata it can hold."""
    match suffix:
        case ".jpg" | ".jpeg":
            short = replace(
                metadata,
                exif=_if_short(metadata.exif),
                xmp=_if_short(metadata.xmp),
                comment=_if_short(metadata.comment),
            )
            held = save_options(short, ("exif", "xmp", "dpi", "comment", "icc_profile"))
            return {"quality": quality, "subsampling": 0, **held}
        case ".png":
            options = save_options(metadata, ("exif", "dpi", "icc_profile"))
            if metadata.xmp:
                options["pnginfo"] = PngInfo()
                options["pnginfo"].add_itxt("XML:com.adobe.xmp", metadata.xmp)
            return options
        case ".webp":
            return {"quality": quality, **save_options(metadata, ("exif", "xmp", "icc_profile"))}
        case ".avif":
            held = save_options(metadata, ("exif", "xmp", "icc_profile"))
            return {"quality": quality, "subsampling": "4:4:4", **held}
        case ".heic" | ".heif":
            held = save_options(metadata, ("exif", "xmp", "icc_profile"))
            return {"quality": quality, "chroma": 444, **held}
    return save_options(metadata, ("dpi",))


def _if_short(packed: bytes | None) -> bytes | None:
    return packed if packed and len(packed) <= LONGEST_IN_JPEG else None


def _check_sides(size: tuple[int, int], path: Path) -> None:
    limit = _LONGEST.get(path.suffix.lower())
    if limit and max(size) > limit:
        raise InputError(
            f"{path}: expected at most {limit} px a side in a {path.suffix} file, found "
            f"{size[0]}x{size[1]}; try .png or .tif"
        )


def check_output(path: Path) -> None:
    """Raise an `InputError` unless the suffix of ``path`` names a format that can be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: expected a suffix among {', '.join(SUFFIXES)}; found {path.suffix!r}"
        )
    if path.suffix.lower() in _HEIC:
        register_heic(path)

"""What a file says beside its pixels: EXIF, XMP, resolution, comment, colour profile.

Read once, made true for the repainted picture, and written into any format that can hold it:
turned pictures are stored upright, so no orientation is left; previews of the photo as it was are
dropped; the size in pixels is the new file's.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, ImageCms
from PIL.ExifTags import Base

from fst.images.exif import cleaned, rebuilt, resized

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
LONGEST_IN_JPEG = 65000  # bytes; EXIF and XMP have to fit into one segment of a JPEG file

_PREVIEW = re.compile(rb"<(xmp|xap):Thumbnails\b.*?</\1:Thumbnails>", re.DOTALL)
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:="|>))[0-9]')


@dataclass(frozen=True)
class Metadata:
    """What a file said beside its pixels, without orientation and previews.

    Attributes:
        exif: All of it, GPS and maker notes too, packed, with ``Exif`` in front.
        xmp: The XMP packet.
        dpi: Dots per inch, across and down.
        comment: A JPEG's or GIF's.
        profile: Whether the file had a colour profile; the pixels are sRGB in any case.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    profile: bool = False


def read_orientation(file: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 when the file has none or its EXIF is damaged."""
    try:
        orientation = file.getexif().get(Base.Orientation, 1)
    except Exception:  # a photo is worth more than its metadata
        return 1
    return orientation if orientation in range(1, 9) else 1


def read_metadata(file: Image.Image, profile: bool) -> Metadata:
    """What an open file says of itself; what is damaged is left out."""
    xmp = file.info.get("xmp") or file.info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if xmp:
        xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", _PREVIEW.sub(b"", xmp))
    comment = file.info.get("comment")
    if isinstance(comment, str):
        comment = comment.encode()
    return Metadata(_read_exif(file, profile), xmp, _read_dpi(file), comment, profile)


def _read_exif(file: Image.Image, profile: bool) -> bytes | None:
    packed = file.info.get("exif") or rebuilt(file)
    return cleaned(packed, profile) if packed else None


def _read_dpi(file: Image.Image) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in file.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    # Pillow says 1 when a TIFF says nothing
    return (across, down) if 1 < across < 1e6 and 1 < down < 1e6 else None


def for_output(metadata: Metadata, size: tuple[int, int], strip: bool) -> Metadata:
    """What goes into a file of ``size`` (width, height); with ``strip`` only the profile."""
    if strip:
        return Metadata(profile=metadata.profile)
    return replace(metadata, exif=metadata.exif and resized(metadata.exif, size))


def save_options(metadata: Metadata, keys: tuple[str, ...]) -> dict[str, Any]:
    """The arguments for Pillow's ``save``, of those that the format takes."""
    offered = {
        "exif": metadata.exif,
        "xmp": metadata.xmp,
        "dpi": metadata.dpi,
        "comment": metadata.comment,
        "icc_profile": SRGB.tobytes() if metadata.profile else None,
    }
    return {key: offered[key] for key in keys if offered[key] is not None}

"""EXIF, changed in place: what is not named here stays byte for byte, maker notes included.

EXIF is a small TIFF file: a header of 8 bytes, and directories of 12-byte entries (tag, type,
count, and the value or where it is). Directory 0 is the picture's, the next one a preview's.
"""

import struct
from collections.abc import Callable

from PIL import Image
from PIL.ExifTags import IFD, Base

_PREFIX = b"Exif\0\0"
_SHORT, _LONG = 3, 4
_PREVIEW_PLACE, _PREVIEW_LENGTH = 513, 514

# how a TIFF file stores its pixels, not what they show; each file written has its own
_STRUCTURE = frozenset(
    {*range(254, 270), 273, 274, *range(277, 282), *range(284, 293), 301, 317, 318, 319}
    | {*range(320, 348), *range(512, 533), 700, 33723, 34377, 34675, 37724}
)


class _Packed:
    """Packed EXIF; an entry is a place in it.

    Raises:
        ValueError, KeyError, struct.error: The bytes are not EXIF, as all methods do.
    """

    def __init__(self, packed: bytes) -> None:
        self.bytes = bytearray(packed.removeprefix(_PREFIX))
        self.order = {b"II": "<", b"MM": ">"}[bytes(self.bytes[:2])]
        self.main = self.read("I", 4)

    def read(self, kind: str, place: int) -> int:
        return struct.unpack_from(self.order + kind, self.bytes, place)[0]

    def write(self, kind: str, place: int, value: int) -> None:
        struct.pack_into(self.order + kind, self.bytes, place, value)

    def entries(self, directory: int) -> dict[int, int]:
        """Where each tag's entry stands."""
        places = [directory + 2 + 12 * k for k in range(self.read("H", directory))]
        return {self.read("H", place): place for place in places}

    def next(self, directory: int) -> int:
        """Where it stands which directory comes next."""
        return directory + 2 + 12 * self.read("H", directory)

    def sub(self, tag: int, directory: int | None = None) -> dict[int, int]:
        """The entries of the directory that ``tag`` points to; none when there is none."""
        entry = self.entries(self.main if directory is None else directory).get(tag)
        return self.entries(self.read("I", entry + 8)) if entry else {}

    def put(self, entry: int | None, value: int) -> None:
        """Make a whole number the value of an entry, if there is one."""
        if entry is None:
            return
        kind = _SHORT if value < 65536 else _LONG
        struct.pack_into(self.order + "HI", self.bytes, entry + 2, kind, 1)
        self.write("I", entry + 8, 0)
        self.write("H" if kind == _SHORT else "I", entry + 8, value)


def cleaned(packed: bytes, converted: bool) -> bytes | None:
    """EXIF for an upright sRGB picture, without the preview of the photo as it was.

    Args:
        packed: As in a file, with or without ``Exif`` in front.
        converted: Whether a profile's colours were converted to sRGB.

    Returns:
        None when it is damaged.
    """
    return _changed(packed, lambda exif: _clean(exif, converted))


def resized(packed: bytes, size: tuple[int, int]) -> bytes | None:
    """EXIF that says the picture is ``size`` (width, height), where it says it at all."""

    def change(exif: _Packed) -> None:
        main, details = exif.entries(exif.main), exif.sub(IFD.Exif)
        for entries, tags in (
            (main, (Base.ImageWidth, Base.ImageLength)),
            (details, (Base.ExifImageWidth, Base.ExifImageHeight)),
        ):
            for tag, value in zip(tags, size, strict=True):
                exif.put(entries.get(tag), value)

    return _changed(packed, change)


def _changed(packed: bytes, change: Callable[[_Packed], None]) -> bytes | None:
    try:
        exif = _Packed(packed)
        change(exif)
    except (ValueError, KeyError, struct.error):  # a photo is worth more than its metadata
        return None
    return _PREFIX + bytes(exif.bytes)


def _clean(exif: _Packed, converted: bool) -> None:
    exif.put(exif.entries(exif.main).get(Base.Orientation), 1)
    if converted:
        details = exif.sub(IFD.Exif)
        exif.put(details.get(Base.ColorSpace), 1)  # sRGB
        if interop := details.get(IFD.Interop):
            index = exif.entries(exif.read("I", interop + 8)).get(1)
            if index is not None:
                exif.bytes[index + 8 : index + 12] = b"R98\0"  # sRGB again
    link = exif.next(exif.main)
    if preview := exif.read("I", link):
        _remove_preview(exif, preview)
        exif.write("I", link, 0)


def _remove_preview(exif: _Packed, directory: int) -> None:
    entries = exif.entries(directory)
    if _PREVIEW_PLACE in entries and _PREVIEW_LENGTH in entries:
        place = exif.read("I", entries[_PREVIEW_PLACE] + 8)
        end = place + exif.read("I", entries[_PREVIEW_LENGTH] + 8)
        if end >= len(exif.bytes):
            del exif.bytes[place:]
        else:
            exif.bytes[place:end] = bytes(end - place)


def rebuilt(file: Image.Image) -> bytes | None:
    """EXIF of an open TIFF file, whose directories also say how the pixels are stored."""
    try:
        exif = as_directories(file.getexif())
        for tag in _STRUCTURE.intersection(exif):
            del exif[tag]
        return exif.tobytes() if len(exif) else None
    except Exception:  # Pillow raises nearly anything on damage; a photo is worth more than this
        return None


def unpacked(packed: bytes | None) -> Image.Exif:
    """Packed EXIF as dictionaries; empty when there is none or Pillow cannot read it."""
    exif = Image.Exif()
    if packed:
        try:
            exif.load(packed)
            exif = as_directories(exif)
            exif.tobytes()
        except Exception:  # as above
            return Image.Exif()
    return exif


def as_directories(found: Image.Exif) -> Image.Exif:
    """A copy with the EXIF, GPS and interoperability directories as dictionaries within it."""
    exif = Image.Exif()
    exif.endian = found.endian
    for tag, value in found.items():
        exif[tag] = value
    for tag in (IFD.Exif, IFD.GPSInfo):
        exif.pop(tag, None)
        if entries := dict(found.get_ifd(tag)):
            if IFD.Interop in entries:
                entries[IFD.Interop] = dict(found.get_ifd(IFD.Interop))
            exif[tag] = entries
    return exif

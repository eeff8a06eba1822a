"""PNG and TIFF files of 8 or 16 bits from arrays, strip by strip; Pillow writes 8 bits only."""

import struct
import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import BinaryIO

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from PIL.TiffTags import LONG, SHORT, UNDEFINED

from fst.images.exif import unpacked
from fst.images.metadata import SRGB, Metadata
from fst.images.photo import Photo

_LEVEL = 6  # of zlib
_STRIP = 1 << 20  # bytes compressed at a time


def interleave(photo: Photo, rows: slice) -> np.ndarray:
    """Rows of a photo with the opacity as fourth channel where there is one."""
    if photo.alpha is None:
        return photo.pixels[rows]
    return np.concatenate([photo.pixels[rows], photo.alpha[rows, :, None]], axis=2)


def _strips(photo: Photo) -> Iterator[slice]:
    height = photo.size[1]
    rows = strip_height(photo)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def strip_height(photo: Photo) -> int:
    """How many rows are compressed at a time."""
    return max(1, min(photo.size[1], _STRIP // (photo.pixels[0].nbytes * 4 // 3)))


# --- PNG ------------------------------------------------------------------------------------------


def write_png(photo: Photo, metadata: Metadata, stream: BinaryIO) -> None:
    """A PNG file of the photo's depth."""
    png_start(photo, metadata, stream)
    for data in png_data(photo):
        png_chunk(stream, b"IDAT", data)
    png_chunk(stream, b"IEND", b"")


def png_start(photo: Photo, metadata: Metadata, stream: BinaryIO) -> None:
    stream.write(b"\x89PNG\r\n\x1a\n")
    kind = 2 if photo.alpha is None else 6
    header = struct.pack(">IIBBBBB", *photo.size, photo.pixels.itemsize * 8, kind, 0, 0, 0)
    png_chunk(stream, b"IHDR", header)
    if metadata.profile:
        png_chunk(stream, b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB.tobytes()))
    if metadata.dpi:
        per_meter = (round(value / 0.0254) for value in metadata.dpi)
        png_chunk(stream, b"pHYs", struct.pack(">IIB", *per_meter, 1))
    if metadata.exif:
        png_chunk(stream, b"eXIf", metadata.exif.removeprefix(b"Exif\0\0"))
    if metadata.xmp:
        png_chunk(stream, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)


def png_data(photo: Photo) -> Iterator[bytes]:
    """The compressed rows, each as its difference to the row above (PNG's filter 2)."""
    compressor = zlib.compressobj(_LEVEL)
    above = None
    for rows in _strips(photo):
        values = interleave(photo, rows)
        values = values.astype(values.dtype.newbyteorder(">")).reshape(len(values), -1)
        lines = values.view(np.uint8)
        above = np.zeros_like(lines[:1]) if above is None else above
        filtered = np.empty((len(lines), lines.shape[1] + 1), np.uint8)
        filtered[:, 0] = 2
        filtered[:, 1:] = lines - np.concatenate([above, lines[:-1]])
        above = lines[-1:]
        if data := compressor.compress(filtered.data):
            yield data
    yield compressor.flush()


def png_chunk(stream: BinaryIO, name: bytes, data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + name + data)
    stream.write(struct.pack(">I", zlib.crc32(name + data)))


# --- TIFF -----------------------------------------------------------------------------------------


def write_tiff(photo: Photo, metadata: Metadata, stream: BinaryIO) -> None:
    """A TIFF file of the photo's depth, compressed without loss.

    The directory stands before the strips but needs their lengths: it is written twice.
    """
    strips = list(_strips(photo))
    directory = _tiff_directory(photo, metadata, len(strips))
    start = directory.save(stream)
    stream.seek(start)
    lengths = [stream.write(_tiff_strip(interleave(photo, rows))) for rows in strips]
    directory[273] = (0, *accumulate(lengths[:-1]))  # Pillow adds where the strips begin
    directory[279] = tuple(lengths)
    stream.seek(0)
    directory.save(stream)


def _tiff_directory(photo: Photo, metadata: Metadata, strips: int) -> ImageFileDirectory_v2:
    channels = 3 if photo.alpha is None else 4
    directory = ImageFileDirectory_v2()
    for tag, value in unpacked(metadata.exif).items():
        directory[tag] = value
    if metadata.dpi:
        directory[282], directory[283] = metadata.dpi
        directory[296] = 2  # per inch
    if metadata.xmp:
        directory.tagtype[700] = 1
        directory[700] = metadata.xmp
    if metadata.profile:
        directory.tagtype[34675] = UNDEFINED
        directory[34675] = SRGB.tobytes()
    directory[256], directory[257] = photo.size
    directory[258] = (photo.pixels.itemsize * 8,) * channels
    directory[259] = 8  # deflate
    directory[262] = 2  # RGB
    directory[277] = channels
    directory[278] = strip_height(photo)
    directory[284] = 1  # channels side by side
    directory[317] = 2  # differences along the row
    if channels == 4:
        directory.tagtype[338] = SHORT
        directory[338] = 2  # the colours are not multiplied with the opacity
    for tag in (273, 279):
        directory.tagtype[tag] = LONG
        directory[tag] = (0,) * strips
    return directory


def _tiff_strip(values: np.ndarray) -> bytes:
    little = values.astype(values.dtype.newbyteorder("<"))
    little[:, 1:] -= values[:, :-1]
    return zlib.compress(little.tobytes(), _LEVEL)

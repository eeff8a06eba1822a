"""Animated GIF, WebP and PNG files, written frame after frame.

Pillow's writers hold all frames in memory, and merge those that are equal.
"""

import struct
from collections.abc import Iterable
from io import BytesIO
from itertools import accumulate
from typing import Any, BinaryIO

from PIL import GifImagePlugin, Image

from fst.images.encoding import png_chunk, png_data, png_start
from fst.images.metadata import SRGB, Metadata
from fst.images.photo import Photo, to_bytes, with_alpha


def write_animated_png(
    frames: Iterable[Photo], durations: list[int], loop: int, metadata: Metadata, stream: BinaryIO
) -> None:
    """An animated PNG file, every frame whole; ``loop`` 0 is for ever."""
    sequence = 0
    for number, (photo, duration) in enumerate(zip(frames, durations, strict=True)):
        if number == 0:
            png_start(photo, metadata, stream)
            png_chunk(stream, b"acTL", struct.pack(">II", len(durations), loop))
        time, parts = (duration, 1000) if duration < 65536 else (min(duration // 1000, 65535), 1)
        control = (sequence, *photo.size, 0, 0, time, parts, 0, 0)
        png_chunk(stream, b"fcTL", struct.pack(">IIIIIHHBB", *control))
        sequence += 1
        for data in png_data(photo):
            if number == 0:
                png_chunk(stream, b"IDAT", data)
            else:
                png_chunk(stream, b"fdAT", struct.pack(">I", sequence) + data)
                sequence += 1
    png_chunk(stream, b"IEND", b"")


def write_webp(
    frames: Iterable[Photo],
    durations: list[int],
    loop: int,
    metadata: Metadata,
    stream: BinaryIO,
    quality: int,
) -> None:
    """An animated WebP file, every frame whole; ``loop`` 0 is for ever."""
    flags = 0x02  # animated
    stream.write(b"RIFF\0\0\0\0WEBP")
    for number, (photo, duration) in enumerate(zip(frames, durations, strict=True)):
        sides = _three_bytes(photo.size[0] - 1) + _three_bytes(photo.size[1] - 1)
        if number == 0:
            _webp_chunk(stream, b"VP8X", bytes(4) + sides)
            if metadata.profile:
                flags |= 0x20
                _webp_chunk(stream, b"ICCP", SRGB.tobytes())
            _webp_chunk(stream, b"ANIM", struct.pack("<IH", 0, loop))
        if photo.alpha is not None:
            flags |= 0x10
        replaces = b"\x02"  # what was there, instead of being laid over it
        header = bytes(6) + sides + _three_bytes(duration) + replaces
        _webp_chunk(stream, b"ANMF", header + _webp_picture(photo, quality))
    if metadata.exif:
        flags |= 0x08
        _webp_chunk(stream, b"EXIF", metadata.exif.removeprefix(b"Exif\0\0"))
    if metadata.xmp:
        flags |= 0x04
        _webp_chunk(stream, b"XMP ", metadata.xmp)
    length = stream.tell()
    stream.seek(4)
    stream.write(struct.pack("<I", length - 8))
    stream.seek(20)  # the flags, in VP8X
    stream.write(bytes([flags]))


def _three_bytes(value: int) -> bytes:
    return struct.pack("<I", min(value, 0xFFFFFF))[:3]


def _webp_chunk(stream: BinaryIO, name: bytes, data: bytes) -> None:
    stream.write(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2))


def _webp_picture(photo: Photo, quality: int) -> bytes:
    """The chunks with the colours and the opacity of a still WebP file."""
    still = BytesIO()
    with_alpha(photo).save(still, "WEBP", quality=quality)
    content, place, chunks = still.getvalue(), 12, b""
    while place < len(content):
        length = struct.unpack_from("<I", content, place + 4)[0]
        end = place + 8 + length + length % 2
        if content[place : place + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            chunks += content[place:end]
        place = end
    return chunks


def write_gif(
    frames: Iterable[Photo], durations: list[int], loop: int, metadata: Metadata, stream: BinaryIO
) -> None:
    """A GIF file of 8 bits, every frame whole with a palette of its own; ``loop`` 0 is for ever.

    GIF counts hundredths of a second: what a frame loses in rounding, the next one gets.
    """
    ends = [round(end / 10) * 10 for end in accumulate(durations)]
    for number, (photo, end) in enumerate(zip(frames, ends, strict=True)):
        if number == 0:
            _gif_start(photo, loop, metadata, stream)
        duration = end - (ends[number - 1] if number else 0)
        # a whole frame replaces the last one; behind a transparent one that must be cleared first
        disposal = 1 if photo.alpha is None else 2
        options: dict[str, Any] = {"duration": duration, "disposal": disposal}
        if photo.alpha is not None:
            options["transparency"] = 255
        for block in GifImagePlugin.getdata(_indexed(photo), include_color_table=True, **options):
            stream.write(block)
    stream.write(b";")


def _gif_start(photo: Photo, loop: int, metadata: Metadata, stream: BinaryIO) -> None:
    stream.write(b"GIF89a" + struct.pack("<HHBBB", *photo.size, 0x70, 0, 0))
    if loop != 1:  # once is what a file says that says nothing
        stream.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", max(0, loop - 1), 0))
    if metadata.comment:
        stream.write(b"!\xfe")
        for start in range(0, len(metadata.comment), 255):
            block = metadata.comment[start : start + 255]
            stream.write(bytes([len(block)]) + block)
        stream.write(b"\0")


def _indexed(photo: Photo) -> Image.Image:
    """The frame with at most 255 colours, and as colour 255 what is transparent."""
    image = Image.fromarray(to_bytes(photo.pixels)).quantize(255)
    palette = image.getpalette() or []
    image.putpalette((palette + [0] * 768)[:768])
    if photo.alpha is not None:
        image.paste(255, mask=Image.fromarray(to_bytes(photo.alpha) < 128))
    return image

"""Gather pictures by many hands: what free games and desktops are painted with.

apt-get download wesnoth-1.16-data gcompris-qt-data
for each in *.deb; do dpkg-deb -x $each unpacked/${each%%_*}; done
python -m research.compact.gather_pictures unpacked/* -o PICTURES

It looks in folders, zip archives (.zip, .pk3) and Qt resources (.rcc). It keeps opaque pictures of
256 px and more that show something, one of those much alike, and at most so many of a folder.
Whether a picture may be trained with is for you to say.
"""

import argparse
import io
import random
import struct
import zipfile
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
from PIL import Image

from fst.system.errors import InputError, check_whole, one_line_errors
from fst.system.files import make_folder
from fst.system.process import cores

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tga")
MAGIC = b"\xff\xd8\xff", b"\x89PNG", b"RIFF"  # of pictures in Qt resources, which have no names
MAPS = "_norm", "_nm", "_gloss", "_bump", "_local", "_height", "_spec", "normalmap"  # no colours
SMALLEST, SIDE = 256, 320  # px, shorter side: of what is looked at, and of what is kept
ALIKE = 36  # of the 256 bits of a picture's brighter-than-its-neighbour hash
OPAQUE, FLAT, CONTRAST = 0.98, 0.6, 12  # share of pixels; of neighbours that are equal; levels


def pictures_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of a folder's pictures, those in archives, too."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        suffix = path.suffix.lower()
        if suffix in (".zip", ".pk3"):
            yield from pictures_in_zip(path)
        elif suffix == ".rcc":
            yield from pictures_in_qt(path)
        elif suffix in SUFFIXES:
            yield path.name, path.read_bytes()


def pictures_in_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.lower().endswith(SUFFIXES):
                    yield name, archive.read(name)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: expected a zip archive, found {error}; remove it") from error


def pictures_in_qt(path: Path) -> Iterator[tuple[str, bytes]]:
    """Those in a file of Qt's resource compiler: each blob has its length before it."""
    content = path.read_bytes()
    if not content.startswith(b"qres") or len(content) < 20:
        raise InputError(f"{path}: expected Qt resources, found none; remove it")
    _, _, place, end = struct.unpack(">4I", content[4:20])
    while place < end:
        (length,) = struct.unpack(">I", content[place : place + 4])
        blob = content[place + 4 : place + 4 + length]
        if blob.startswith(MAGIC):
            yield f"{path.stem}_{place}", blob
        place += 4 + length


def look(picture: tuple[str, bytes]) -> tuple[bytes, np.ndarray] | None:
    """A picture as JPEG, and the 256 bits of its hash, if it is of use."""
    name, content = picture
    if any(part in name.lower() for part in MAPS):
        return None
    try:
        image = Image.open(io.BytesIO(content))
        if min(image.size) < SMALLEST or image.width * image.height > 5e7:
            return None
        image = image.convert("RGBA")
    except Exception:  # whatever a decoder says of a file that is none
        return None
    if np.mean(np.asarray(image.getchannel("A")) > 250) < OPAQUE:
        return None
    scale = min(1, SIDE / min(image.size))
    size = (round(scale * image.width), round(scale * image.height))
    image = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    grey = image.convert("L")
    levels = np.asarray(grey, np.int16)
    if np.mean(np.diff(levels, axis=1) == 0) > FLAT or levels.std() < CONTRAST:
        return None
    tiny = np.asarray(grey.resize((17, 16), Image.Resampling.BOX), np.int16)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue(), (np.diff(tiny, axis=1) > 0).flatten()


def gather(folder: Path, most: int, seen: list[np.ndarray]) -> list[bytes]:
    """At most so many pictures of a folder that are like none of ``seen``, which they join."""
    with ThreadPool(cores()) as pool:
        looks = [each for each in pool.imap(look, pictures_in(folder)) if each]
    random.Random(0).shuffle(looks)
    kept: list[bytes] = []
    for jpeg, bits in looks:
        if len(kept) == most:
            break
        if not seen or (np.stack(seen) != bits).sum(1).min() > ALIKE:
            seen.append(bits)
            kept.append(jpeg)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folders", type=Path, nargs="+", metavar="FOLDER", help="where to look, and in what it has")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where to write JPEGs")
    add("--most", type=int, default=200, help="pictures of one folder (%(default)s)")
    args = parser.parse_args()
    with one_line_errors():
        check_whole("--most", args.most, 1)
        for folder in args.folders:
            if not folder.is_dir():
                raise InputError(f"{folder}: expected a folder, found none; try another")
        make_folder(args.output)
        seen: list[np.ndarray] = []
        for folder in args.folders:
            kept = gather(folder, args.most, seen)
            for k, jpeg in enumerate(kept):
                (args.output / f"{folder.name}_{k:03d}.jpg").write_bytes(jpeg)
            print(f"{folder.name}: {len(kept)}", flush=True)


if __name__ == "__main__":
    main()

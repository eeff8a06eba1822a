"""Look at every photo of a data set before a long training does.

fst check-photos PHOTOS
fst check-photos PHOTOS --list exclude.txt
fst train style.name=mine style.image=painting.jpg data.root=PHOTOS data.exclude=exclude.txt

Finds files that cannot be read to their end, photos too small to train on, and files of the same
bytes as another; photos without colour are counted, and are of use. Exits with 1 when files should
be left out and no --list was asked for.
"""

import argparse
import hashlib
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from fst.images.index import PhotoIndex
from fst.system.errors import InputError, one_line_errors
from fst.system.files import atomic_path, check_folder
from fst.system.process import cores, leave, signals
from fst.training.data import TooSmallError, read_for_training
from fst.training.photos import list_photos

KINDS = {
    "unreadable": "no picture, or cut short",
    "too small": "the shorter side is under 64 px",
    "duplicate": "the same bytes as another file",
}
GRAY = 6  # levels of 255 that the channels of a photo without colour may differ by
SHOWN = 10  # files of each kind; --list has all


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        "fst check-photos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("folder", type=Path, help="photos, flat or nested")
    add("--annotations", type=Path, metavar="FILE", help="COCO JSON: check what it lists only")
    add("--list", type=Path, metavar="FILE", help="write what to leave out there, by line")
    add("--workers", type=int, default=cores(), help="threads (%(default)s)")
    add("--json", action="store_true", help="print all of it as JSON, for programs")
    return options


def look(path: Path) -> tuple[str | None, bytes, bool]:
    """What is wrong with a file, the hash of its bytes, and whether it is without colour."""
    try:
        photo = read_for_training(path)
        digest = hashlib.sha256(path.read_bytes()).digest()
    except TooSmallError:
        return "too small", b"", False
    except (InputError, OSError):
        return "unreadable", b"", False
    coarse = photo[:, ::8, ::8].int()
    return None, digest, bool((coarse.amax(0) - coarse.amin(0)).max() <= GRAY)


def inspect(photos: PhotoIndex, workers: int) -> Iterator[tuple[int, str | None, bool]]:
    """Of every photo its place, what is wrong with it, and whether it is without colour."""
    seen: set[bytes] = set()
    with ThreadPool(workers) as pool:  # decoding leaves the other threads alone
        found = pool.imap(lambda k: look(photos[k]), range(len(photos)), chunksize=16)
        for k, (wrong, digest, gray) in enumerate(
            tqdm(found, total=len(photos), unit="photo", disable=None)
        ):
            if wrong is None and digest in seen:
                wrong = "duplicate"
            seen.add(digest)
            yield k, wrong, gray


def check(args: argparse.Namespace) -> int:
    """Look at all photos and say what was found; gives the exit code."""
    if args.workers < 1:
        raise InputError(f"--workers: expected a whole number from 1 up, found {args.workers}")
    if args.list:
        check_folder(args.list.parent)
    photos = list_photos(args.folder, args.annotations)
    wrong: dict[str, list[str]] = {kind: [] for kind in KINDS}
    colourless = 0
    for k, kind, gray in inspect(photos, args.workers):
        if kind is not None:
            wrong[kind].append(photos[k].relative_to(photos.root).as_posix())
        elif gray:
            colourless += 1
    names = [name for some in wrong.values() for name in some]
    if args.list:
        with atomic_path(args.list) as temporary:
            temporary.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
    if args.json:
        counts = {"folder": str(args.folder), "photos": len(photos), "colourless": colourless}
        lists = {kind.replace(" ", "_"): some for kind, some in wrong.items()}
        print(json.dumps(counts | lists, ensure_ascii=False))
    else:
        report(args, len(photos), wrong, colourless)
    return 1 if names and not args.list else 0


def report(
    args: argparse.Namespace, photos: int, wrong: dict[str, list[str]], colourless: int
) -> None:
    """What was found, to be read; `SHOWN` names of each kind."""
    print(f"{args.folder}: {photos} photos, {photos - sum(map(len, wrong.values()))} of use")
    for kind, some in wrong.items():
        if some:
            rest = f", and {len(some) - SHOWN} more" if len(some) > SHOWN else ""
            print(f"{kind} ({KINDS[kind]}): {len(some)}: {', '.join(some[:SHOWN])}{rest}")
    print(f"without colour: {colourless}")
    if args.list:
        print(f"leave them out: fst train ... {shlex.quote(f'data.exclude={args.list}')}")


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    with one_line_errors(), signals(leave):
        status = check(args)
    sys.exit(status)

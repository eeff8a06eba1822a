"""Look at every photo of a data set before a long training does.

python scripts/check_data.py PHOTOS
python scripts/check_data.py PHOTOS --list exclude.txt
python scripts/train.py style=starry_night data.root=PHOTOS data.exclude=exclude.txt

Finds files that cannot be read to their end, photos too small to train on, and files of the same
bytes as another; photos without colour are counted, and are of use. Exits with 1 when files should
be left out and no --list was asked for.
"""

import argparse
import hashlib
import sys
from collections.abc import Iterator
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


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="photos, flat or nested")
    add("--annotations", type=Path, metavar="FILE", help="COCO JSON: check what it lists only")
    add("--list", type=Path, metavar="FILE", help="write what to leave out there, by line")
    add("--workers", type=int, default=cores(), help="threads (%(default)s)")
    return parser.parse_args()


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
    print(f"{args.folder}: {len(photos)} photos, {len(photos) - len(names)} of use")
    for kind, some in wrong.items():
        if some:
            rest = f", and {len(some) - SHOWN} more" if len(some) > SHOWN else ""
            print(f"{kind} ({KINDS[kind]}): {len(some)}: {', '.join(some[:SHOWN])}{rest}")
    print(f"without colour: {colourless}")
    if args.list:
        with atomic_path(args.list) as temporary:
            temporary.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
        print(f"leave them out: python scripts/train.py ... data.exclude={args.list}")
    return 1 if names and not args.list else 0


def main() -> None:
    args = parse_args()
    with one_line_errors(), signals(leave):
        status = check(args)
    sys.exit(status)

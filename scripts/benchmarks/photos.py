"""How a data set's size tells: seconds until the first batch, and memory of the processes.

Folders of so many files are made in the folder for temporary files (TMPDIR), of hard links to
copies of real photos. Each is opened three times by a process of its own: with an empty cache, with
the index in the cache, and through a COCO annotation file that lists all of it. Memory (Linux) is
what the list takes in the process that trains, and what its worker has for itself after 1,000
photos and after 4,000.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fst.images import find_images
from fst.system.errors import InputError
from fst.training.data import PhotoDataModule

TITLES = ["photos", "opened by", "list, s", "first batch, s", "list, MiB"]
TITLES += ["worker, MiB", "later"]
PER_FOLDER = 10_000
BATCH = 4  # photos
FEW, MANY = 250, 1000  # batches until memory is read, and read again
QUICK = 5, 20  # likewise


def run(args: argparse.Namespace) -> Iterator[list[list[object]]]:
    """One row for each way to open each folder."""
    batches = QUICK if args.quick else (FEW, MANY)
    photos = find_images(args.folder)[:1000]
    if len(photos) < 20:
        raise InputError(f"{args.folder}: expected at least 20 photos, found {len(photos)}")
    with tempfile.TemporaryDirectory(prefix="fst-") as place:
        copies = [
            Path(shutil.copy(path, f"{place}/{k}{path.suffix}")) for k, path in enumerate(photos)
        ]
        for count in args.counts:
            root = Path(place) / str(count)
            names = fill(root, copies, count)
            images = [{"id": k, "file_name": name} for k, name in enumerate(names)]
            annotations = root.with_suffix(".json")
            annotations.write_text(json.dumps({"images": images}))
            time.sleep(2.5)  # so that the folders' times are old enough to be trusted
            cache = {"XDG_CACHE_HOME": f"{place}/cache"}
            ways = [("reading the folder", []), ("its index", []), ("annotations", [annotations])]
            yield [
                [count, name, *measure_opening(root, more, batches, cache)] for name, more in ways
            ]


def fill(root: Path, photos: list[Path], count: int) -> list[str]:
    """Link ``count`` files, some thousands a folder, and give their names."""
    names = []
    for k in range(count):
        photo = photos[k % len(photos)]
        names.append(f"{k // PER_FOLDER:04d}/{k:07d}{photo.suffix}")
        if k % PER_FOLDER == 0:
            (root / names[-1]).parent.mkdir(parents=True)
        os.link(photo, root / names[-1])
    return names


def measure_opening(
    root: Path, more: list[Path], batches: tuple[int, int], environment: dict[str, str]
) -> list[str]:
    """A row's numbers, by `open_one` in a process of its own."""
    command = [sys.executable, __file__, *map(str, [*batches, root, *more])]
    environment = {**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise InputError(f"{root}: could not be opened; {result.stderr.strip()[-300:]}")
    return result.stdout.split()


def private_mib(process: int | str) -> float:
    """What a process has for itself; Linux."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def open_one(few: int, many: int, root: str, annotations: str | None = None) -> None:
    """Print a row's numbers."""

    class Trainer:
        max_steps, global_step, accumulate_grad_batches = many, 0, 1
        world_size, global_rank = 1, 0

    empty = private_mib("self")
    start = time.perf_counter()
    module = PhotoDataModule(root, 256, BATCH, annotations=annotations, workers=1)
    module.trainer = Trainer()
    module.setup()
    listed = time.perf_counter() - start
    own = private_mib("self") - empty
    batches = iter(module.train_dataloader())
    next(batches)
    first = time.perf_counter() - start
    (worker,) = (worker.pid for worker in batches._workers)
    memory = []
    for number, _ in enumerate(batches, 2):
        if number in (few, many - 5):
            memory.append(private_mib(worker))
    print(f"{listed:.2f} {first:.2f} {own:.0f} {memory[0]:.0f} {memory[1]:.0f}")


if __name__ == "__main__":
    open_one(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])

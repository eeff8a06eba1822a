"""A folder of photos, against the bound that its steps set; and the start of the program.

Decoding, the network and encoding are measured alone, one after the other in this process, with the
threads that a run gives them. On a CPU all three share the cores, so that what counts is how long
they keep cores busy: the process's CPU time, in core-seconds. No run can be faster than

- all core-seconds together, over the number of cores,
- nor than any step alone: a painter is one thread, whose network has parts that use one core, and
  on a GPU the network is not on the cores at all.

The larger one is the bound. CPU time includes that of threads that wait for each other by spinning.
The network's step is warm, as it is in the run: what a start costs is measured apart, as whole
processes from start to end, with an empty cache of compiled networks and with a filled one.
"""

import os
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.measuring import EXAMPLES, find_photos, fit, run_stylize, say, warn_of_load
from fst.images import read_photo, save_picture
from fst.serving.folders import Job, plan, read_job
from fst.serving.pipeline import Pipeline
from fst.stylizer import Stylizer
from fst.system.errors import InputError
from fst.system.process import cores

SIDES = 256, 384, 512, 640, 800, 1024, 1280  # px, of the longer side
KINDS = ".jpg", ".png", ".webp"
QUALITY = 90
BATCH = 60  # photos in memory at a time while a step is measured alone
LANCZOS = Image.Resampling.LANCZOS
STARTED = 512  # px: the photo that a start is measured with


@dataclass
class Step:
    """What a step took for all photos: seconds, and core-seconds."""

    wall: float = 0.0
    busy: float = 0.0

    def measure(self, work: Callable[[], Any]) -> Any:
        """Do a part of it."""
        wall, busy = time.perf_counter(), time.process_time()
        done = work()
        self.wall += time.perf_counter() - wall
        self.busy += time.process_time() - busy
        return done


def bound(steps: Iterable[Step], number_of_cores: int) -> float:
    """Seconds that no run can be faster than; see the module's text."""
    steps = list(steps)
    shared = sum(step.busy for step in steps) / number_of_cores
    return max(shared, *(step.wall for step in steps))


def prepare(photos: list[Path], folder: Path) -> None:
    """Write the photos anew into subfolders, as a mix of `KINDS` and `SIDES`."""

    def write(number: int) -> None:
        photo = read_photo(photos[number]).image
        scale = SIDES[number % len(SIDES)] / max(photo.size)
        photo = photo.resize([max(16, round(side * scale)) for side in photo.size], LANCZOS)
        path = folder / f"{number % 5}" / f"{number:05d}{KINDS[number % len(KINDS)]}"
        path.parent.mkdir(exist_ok=True)
        photo.save(path, quality=QUALITY)

    with ThreadPoolExecutor(cores()) as threads:
        list(threads.map(write, range(len(photos))))


def measure_steps(jobs: list[Job], stylizer: Stylizer, workers: int) -> dict[str, Step]:
    """Each step alone, batch by batch; the files are written."""
    steps = {"decoding": Step(), "network": Step(), "encoding": Step()}
    decode, paint, encode = steps.values()
    with ThreadPoolExecutor(workers) as threads:
        for first in range(0, len(jobs), BATCH):
            batch = jobs[first : first + BATCH]
            read = decode.measure(lambda batch=batch: list(threads.map(read_job, batch)))
            photos = [photo for photo, _ in read]
            painted = paint.measure(lambda photos=photos: [stylizer(photo) for photo in photos])
            targets = [job.target for job in batch]
            encode.measure(lambda a=painted, b=targets: list(threads.map(save_picture, a, b)))
    return steps


def run_pipeline(jobs: list[Job], stylizer: Stylizer, workers: int) -> float:
    """Seconds of a whole run."""
    begin = time.perf_counter()
    pipeline = Pipeline(jobs, [stylizer], read_job, save_picture, workers)
    with pipeline:
        for _ in pipeline:
            pass
    if pipeline.errors:
        raise InputError(pipeline.errors[0])
    return time.perf_counter() - begin


def starts(args: Namespace) -> Iterator[tuple[str, float]]:
    """Seconds of whole processes for one photo: medians, with empty and with filled caches."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        fit(read_photo(EXAMPLES / "astronaut.jpg").image, STARTED, STARTED).save(photo, quality=90)
        options = "--device", args.device, "--engine", args.engine, "--precision", args.precision

        def once(cache: str) -> float:
            out = Path(folder, "out.jpg")
            place = os.path.join(folder, cache)
            command = photo, "--style", args.style, "-o", out, *options
            return run_stylize(*command, XDG_CACHE_HOME=place)[0]

        cold = [once(f"cache{number}") for number in range(args.repeats)]
        warm = [once("cache0") for _ in range(args.repeats)]
    yield "empty", statistics.median(cold)
    yield "filled", statistics.median(warm)


def run(args: Namespace) -> Iterator[tuple[tuple[str, ...], list[tuple]]]:
    """Tables: titles and rows."""
    photos = find_photos(args.folder)[: args.count]
    stylizer = Stylizer(args.style, args.device, args.engine, args.precision)
    warn_of_load()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "photos")
        source.mkdir()
        say(f"{len(photos)} photos: writing them as {', '.join(KINDS)} ...")
        prepare(photos, source)
        jobs = plan([source], Path(folder, "alone"))
        workers = min(cores(), len(jobs))
        stylizer(read_job(jobs[0])[0])
        say("each step alone ...")
        steps = measure_steps(jobs, stylizer, workers)
        say("all of them together ...")
        wall = run_pipeline(plan([source], Path(folder, "together")), stylizer, workers)
    least = bound(steps.values(), cores())
    rows = [(name, step.wall, step.busy, len(jobs) / step.wall) for name, step in steps.items()]
    rows += [
        ("bound", least, None, len(jobs) / least),
        ("pipeline", wall, None, len(jobs) / wall),
    ]
    yield (
        ("step", "seconds", "core-seconds", "images/s", "over bound"),
        [(*row, row[1] / least if row[0] == "pipeline" else None) for row in rows],
    )
    say(f"one photo of {STARTED}x{STARTED} px, {args.repeats} times with each cache ...")
    yield ("cache of a start", "seconds"), list(starts(args))

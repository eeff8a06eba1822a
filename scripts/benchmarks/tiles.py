"""A picture in tiles against the same picture in one pass; and the memory of a whole run.

Two pictures: one photo enlarged, and a mosaic of up to 16. Each is stylized in one piece, and in
tiles under two memory budgets, which ask for tiles of two sizes: with the statistics of a sample,
as by default, and with those of the whole picture, which both budgets share. A `Stylizer` is new
for each and has seen one small picture; seconds are of one pass, the making of the tiles' engine
included.

Then the mosaic goes from file to file, JPEG to JPEG, in a process of its own, with its seconds and
its peak memory, Python and torch included.
"""

import math
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring import (
    find_photos,
    fit,
    peak_mib,
    psnr,
    run_stylize,
    say,
    seconds_of,
    warn_of_load,
)
from fst.images import Photo, read_photo
from fst.images.photo import bands
from fst.stylizer import Stylizer
from fst.stylizer.stylizer import MEMORY, SAMPLE
from fst.system.errors import InputError

ASPECT = 4, 3
MOSAIC = 4  # photos a side, at most
HUGE = 1 << 40  # MiB: more than there are
LEAST = 64  # MiB, of a budget
TITLES = "picture", "variant", "seconds", "peak MiB", "against", "PSNR dB", "largest of 255"


def side_lengths(megapixels: float) -> tuple[int, int]:
    """Width and height of a picture of this many megapixels, 4:3."""
    unit = math.sqrt(megapixels * 1e6 / math.prod(ASPECT))
    return round(ASPECT[0] * unit), round(ASPECT[1] * unit)


def mosaic(photos: list[Path], width: int, height: int) -> Image.Image:
    """As many photos a side as there are, 2 to `MOSAIC`; some twice where they are too few."""
    count = min(MOSAIC, max(2, math.isqrt(len(photos))))
    picture = Image.new("RGB", (width, height))
    for number in range(count**2):
        row, column = divmod(number, count)
        left, right = width * column // count, width * (column + 1) // count
        top, bottom = height * row // count, height * (row + 1) // count
        photo = read_photo(photos[number % len(photos)]).image
        picture.paste(fit(photo, right - left, bottom - top), (left, top))
    return picture


def budgets(pixels: int, bytes_a_pixel: float) -> tuple[int, int]:
    """Two budgets in MiB that a picture does not fit into: about the default, and a 16th of it.

    Raises:
        InputError: The picture fits into the smallest budget.
    """
    large = min(MEMORY, int(0.9 * pixels * bytes_a_pixel / 2**20))
    if large < LEAST:
        least = LEAST / 0.9 * 2**20 / bytes_a_pixel / 1e6
        raise InputError(
            f"megapixels: expected more than {least:.1f}, for which this engine needs tiles, "
            f"found {pixels / 1e6:.1f}"
        )
    return large, max(LEAST, large // 16)


def largest_difference(picture: np.ndarray, reference: np.ndarray) -> int:
    """In 8-bit values, over all pixels and channels."""
    return max(
        int(np.abs(picture[band].astype(np.int16) - reference[band]).max())
        for band in bands(picture)
    )


class _Comparison:
    """The variants of one picture, each measured once."""

    def __init__(self, name: str, pixels: np.ndarray, args: Namespace) -> None:
        self._name, self._pixels, self._args = name, pixels, args
        self._done: dict[str, np.ndarray] = {}

    def row(self, variant: str, memory: int, sample: float, *against: str) -> Iterator[tuple]:
        """Stylize in one way; a row for each earlier variant to compare with, or for none."""
        args = self._args
        stylizer = Stylizer(
            args.style, args.device, args.engine, args.precision, memory=memory, sample=sample
        )
        stylizer(Photo(np.ascontiguousarray(self._pixels[:64, :64])))
        seconds = 0.0

        def repaint() -> None:
            nonlocal seconds
            seconds = seconds_of(self._repaint(stylizer, variant), stylizer.device)

        peak = peak_mib(repaint, stylizer.device)
        say(f"{self._name}, {variant}: {seconds:.1f} s")
        done = self._done[variant]
        for other in against:
            differences = psnr(done, self._done[other]), largest_difference(done, self._done[other])
            yield self._name, variant, seconds, peak, other, *differences
        if not against:
            yield self._name, variant, seconds, peak, None, None, None

    def _repaint(self, stylizer: Stylizer, variant: str):
        def repaint() -> None:
            self._done[variant] = stylizer(Photo(self._pixels)).pixels

        return repaint


def compare(name: str, pixels: np.ndarray, args: Namespace) -> Iterator[tuple]:
    """Rows of one picture, with `TITLES`."""
    first = Stylizer(args.style, args.device, args.engine, args.precision)
    large, small = budgets(pixels.shape[0] * pixels.shape[1], first.engine.working_bytes)
    comparison = _Comparison(name, pixels, args)
    yield from comparison.row("untiled", HUGE, SAMPLE)
    for memory in large, small:
        yield from comparison.row(f"sample, {memory} MiB", memory, SAMPLE, "untiled")
    whole = f"whole, {large} MiB"
    yield from comparison.row(whole, large, math.inf, "untiled")
    yield from comparison.row(f"whole, {small} MiB", small, math.inf, "untiled", whole)


def file_to_file(picture: Image.Image, args: Namespace) -> tuple:
    """One row, with `TITLES`: a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        picture.save(photo, quality=92)
        options = "--device", args.device, "--engine", args.engine, "--precision", args.precision
        out = Path(folder, "out.jpg")
        seconds, peak = run_stylize(photo, "--style", args.style, "-o", out, *options)
    return "mosaic", "file to file", seconds, peak, None, None, None


def run(args: Namespace) -> Iterator[list[tuple]]:
    """Rows with `TITLES`, picture by picture."""
    photos = find_photos(args.photos)
    warn_of_load()
    width, height = side_lengths(args.megapixels)
    say(f"{width}x{height} px from {len(photos)} photos")
    if args.untiled:
        enlarged = fit(read_photo(photos[0]).image, width, height)
        yield list(compare("photo", np.asarray(enlarged), args))
    mixed = mosaic(photos, width, height)
    if args.untiled:
        yield list(compare("mosaic", np.asarray(mixed), args))
    yield [file_to_file(mixed, args)]

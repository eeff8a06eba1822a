"""Pictures of any size in bounded memory, without seams.

Instance norm makes every pixel depend on the whole picture, so that tiles stylized one by one
disagree. Here the statistics are measured once, at the true scale, and fixed
(`fst.stylizer.statistics`); every pixel then depends on its receptive field alone, and tiles that
overlap by it compute exactly what their neighbours compute.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fst.networks import STRIDE, missing_pixels, pad_pixels_to_strides

MARGIN = 60  # px: the receptive field's radius, 57, in whole steps of the network's stride


@dataclass(frozen=True)
class Tile:
    """A window of the picture and the part of it that is this tile's own, in px.

    Windows of one grid have one size and lie inside the picture; the cores share it out.
    """

    rows: slice
    columns: slice
    core_rows: slice  # counted from the window's corner
    core_columns: slice


def grid(height: int, width: int, side: int) -> list[list[Tile]]:
    """Rows of tiles over a picture, windows of at most ``side`` px a side.

    Args:
        height: Of the picture, a multiple of 4; the width too.
        width: See ``height``.
        side: More than two margins, a multiple of 4.
    """
    return [
        [Tile(rows, columns, core_rows, own) for columns, own in _cut(width, side)]
        for rows, core_rows in _cut(height, side)
    ]


def _cut(length: int, side: int) -> list[tuple[slice, slice]]:
    """Windows of equal length over one axis, as few and as short as ``side`` allows."""
    if length <= side:
        return [(slice(0, length), slice(0, length))]
    inner = length - 2 * MARGIN
    count = math.ceil(inner / (side - 2 * MARGIN))
    step = STRIDE * math.ceil(inner / count / STRIDE)
    window = step + 2 * MARGIN
    cuts, done = [], 0
    for k in range(count):
        start = min(k * step, length - window)
        end = length if k == count - 1 else start + window - MARGIN
        cuts.append((slice(start, start + window), slice(done - start, end - start)))
        done = end
    return cuts


def padded_size(pixels: np.ndarray) -> tuple[int, int]:
    """Height and width of a picture ``(H, W, 3)`` in whole strides, as the network pads it."""
    height, width = pixels.shape[:2]
    return height + missing_pixels(height), width + missing_pixels(width)


def cut_out(pixels: np.ndarray, tile: Tile) -> np.ndarray:
    """A tile's window; what lies beyond the right and bottom border is reflected."""
    return pad_pixels_to_strides(pixels[tile.rows, tile.columns])


def stylize_tiles(
    stylize: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, out: np.ndarray, side: int
) -> None:
    """Fill ``out`` tile by tile.

    Args:
        stylize: From ``(h, w, 3)`` to the same shape, with fixed statistics.
        pixels: ``(H, W, 3)``.
        out: ``(H, W, 3)``.
        side: Of a window, at most, in px; more than two margins, a multiple of 4.
    """
    for row in grid(*padded_size(pixels), side):
        for tile in row:
            done = stylize(cut_out(pixels, tile))[tile.core_rows, tile.core_columns]
            top = tile.rows.start + tile.core_rows.start
            left = tile.columns.start + tile.core_columns.start
            place = out[top : top + done.shape[0], left : left + done.shape[1]]
            place[...] = done[: place.shape[0], : place.shape[1]]

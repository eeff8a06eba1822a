"""Pictures painted by rule: brush strokes along the currents of a field of smooth noise.

The field is that of Perlin (SIGGRAPH 1985), strokes come in layers from broad to fine, and the
palette changes from the bottom to the top.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .noise import smooth

PALETTE = (  # deep water to evening sky; RGB
    (16, 32, 66), (20, 82, 110), (38, 140, 148), (240, 226, 190), (246, 176, 78),
    (226, 94, 54), (150, 40, 66),
)  # fmt: skip
LAYERS = (  # width of a stroke, its length, strokes per layer; of a picture of 1024 px
    (46, 420, 700), (28, 300, 1100), (16, 200, 1500), (8, 130, 1300),
)  # fmt: skip
SCALE = 2  # drawn so much larger, then reduced: smooth edges


def field(rng: np.random.Generator, size: int) -> np.ndarray:
    """Directions in radians, ``(size, size)``: two octaves of smooth noise."""
    total = np.zeros((size, size))
    for cells, strength in ((4, 1.0), (9, 0.45)):
        total += strength * smooth(rng, cells, size)
    return 2.2 * total


def colour(
    rng: np.random.Generator, palette: np.ndarray, height: float, light: float
) -> tuple[int, ...]:
    """Of the palette at a height from 0 (bottom) to 1, now and then from elsewhere."""
    if rng.random() < 0.12:
        height = rng.random()
    place = np.clip(height + rng.normal(0, 0.06), 0, 0.999) * (len(palette) - 1)
    low, share = int(place), place % 1
    mixed = (1 - share) * palette[low] + share * palette[low + 1]
    return tuple(int(v) for v in np.clip(mixed * light, 0, 255))


def stroke(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    angles: np.ndarray,
    palette: np.ndarray,
    width: float,
    length: float,
) -> None:
    """One brush stroke along the currents: parallel bristles, each a little lighter or darker."""
    size = angles.shape[0]
    x, y = rng.uniform(-0.1 * size, 1.1 * size, 2)  # no bare corners
    shade, path = rng.uniform(0.8, 1.15), []
    base = colour(rng, palette, 1 - y / size, shade)
    for _ in range(max(4, int(length / 6))):
        path.append((x, y))
        angle = angles[int(np.clip(y, 0, size - 1)), int(np.clip(x, 0, size - 1))]
        x, y = x + 6 * np.cos(angle), y + 6 * np.sin(angle)
    steps = np.diff(np.array(path), axis=0)
    normal = np.stack([-steps[:, 1], steps[:, 0]], 1) / 6
    bristles = max(3, int(width / 3))
    for k in range(bristles):
        offset = (k / (bristles - 1) - 0.5) * width
        # bristles leave the canvas one after the other
        last = int(len(steps) * (1 - 0.25 * rng.random() ** 2))
        line = [tuple(SCALE * v for v in point) for point in np.array(path[:-1]) + offset * normal]
        tint = tuple(int(np.clip(v * rng.uniform(0.88, 1.12), 0, 255)) for v in base)
        thick = max(2, round(SCALE * width / bristles * 1.5))
        draw.line(line[: max(2, last)], fill=tint, width=thick, joint="curve")


def paint(
    size: int,
    seed: int,
    palette: Sequence[Sequence[float]] = PALETTE,
    layers: Sequence[tuple[float, float, int]] = LAYERS,
) -> Image.Image:
    """The picture, square, ``size`` px a side."""
    rng, colours = np.random.default_rng(seed), np.array(palette, float)
    unit = size / 1024
    angles = field(rng, size)
    picture = Image.new("RGB", (SCALE * size, SCALE * size), tuple(map(int, colours[1])))
    draw = ImageDraw.Draw(picture)
    for width, length, count in layers:
        for _ in range(count):
            broad = unit * width * rng.uniform(0.7, 1.2)
            stroke(draw, rng, angles, colours, broad, unit * length)
    small = picture.resize((size, size), Image.Resampling.LANCZOS)
    return small.filter(ImageFilter.UnsharpMask(radius=2, percent=60, threshold=2))

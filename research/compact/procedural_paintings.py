"""Paintings made by rule, in seven manners: the paintings at hand are few.

Lines and shapes are drawn twice as large and reduced.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from scripts.drawing.noise import smooth
from scripts.drawing.strokes import LAYERS, SCALE, field, paint

Manner = Callable[[np.random.Generator, int, np.ndarray], Image.Image]


def paint_by_rule(size: int, seed: int) -> Image.Image:
    """A picture in a manner, a palette and a density of its own, ``size`` px a side."""
    rng = np.random.default_rng(seed)
    palette = rng.uniform(0, 255, (rng.integers(3, 8), 3))
    grey = palette.mean(1, keepdims=True)
    palette = np.clip(grey + (palette - grey) * rng.uniform(0.4, 1.3), 0, 255)
    manner = MANNERS[seed % len(MANNERS)]
    return manner(rng, size, palette)


def brush_strokes(rng: np.random.Generator, size: int, palette: np.ndarray) -> Image.Image:
    """Strokes of `scripts.drawing.strokes`, broad or fine, long or short, few or many layers."""
    broad, long = rng.uniform(0.5, 2), rng.uniform(0.3, 1.2)
    layers = [
        (width * broad, max(24, length * long * broad), int(count / broad**1.5))
        for width, length, count in LAYERS[: rng.integers(2, 5)]
    ]
    return paint(size, int(rng.integers(1 << 31)), palette, layers)


def hatching(rng: np.random.Generator, size: int, palette: np.ndarray) -> Image.Image:
    """Pen lines, straight or along currents, over a wash; crossed in the dark."""
    picture, draw, unit = _canvas(rng, size, palette)
    angles, straight = field(rng, size), rng.uniform(0, np.pi)
    ink = [_tint(rng, palette) for _ in range(rng.integers(1, 4))]
    width = max(1, round(unit * rng.uniform(2, 7)))
    bend = rng.uniform(0, 1)
    for _ in range(int(rng.uniform(1500, 5000))):
        x, y = rng.uniform(0, size, 2)
        current = angles[int(y), int(x)]
        angle = straight + bend * current + (np.pi / 2 if rng.random() < 0.2 else 0)
        half = rng.uniform(10, 60) * size / 1024 * np.array([np.cos(angle), np.sin(angle)])
        ends = [tuple(SCALE * (np.array([x, y]) + side * half)) for side in (-1, 1)]
        draw.line(ends, fill=ink[rng.integers(len(ink))], width=width)
    return _reduce(picture, size)


def dots(rng: np.random.Generator, size: int, palette: np.ndarray) -> Image.Image:
    """Dots of pure colour side by side, whose mixture changes along a field."""
    picture, draw, unit = _canvas(rng, size, palette)
    mixture = field(rng, size)
    radius = unit * rng.uniform(4, 18)
    for _ in range(int(min(20000, 2.5 * (SCALE * size / radius) ** 2 / 4))):
        x, y = rng.uniform(0, size, 2)
        place = int(np.clip(mixture[int(y), int(x)] + rng.normal(0, 0.8) + 2, 0, len(palette) - 1))
        r, fill = radius * rng.uniform(0.6, 1.2), _tint(rng, palette, place)
        x, y = SCALE * x, SCALE * y
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)
    return _reduce(picture, size)


def shapes(rng: np.random.Generator, size: int, palette: np.ndarray) -> Image.Image:
    """Circles, rings, triangles, bars and grids over one another, with or without outlines."""
    picture, draw, unit = _canvas(rng, size, palette)
    outline = _tint(rng, palette) if rng.random() < 0.6 else None
    width = round(unit * rng.uniform(2, 9))
    for _ in range(int(rng.uniform(60, 350))):
        x, y = rng.uniform(0, SCALE * size, 2)
        r = unit * rng.uniform(8, 160) ** rng.uniform(0.8, 1)
        fill, kind = _tint(rng, palette), rng.integers(4)
        if kind == 0:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=fill, outline=outline, width=width)
        elif kind == 1:
            for ring in np.arange(r, 0, -max(2 * width, r / 5)):
                draw.ellipse(
                    [x - ring, y - ring, x + ring, y + ring], outline=fill, width=max(2, width)
                )
        else:
            count, turn = (3, 4, 5, 24)[rng.integers(4)], rng.uniform(0, 2 * np.pi)
            around = turn + 2 * np.pi * np.arange(count) / count
            flat = 1 if kind == 2 else rng.uniform(0.05, 0.3)
            points = np.stack([r * np.cos(around), flat * r * np.sin(around)])
            c, s = np.cos(turn), np.sin(turn)
            corners = np.array([[c, -s], [s, c]]) @ points + np.array([[x], [y]])
            draw.polygon([tuple(p) for p in corners.T], fill=fill, outline=outline)
    return _reduce(picture, size)


def facets(rng: np.random.Generator, size: int, palette: np.ndarray) -> Image.Image:
    """Cells around scattered points, shaded from one edge to the other: facets, or leaded glass."""
    points = rng.uniform(0, size, (int(rng.uniform(40, 400)), 2))
    points[:, 0] *= rng.uniform(0.5, 1)  # longer in one direction
    grid = np.mgrid[:size, :size].reshape(2, -1).T.astype(np.float32)
    nearest, first, second = np.zeros(len(grid), int), *np.full((2, len(grid)), np.inf)
    for k, point in enumerate(points):
        far = np.abs(grid - point) ** rng.uniform(1.6, 2.4) @ np.ones(2)
        closer = far < first
        second = np.where(closer, first, np.minimum(second, far))
        nearest[closer], first[closer] = k, far[closer]
    colours = np.array([_tint(rng, palette) for _ in points], float)
    slopes = rng.normal(0, rng.uniform(0, 0.9), (len(points), 2))
    shade = 1 + ((grid - points[nearest]) * slopes[nearest]).sum(1, keepdims=True) / 100
    picture = colours[nearest] * np.clip(shade, 0.4, 1.6)
    if rng.random() < 0.5:  # leads
        lead = (np.sqrt(second) - np.sqrt(first) < rng.uniform(1, 4))[:, None]
        picture = np.where(lead, np.array(_tint(rng, palette)) * 0.3, picture)
    return _to_image(picture.reshape(size, size, 3))


def woodcut(rng: np.random.Generator, size: int, palette: np.ndarray) -> Image.Image:
    """Flat colours between contours of a field with lines along them, as of a woodblock."""
    levels, ticks = field(rng, size), rng.uniform(2, 7)
    steps = levels * ticks / 4
    picture = palette[np.floor(steps).astype(int) % len(palette)]
    near = np.abs(steps - np.round(steps)) / (np.hypot(*np.gradient(steps)) + 1e-3)
    picture = np.where((near < rng.uniform(0.5, 2.5))[..., None], palette.min(0) * 0.4, picture)
    fine = np.sin(steps * 2 * np.pi * rng.integers(2, 6))
    lines = (fine > rng.uniform(0.7, 0.95))[..., None] & (np.sin(steps * 2.1) > 0)[..., None]
    picture = np.where(lines, palette[rng.integers(len(palette))], picture)
    grain = 1 + rng.uniform(0, 0.08) * rng.normal(size=(size, size, 1))
    return _to_image(picture * grain)


def clouds(rng: np.random.Generator, size: int, palette: np.ndarray) -> Image.Image:
    """Fields of noise of many scales, washed over one another: clouds, marble, stains."""
    total, weights = np.zeros((size, size, 3)), np.full((size, size, 1), 1e-3)
    sharp, octaves = rng.uniform(1, 12), 2 ** np.arange(2, rng.integers(5, 9))
    for colour in palette:
        noise = np.zeros((size, size))
        for cells in octaves:
            noise += np.abs(smooth(rng, cells, size)) / cells ** rng.uniform(0.2, 1)
        share = np.exp(sharp * noise / noise.std())[..., None]
        total, weights = total + share * colour, weights + share
    return _to_image(total / weights)


MANNERS: tuple[Manner, ...] = (brush_strokes, hatching, dots, shapes, facets, woodcut, clouds)


def _canvas(
    rng: np.random.Generator, size: int, palette: np.ndarray
) -> tuple[Image.Image, ImageDraw.ImageDraw, float]:
    """A ground of clouds or of one colour to draw on, and how many of its px are one of 1024."""
    side = SCALE * size
    if rng.random() < 0.5:
        picture = clouds(rng, size, palette).resize((side, side), Image.Resampling.BILINEAR)
    else:
        picture = Image.new("RGB", (side, side), _tint(rng, palette))
    return picture, ImageDraw.Draw(picture), side / 1024


def _tint(rng: np.random.Generator, palette: np.ndarray, place: int | None = None) -> tuple:
    """A colour of the palette, a little lighter or darker."""
    colour = palette[rng.integers(len(palette)) if place is None else place]
    return tuple(int(v) for v in np.clip(colour * rng.uniform(0.8, 1.2), 0, 255))


def _reduce(picture: Image.Image, size: int) -> Image.Image:
    small = picture.resize((size, size), Image.Resampling.LANCZOS)
    return small.filter(ImageFilter.UnsharpMask(radius=1, percent=40, threshold=2))


def _to_image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))

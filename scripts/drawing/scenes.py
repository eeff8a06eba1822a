"""Photos to begin with where there are few: parts of real ones, and scenes drawn by rule."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from drawing.noise import smooth
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from fst.images import Photo, save_picture

SIZE = 320  # px a side


def make_photos(folder: Path, real: Sequence[Image.Image], count: int, seed: int = 0) -> None:
    """Write ``count`` pictures of 320x320 px: every second one a part of a real photo."""
    rng = np.random.default_rng(seed)
    scenes = landscape, still_life, street
    for k in range(count):
        if k % 2:
            picture = scenes[k // 2 % len(scenes)](rng)
        else:
            picture = part_of(real[k // 2 % len(real)], rng)
        save_picture(Photo.from_image(picture), folder / f"{k:03d}.jpg", quality=90)


def part_of(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A square of a photo, mirrored or not, in another light."""
    side = int(min(photo.size) * rng.uniform(0.35, 1))
    left, top = (rng.integers(length - side + 1) for length in photo.size)
    part = photo.crop((left, top, left + side, top + side)).resize(
        (SIZE, SIZE), Image.Resampling.LANCZOS
    )
    if rng.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    hue, saturation, value = part.convert("HSV").split()
    shift = int(rng.normal(0, 18)) % 256
    part = Image.merge("HSV", (hue.point(lambda v: (v + shift) % 256), saturation, value))
    part = ImageEnhance.Color(part.convert("RGB")).enhance(rng.uniform(0.6, 1.4))
    return ImageEnhance.Brightness(part).enhance(rng.uniform(0.6, 1.3))


def noise(rng: np.random.Generator, octaves: Sequence[int] = (3, 6, 12, 24, 48, 96)) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1, ``(SIZE, SIZE)``, each octave half as strong."""
    total = np.zeros((SIZE, SIZE))
    for k, cells in enumerate(octaves):
        total += smooth(rng, cells, SIZE) / 2**k
    return (total - total.mean()) / total.std()


def sky(rng: np.random.Generator) -> np.ndarray:
    """A gradient with clouds, ``(SIZE, SIZE, 3)`` in [0, 255]."""
    top, bottom = (
        rng.uniform((20, 50, 90), (140, 170, 240)),
        rng.uniform((150, 120, 90), (250, 225, 210)),
    )
    height = np.linspace(0, 1, SIZE)[:, None, None]
    clouds = 1 / (1 + np.exp(-3 * (noise(rng) - rng.uniform(0, 1.5))))[..., None]
    return ((1 - height) * top + height * bottom) * (1 - 0.7 * clouds) + 245 * 0.7 * clouds


def landscape(rng: np.random.Generator) -> Image.Image:
    """Ridges before a sky, the nearer the darker and the rougher."""
    picture, rows = sky(rng), np.arange(SIZE)[:, None]
    ridges = int(rng.integers(2, 5))
    colour = rng.uniform((30, 50, 30), (130, 120, 120))
    for k in range(ridges):
        near = (k + 1) / ridges
        crest = SIZE * (0.3 + 0.55 * near) + 26 * noise(rng)[SIZE // 2] * (1.3 - near)
        texture = 1 + 0.22 * near * noise(rng, (24, 48, 96, 160))
        shade = (1 - 0.6 * near) * picture[0].mean(0) * 0.6 + colour * (0.4 + 0.5 * near)
        hill = shade * texture[..., None]
        picture = np.where((rows > crest)[..., None], hill, picture)
    return to_image(picture)


def still_life(rng: np.random.Generator) -> Image.Image:
    """Balls on a table, lit from one side, with their shadows."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    wall, table = rng.uniform(40, 220, (2, 3))
    edge = SIZE * rng.uniform(0.35, 0.6)
    picture = np.where((y > edge)[..., None], table, wall) * (1 + 0.06 * noise(rng)[..., None])
    light = np.array([rng.uniform(-0.8, 0.8), -0.7, 0.8])
    light /= np.linalg.norm(light)
    for radius in sorted(rng.uniform(18, 70, rng.integers(2, 6))):
        left, bottom = rng.uniform(0.1, 0.9) * SIZE, rng.uniform(edge + 10, SIZE)
        over = bottom - radius
        dark = ((x - left + light[0] * radius) / (1.2 * radius)) ** 2 + (
            (y - bottom) / (0.3 * radius)
        ) ** 2
        picture *= 1 - 0.5 * np.exp(-dark)[..., None]
        right, down = (x - left) / radius, (y - over) / radius
        inside = right**2 + down**2 < 1
        depth = np.sqrt(np.clip(1 - right**2 - down**2, 0, 1))
        lit = np.clip(right * light[0] + down * light[1] + depth * light[2], 0, 1)[..., None]
        ball = rng.uniform(60, 250, 3) * (0.2 + 0.8 * lit) * (1 + 0.1 * noise(rng)[..., None])
        picture = np.where(inside[..., None], ball + 90 * lit**20, picture)
    return to_image(picture)


def street(rng: np.random.Generator) -> Image.Image:
    """Houses with windows before a sky, and a road."""
    image = to_image(sky(rng))
    draw = ImageDraw.Draw(image)
    ground, left = int(SIZE * rng.uniform(0.75, 0.9)), 0
    while left < SIZE:
        width, top = int(rng.integers(40, 110)), int(rng.uniform(0.1, 0.6) * SIZE)
        wall = rng.uniform(60, 230, 3)
        draw.rectangle([left, top, left + width, ground], fill=tuple(wall.astype(int)))
        across, down = rng.integers(12, 24, 2)
        glass = tuple((wall * rng.uniform(0.3, 0.7)).astype(int))
        for column in range(left + 6, left + width - 8, across):
            for row in range(top + 8, ground - 12, down + 6):
                pane = glass if rng.random() < 0.8 else (250, 220, 140)
                draw.rectangle([column, row, column + across // 2, row + down * 2 // 3], fill=pane)
        left += width
    draw.rectangle([0, ground, SIZE, SIZE], fill=tuple(int(v) for v in rng.uniform(50, 110, 3)))
    soft = image.filter(ImageFilter.GaussianBlur(0.8))
    return to_image(np.asarray(soft) * (1 + 0.08 * noise(rng, (24, 48, 96, 160))[..., None]))


def to_image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))

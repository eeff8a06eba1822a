"""Every kind of file, through reading, a repaint that inverts, writing, and another reader."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageOps, features

from fst.images import Photo, read_photo, read_picture, save_picture
from tests.conftest import make_picture

PICTURE = make_picture(40, 24)
RAMP = Image.linear_gradient("L").resize(PICTURE.size)
HIGH = np.random.default_rng(0).integers(0, 65536, (24, 40, 4), dtype=np.uint16)
LOSS = {".jpg": 4, ".webp": 6, ".gif": 9, ".heic": 4, ".avif": 4}  # mean error, of 255

needs_avif = pytest.mark.skipif(
    "avif" not in features.get_supported(), reason="Pillow without AVIF"
)


@dataclass(frozen=True)
class Kind:
    """A file, and what must be seen in it: RGB and opacity as arrays of its depth."""

    name: str
    write: Callable[[Path], object]
    pixels: np.ndarray
    alpha: np.ndarray | None = None
    loss: float = 0  # mean error of the file itself, of 255


def of(
    name: str,
    image: Image.Image,
    seen: Image.Image | None = None,
    loss: float | None = None,
    **options,
) -> Kind:
    """A kind that Pillow writes; ``seen`` is what it shows when that is not ``image``."""
    seen = seen or image
    loss = LOSS.get(Path(name).suffix.lower(), 0) if loss is None else loss
    alpha = np.asarray(seen.getchannel("A")) if seen.mode in ("LA", "RGBA") else None
    pixels = np.asarray(seen.convert("RGB"))
    return Kind(name, lambda path: image.save(path, **options), pixels, alpha, loss)


def turned(orientation: int) -> Kind:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = PICTURE.copy()
    lying.getexif()[0x0112] = orientation
    seen = ImageOps.exif_transpose(lying)
    return of("x.jpg", PICTURE, seen, exif=exif, quality=95, subsampling=0)


def with_key_color() -> Kind:
    """RGB of which one colour is transparent, as PNG's tRNS says."""
    key = PICTURE.getpixel((15, 10))
    alpha = np.where((np.asarray(PICTURE) == key).all(axis=2), 0, 255).astype(np.uint8)
    kind = of("x.png", PICTURE, transparency=key)
    return replace(kind, alpha=alpha)


def see_through_palette(suffix: str) -> Kind:
    image = PICTURE.quantize(16)
    seen = image.copy()  # Pillow's conversion changes the palette of what it converts
    seen.info["transparency"] = 3
    return of(f"x{suffix}", image, seen.convert("RGBA"), transparency=3)


def deep(name: str, channels: list[int], **options) -> Kind:
    """16 bits a channel, which libvips writes: gray, gray and opacity, RGB, RGBA."""
    values = np.ascontiguousarray(HIGH[..., channels])
    space = "grey16" if len(channels) < 3 else "rgb16"
    colors = values[..., :3] if len(channels) > 2 else np.repeat(values[..., :1], 3, axis=2)
    image = pyvips.Image.new_from_array(values).copy(interpretation=space)
    return Kind(
        name,
        lambda path: image.write_to_file(str(path), **options),
        colors,
        values[..., -1] if len(channels) in (2, 4) else None,
    )


def deep_turned(name: str, orientation: int) -> Kind:
    numbers = Image.fromarray(np.arange(24 * 40, dtype=np.int32).reshape(24, 40))
    numbers.getexif()[0x0112] = orientation
    upright = HIGH.reshape(-1, 4)[np.asarray(ImageOps.exif_transpose(numbers))]
    image = pyvips.Image.new_from_array(HIGH).copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return Kind(
        name, lambda path: image.write_to_file(str(path)), upright[..., :3], upright[..., 3]
    )


def floats() -> Kind:
    image = RAMP.convert("F").point(lambda value: value / 255)
    return of("x.tif", image, RAMP)


KINDS: dict[str, Kind] = {
    **{f"JPEG turned {k}": turned(k) for k in range(1, 9)},
    "JPEG": of("x.jpg", PICTURE, quality=95),
    "JPEG in capitals": of("X.JPG", PICTURE, quality=95),
    "JPEG gray": of("x.jpg", PICTURE.convert("L")),
    "JPEG CMYK": of("x.jpg", PICTURE.convert("CMYK"), quality=95),
    "JPEG progressive": of("x.jpg", PICTURE, quality=95, progressive=True),
    "JPEG of several pictures": of(
        "x.jpg", PICTURE, format="MPO", save_all=True, append_images=[PICTURE], quality=95
    ),
    "JPEG called PNG": of("x.png", PICTURE, loss=4, format="JPEG", quality=95),
    "PNG": of("x.png", PICTURE),
    "PNG called JPEG": of("x.jpg", PICTURE, loss=0, format="PNG"),
    "PNG of 1 bit": of("x.png", PICTURE.convert("1")),
    "PNG gray": of("x.png", PICTURE.convert("L")),
    "PNG gray and opacity": of("x.png", Image.merge("LA", (PICTURE.convert("L"), RAMP))),
    "PNG palette": of("x.png", PICTURE.quantize(64)),
    "PNG palette, transparent": see_through_palette(".png"),
    "PNG key colour": with_key_color(),
    "PNG RGBA": of("x.png", Image.merge("RGBA", (*PICTURE.split(), RAMP))),
    "PNG of 16 bits, gray": deep("x.png", [0]),
    "PNG of 16 bits, gray and opacity": deep("x.png", [0, 3]),
    "PNG of 16 bits": deep("x.png", [0, 1, 2]),
    "PNG of 16 bits, interlaced": deep("x.png", [0, 1, 2], interlace=True),
    "PNG of 16 bits, RGBA": deep("x.png", [0, 1, 2, 3]),
    "PNG of one pixel": of("x.png", PICTURE.crop((0, 0, 1, 1))),
    "PNG of one row": of("x.png", PICTURE.crop((0, 3, 40, 4))),
    **{f"PNG of 16 bits, turned {k}": deep_turned("x.png", k) for k in range(2, 9)},
    "TIFF": of("x.tif", PICTURE),
    "TIFF of 1 bit": of("x.tif", PICTURE.convert("1"), compression="group4"),
    "TIFF gray": of("x.tif", PICTURE.convert("L")),
    "TIFF palette": of("x.tif", PICTURE.quantize(64)),
    "TIFF RGBA": of("x.tiff", Image.merge("RGBA", (*PICTURE.split(), RAMP))),
    "TIFF CMYK": of("x.tif", PICTURE.convert("CMYK")),
    "TIFF YCbCr": of("x.tif", PICTURE.convert("YCbCr"), loss=1, compression="tiff_lzw"),
    "TIFF LZW": of("x.tif", PICTURE, compression="tiff_lzw"),
    "TIFF JPEG": of("x.tif", PICTURE.convert("L"), loss=1, compression="jpeg", quality=100),
    "TIFF of several pages": of("x.tif", PICTURE, save_all=True, append_images=[RAMP]),
    "TIFF of floats": floats(),
    "TIFF of 32 bits": of("x.tif", RAMP.convert("I"), RAMP),
    "TIFF of 16 bits, gray": deep("x.tif", [0]),
    "TIFF of 16 bits": deep("x.tif", [0, 1, 2], compression="lzw", predictor="horizontal"),
    "TIFF of 16 bits, tiles": deep("x.tif", [0, 1, 2], tile=True, tile_width=16, tile_height=16),
    "TIFF of 16 bits, RGBA": deep("x.tif", [0, 1, 2, 3], compression="deflate"),
    **{f"TIFF of 16 bits, turned {k}": deep_turned("x.tif", k) for k in range(2, 9)},
    "BigTIFF of 16 bits": deep("x.tif", [0, 1, 2], bigtiff=True),
    "WebP": of("x.webp", PICTURE, quality=95),
    "WebP without loss": of("x.webp", PICTURE, loss=0, lossless=True),
    "WebP RGBA": of("x.webp", Image.merge("RGBA", (*PICTURE.split(), RAMP)), exact=True),
    "BMP": of("x.bmp", PICTURE),
    "BMP gray": of("x.bmp", PICTURE.convert("L")),
    "GIF": of("x.gif", PICTURE.quantize(64), loss=0),
    "GIF transparent": see_through_palette(".gif"),
}


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean difference, in units of 1/255 of the range."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    unit = np.iinfo(found.dtype).max / 255
    return float(np.abs(found.astype(float) - expected).mean() / unit)


def invert(photo: Photo) -> Photo:
    return replace(photo, pixels=np.iinfo(photo.pixels.dtype).max - photo.pixels)


def reopened(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB and opacity of a written file, by readers that are not ours."""
    with Image.open(path) as file:
        tiles = str(file.tile and file.tile[0].args)
        assert file.getexif().get(0x0112, 1) == 1
        deep = file.format in ("PNG", "TIFF") and "16" in tiles
        if not deep:
            see_through = file.mode in ("RGBA", "LA") or "transparency" in file.info
            image = file.convert("RGBA")
            alpha = np.asarray(image.getchannel("A")) if see_through else None
            return np.asarray(image.convert("RGB")), alpha
    array = pyvips.Image.new_from_file(str(path), revalidate=True).numpy()
    return array[..., :3], array[..., 3] if array.shape[2] == 4 else None


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_every_kind_is_read_repainted_and_written(kind, tmp_path):
    expected = KINDS[kind]
    source, target = tmp_path / expected.name, tmp_path / "out" / expected.name
    expected.write(source)

    photo = read_picture(source)
    assert error(photo.pixels, expected.pixels) <= expected.loss
    assert (photo.alpha is None) == (expected.alpha is None)
    assert photo.alpha is None or np.array_equal(photo.alpha, expected.alpha)

    save_picture(invert(photo), target)
    pixels, alpha = reopened(target)
    seen = np.ones(pixels.shape[:2], bool) if alpha is None else alpha > 0
    inverted = np.iinfo(pixels.dtype).max - expected.pixels
    if target.suffix.lower() == ".jpg":
        assert alpha is None
    else:
        assert (alpha is None) == (expected.alpha is None)
        assert alpha is None or np.array_equal(alpha, expected.alpha)
    assert error(pixels[seen], inverted[seen]) <= expected.loss + LOSS.get(target.suffix.lower(), 0)


def test_the_matrix_is_large():
    assert len(KINDS) >= 60


@pytest.mark.parametrize("suffix", [".heic", ".heif", pytest.param(".avif", marks=needs_avif)])
def test_heic_and_avif_are_read_and_written(suffix, tmp_path):
    if suffix != ".avif":
        pytest.importorskip("pillow_heif", reason='needs pip install "fst-style[heic]"')
    alpha = np.asarray(RAMP)
    path = tmp_path / f"x{suffix}"
    save_picture(Photo(np.asarray(PICTURE), alpha), path)
    assert path.read_bytes()[4:8] == b"ftyp"
    photo = read_photo(path)
    assert error(photo.pixels, np.asarray(PICTURE)) <= 4
    assert error(photo.alpha, alpha) <= 4
    path.rename(tmp_path / "x.jpg")  # found by what is in it
    assert read_photo(tmp_path / "x.jpg").size == PICTURE.size


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp", ".gif"])
def test_formats_of_8_bits_get_rounded_colors(suffix, tmp_path):
    flat = np.full((16, 16, 3), 128 * 257 + 100, np.uint16)
    save_picture(Photo(flat), tmp_path / f"x{suffix}")
    pixels, _ = reopened(tmp_path / f"x{suffix}")
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 128).max() <= 1


def test_a_better_quality_makes_a_larger_file(tmp_path):
    suffixes = [".jpg", ".webp", *([".avif"] if "avif" in features.get_supported() else [])]
    for suffix in suffixes:
        sizes = []
        for quality in (30, 95):
            save_picture(Photo(np.asarray(PICTURE)), tmp_path / f"x{suffix}", quality=quality)
            sizes.append((tmp_path / f"x{suffix}").stat().st_size)
        assert sizes[0] < sizes[1], suffix

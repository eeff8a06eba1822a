"""Colour profiles: converted on the way in, sRGB on the way out. The answers are by definition."""

import struct
from io import BytesIO

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from fst.images import SUFFIXES, Photo, read_photo, save_picture
from tests.conftest import make_picture

P3_TO_SRGB = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])
CARRY_PROFILE = [suffix for suffix in SUFFIXES if suffix not in (".bmp", ".gif", ".heif")]


def linear(encoded: np.ndarray) -> np.ndarray:
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def display_p3() -> bytes:
    return pyvips.Image.profile_load("p3")


def linear_gray() -> bytes:
    """An ICC profile of version 2: values are light, not its root."""
    curve = b"curv" + bytes(8)
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    text = b"text" + bytes(4) + b"x\0\0\0"
    name = b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(8 + 3 + 67 + 3)
    tags = {b"desc": name, b"cprt": text, b"wtpt": white, b"kTRC": curve}
    table, body = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(value))
        body += value
    header = bytes(4) + b"lcms" + struct.pack(">I", 0x02100000) + b"mntrGRAYXYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">iii", 63190, 65536, 54061)
    header = header.ljust(128, b"\0")
    return struct.pack(">I", 128 + len(table) + len(body)) + header[4:] + table + body


def carries_srgb(path) -> bool:
    with Image.open(path) as file:
        packed = file.info.get("icc_profile")
    if not packed:
        return False
    name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(packed)))
    return "sRGB" in name


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg"])
def test_display_p3_becomes_srgb(name, tmp_path):
    color = np.array([120, 100, 80])
    image = Image.new("RGB", (16, 16), tuple(color.tolist()))
    image.save(tmp_path / name, icc_profile=display_p3(), quality=100, subsampling=0)
    photo = read_photo(tmp_path / name)
    expected = encoded(P3_TO_SRGB @ linear(color / 255)) * 255
    assert np.abs(photo.pixels - expected).max() <= (3 if name == "x.jpg" else 1)
    assert photo.metadata.profile


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
@pytest.mark.parametrize("opaque", [True, False])
def test_16_bit_colors_are_converted_in_16_bit(name, opaque, tmp_path):
    """A ramp finer than 8 bits stays one after the conversion."""
    steps = np.linspace(30000, 30100, 64).round()
    values = np.empty((8, 64, 4), np.uint16)
    values[...] = np.stack([steps, steps - 4000, steps - 8000, steps * 2], axis=1)
    values = np.ascontiguousarray(values[..., : 3 if opaque else 4])
    image = pyvips.Image.new_from_array(values).copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", display_p3())
    image.write_to_file(str(tmp_path / name))
    photo = read_photo(tmp_path / name)
    expected = encoded(linear(values[..., :3] / 65535) @ P3_TO_SRGB.T) * 65535
    assert photo.pixels.dtype == np.uint16
    assert np.abs(photo.pixels - expected).max() <= 40  # an eighth of a step of 8 bits
    assert len(np.unique(photo.pixels[0, :, 0])) > 50
    assert opaque or np.array_equal(photo.alpha, values[..., 3])
    save_picture(photo, tmp_path / "out" / name)
    assert carries_srgb(tmp_path / "out" / name)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_gray_profiles_of_gray_photos_are_converted(mode, tmp_path):
    image = Image.new(mode, (8, 8), (55, 255)[: len(mode)])
    image.save(tmp_path / "x.png", icc_profile=linear_gray())
    photo = read_photo(tmp_path / "x.png")
    assert np.abs(photo.pixels - encoded(np.array(55 / 255)) * 255).max() <= 1
    assert (photo.alpha is not None) == (mode == "LA")


def test_gray_profiles_of_16_bit_photos_are_converted(tmp_path):
    gray = Image.fromarray(np.full((8, 8), 14135, np.uint16))
    gray.save(tmp_path / "x.png", icc_profile=linear_gray())
    photo = read_photo(tmp_path / "x.png")
    assert np.abs(photo.pixels - encoded(np.array(14135 / 65535)) * 65535).max() <= 60
    assert photo.metadata.profile


def test_cmyk_with_a_profile_looks_as_elsewhere(tmp_path):
    profile = pyvips.Image.profile_load("cmyk")
    image = make_picture(32, 24).convert("CMYK")
    image.save(tmp_path / "x.tif", icc_profile=profile)
    photo = read_photo(tmp_path / "x.tif")
    elsewhere = pyvips.Image.new_from_file(str(tmp_path / "x.tif"))
    elsewhere = elsewhere.icc_transform("srgb", embedded=True, intent="perceptual").numpy()
    assert np.abs(photo.pixels.astype(int) - elsewhere).mean() < 2
    naive = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(photo.pixels - naive).mean() > 4
    assert photo.metadata.profile


def test_lab_is_converted(tmp_path):
    """Lab stored with its profile: red must come out red, as the profile says."""
    red = Image.new("RGB", (8, 8), (200, 30, 40))
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(red, srgb, lab, outputMode="LAB")
    image.save(tmp_path / "x.tif", icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert np.abs(read_photo(tmp_path / "x.tif").pixels - (200.0, 30, 40)).max() <= 3


@pytest.mark.parametrize("broken", [b"nonsense", display_p3()[:300], linear_gray()])
def test_a_profile_that_is_broken_or_of_another_kind_is_ignored(broken, tmp_path):
    picture = make_picture(30, 20)
    picture.save(tmp_path / "x.png", icc_profile=broken)
    photo = read_photo(tmp_path / "x.png")
    assert photo.image.tobytes() == picture.tobytes()
    assert not photo.metadata.profile
    deep = np.asarray(picture, np.uint16) * 257
    image = pyvips.Image.new_from_array(deep).copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", broken)
    image.write_to_file(str(tmp_path / "x.tif"))
    assert np.array_equal(read_photo(tmp_path / "x.tif").pixels, deep)


@pytest.mark.parametrize("suffix", CARRY_PROFILE)
def test_the_output_has_an_srgb_profile_if_the_source_had_one(suffix, tmp_path):
    if suffix == ".heic":
        pytest.importorskip("pillow_heif", reason='needs pip install "fst-style[heic]"')
    for profile in (display_p3(), None):
        make_picture(32, 24).save(tmp_path / "x.png", icc_profile=profile)
        for strip in (False, True):
            path = tmp_path / f"y{suffix}"
            save_picture(read_photo(tmp_path / "x.png"), path, strip_metadata=strip)
            assert carries_srgb(path) == (profile is not None)


def test_bands_of_a_large_picture_fit_together(tmp_path, monkeypatch):
    """Pictures are converted band by band; with one row a band nothing changes."""
    picture = make_picture(50, 40)
    exif = Image.Exif()
    exif[0x0112] = 7
    picture.save(tmp_path / "x.png", icc_profile=display_p3(), exif=exif)
    whole = read_photo(tmp_path / "x.png")
    monkeypatch.setattr("fst.images.decoding._BAND", 1)
    monkeypatch.setattr("fst.images.photo._BAND", 1)
    monkeypatch.setattr("fst.images.encoding._STRIP", 1)
    photo = read_photo(tmp_path / "x.png")
    assert np.array_equal(photo.pixels, whole.pixels)
    deep = Photo(photo.pixels.astype(np.uint16) * 257, photo.pixels[..., 0].astype(np.uint16))
    for name in ("y.png", "y.tif"):
        save_picture(deep, tmp_path / name)
        again = read_photo(tmp_path / name)
        assert np.array_equal(again.pixels, deep.pixels)
        assert np.array_equal(again.alpha, deep.alpha)
    assert np.array_equal(np.asarray(again.image), photo.pixels)

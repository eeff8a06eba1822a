import struct
import warnings
from io import BytesIO

import numpy as np
import pytest
import torch
from conftest import make_picture
from PIL import Image, ImageCms

from fst.errors import InputError
from fst.images import (
    Photo,
    contact_sheet,
    find_images,
    flatten,
    read_photo,
    resize_shorter,
    save_photo,
    to_image,
    to_tensor,
)


def save(tmp_path, image, name, **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_tensors_and_images_round_trip_exactly():
    picture = make_picture(31, 20)
    tensor = to_tensor(picture)
    assert tensor.shape == (3, 20, 31)
    assert tensor.dtype is torch.float32
    assert to_image(tensor).tobytes() == picture.tobytes()


def test_values_outside_the_range_are_clipped():
    assert to_image(torch.tensor([[[-1.0]], [[0.5]], [[2.0]]])).getpixel((0, 0)) == (0, 128, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 30), 40000, np.uint16))
    else:
        image = make_picture(30, 20).convert(mode)
    photo = read_photo(save(tmp_path, image, "x.tiff"))
    assert photo.image.mode == "RGB"
    assert photo.image.size == (30, 20)
    assert (photo.alpha is not None) == (mode in ("LA", "RGBA"))


def test_16_bit_is_scaled_and_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    for name in ("x.png", "x.tiff"):
        grey = np.asarray(read_photo(save(tmp_path, Image.fromarray(ramp), name)).image)[..., 0]
        assert abs(grey.astype(float) - ramp / 257).max() <= 1, name


def test_a_dark_16_bit_photo_stays_dark(tmp_path):
    dark = Image.fromarray(np.full((8, 8), 200, np.uint16))
    assert read_photo(save(tmp_path, dark, "x.png")).image.getpixel((0, 0)) == (1, 1, 1)


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the stored picture lies on its side
    photo = read_photo(save(tmp_path, make_picture(40, 20), "x.jpg", exif=exif))
    assert photo.image.size == (20, 40)


def test_icc_profiles_are_converted(tmp_path):
    """Lab stored with its profile: red must come out red, as the profile says."""
    red = Image.new("RGB", (8, 8), (200, 30, 40))
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(red, srgb, lab, outputMode="LAB")
    profile = ImageCms.ImageCmsProfile(lab).tobytes()
    found = read_photo(save(tmp_path, image, "x.tiff", icc_profile=profile)).image
    assert np.abs(np.array(found.getpixel((4, 4))) - (200, 30, 40)).max() <= 3


def test_a_broken_icc_profile_is_ignored(tmp_path):
    path = save(tmp_path, make_picture(30, 20), "x.png", icc_profile=b"nonsense")
    assert read_photo(path).image.tobytes() == make_picture(30, 20).tobytes()


def test_alpha_is_kept_through_png_and_put_on_white_in_jpeg(tmp_path):
    image = make_picture(30, 20).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((30, 20)))
    photo = read_photo(save(tmp_path, image, "x.png"))
    save_photo(photo, tmp_path / "y.png")
    again = read_photo(tmp_path / "y.png")
    assert again.alpha.tobytes() == image.getchannel("A").tobytes()
    assert again.image.tobytes() == photo.image.tobytes()
    save_photo(photo, tmp_path / "y.jpg")
    assert read_photo(tmp_path / "y.jpg").image.getpixel((5, 0)) == pytest.approx(
        (255,) * 3, abs=12
    )


def test_flatten_puts_transparent_pixels_on_white():
    picture = make_picture(8, 8)
    assert flatten(Photo(picture)) is picture
    assert flatten(Photo(picture, Image.new("L", (8, 8), 0))).getpixel((3, 3)) == (255, 255, 255)


def test_jpeg_is_written_well(tmp_path):
    save_photo(Photo(make_picture(64, 48)), tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as file:
        assert file.layer[0][1:3] == (1, 1)  # no chroma subsampling
        assert max(file.quantization[0]) < 20  # quality 95


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(InputError, match="x.png: cannot be written"):
        save_photo(Photo(make_picture(8, 8)), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no.jpg: expected a picture, found no such file"):
        read_photo(tmp_path / "no.jpg")
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(
        InputError, match=r"text.jpg: expected a picture \(.*\), found something el"
    ):
        read_photo(tmp_path / "text.jpg")
    buffer = BytesIO()
    make_picture(200, 200).save(buffer, "jpeg")
    for name, content in (("cut.jpg", buffer.getvalue()[:2000]), ("empty.jpg", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: expected a"):
            read_photo(tmp_path / name)
    with pytest.raises(InputError, match=r"expected a suffix among .*; found '.xyz'"):
        save_photo(Photo(make_picture(8, 8)), tmp_path / "x.xyz")


def test_every_cut_of_a_file_is_a_picture_or_one_clear_error(tmp_path):
    for suffix in ("jpg", "png", "webp", "tiff", "bmp"):
        whole = save(tmp_path, make_picture(40, 30), f"whole.{suffix}").read_bytes()
        for share in (0.01, 0.1, 0.5, 0.9, 0.99):
            path = tmp_path / f"cut.{suffix}"
            path.write_bytes(whole[: int(len(whole) * share)])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, about truncated TIFF tags
                try:
                    read_photo(path)
                except InputError as error:
                    assert "\n" not in str(error)


def test_damaged_exif_of_a_turned_photo_is_a_picture_or_one_clear_error(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F], exif[0x0132] = "maker", "2020:01:01 00:00:00"
    whole = bytearray(save(tmp_path, make_picture(24, 16), "x.jpg", exif=exif).read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = whole.copy()
        for place in rng.integers(12, 120, 3):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / "y.jpg").write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_photo(tmp_path / "y.jpg")
            except InputError as error:
                assert "\n" not in str(error)


def test_what_pillow_raises_on_damage_is_one_clear_error(tmp_path, monkeypatch):
    def fail(_):
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    with pytest.raises(
        InputError, match=r"x.png: expected a whole picture, found it unreadable \(r"
    ):
        read_photo(save(tmp_path, make_picture(8, 8), "x.png"))


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path, make_picture(100, 100), "big.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="big.png: expected a whole picture"):
        read_photo(path)


def test_resize_keeps_the_aspect_ratio():
    assert resize_shorter(make_picture(200, 100), 50).size == (100, 50)
    assert resize_shorter(make_picture(100, 201), 50).size == (50, 100)


def test_images_are_found_in_nested_folders(tmp_path):
    for name in ("b.JPG", "a/c.png", "a/notes.txt", ".hidden/d.png", "a/.e.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == [
        "a/c.png",
        "b.JPG",
    ]
    with pytest.raises(
        InputError, match="nosuch: expected a folder of pictures, found no such fold"
    ):
        find_images(tmp_path / "nosuch")


def test_a_contact_sheet_holds_every_picture():
    sheet = contact_sheet([[make_picture(40, 20)] * 2, [make_picture(20, 20)]], height=10, gap=2)
    assert sheet.size == (2 + 2 * (20 + 2), 2 + 2 * (10 + 2))
    assert sheet.getpixel((30, 20)) == (255, 255, 255)

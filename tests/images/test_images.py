import numpy as np
import pytest
import torch
from PIL import Image

from fst.images import (
    Photo,
    captioned_sheet,
    contact_sheet,
    find_images,
    flatten,
    read_photo,
    resize_shorter,
    save_picture,
    to_array,
    to_image,
    to_tensor,
)
from fst.system.errors import InputError
from tests.conftest import make_picture


def photo_of(width: int, height: int) -> Photo:
    return Photo.from_image(make_picture(width, height))


def test_tensors_and_images_round_trip_exactly():
    picture = make_picture(31, 20)
    tensor = to_tensor(picture)
    assert tensor.shape == (3, 20, 31)
    assert tensor.dtype is torch.float32
    assert to_image(tensor).tobytes() == picture.tobytes()
    assert torch.equal(to_tensor(np.asarray(picture)), tensor)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_round_trip_exactly_through_tensors(dtype):
    highest = np.iinfo(dtype).max
    array = np.random.default_rng(0).integers(0, highest, (20, 31, 3), dtype, endpoint=True)
    array[0, 0] = 0, highest, highest - 1
    tensor = to_tensor(array)
    assert tensor.shape == (3, 20, 31)
    assert tensor.dtype is torch.float32
    assert (tensor[0, 0, 0], tensor[1, 0, 0]) == (0, 1)
    again = to_array(tensor, dtype)
    assert again.dtype == dtype
    assert again.flags.c_contiguous
    assert np.array_equal(again, array)


def test_values_outside_the_range_are_clipped_and_rounded():
    tensor = torch.tensor([[[-1.0]], [[0.5]], [[2.0]]])
    assert to_image(tensor).getpixel((0, 0)) == (0, 128, 255)
    assert to_array(tensor, np.uint16).tolist() == [[[0, 32768, 65535]]]
    assert tensor[0, 0, 0] == -1


def test_a_photo_of_floats_is_written_with_16_bits_or_rounded_to_8(tmp_path):
    rng = np.random.default_rng(0)
    pixels, alpha = rng.random((20, 31, 3), np.float32), rng.random((20, 31), np.float32)
    pixels[0, 0] = 0, 1, 0.5
    photo = Photo(pixels, alpha)
    assert photo.image.getpixel((0, 0)) == (0, 255, 128)
    assert flatten(Photo(pixels)).tobytes() == to_image(to_tensor(pixels)).tobytes()
    for suffix in (".png", ".tif"):
        save_picture(photo, tmp_path / f"x{suffix}")
        again = read_photo(tmp_path / f"x{suffix}")
        assert again.pixels.dtype == again.alpha.dtype == np.uint16
        assert np.array_equal(again.pixels, to_array(to_tensor(pixels), np.uint16))
        assert np.abs(again.alpha / 65535 - alpha).max() < 1e-5
    for suffix in (".jpg", ".webp", ".gif"):
        save_picture(photo, tmp_path / f"x{suffix}")
        assert read_photo(tmp_path / f"x{suffix}").pixels.dtype == np.uint8


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((4, 5, 3))]
)
def test_pixels_of_another_kind_are_refused(pixels):
    with pytest.raises(InputError, match=r"photo: expected pixels of shape \(H, W, 3\), uint8, ui"):
        Photo(pixels)


def test_a_photo_of_16_bits_is_shown_rounded():
    values = np.array([[[0, 128, 129]], [[65535, 65406, 65407]]], np.uint16)
    photo = Photo(values)
    assert photo.size == (1, 2)
    assert np.asarray(photo.image).tolist() == [[[0, 0, 1]], [[255, 254, 255]]]


def test_flatten_puts_transparent_pixels_on_white():
    photo = photo_of(8, 8)
    assert flatten(photo).tobytes() == photo.image.tobytes()
    clear = Photo(photo.pixels, np.zeros((8, 8), np.uint8))
    assert flatten(clear).getpixel((3, 3)) == (255, 255, 255)


def test_alpha_is_put_on_white_in_jpeg(tmp_path):
    image = make_picture(30, 20).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((30, 20)))
    image.save(tmp_path / "x.png")
    save_picture(read_photo(tmp_path / "x.png"), tmp_path / "y.jpg")
    assert read_photo(tmp_path / "y.jpg").image.getpixel((5, 0)) == pytest.approx(
        (255,) * 3, abs=12
    )


def test_16_bit_grays_look_right_in_8_bits(tmp_path):
    """Pillow's own conversion clips them; a dark one must stay dark, a ramp a ramp."""
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    dark = np.full((8, 8), 200, np.uint16)
    for gray in (ramp, dark):
        for name in ("x.png", "x.tif", "x.jp2"):
            Image.fromarray(gray).save(tmp_path / name)
            found = np.asarray(read_photo(tmp_path / name).image)[..., 0]
            assert np.abs(found - gray / 257).max() <= 0.51, name


def test_a_memory_mapped_picture_is_written(tmp_path):
    expected = np.asarray(make_picture(40, 30))
    pixels = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=expected.shape)
    pixels[:] = expected
    for name in ("x.png", "x.tif"):
        save_picture(Photo(pixels), tmp_path / name)
        assert np.array_equal(read_photo(tmp_path / name).pixels, expected)


def test_jpeg_is_written_well(tmp_path):
    save_picture(photo_of(64, 48), tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as file:
        assert file.layer[0][1:3] == (1, 1)  # no chroma subsampling
        assert max(file.quantization[0]) < 20  # quality 95


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(InputError, match="x.png: cannot be written"):
        save_picture(photo_of(8, 8), tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_what_an_encoder_refuses_is_one_clear_error(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Encoder plugin generated an error")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(InputError, match=r"x.webp: expected a picture that a .webp file can hold"):
        save_picture(photo_of(8, 8), tmp_path / "x.webp")
    assert list(tmp_path.iterdir()) == []


def test_what_pillow_raises_on_damage_is_one_clear_error(tmp_path, monkeypatch):
    make_picture(8, 8).save(tmp_path / "x.png")

    def fail(_):
        raise TypeError("required argument is not\nan integer")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    match = r"x.png: expected a whole picture, found it unreadable \(required .* not an integer\)"
    with pytest.raises(InputError, match=match):
        read_photo(tmp_path / "x.png")


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


def test_captions_stand_above_their_pictures():
    black = Image.new("RGB", (300, 200))
    plain = contact_sheet([[black, black]], height=100, gap=5)
    short, long = (
        captioned_sheet([[(text, black), ("", black)]], 100, 5) for text in ("a", "a" * 99)
    )
    assert short.size == long.size
    assert short.width == plain.width
    line = short.height - plain.height
    assert line > 10
    below = plain.crop((0, 5, *plain.size))
    for sheet in short, long:
        assert sheet.crop((0, line + 5, *sheet.size)).tobytes() == below.tobytes()
        assert sheet.crop((5, 5, 155, line)).getextrema() != ((255, 255),) * 3
        assert sheet.crop((160, 0, sheet.width, line)).getextrema() == ((255, 255),) * 3

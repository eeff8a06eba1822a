from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fst.images import Animation, Photo, read_photo, read_picture, save_picture
from fst.system.errors import InputError
from tests.conftest import make_picture

FORMATS = [".gif", ".webp", ".png"]
TIMES = [40, 100, 250, 30, 1200]
LOSS = {".gif": 9, ".webp": 6, ".png": 0}  # mean error, of 255


def picture(number: int) -> Image.Image:
    return make_picture(48, 32, seed=number)


def save(path, images, **options):
    first, *rest = images
    options = {"duration": TIMES[: len(images)], "loop": 0, **options}
    first.save(path, save_all=True, append_images=rest, **options)
    return path


def see_through(number: int) -> Image.Image:
    """A square with a hole, that moves over nothing."""
    image = Image.new("RGBA", (48, 32), (0, 0, 0, 0))
    image.paste(picture(number).crop((0, 0, 12, 12)), (8 * number, 10))
    image.putpixel((8 * number + 5, 15), (0, 0, 0, 0))
    return image


def frames_of(path) -> list[Image.Image]:
    """Whole frames by Pillow alone, RGBA, each with its duration in ``info``."""
    frames = []
    with Image.open(path) as file:
        for number in range(file.n_frames):
            file.seek(number)
            file.load()
            frame = file.convert("RGBA")
            frame.info["duration"] = file.info["duration"]
            frames.append(frame)
    return frames


def invert(photo: Photo) -> Photo:
    return replace(photo, pixels=255 - photo.pixels)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_every_frame_is_repainted_and_keeps_its_time(source, target, tmp_path):
    images = [picture(number) for number in range(5)]
    options = {"lossless": True} if source == ".webp" else {}
    path = save(tmp_path / f"x{source}", images, **options)
    animation = read_picture(path)
    assert isinstance(animation, Animation)
    assert (len(animation), animation.size, animation.durations) == (5, (48, 32), TIMES)
    save_picture(animation.map(invert), tmp_path / f"y{target}")
    found = frames_of(tmp_path / f"y{target}")
    assert [round(frame.info["duration"]) for frame in found] == TIMES
    for frame, image in zip(found, images, strict=True):
        error = np.abs(np.asarray(frame.convert("RGB")) - (255.0 - np.asarray(image))).mean()
        assert error <= LOSS[target] + 9 * (source == ".gif")
        assert frame.getextrema()[3] == (255, 255)


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_what_is_transparent_shows_no_earlier_frame(source, target, tmp_path):
    images = [see_through(number) for number in range(4)]
    options = {".webp": {"lossless": True}, ".gif": {"disposal": 2}, ".png": {"disposal": 1}}
    path = save(tmp_path / f"x{source}", images, **options[source])
    save_picture(read_picture(path), tmp_path / f"y{target}")
    for frame, image in zip(frames_of(tmp_path / f"y{target}"), images, strict=True):
        assert np.array_equal(np.asarray(frame)[..., 3], np.asarray(image)[..., 3])


def test_frames_that_build_on_each_other_come_out_whole(tmp_path):
    """A GIF stores what changes; every frame has to be seen, and repainted, as a whole."""
    images = [picture(0).quantize(32).convert("RGB") for _ in range(3)]
    for number, image in enumerate(images):
        image.paste((255, 255, 255), (10 * number, 4, 10 * number + 6, 12))
    path = save(tmp_path / "x.gif", images)
    for photo, image in zip(read_picture(path), images, strict=True):
        assert np.abs(photo.pixels.astype(int) - np.asarray(image)).mean() < 2
        assert photo.alpha is None


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("loop", [0, 3])
def test_the_number_of_loops_is_kept(suffix, loop, tmp_path):
    path = save(tmp_path / f"x{suffix}", [picture(0), picture(1)], loop=loop)
    save_picture(read_picture(path), tmp_path / f"y{suffix}")
    with Image.open(tmp_path / f"y{suffix}") as file:
        assert file.info["loop"] == loop


def test_a_gif_that_says_nothing_of_loops_is_played_once(tmp_path):
    path = save(tmp_path / "x.gif", [picture(0), picture(1)], loop=None)
    animation = read_picture(path)
    assert animation.loop == 1
    save_picture(animation, tmp_path / "y.gif")
    with Image.open(tmp_path / "y.gif") as file:
        assert "loop" not in file.info
    save_picture(animation, tmp_path / "y.png")
    with Image.open(tmp_path / "y.png") as file:
        assert file.info["loop"] == 1


def test_equal_frames_stay_apart(tmp_path):
    frame = Photo(np.asarray(picture(0)))
    animation = Animation(lambda: iter([frame] * 3), [50, 50, 70], 0, frame.size)
    for suffix in FORMATS:
        save_picture(animation, tmp_path / f"x{suffix}")
        assert read_picture(tmp_path / f"x{suffix}").durations == [50, 50, 70]


def test_a_gif_loses_no_time_by_rounding(tmp_path):
    """33 ms are no whole hundredths of a second; ten frames of them are 330 ms."""
    frame = Photo(np.asarray(picture(0)))
    animation = Animation(lambda: iter([frame] * 10), [33] * 10, 0, frame.size)
    save_picture(animation, tmp_path / "x.gif")
    durations = read_picture(tmp_path / "x.gif").durations
    assert sum(durations) == 330
    assert set(durations) == {30, 40}


def test_long_times_are_kept(tmp_path):
    frame = Photo(np.asarray(picture(0)))
    animation = Animation(lambda: iter([frame] * 2), [90_000, 20], 0, frame.size)
    for suffix in (".gif", ".png", ".webp"):
        save_picture(animation, tmp_path / f"x{suffix}")
        assert sum(read_picture(tmp_path / f"x{suffix}").durations) == pytest.approx(90_020)


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".bmp"])
def test_an_animation_is_not_cut_down_to_one_frame(suffix, tmp_path):
    animation = read_picture(save(tmp_path / "x.gif", [picture(0), picture(1)]))
    match = rf"y\{suffix}: expected a format for an animation of 2 frames \(.gif, .webp, .png\)"
    with pytest.raises(InputError, match=match):
        save_picture(animation, tmp_path / f"y{suffix}")
    assert not (tmp_path / f"y{suffix}").exists()


def test_training_sees_the_first_frame(tmp_path):
    path = save(tmp_path / "x.png", [picture(0), picture(1)])
    assert np.array_equal(read_photo(path).pixels, np.asarray(picture(0)))


def test_the_still_picture_of_an_animated_png_is_no_frame(tmp_path):
    path = tmp_path / "x.png"
    images = [picture(number) for number in range(3)]
    images[0].save(
        path, save_all=True, append_images=images[1:], default_image=True, duration=[50, 60]
    )
    animation = read_picture(path)
    assert animation.durations == [50, 60]
    assert np.array_equal(next(iter(animation)).pixels, np.asarray(images[1]))


def test_frames_are_decoded_and_repainted_one_by_one(tmp_path):
    seen = []
    path = save(tmp_path / "x.gif", [picture(number) for number in range(4)])
    frames = iter(read_picture(path).map(lambda photo: seen.append(photo) or photo))
    assert seen == []
    next(frames)
    next(frames)
    assert len(seen) == 2
    assert len(list(frames)) == 2  # to the end, where the file is closed


def test_metadata_of_an_animation_is_kept(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    path = save(tmp_path / "x.webp", [picture(0), picture(1)], exif=exif.tobytes())
    for suffix in (".webp", ".png"):
        save_picture(read_picture(path), tmp_path / f"y{suffix}")
        with Image.open(tmp_path / f"y{suffix}") as file:
            assert file.getexif()[0x010F] == "Maker"
        save_picture(read_picture(path), tmp_path / f"y{suffix}", strip_metadata=True)
        assert b"Maker" not in (tmp_path / f"y{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.98])
def test_a_cut_animation_is_refused_or_whole(suffix, share, tmp_path):
    images = [picture(number) for number in range(4)]
    path = save(tmp_path / f"x{suffix}", images)
    whole = [frame.pixels for frame in read_picture(path)]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    try:
        found = read_picture(path)
    except InputError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:  # what is there, as it was
        for frame, expected in zip(found, whole, strict=False):
            assert np.array_equal(frame.pixels, expected)

import math

import numpy as np
import pytest
import torch
from PIL import Image

import fst.stylizer.tiles
from fst.images import Photo, to_tensor
from fst.networks import build_network
from fst.styles import load_style, save_style
from fst.stylizer import Stylizer
from fst.stylizer.stylizer import _empty, parse_styles
from fst.system.errors import InputError
from tests.conftest import make_picture

EXACT = {"device": "cpu", "engine": "eager", "precision": "fp32"}


@pytest.fixture
def stylize(checkpoint):
    return Stylizer(checkpoint, **EXACT)


@pytest.fixture
def other(tmp_path):
    """A style file of another untrained network."""
    torch.manual_seed(1)
    path = tmp_path / "other.safetensors"
    network = {"name": "transformer", "arguments": {"width": 4}}
    save_style(path, build_network("transformer", width=4), {"network": network})
    return path


def test_it_runs_the_checkpoints_network(checkpoint, stylize):
    net, card = load_style(checkpoint)
    photo = torch.rand(3, 45, 38)
    assert stylize.cards == [card]
    torch.testing.assert_close(stylize(photo), net(photo[None])[0], atol=1e-5, rtol=0)


def test_the_answer_has_the_kind_and_size_of_the_picture(stylize):
    assert stylize(torch.rand(2, 3, 20, 30)).shape == (2, 3, 20, 30)
    assert stylize(torch.rand(3, 20, 30, dtype=torch.double)).shape == (3, 20, 30)
    picture = stylize(make_picture(37, 22))
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size) == ("RGB", (37, 22))


def test_a_photo_keeps_depth_opacity_and_metadata(stylize):
    pixels = np.asarray(make_picture(37, 22)).astype(np.uint16) * 257
    alpha = np.linspace(0, 65535, 37 * 22).astype(np.uint16).reshape(22, 37)
    photo = Photo(pixels, alpha)
    painted = stylize(photo)
    assert painted.pixels.dtype == np.uint16
    assert len(np.unique(painted.pixels)) > 256
    assert painted.alpha is alpha
    assert painted.metadata is photo.metadata


def test_a_picture_and_its_tensor_give_the_same(stylize):
    picture = make_picture(37, 22)
    difference = to_tensor(stylize(picture)) - stylize(to_tensor(picture))
    assert difference.abs().max() <= 0.5 / 255 + 1e-6


def test_hidden_colours_do_not_bleed_into_the_visible_ones(stylize):
    """Whatever is stored under full transparency, the visible pixels come out the same."""
    pixels = np.asarray(make_picture(60, 48)).copy()
    alpha = np.full((48, 60), 255, np.uint8)
    alpha[:, 30:] = 0
    black, white = pixels.copy(), pixels.copy()
    black[:, 30:], white[:, 30:] = 0, 255
    shown = [stylize(Photo(each, alpha)).pixels[:, :30] for each in (black, white)]
    np.testing.assert_array_equal(*shown)
    assert (stylize(Photo(black)).pixels[:, :30] != shown[0]).any()


def test_hidden_colours_do_not_bleed_when_the_output_is_reduced(stylize):
    alpha = np.full((48, 60), 255, np.uint8)
    alpha[:, 31:] = 0
    black = np.asarray(make_picture(60, 48)).copy()
    white = black.copy()
    black[:, 31:], white[:, 31:] = 0, 255
    small = [stylize(Photo(each, alpha), max_side=40) for each in (black, white)]
    visible = small[0].alpha > 0
    np.testing.assert_array_equal(small[0].pixels[visible], small[1].pixels[visible])


def test_masks_are_arrays_of_integers_or_of_shares_for_tensors_too(stylize):
    photo = torch.rand(3, 24, 40)
    share = np.linspace(0, 1, 40, dtype=np.float32)[None].repeat(24, 0)
    whole = np.rint(255 * share).astype(np.uint8)
    masked = [stylize(photo, mask=mask) for mask in (share, whole)]
    torch.testing.assert_close(*masked, atol=0.01, rtol=0)
    torch.testing.assert_close(masked[0][..., 0], photo[..., 0], atol=1e-6, rtol=0)


def test_strength_zero_is_the_photo_bit_for_bit(stylize):
    picture = make_picture(37, 22)
    assert stylize(picture, strength=0).tobytes() == picture.tobytes()
    photo = torch.rand(2, 3, 20, 30)
    assert torch.equal(stylize(photo, strength=0), photo)


def test_strength_goes_half_the_way(stylize):
    photo = torch.rand(3, 20, 30)
    expected = (photo + stylize(photo)) / 2
    torch.testing.assert_close(stylize(photo, strength=0.5), expected, atol=1e-6, rtol=0)


def test_a_mask_and_preserved_color_reach_the_picture(stylize):
    picture = make_picture(40, 24)
    mask = Image.new("L", (20, 12), 0)
    mask.paste(255, (0, 0, 8, 12))
    before, after = np.asarray(picture), np.asarray(stylize(picture, mask=mask))
    np.testing.assert_array_equal(after[:, 20:], before[:, 20:])
    np.testing.assert_array_equal(after[:, :14], np.asarray(stylize(picture))[:, :14])
    gray = picture.convert("L").convert("RGB")
    assert np.ptp(np.asarray(stylize(gray, preserve_color=True)), axis=2).max() <= 1


def test_scale_runs_the_network_at_another_size(checkpoint, stylize, monkeypatch):
    seen = []
    run = stylize.engine.stylize
    monkeypatch.setattr(
        stylize.engine, "stylize", lambda pixels: seen.append(pixels.shape) or run(pixels)
    )
    assert stylize(make_picture(60, 40), scale=0.5).size == (60, 40)
    assert stylize(make_picture(60, 40), scale=2).size == (60, 40)
    assert seen == [(20, 30, 3), (80, 120, 3)]
    with pytest.raises(
        InputError, match="scale: expected the network to see 16 px a side to 500 meg"
    ):
        stylize(make_picture(60, 40), scale=0.2)


def test_max_side_reduces_the_output_and_its_opacity(stylize):
    photo = Photo(np.asarray(make_picture(60, 40)), np.full((40, 60), 255, np.uint8))
    small = stylize(photo, max_side=30)
    assert small.pixels.shape == (20, 30, 3)
    assert small.alpha.shape == (20, 30)
    assert stylize(photo, max_side=100).size == (60, 40)


def test_two_styles_blend_by_their_weights(checkpoint, other):
    photo = torch.rand(3, 20, 30)
    one, two = (Stylizer(style, **EXACT)(photo) for style in (checkpoint, other))
    for text, share in (
        (f"{checkpoint}:0.6,{other}:0.4", 0.6),
        (f"{checkpoint}:1, {other}:3", 0.25),
    ):
        both = Stylizer(text, **EXACT)
        expected = share * one + (1 - share) * two
        torch.testing.assert_close(both(photo), expected, atol=1e-6, rtol=0)
        picture = make_picture(37, 22)
        tensor = both(to_tensor(picture))
        assert (to_tensor(both(picture)) - tensor).abs().max() <= 1.1 / 255


@pytest.mark.parametrize(
    ("text", "styles"),
    [
        ("a", [("a", 1)]),
        ("a:0.6,b:0.4", [("a", 0.6), ("b", 0.4)]),
        ("a,b", [("a", 0.5), ("b", 0.5)]),
        ("a:3, b", [("a", 0.75), ("b", 0.25)]),
        ("C:\\styles\\a.safetensors", [("C:\\styles\\a.safetensors", 1)]),
    ],
)
def test_styles_are_read_from_text(text, styles):
    assert [(name, pytest.approx(weight)) for name, weight in styles] == parse_styles(text)


@pytest.mark.parametrize("text", ["a:0,b:1", "a:-1,b:2", "a:nan,b:1"])
def test_weights_are_above_zero(text):
    with pytest.raises(InputError, match="style: expected weights above 0, as in a:0.6,b:0.4"):
        parse_styles(text)


def test_pictures_beyond_the_memory_are_tiled(checkpoint, monkeypatch):
    monkeypatch.setattr("fst.stylizer.stylizer.ON_DISK", 1000)  # the result grows in a file
    whole = Stylizer(checkpoint, **EXACT)
    tiles = Stylizer(checkpoint, **EXACT, sample=math.inf)
    tiles._memory = 300 * 300 * whole.engine.working_bytes
    picture = make_picture(500, 333)
    tiled = np.asarray(tiles(picture))
    assert np.abs(tiled.astype(int) - np.asarray(whole(picture))).max() <= 1
    photo = torch.rand(3, 400, 300)
    torch.testing.assert_close(tiles(photo), whole(photo), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(3000, 90), (700, 500)])
def test_the_statistics_of_a_tiled_picture_stay_within_the_memory_too(stylize, monkeypatch, size):
    seen = []

    def pool(net, tiles, weights, real=fst.stylizer.statistics._pool_norms):
        seen.append(sum((t.rows.stop - t.rows.start) ** 2 for t in tiles))
        return real(net, tiles, weights)

    monkeypatch.setattr("fst.stylizer.statistics._pool_norms", pool)
    stylize._memory = 60_000 * stylize.engine.working_bytes
    assert stylize(make_picture(*size)).size == size
    assert seen[0] * 4 * stylize.engine.activation_bytes <= 2 * stylize._memory


def test_no_room_for_a_huge_result_on_disk_is_no_error(monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("fst.stylizer.stylizer.ON_DISK", 10)
    pixels = np.zeros((20, 20, 3), np.uint8)
    assert isinstance(_empty(pixels), np.memmap)
    monkeypatch.setattr("os.posix_fallocate", full)
    assert not isinstance(_empty(pixels), np.memmap)


def test_pictures_within_the_memory_are_not(stylize, monkeypatch):
    monkeypatch.setattr("fst.stylizer.stylizer.fold_picture_statistics", None)  # would fail
    stylize._memory = 200 * 100 * stylize.engine.working_bytes
    stylize(make_picture(200, 100))
    with pytest.raises(TypeError):
        stylize(make_picture(204, 100))


def test_a_picture_too_large_for_the_memory_is_said(stylize, monkeypatch):
    def fail(_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(stylize.engine, "stylize", fail)
    with pytest.raises(InputError, match=r"30x20 px do not fit into the memory of cpu; try a mem"):
        stylize(make_picture(30, 20))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(checkpoint):
    photo = torch.rand(3, 64, 48)
    difference = Stylizer(checkpoint, "cuda")(photo).cpu() - Stylizer(checkpoint, "cpu")(photo)
    assert difference.abs().max() < 4 / 255


def test_misuse_is_refused(checkpoint, stylize):
    for wrong in (torch.rand(20, 30), torch.rand(1, 20, 30), torch.zeros(3, 20, 30).byte()):
        with pytest.raises(InputError, match=r"picture: expected floats of shape \(3, H, W\) or"):
            stylize(wrong)
    with pytest.raises(InputError, match="image: expected at least 16x16 px, found 30x8"):
        stylize(make_picture(30, 8))
    for device in ("abacus", "cuda:99"):
        with pytest.raises(InputError, match=f"device: expected auto, .* found '{device}'.*try cp"):
            Stylizer(checkpoint, device=device)
    with pytest.raises(InputError, match="memory: expected 64 MiB or more, found 3"):
        Stylizer(checkpoint, memory=3)

import numpy as np
import pytest
from PIL import Image

from fst.stylizer.controls import (
    LUMA,
    Controls,
    apply_controls,
    fill_transparent,
    fit_mask,
    mix,
    resize,
    transfer_luminance,
)
from fst.system.errors import InputError
from tests.conftest import make_picture

TYPES = [np.uint8, np.uint16, np.float32]


@pytest.fixture(params=TYPES, ids=lambda kind: kind.__name__)
def pair(request):
    """A photo and a stylized version, 300 rows: more than one band."""
    rng = np.random.default_rng(0)
    full = 1 if request.param == np.float32 else np.iinfo(request.param).max
    return tuple((full * rng.random((300, 7, 3))).astype(request.param) for _ in range(2))


def applied(pair, **controls):
    photo, stylized = pair
    return apply_controls(photo, stylized.copy(), Controls(**controls))


def test_strength_blends_from_the_photo_bit_for_bit_to_the_full_style(pair):
    photo, stylized = pair
    np.testing.assert_array_equal(applied(pair, strength=0), photo)
    np.testing.assert_array_equal(applied(pair, strength=1), stylized)
    half = applied(pair, strength=0.5)
    assert half.dtype == photo.dtype
    expected = (photo.astype(np.float64) + stylized) / 2
    np.testing.assert_allclose(half, expected, atol=0.501 if photo.dtype != np.float32 else 1e-6)


def test_a_mask_stylizes_where_it_is_white_and_blends_where_it_is_gray(pair):
    photo, stylized = pair
    mask = np.zeros((300, 7), np.float32)
    mask[100:200], mask[200:] = 0.25, 1
    masked = applied(pair, mask=mask)
    np.testing.assert_array_equal(masked[:100], photo[:100])
    np.testing.assert_allclose(masked[200:], stylized[200:], atol=1e-6)
    expected = 0.75 * photo[100:200].astype(np.float64) + 0.25 * stylized[100:200]
    np.testing.assert_allclose(
        masked[100:200], expected, atol=0.501 if photo.dtype != np.float32 else 1e-6
    )


def test_strength_and_mask_multiply(pair):
    mask = np.full((300, 7), 0.5, np.float32)
    np.testing.assert_array_equal(
        applied(pair, mask=mask, strength=0.5), applied(pair, strength=0.25)
    )


def test_preserved_color_has_the_stylized_luminance_and_the_photos_chroma():
    rng = np.random.default_rng(0)
    photo, stylized = (0.4 + 0.2 * rng.random((5, 6, 3), np.float32) for _ in range(2))
    result = transfer_luminance(photo, stylized)
    np.testing.assert_allclose(result @ LUMA, stylized @ LUMA, atol=1e-6)
    chroma = [colours - (colours @ LUMA)[..., None] for colours in (result, photo)]
    np.testing.assert_allclose(*chroma, atol=1e-6)


def test_preserved_color_keeps_a_gray_photo_gray(pair):
    photo, stylized = pair
    gray = np.repeat(photo[..., :1], 3, 2)
    result = applied((gray, stylized), preserve_color=True)
    assert (np.ptp(result, axis=2) <= 1e-6).all()


def test_mix_is_linear():
    assert mix(np.float32(0.2), np.float32(0.6), 0.25) == pytest.approx(0.3)


@pytest.mark.parametrize("kind", TYPES)
def test_resizing_keeps_type_mean_and_a_flat_colour(kind):
    full = 1 if kind == np.float32 else np.iinfo(kind).max
    flat = np.full((40, 30, 3), 0.5 * full).astype(kind)
    resized = resize(flat, 81, 22)
    assert resized.shape == (81, 22, 3)
    assert resized.dtype == kind
    np.testing.assert_allclose(resized, flat[0, 0, 0], atol=1e-6 * full)
    assert resize(flat, 40, 30) is flat


def test_masks_are_resized_but_not_distorted():
    ramp = Image.linear_gradient("L").resize((40, 20))
    fitted = fit_mask(ramp, 100, 200)
    assert fitted.shape == (100, 200)
    assert fitted.dtype == np.float32
    assert 0 <= fitted.min() < 0.02
    assert 0.98 < fitted.max() <= 1
    with pytest.raises(InputError, match=r"mask: expected the picture's aspect, 100x200 px, found"):
        fit_mask(ramp, 200, 100)


@pytest.mark.parametrize("kind", TYPES)
def test_transparent_parts_take_the_colours_around_them(kind):
    full = 1 if kind == np.float32 else np.iinfo(kind).max
    pixels = np.zeros((64, 96, 3), kind)  # what programs leave under transparency: black
    pixels[:, :48] = np.array([0.8, 0.2, 0.4]) * full
    alpha = np.zeros((64, 96), kind)
    alpha[:, :48] = full
    filled = fill_transparent(pixels, alpha)
    np.testing.assert_array_equal(filled[:, :48], pixels[:, :48])
    np.testing.assert_allclose(filled[:, 48:], pixels[:, :48], atol=0.02 * full)
    opaque = np.full_like(alpha, full)
    assert fill_transparent(pixels, opaque) is pixels
    assert fill_transparent(pixels, np.zeros_like(alpha)) is pixels


def test_a_large_transparent_picture_is_filled_from_a_reduced_one(monkeypatch):
    monkeypatch.setattr("fst.stylizer.controls.FILL_PIXELS", 1 << 10)
    picture = np.asarray(make_picture(130, 90).resize((130, 90))).copy()
    alpha = np.full((90, 130), 255, np.uint8)
    alpha[30:60, 40:80] = 0
    hole = picture.copy()
    hole[30:60, 40:80] = 0
    filled = fill_transparent(hole, alpha)
    np.testing.assert_array_equal(filled[alpha > 0], picture[alpha > 0])
    assert filled[30:60, 40:80].mean() > 0.5 * picture[25:65, 35:85].mean()


@pytest.mark.parametrize(
    ("controls", "said"),
    [
        ({"strength": 1.5}, "strength: expected 0 to 1, found 1.5"),
        ({"strength": float("nan")}, "strength: expected 0 to 1, found nan"),
        ({"scale": 0}, "scale: expected 0.05 to 20, found 0"),
        ({"max_side": 5}, "max_side: expected 16 px or more, found 5"),
        ({"mask": np.zeros((3, 4, 3))}, r"mask: expected shape \(H, W\), found \(3, 4, 3\)"),
    ],
)
def test_values_out_of_range_are_refused(controls, said):
    with pytest.raises(InputError, match=said):
        Controls(**controls)

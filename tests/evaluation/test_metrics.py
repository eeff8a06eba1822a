"""Every artefact has a picture that shows it and one that does not."""

import math

import pytest
import torch

from fst.evaluation.metrics import (
    border_energy,
    checkerboard_energy,
    noise_stability,
    shift_stability,
    spots,
)
from fst.system.errors import InputError


def texture(count=1, side=128, seed=0):
    """Smooth noise with a spectrum that falls as that of photos does."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.zeros(count, 3, side, side)
    for size in (4, 8, 16, 32, 64, 128):
        noise = torch.rand(count, 3, size, size, generator=generator)
        picture += torch.nn.functional.interpolate(noise, (side, side), mode="bicubic") / size
    low, high = picture.amin((1, 2, 3), keepdim=True), picture.amax((1, 2, 3), keepdim=True)
    return (picture - low) / (high - low)


def test_border_energy_of_a_frame():
    plain = texture()
    framed = plain.clone()
    framed[..., :2, :] = 1
    assert border_energy(plain).item() == pytest.approx(1, abs=0.3)
    assert border_energy(framed).item() > 3 * border_energy(plain).item()


def test_border_energy_is_a_ratio_of_means():
    picture = torch.zeros(1, 3, 64, 64)
    picture[..., ::2] = 1  # stripes of one column: the same gradient everywhere
    assert border_energy(picture).item() == pytest.approx(1)


@pytest.mark.parametrize("period", [2, 4])
@pytest.mark.parametrize("axis", ["across", "down"])
@pytest.mark.parametrize("side", [128, 131])
def test_checkerboard_energy_of_a_grid(period, axis, side):
    plain = texture(side=128)[..., :, :]
    plain = torch.nn.functional.interpolate(plain, (side, side), mode="bicubic").clamp(0, 1)
    wave = (torch.arange(side) % period == 0).float() * 0.1
    grid = wave.view(1, 1, 1, -1) if axis == "across" else wave.view(1, 1, -1, 1)
    assert checkerboard_energy(plain).item() < 2
    assert checkerboard_energy((plain + grid).clamp(0, 1)).item() > 20


def test_checkerboard_energy_ignores_other_periods():
    wave = torch.sin(2 * math.pi * torch.arange(128) / 16) * 0.3 + 0.5
    noise = 0.05 * torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert checkerboard_energy(wave.expand(1, 3, 128, 128) + noise).item() < 2


def test_spots_are_counted():
    picture = texture() * 0.5 + 0.2
    assert spots(picture).item() == 0
    picture[0, 0, 30, 40] = 1  # one channel is enough
    picture[0, :, 60, 60] = 0
    picture[0, 1, 90, 90] += 0.1  # too faint
    assert spots(picture).item() == pytest.approx(2 / 128**2 * 1e6)


def test_lines_and_edges_are_no_spots():
    picture = torch.full((1, 3, 96, 96), 0.2)
    picture[..., 40, :] = 1
    picture[..., :, 70:] = 0.9
    assert spots(picture).item() == 0


def test_each_picture_of_a_batch_is_measured_for_itself():
    pictures = torch.cat([texture(seed=1), texture(seed=2)])
    for measure in (border_energy, checkerboard_energy, spots):
        alone = torch.cat([measure(pictures[:1]), measure(pictures[1:])])
        torch.testing.assert_close(measure(pictures), alone)


def test_a_network_without_a_grid_commutes_with_shifts():
    blur = torch.nn.AvgPool2d(3, 1, 1)
    assert shift_stability(blur, texture()).item() > 100


def test_a_network_with_a_grid_does_not():
    def blocks(photos):
        small = torch.nn.functional.avg_pool2d(photos, 4)
        return torch.nn.functional.interpolate(small, photos.shape[-2:])

    assert shift_stability(blocks, texture(side=132)).item() < 40


def test_noise_stability_of_known_gain():
    photos = torch.full((1, 3, 256, 256), 0.5)
    expected = -20 * math.log10(2 / 255)
    assert noise_stability(lambda x: x, photos).item() == pytest.approx(expected, abs=0.1)
    twice = noise_stability(lambda x: 2 * x, photos).item()
    assert twice == pytest.approx(expected - 20 * math.log10(2), abs=0.1)


@pytest.mark.parametrize("measure", [border_energy, checkerboard_energy])
def test_small_pictures_are_refused(measure):
    with pytest.raises(InputError, match="expected at least 64 px a side, found 40x100"):
        measure(torch.rand(1, 3, 100, 40))


def test_small_photos_have_no_interior_to_compare():
    with pytest.raises(InputError, match="expected at least 128 px"):
        shift_stability(lambda x: x, torch.rand(1, 3, 100, 200))

from itertools import pairwise

import numpy as np
import pytest
import torch

from fst.styles import find_style, load_style
from research.compact.pictures import Mixer, rotate_hue
from research.compact.procedural_paintings import MANNERS, paint_by_rule


def test_the_pictures_of_a_step_are_pictures(module):
    for _ in range(20):
        pictures = module.mixer.pictures(torch.rand(2, 3, 64, 64))
        assert pictures.shape == (2, 3, 64, 64)
        assert 0 <= pictures.min() <= pictures.max() <= 1
        assert pictures.std() > 0


def test_nets_are_those_given(module):
    net, _ = load_style(find_style("udnie"))
    photos = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        painted = module.mixer.apply(module.mixer.weights[0], photos)
        torch.testing.assert_close(painted, net(photos))


def test_no_two_pictures_are_of_the_same_net_or_painting(module):
    photos = torch.rand(1, 3, 64, 64)
    names = "udnie", "starry_night", "great_wave", "the_scream"
    nets = [load_style(find_style(name))[0] for name in names]
    mixer = Mixer(nets, module.mixer.paintings)
    for make in (lambda: mixer.stylize(photos)), (lambda: mixer.painting(48)):
        pictures = [make() for _ in range(12)]
        apart = [(a - b).abs().mean() > 1e-3 for a, b in pairwise(pictures)]
        assert sum(apart) >= 10  # a net as it is, twice in a row, is a matter of chance
        assert all(0 <= each.min() <= each.max() <= 1 for each in pictures)
    assert mixer.painting(48).shape == (1, 3, 48, 48)


def test_other_hues_have_the_same_grey():
    pictures = torch.rand(200, 3, 4, 4)
    rotated = rotate_hue(pictures)
    grey, mean = rotated.mean(1), pictures.mean(1)
    negative = ((grey - (1 - mean)).abs() < 1e-5).all(2).all(1)
    same = ((grey - mean).abs() < 1e-5).all(2).all(1)
    assert (same | negative).all()
    assert 10 < negative.sum() < 60
    assert (rotated - pictures).abs().mean() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", range(len(MANNERS)))
def test_every_manner_paints_pictures_of_its_own(kind):
    first, second, again = (paint_by_rule(64, kind + len(MANNERS) * k) for k in (1, 2, 1))
    assert first.size == (64, 64)
    assert np.array_equal(first, again)
    assert np.abs(np.asarray(first, float) - np.asarray(second, float)).mean() > 10
    assert np.asarray(first).std() > 5

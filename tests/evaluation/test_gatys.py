"""Gatys' method: it descends, stays a picture, begins and ends as asked."""

import doctest
from itertools import islice

import pytest
import torch

import fst.gatys
from fst.gatys import (
    OptimizationLostError,
    coarse_to_fine,
    count_iterations,
    optimize,
    scales,
    start_picture,
)
from fst.system.errors import InputError
from tests.losses import test_losses


def make_loss(**changes):
    torch.manual_seed(0)
    loss = test_losses.make_loss(**changes)
    loss.set_style(torch.rand(1, 3, 64, 64))
    return loss


def make_photo(height=48, width=40):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


def run(count, start="photo", **options):
    photo, loss = make_photo(), make_loss()
    return list(islice(optimize(photo, loss, start_picture(photo, start), **options), count + 1))


def test_docstring_examples():
    assert doctest.testmod(fst.gatys).failed == 0


@pytest.mark.parametrize("start", ["photo", "noise", "blank"])
@pytest.mark.parametrize(
    "options",
    [{}, {"line_search": False}, {"optimizer": "adam"}],
    ids=["strong Wolfe", "plain", "adam"],
)
def test_the_objective_falls_and_pixels_stay_in_range(start, options):
    states = run(25, start, **options)
    assert [state.number for state in states] == list(range(26))
    assert states[-1].objective < 0.7 * states[0].objective
    for state in states:
        assert state.picture.shape == (1, 3, 48, 40)
        assert state.picture.min() >= 0
        assert state.picture.max() <= 1


def test_the_terms_are_those_of_the_picture_yielded():
    loss, photo = make_loss(), make_photo()
    states = islice(optimize(photo, loss, start_picture(photo, "noise")), 6)
    for state in states:
        terms = loss(state.picture, photo)
        for name, value in state.terms.items():
            assert value == pytest.approx(terms[name].item(), rel=1e-4), name


def test_a_line_search_never_climbs():
    objectives = [state.objective for state in run(30)]
    assert objectives == sorted(objectives, reverse=True)


def test_plain_lbfgs_looks_once_an_iteration_and_a_line_search_little_more():
    assert [state.evaluations for state in run(10, line_search=False)] == list(range(1, 12))
    assert 11 <= run(10)[-1].evaluations < 25


def test_lbfgs_is_ahead_of_adam():
    assert run(30)[-1].objective < run(30, optimizer="adam")[-1].objective


def test_starts():
    photo = make_photo()
    assert torch.equal(start_picture(photo, "photo"), photo)
    blank = start_picture(photo, "blank")
    assert torch.allclose(blank, photo.mean((2, 3), keepdim=True).expand_as(photo))
    noise = start_picture(photo, "noise", seed=3)
    assert torch.equal(noise, start_picture(photo, "noise", seed=3))
    assert not torch.equal(noise, start_picture(photo, "noise", seed=4))
    assert noise.std() > 0.2
    with pytest.raises(InputError, match="start: expected one of photo, noise, blank, found 'sky'"):
        start_picture(photo, "sky")


def test_an_unknown_optimizer():
    with pytest.raises(InputError, match="optimizer: expected one of lbfgs, adam, found 'sgd'"):
        run(1, optimizer="sgd")


def test_an_objective_that_is_lost():
    photo, loss = make_photo(), make_loss()
    broken = torch.full_like(photo, torch.nan)
    with pytest.raises(OptimizationLostError, match="iteration 0: the objective is nan; try"):
        next(optimize(photo, loss, broken))


def test_the_photo_and_the_start_are_left_alone():
    photo = make_photo()
    start = start_picture(photo, "noise")
    before = photo.clone(), start.clone()
    list(islice(optimize(photo, make_loss(), start), 4))
    assert torch.equal(photo, before[0])
    assert torch.equal(start, before[1])


def test_scales_of_a_pyramid():
    assert scales(512) == [512]
    assert scales(513) == [256, 513]
    assert scales(3000) == [375, 750, 1500, 3000]


def test_coarse_to_fine_goes_through_the_scales(monkeypatch):
    monkeypatch.setattr(fst.gatys.scales, "__defaults__", (40,))
    photo, painting = make_photo(96, 80), torch.rand(1, 3, 96, 120)
    loss, paintings = make_loss(), []
    monkeypatch.setattr(
        loss, "set_style", lambda p: paintings.append(p.shape[-2:]) or type(loss).set_style(loss, p)
    )
    seen = list(coarse_to_fine(photo, painting, loss, iterations=6, style_size=40))
    assert paintings == [(40, 50), (80, 100), (96, 120)]  # with the photo, up to what there is
    assert [(side, state.number) for side, state in seen] == [
        *((24, k) for k in range(7)),
        *((48, k) for k in range(3)),
        *((96, k) for k in range(3)),
    ]
    assert sum(state.number > 0 for _, state in seen) == count_iterations(96, 6)
    assert seen[-1][1].picture.shape == photo.shape
    # a finer scale begins with the result of the coarser one
    ends, begins = seen[6][1].picture, seen[7][1].picture
    small = torch.nn.functional.interpolate(begins, ends.shape[-2:], mode="area")
    assert (small - ends).abs().mean() < 0.05

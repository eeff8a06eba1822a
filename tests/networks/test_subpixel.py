"""Four pixels at once are the plain convolution's, in training and in inference."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fst.networks.layers import RepeatPixels
from fst.networks.subpixel import (
    SQUARE,
    convolve_doubled,
    interleave,
    phase_kernels,
    square_kernels,
)


def test_repeated_pixels_are_those_of_upsample():
    x = torch.rand(2, 3, 5, 7)
    assert torch.equal(RepeatPixels()(x), nn.Upsample(scale_factor=2)(x))


def test_each_phase_of_a_doubled_picture_is_a_small_convolution():
    x, weight = torch.rand(1, 3, 6, 8), torch.randn(4, 3, 3, 3)
    doubled = F.conv2d(F.pad(RepeatPixels()(x), (1,) * 4), weight)
    for (row, column), kernel in zip(SQUARE, phase_kernels(weight), strict=True):
        assert kernel.shape == (4, 3, 2, 2)
        padded = F.pad(x, (1 - column, column, 1 - row, row))
        torch.testing.assert_close(F.conv2d(padded, kernel), doubled[..., row::2, column::2])


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_a_square_of_kernels_sees_one_window(kernel):
    x, weight = torch.rand(1, 3, 11 + kernel, 13 + kernel), torch.randn(2, 3, kernel, kernel)
    plain = F.conv2d(x, weight)
    for (row, column), shifted in zip(SQUARE, square_kernels([weight] * 4), strict=True):
        assert shifted.shape[2:] == (kernel + 1, kernel + 1)
        torch.testing.assert_close(F.conv2d(x, shifted, stride=2), plain[..., row::2, column::2])


def test_the_convolution_of_a_doubled_picture_and_its_gradients():
    x, weight = torch.rand(2, 3, 6, 9), torch.randn(5, 3, 3, 3)
    answers = []
    for four in (True, False):
        inputs = [each.clone().requires_grad_() for each in (x, weight)]
        if four:
            out = interleave(convolve_doubled(*inputs))
        else:
            out = F.conv2d(F.pad(RepeatPixels()(inputs[0]), (1,) * 4, mode="reflect"), inputs[1])
        out.square().sum().backward()
        answers.append((out, *(each.grad for each in inputs)))
    for ours, plain in zip(*answers, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)

import doctest

import pytest
import torch

import research.compact.agreement
from fst.losses.compact import CompactFeatures
from fst.losses.distances import dense, gram_matrix
from fst.networks import build_network
from research.compact.agreement import STYLE_LAYERS, agreement, rank_correlation, style_errors
from tests.losses.test_losses import make_loss


def test_docstring_examples():
    assert doctest.testmod(research.compact.agreement).failed == 0


def test_rank_correlation():
    falling = torch.tensor([3.0, 2.0, 1.0, -5.0])
    assert rank_correlation(torch.arange(4.0), falling) == pytest.approx(-1)
    assert rank_correlation(torch.arange(4.0), torch.tensor([0.0, 2, 1, 3])) == pytest.approx(0.8)


def test_a_loss_agrees_with_itself():
    loss = make_loss(extractor=CompactFeatures)
    loss.set_style(torch.rand(1, 3, 96, 80))
    torch.manual_seed(0)
    figures = agreement(loss, loss, build_network("transformer", width=2), [torch.rand(3, 64, 64)])
    assert figures["style"] == figures["content"] == pytest.approx(1)
    assert figures["ratio_style"] == 1
    assert figures["gradient_style_relu2_1"] == pytest.approx(1, abs=1e-4)


def test_errors_of_the_style_are_those_of_the_distance_to_the_painting(student):
    def teacher(images, layers):
        return {name: dense(each) for name, each in student(images, layers).items()}

    pictures, painting = torch.rand(3, 3, 64, 64), torch.rand(1, 3, 80, 96)
    for name, error in style_errors(student, teacher, pictures, painting).items():
        assert abs(error) < 1e-6, name
    student.styles["relu2_1"].data *= 2**0.5  # Gram matrices of twice the size
    errors = style_errors(student, teacher, pictures, painting)
    true = [teacher(each, STYLE_LAYERS)["relu2_1"] for each in (pictures, painting)]
    grams, goal = (gram_matrix(each) for each in true)
    distances = (grams - goal).square().sum((1, 2)) / goal.square().sum()
    assert errors["relu2_1"] == pytest.approx(distances.mean().item(), rel=1e-3)
    assert errors["relu4_1"] < 1e-6

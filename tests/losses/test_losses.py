import doctest

import pytest
import torch

import fst.losses.distances
from fst.losses import PerceptualLoss
from fst.losses.compact import CompactFeatures
from fst.losses.distances import content_distance, gram_matrix, style_distance, total_variation
from fst.system.errors import InputError
from tests.random_features import RandomFeatures


def make_loss(**changes):
    recipe = {
        "extractor": RandomFeatures,
        "content": {"relu3_1": 1},
        "style": {"relu1_1": 0.5, "relu2_1": 0.5},
        "content_weight": 1,
        "style_weight": 10,
        "tv_weight": 0.1,
    }
    return PerceptualLoss(**(recipe | changes))


def test_docstring_examples():
    assert doctest.testmod(fst.losses.distances).failed == 0


def test_gram_matrix_of_known_features():
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # two channels, two positions
    expected = torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 2
    torch.testing.assert_close(gram_matrix(features), expected)


def test_gram_matrix_does_not_grow_with_the_picture():
    small = torch.rand(1, 4, 6, 6)
    torch.testing.assert_close(gram_matrix(small.repeat(1, 1, 3, 2)), gram_matrix(small))


def test_relative_distances_do_not_depend_on_the_scale_of_features():
    a, b = torch.rand(2, 4, 6, 6), torch.rand(2, 4, 6, 6)
    torch.testing.assert_close(content_distance(7 * a, 7 * b), content_distance(a, b))
    gb = gram_matrix(b)[:1]
    torch.testing.assert_close(style_distance(7**0.5 * a, 7 * gb), style_distance(a, gb))


def test_nothing_at_all_is_at_relative_distance_one():
    features = torch.rand(2, 4, 6, 6)
    assert content_distance(torch.zeros_like(features), features).item() == pytest.approx(1)
    gram = gram_matrix(features)[:1]
    assert style_distance(torch.zeros_like(features), gram).item() == pytest.approx(1)


def test_johnson2016_divides_by_c_h_w():
    a, b = torch.rand(1, 4, 3, 5), torch.rand(1, 4, 3, 5)
    content = (a - b).square().sum() / (4 * 3 * 5)
    torch.testing.assert_close(content_distance(a, b, "johnson2016"), content)

    def gram(f):  # as the paper writes it
        return torch.einsum("nchw,ndhw->ncd", f, f) / (4 * 3 * 5)

    style = (gram(a) - gram(b)).square().sum()
    ours = style_distance(a, gram_matrix(b), "johnson2016")
    torch.testing.assert_close(ours, style)


def test_total_variation_of_a_ramp():
    ramp = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 3, 4, 5) / 10
    assert total_variation(ramp).item() == pytest.approx(0.1)


def test_distances_are_differentiable():
    a = torch.rand(1, 2, 3, 3, dtype=torch.double, requires_grad=True)
    target = torch.rand(1, 2, 3, 3)
    content_distance(a, target).backward()
    torch.testing.assert_close(
        a.grad.float(), 2 * (a.detach().float() - target) / (target**2).sum()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_the_style_distance_is_autograds(dtype):
    features = torch.rand(2, 6, 20, 30).to(dtype).requires_grad_()
    target = gram_matrix(torch.rand(1, 6, 8, 8))
    style_distance(features, target).backward()
    plain = features.detach().float().requires_grad_()
    flat = plain.flatten(2)
    squared = (flat @ flat.mT / flat.shape[2] - target).square().sum((1, 2))
    (squared / target.square().sum()).mean().backward()
    torch.testing.assert_close(
        features.grad.float(), plain.grad, rtol=0.02, atol=0.02 * plain.grad.abs().max().item()
    )


def test_the_total_is_the_weighted_sum_of_the_terms_and_these_of_the_layers():
    loss = make_loss()
    loss.set_style(torch.rand(1, 3, 40, 50))
    terms = loss(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32))
    total = terms["content"] + 10 * terms["style"] + 0.1 * terms["tv"]
    torch.testing.assert_close(terms["total"], total)
    style = (terms["style_relu1_1"] + terms["style_relu2_1"]) / 2
    torch.testing.assert_close(terms["style"], style)
    assert all(term.dtype is torch.float32 for term in terms.values())


def test_the_painting_itself_has_no_style_loss_and_the_photo_no_content_loss():
    loss = make_loss()
    painting = torch.rand(1, 3, 40, 48)
    loss.set_style(painting)
    terms = loss(painting, painting)
    assert terms["style"].item() == pytest.approx(0, abs=1e-9)
    assert terms["content"].item() == 0


def test_losses_are_float32_under_autocast():
    loss = make_loss()
    loss.set_style(torch.rand(1, 3, 40, 48))
    pictures, photos = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    exact = loss(pictures, photos)["total"]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(pictures, photos)["total"]
    assert mixed.dtype is torch.float32
    torch.testing.assert_close(mixed, exact, rtol=0.05, atol=0)


def test_photos_get_no_gradient():
    loss = make_loss()
    loss.set_style(torch.rand(1, 3, 40, 48))
    photos = torch.rand(1, 3, 32, 32, requires_grad=True)
    pictures = torch.rand(1, 3, 32, 32, requires_grad=True)
    loss(pictures, photos)["total"].backward()
    assert photos.grad is None
    assert pictures.grad.abs().sum() > 0


def test_targets_can_be_computed_once_and_handed_over():
    loss, (painting, other) = make_loss(), torch.rand(2, 1, 3, 40, 48)
    pictures, photos = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    loss.set_style(painting)
    expected = loss(pictures, photos)
    loss.set_style(other)
    terms = loss(pictures, loss.content_of(photos), loss.style_of(painting))
    assert all(torch.equal(terms[name], expected[name]) for name in expected)
    assert not torch.equal(loss(pictures, photos)["style"], expected["style"])


@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_network_is_told_whether_it_may_compile(compiled):
    loss = make_loss(extractor=CompactFeatures, compiled=compiled)
    assert loss.extractor.net.compiled == compiled


def test_the_recipe_is_printed():
    assert "relative: 1 content, 10 style, 0.1 tv" in str(make_loss())


def test_misuse_is_refused():
    with pytest.raises(
        InputError, match="normalization: expected one of relative, johnson2016; fo"
    ):
        make_loss(normalization="l2")
    with pytest.raises(RuntimeError, match="call set_style"):
        make_loss()(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    with pytest.raises(InputError, match="painting: expected finite style features, found NaN"):
        make_loss().set_style(torch.full((1, 3, 40, 48), torch.nan))


def test_gram_matrix_has_the_right_gradient():
    features = torch.randn(2, 3, 4, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(gram_matrix, (features,))


@pytest.mark.parametrize("size", [(7, 9), (16, 16), (40, 33)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gram_matrix_of_bfloat16_is_within_its_rounding(size, layout):
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(2, 8, *size, generator=generator).bfloat16().to(memory_format=layout)
    features.requires_grad_()
    exact = features.detach().float().requires_grad_()
    gram, expected = gram_matrix(features), gram_matrix(exact)
    assert gram.dtype == torch.float32
    torch.testing.assert_close(gram, expected, rtol=5e-3, atol=0)
    weight = torch.rand(2, 8, 8, generator=generator)
    (gram * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(features.grad.float(), exact.grad, rtol=2e-2, atol=1e-4)


def test_gram_matrix_of_large_float16_does_not_overflow():
    features = torch.full((1, 2, 8, 8), 300.0, dtype=torch.float16)
    assert gram_matrix(features).tolist() == [[[90_000.0] * 2] * 2]

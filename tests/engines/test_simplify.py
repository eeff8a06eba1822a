"""Every rewrite computes what the trained network computes."""

import pytest
import torch
from torch import nn

from fst.engines.simplify import (
    GRAY,
    BlockConv,
    UpsampleConv,
    deploy,
    fold_statistics,
    norms,
    simplify,
)
from fst.networks import TransformerNet, UpsampleBlock

SIZES = [(16, 16), (17, 16), (19, 30), (45, 38), (64, 48)]  # height, width


def make_net(width: int, seed: int = 0) -> TransformerNet:
    """An untrained network whose norms do scale and shift."""
    torch.manual_seed(seed)
    net = TransformerNet(width).requires_grad_(False).eval()
    for norm in norms(net):
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_()
    return net


def statistics_of(net: nn.Module, photos: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Variance and mean of every norm's input in a plain pass."""
    seen = []

    def look(_, inputs):
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        seen.append((var, mean))

    hooks = [norm.register_forward_pre_hook(look) for norm in norms(net)]
    net(photos)
    for hook in hooks:
        hook.remove()
    return seen


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [1, 3, 8, 16])
def test_simplified_is_the_network(width, size):
    net, photos = make_net(width), torch.rand(2, 3, *size)
    assert off(simplify(net)(photos), net(photos)) < 1e-5


def test_simplifying_leaves_the_given_network_alone_and_replaces_what_it_says():
    net = make_net(4).train().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    simple = simplify(net)
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    kinds = [type(module) for module in simple.modules()]
    assert (kinds.count(UpsampleConv), kinds.count(BlockConv)) == (2, 1)
    assert UpsampleBlock not in kinds
    assert not simple.training
    assert not any(parameter.requires_grad for parameter in simple.parameters())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (9, 6)])
@torch.no_grad()
def test_upsample_conv_is_upsampling_padding_and_convolution(bias, height, width):
    conv = nn.Conv2d(5, 4, 3, bias=bias)
    plain = nn.Sequential(nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), conv)
    x = torch.randn(2, 5, height, width)
    assert off(UpsampleConv(conv)(x), plain(x)) < 1e-5


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kernel", [1, 3, 5, 9])
@torch.no_grad()
def test_block_conv_is_the_convolution(bias, kernel):
    conv, border = nn.Conv2d(5, 3, kernel, bias=bias), kernel - 1
    x = torch.randn(2, 5, 8 + border, 14 + border)
    assert off(BlockConv(conv)(x), conv(x)) < 1e-5


@pytest.mark.parametrize("colour", [(0, 0, 0), (GRAY, GRAY, GRAY), (255, 3, 200)])
def test_deployed_with_any_colour_is_the_network(colour):
    net, photos = make_net(8), torch.rand(2, 3, 24, 36)
    centred = 255 * photos - torch.tensor(colour).float().view(3, 1, 1)
    assert off(deploy(net)(centred), net(photos)) < 1e-4


@pytest.mark.parametrize("size", [(24, 36), (25, 38)])
def test_folding_a_photos_own_statistics_changes_nothing(size):
    net, photo = make_net(8), torch.rand(1, 3, *size)
    folded = fold_statistics(net, statistics_of(net, photo))
    assert norms(folded) == []
    assert len(norms(net)) == 15
    assert off(folded(photo), net(photo)) < 1e-4
    assert off(simplify(folded)(photo), net(photo)) < 1e-4


def test_a_folded_network_is_deployed_for_one_colour():
    net, photo, colour = make_net(8), torch.rand(1, 3, 24, 36), torch.tensor([10.0, 200.0, 30.0])
    folded = fold_statistics(net, statistics_of(net, photo))
    deployed = deploy(folded, colour)
    assert off(deployed(255 * photo - colour.view(3, 1, 1)), net(photo)) < 1e-4
    assert off(deployed(255 * photo - GRAY), net(photo)) > 0.01
    for wrong in ((folded, None), (net, colour)):
        with pytest.raises(AssertionError, match="a colour belongs to a folded network"):
            deploy(*wrong)


def test_each_pixel_of_a_folded_network_depends_on_its_surroundings_only():
    net, photo = make_net(4), torch.rand(1, 3, 256, 32)
    folded = fold_statistics(net, statistics_of(net, photo))
    changed = photo.clone()
    changed[..., 200:, :] = 0
    far = slice(0, 200 - 60)
    assert torch.equal(folded(photo)[..., far, :], folded(changed)[..., far, :])
    assert not torch.equal(net(photo)[..., far, :], net(changed)[..., far, :])


def test_statistics_must_be_as_many_as_norms():
    net = make_net(2)
    statistics = statistics_of(net, torch.rand(1, 3, 16, 16))[:-1]
    with pytest.raises(ValueError, match="shorter"):
        fold_statistics(net, statistics)

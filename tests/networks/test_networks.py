import itertools

import pytest
import torch
from torch import nn

from fst.networks import NETWORKS, InstanceNorm, build_network
from fst.system.errors import InputError
from fst.training.start import begin_with


@pytest.fixture(params=sorted(NETWORKS))
def net(request):
    torch.manual_seed(0)
    return build_network(request.param, width=2)


@torch.no_grad()
def test_output_has_the_size_of_the_input_for_every_residue_modulo_8(net):
    for height, width in itertools.product(range(16, 24), range(16, 24)):
        assert net(torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


@torch.no_grad()
def test_output_is_rgb_in_0_1_and_finite(net):
    out = net(torch.rand(2, 3, 33, 47))
    assert out.isfinite().all()
    assert 0 <= out.min() <= out.max() <= 1


def test_a_gradient_reaches_every_parameter(net):
    target = torch.rand(2, 3, 32, 32)
    (net(torch.rand(2, 3, 32, 32)) - target).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("side", [32, 34])
def test_what_the_compiler_is_given_has_the_gradients_of_what_it_is_not(net, side):
    photos, target = torch.rand(2, 2, 3, side, 36)

    def gradients(forward):
        net.zero_grad()
        (forward(photos) - target).square().sum().backward()
        return {name: parameter.grad for name, parameter in net.named_parameters()}

    for layer in net.modules():  # scales of their own: those of a new network hide borders
        if isinstance(layer, InstanceNorm):
            nn.init.uniform_(layer.weight, 0.5, 2)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(gradients(compiled), gradients(net), rtol=1e-3, atol=1e-4)


def test_a_side_under_16_px_is_refused(net):
    with pytest.raises(InputError, match=r"^image: expected at least 16x16 px, found 40x15; try"):
        net(torch.rand(1, 3, 15, 40))


def test_width_32_is_the_papers_network():
    net = build_network("transformer", width=32)
    convs = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [32, 64, 128] + [128] * 10 + [64, 32, 3]
    assert [c.stride[0] for c in convs] == [1, 2, 2] + [1] * 13
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in net.modules())


def test_instance_norm_is_pytorchs():
    ours, theirs = InstanceNorm(5), nn.InstanceNorm2d(5, affine=True)
    theirs.load_state_dict(
        {"weight": torch.randn(5), "bias": torch.randn(5)},
    )
    ours.load_state_dict(theirs.state_dict())
    x = 3 * torch.randn(2, 5, 9, 7) + 100
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)


def test_the_gradient_of_instance_norm_is_pytorchs():
    torch.manual_seed(0)
    ours, theirs = InstanceNorm(5), nn.InstanceNorm2d(5, affine=True).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    theirs.load_state_dict(ours.state_dict())
    images = (3 + 2 * torch.randn(2, 5, 9, 13)).to(memory_format=torch.channels_last)
    wanted = torch.randn_like(images)
    found = []
    for norm in (ours, theirs):
        x = images.to(norm.weight.dtype, copy=True).requires_grad_()
        norm(x).backward(wanted.to(x.dtype))
        found.append((x.grad, norm.weight.grad, norm.bias.grad))
    for mine, reference in zip(*found, strict=True):
        torch.testing.assert_close(mine.double(), reference, rtol=1e-4, atol=1e-5)


def test_instance_norm_keeps_bf16_accurate_far_from_zero():
    norm = InstanceNorm(3)
    x = torch.randn(1, 3, 64, 64) + 20
    exact, rounded = norm(x.bfloat16().float()), norm(x.bfloat16())
    assert rounded.dtype is torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.05


@pytest.mark.parametrize("width", [0, -1, 1.5, "32"])
def test_a_width_that_is_no_positive_whole_number_is_refused(width):
    with pytest.raises(InputError, match="network width: expected a whole number from 1 up, found"):
        build_network("transformer", width=width)


def test_unknown_names_and_arguments_are_refused():
    with pytest.raises(InputError, match="network: expected one of transformer, found 'unet'"):
        build_network("unet")
    with pytest.raises(InputError, match="network 'transformer' does not take {'depth': 3}"):
        build_network("transformer", depth=3)


@torch.no_grad()
def test_weights_of_the_same_width_are_taken_as_they_are(net):
    other = build_network("transformer", width=2)
    begin_with(other, net.state_dict())
    photo = torch.rand(1, 3, 32, 32)
    assert torch.equal(other(photo), net(photo))


@torch.no_grad()
def test_a_wider_network_begins_with_the_same_function(net):
    photo = torch.rand(1, 3, 48, 48)
    wide, noise = build_network("transformer", width=6), build_network("transformer", width=6)
    begin_with(wide, net.state_dict())
    error = (wide(photo) - net(photo)).std()
    assert error < 0.1 * (noise(photo) - net(photo)).std()
    first = wide.encoder[0][1].weight  # twins have to differ, or they stay twins
    assert not torch.equal(first[:2], first[2:4])


@pytest.mark.parametrize("width", [1, 3])
def test_weights_that_do_not_fit_are_refused(net, width):
    with pytest.raises(InputError, match="^init: expected the weights of a network of the same"):
        begin_with(build_network("transformer", width=width), net.state_dict())
    with pytest.raises(InputError, match="^init"):
        begin_with(net, {"weight": torch.ones(3)})

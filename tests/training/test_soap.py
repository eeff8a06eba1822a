"""SOAP against the library that takes one parameter after the other."""

import copy

import pytest
import pytorch_optimizer
import torch

from fst.networks import build_network
from fst.system.errors import InputError
from fst.training.soap import SOAP


@pytest.mark.parametrize("frequency", [1, 3])
def test_steps_are_those_of_the_library(frequency):
    torch.manual_seed(0)
    net = build_network("transformer", width=4)
    twin = copy.deepcopy(net)
    ours = SOAP(net.parameters(), lr=3e-3, precondition_frequency=frequency)
    theirs = pytorch_optimizer.SOAP(
        twin.parameters(), lr=3e-3, weight_decay=0, precondition_frequency=frequency
    )
    before = [parameter.clone() for parameter in net.parameters()]
    for step in range(12):
        for mine, other in zip(net.parameters(), twin.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape) + 0.5 * mine.detach().sign()
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
        if step == 0:  # which only looks
            assert all(map(torch.equal, before, net.parameters()))
    for start, mine, other in zip(before, net.parameters(), twin.parameters(), strict=True):
        moved = (other - start).norm()
        assert moved > 0
        assert (mine - other).norm() < 0.01 * moved


def test_it_goes_on_from_its_state_exactly(tmp_path):
    torch.manual_seed(0)
    net = build_network("transformer", width=4)
    optimizer = SOAP(net.parameters(), precondition_frequency=2)
    gradients = [[torch.randn(p.shape) for p in net.parameters()] for _ in range(8)]

    def go(net, optimizer, steps):
        for step in steps:
            for parameter, gradient in zip(net.parameters(), gradients[step], strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()

    go(net, optimizer, range(5))
    twin = copy.deepcopy(net)
    resumed = SOAP(twin.parameters(), precondition_frequency=2)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    resumed.load_state_dict(torch.load(tmp_path / "state.pt"))
    go(net, optimizer, range(5, 8))
    go(twin, resumed, range(5, 8))
    assert all(map(torch.equal, net.parameters(), twin.parameters()))


def test_parameters_without_gradients_stay():
    first, second = torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(3, 2))
    optimizer = SOAP([first, second])
    for _ in range(3):
        first.grad = torch.randn(3, 2)
        optimizer.step()
    assert not torch.equal(first, torch.ones(3, 2))
    assert torch.equal(second, torch.ones(3, 2))


def test_gradients_of_other_parameters_than_before_are_refused():
    pair = [torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2)]
    optimizer = SOAP(pair)
    pair[0].grad = torch.randn(3, 2)
    optimizer.step()
    pair[1].grad = torch.randn(3, 2)
    with pytest.raises(RuntimeError, match="gradients of the same parameters at every step"):
        optimizer.step()


def test_the_state_of_another_optimizer_is_refused():
    parameter = torch.nn.Parameter(torch.ones(3, 2))
    parameter.grad = torch.randn(3, 2)
    other = pytorch_optimizer.SOAP([parameter])
    other.step()
    with pytest.raises(InputError, match=r"expected the state of SOAP, found another"):
        SOAP([parameter]).load_state_dict(other.state_dict())

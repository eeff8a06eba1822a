import torch
from torch import nn

from fst.optimizers import SOAP


def test_a_kernels_positions_have_one_eigenbasis_and_vectors_none():
    net = nn.Sequential(nn.Conv2d(6, 40, 3), nn.Conv2d(40, 4, 9))
    optimizer = SOAP(net.parameters(), merged=128)
    net(torch.rand(1, 6, 16, 16)).sum().backward()
    optimizer.step()
    sides = [[len(m) for m in optimizer.state[p]["GG"]] for p in net.parameters()]
    assert sides == [[40, 54], [0], [4, 40, 81], [0]]


def test_it_trains_vectors_and_kernels():
    torch.manual_seed(0)
    images, goal = torch.randn(4, 3, 12, 12), nn.Conv2d(3, 5, 3)
    net = nn.Conv2d(3, 5, 3)
    optimizer = SOAP(net.parameters(), lr=1e-2, weight_decay=0, precondition_frequency=2)
    errors = []
    for _ in range(100):
        optimizer.zero_grad()
        errors.append((net(images) - goal(images)).square().mean())
        errors[-1].backward()
        optimizer.step()
    assert errors[-1] < errors[0] / 10
    assert (net.bias - goal.bias).abs().max() < 0.1

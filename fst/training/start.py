"""What a training begins with: the weights of another network, as wide or narrower."""

from collections.abc import Mapping
from operator import mod

import torch
from torch import Tensor, nn

from fst.system.errors import InputError

WIDENING_NOISE = 0.05  # of a weight's standard deviation: enough for twins to part ways


def begin_with(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give ``net`` the weights of a network as wide as it, or narrower by a whole factor.

    A wider network computes nearly the same at first (Net2WiderNet, Chen et al., arXiv:1511.05641):
    channels are repeated, what they feed is divided by their number, and noise tells them apart.

    Raises:
        InputError: The weights are those of another kind of network, or of a wider one.
    """
    own = net.state_dict()
    fits = own.keys() == weights.keys() and all(
        own[name].ndim == each.ndim and not any(map(mod, own[name].shape, each.shape))
        for name, each in weights.items()
    )
    if not fits:
        raise InputError(
            "init: expected the weights of a network of the same kind, as wide or narrower by a "
            "whole factor, found others; set network to what init was trained with, or init=null"
        )
    net.load_state_dict({name: _repeat(each, own[name]) for name, each in weights.items()})


def _repeat(weight: Tensor, wider: Tensor) -> Tensor:
    times = [new // old for new, old in zip(wider.shape, weight.shape, strict=True)]
    repeated = weight.repeat(times)
    if weight.ndim == 1:  # of norms, and the last bias
        return repeated
    spread = WIDENING_NOISE * weight.std() if max(times) > 1 else 0
    return repeated / times[1] + spread / times[1] * torch.randn_like(repeated)

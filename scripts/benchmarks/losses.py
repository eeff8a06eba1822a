"""How long the loss networks take, forward and backward to the picture, in one run.

Both have random weights of the right shapes, as fast as others. *activations* is what a loss
network makes of two pictures, and the gradient of these; *loss* is the whole loss with its Gram
matrices and distances, and its gradient, the photos' own activations among it.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from composing import resolve_compile
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from benchmarks.measuring import rounds, times_faster
from fst.compact import NAME, CompactFeatures, CompactVGG, save_compact
from fst.fused import LossNetwork
from fst.losses import PerceptualLoss
from fst.vgg import VGGFeatures

TITLES = ["precision", "what", "loss network", "ms", "times faster"]
SIZE, PICTURES = 256, 4
LAYERS = ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]
CPU = torch.device("cpu")
WARM = 3


def run(args: argparse.Namespace) -> Iterator[list[list[object]]]:
    """Two rows for each precision and part of the loss."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="fst-") as place:
        weights = Path(place) / "random.pth"
        torch.save(make_layers(cfgs["E"]).state_dict(), weights)
        compact, net = Path(place) / "compact.safetensors", CompactVGG()
        card = {"network": {"name": NAME, "arguments": {"widths": net.widths}}}
        save_compact(compact, net, card)
        known = {"mean": (0.5,) * 3, "std": (0.2,) * 3}
        networks = {
            "vgg19": partial(VGGFeatures, weights=weights, **known),
            "compact": partial(CompactFeatures, weights=compact),
        }
        losses = {name: whole(network) for name, network in networks.items()}
    shape = 2, PICTURES, 3, SIZE, SIZE
    images = [each.contiguous(memory_format=torch.channels_last) for each in torch.rand(shape)]
    for precision in "bf16", "fp32":
        amp = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        for what, action in ("activations", activations), ("loss", loss):
            actions = [partial(action, each, amp, *images) for each in losses.values()]
            for each in actions * WARM:
                each()
            seconds = rounds(actions, args.repeats, CPU)
            yield [
                [precision, what, name, 1e3 * statistics.median(own), times_faster(own, seconds[0])]
                for name, own in zip(losses, seconds, strict=True)
            ]


def whole(network: Callable[[list[str]], nn.Module]) -> PerceptualLoss:
    """The default loss to relu4_1, of a painting of noise."""
    found = PerceptualLoss(network, {"relu3_1": 1}, dict.fromkeys(LAYERS, 0.25), 1, 10, 2)
    found = found.to(memory_format=torch.channels_last)
    found.set_style(torch.rand(1, 3, SIZE, SIZE))
    for part in found.modules():
        if isinstance(part, LossNetwork):
            part.compiled = resolve_compile("auto", 10**6)  # as in training
    return found


def activations(of: PerceptualLoss, amp: torch.autocast, images: Tensor, _: Tensor) -> None:
    with amp:
        found = of.extractor(images.detach().requires_grad_(), LAYERS)
    tensors = [each if isinstance(each, Tensor) else each.features for each in found.values()]
    torch.autograd.backward(tensors, [each.detach() for each in tensors])


def loss(of: PerceptualLoss, amp: torch.autocast, images: Tensor, photos: Tensor) -> None:
    with amp:
        found = of(images.detach().requires_grad_(), photos)
    found["total"].backward()

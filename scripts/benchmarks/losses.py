"""How long the loss networks take, forward and backward to the picture, in one run.

The compact network is the shipped one; VGG-19 has random weights, as fast as others. *activations*
is what a loss network makes of four pictures of 256 px up to relu4_1, and the gradient of these;
*loss* is the whole loss with its Gram matrices and distances, and its gradient, the photos' own
activations among it. *a step's* is that of a step of experiment=fast: two pictures of 192 px, up to
relu5_1. In bf16 they are timed where the CPU has units for it: elsewhere nobody trains so.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from benchmarks.measuring import rounds, times_faster
from fst.losses import PerceptualLoss
from fst.losses.compact import CompactFeatures
from fst.losses.vgg import VGGFeatures
from fst.system.devices import has_bf16_units, resolve_compile

TITLES = ["precision", "what", "loss network", "ms", "times faster"]
LAYERS = ["relu1_1", "relu2_1", "relu3_1", "relu4_1"]
STEP = [*LAYERS, "relu5_1"]
PICTURES = {"activations": (4, 256), "loss": (4, 256), "a step's": (2, 192)}  # how many, px
CPU = torch.device("cpu")
WARM = 3


def run(args: argparse.Namespace) -> Iterator[list[list[object]]]:
    """Two rows for each precision and part of the loss."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="fst-") as place:
        weights = Path(place) / "random.pth"
        torch.save(make_layers(cfgs["E"]).state_dict(), weights)
        known = {"mean": (0.5,) * 3, "std": (0.2,) * 3}
        networks = {
            "vgg19": partial(VGGFeatures, weights=weights, **known),
            "compact": CompactFeatures,
        }
        four, step = (
            {name: build_loss(network, layers) for name, network in networks.items()}
            for layers in (LAYERS, STEP)
        )
    for precision in ("bf16", "fp32") if has_bf16_units() else ("fp32",):
        amp = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        for what, losses, action in (
            ("activations", four, activations),
            ("loss", four, loss),
            ("a step's", step, loss),
        ):
            pictures = noise(*PICTURES[what])
            actions = [partial(action, each, amp, *pictures) for each in losses.values()]
            for each in actions * WARM:
                each()
            seconds = rounds(actions, args.repeats, CPU)
            yield [
                [precision, what, name, 1e3 * statistics.median(own), times_faster(own, seconds[0])]
                for name, own in zip(losses, seconds, strict=True)
            ]


def noise(count: int, size: int) -> list[Tensor]:
    """Pictures, and what stands for their photos."""
    shape = 2, count, 3, size, size
    return [each.contiguous(memory_format=torch.channels_last) for each in torch.rand(shape)]


def build_loss(network: Callable[[list[str]], nn.Module], layers: list[str]) -> PerceptualLoss:
    """The default loss of these style layers, of a painting of noise."""
    style = dict.fromkeys(layers, 1 / len(layers))
    compiled = resolve_compile("auto", 10**6)  # as in training
    loss = PerceptualLoss(network, {"relu3_1": 1}, style, 1, 10, 2, compiled=compiled)
    loss = loss.to(memory_format=torch.channels_last)
    loss.set_style(torch.rand(1, 3, 256, 256))
    return loss


def activations(of: PerceptualLoss, amp: torch.autocast, images: Tensor, _: Tensor) -> None:
    with amp:
        features = of.extractor(images.detach().requires_grad_(), LAYERS)
    # of linear maps what they are maps of
    tensors = [each if isinstance(each, Tensor) else each.features for each in features.values()]
    torch.autograd.backward(tensors, [each.detach() for each in tensors])


def loss(of: PerceptualLoss, amp: torch.autocast, images: Tensor, photos: Tensor) -> None:
    with amp:
        terms = of(images.detach().requires_grad_(), photos)
    terms["total"].backward()

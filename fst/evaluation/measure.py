"""All that is measured of one network: objective, equivalent iterations, artefacts, stability.

What the single numbers are: docs/evaluation.md, `fst.evaluation.traces` and
`fst.evaluation.metrics`.
"""

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from fst.evaluation.metrics import ARTEFACTS, STABILITY
from fst.evaluation.traces import PROTOCOLS, equivalents, trace
from fst.images import flatten, read_photo, resize_longer, to_image, to_tensor
from fst.losses import PerceptualLoss


@dataclass
class Evaluation:
    """The figures, and rows of pictures for a contact sheet: photo, network, references."""

    figures: dict[str, Any]
    rows: list[list[Image.Image]]


@dataclass
class Reference:
    """What one protocol says of all photos."""

    figures: dict[str, Any]
    pictures: list[Tensor]
    seconds: float  # median time to the equivalent iteration


def measure(
    net: nn.Module,
    loss: PerceptualLoss,
    photos: list[Tensor],
    protocols: Sequence[str],
    traces: Path | None = None,
) -> Evaluation:
    """Everything but the distances on large photos.

    The loss and the reference run under the caller's autocast, the network in float32.

    Args:
        net: The transformer network.
        loss: The one that it was trained with, the painting's style set.
        photos: ``(1, 3, H, W)`` RGB in [0, 1] each, at least 128 px a side.
        protocols: Names out of `fst.evaluation.traces.PROTOCOLS`; none measures without the
            reference.
        traces: Folder of the reference's traces; by default in the user's cache.
    """
    painted, seconds = repaint(net, photos)
    terms = [values(loss, picture, photo) for picture, photo in zip(painted, photos, strict=True)]
    objectives = [term["total"] for term in terms]
    references = {name: refer(name, photos, loss, objectives, traces) for name in protocols}
    pictures = {"photo": photos, "network": painted}
    pictures |= {f"reference_{name}": each.pictures for name, each in references.items()}
    figures = {
        "loss": means(terms),
        "equivalents": {name: each.figures for name, each in references.items()},
        "artefacts": {
            name: {
                who: mean(float(measured(one)) for one in ones) for who, ones in pictures.items()
            }
            for name, measured in ARTEFACTS.items()
        },
        "stability": {
            name: mean(float(measured(partial(plainly, net), photo)) for photo in photos)
            for name, measured in STABILITY.items()
        },
        "seconds": {
            "network": seconds,
            **{k: each.seconds for k, each in references.items()},
        },
    }
    rows = zip(*pictures.values(), strict=True)
    return Evaluation(figures, [[to_image(one[0]) for one in row] for row in rows])


def distances(
    net: nn.Module, paths: Sequence[Path], loss: PerceptualLoss, size: int, device: torch.device
) -> dict[str, Any]:
    """Style and content distances on photos of ``size`` px longer side, means and by photo.

    Photos that are smaller are left out; without any the result is empty. The loss has the
    painting's style set and runs under the caller's autocast, the network in float32.
    """
    used, terms = [], []
    for path in paths:
        image = flatten(read_photo(path))
        if max(image.size) < size:
            continue
        photo = to_tensor(resize_longer(image, size))[None].to(device)
        picture = plainly(net, photo)
        terms.append(values(loss, picture, photo))
        used.append(path.name)
    if not terms:
        return {}
    figures = {name: value for name, value in means(terms).items() if name not in ("total", "tv")}
    by_photo = [[to_four_digits(term["style"]), to_four_digits(term["content"])] for term in terms]
    return {"size": size, "names": used, **figures, "by_photo": by_photo}


@torch.no_grad()
def plainly(net: nn.Module, photo: Tensor) -> Tensor:
    """The network's picture in float32, whatever the caller's autocast."""
    with torch.autocast(photo.device.type, enabled=False):
        return net(photo)


def repaint(net: nn.Module, photos: list[Tensor]) -> tuple[list[Tensor], float]:
    """The network's pictures, and the median of the seconds that one took."""
    plainly(net, photos[0])  # the first pass takes longer
    painted, seconds = [], []
    for photo in photos:
        began = time.perf_counter()
        painted.append(plainly(net, photo))
        float(painted[-1][0, 0, 0, 0])  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return painted, to_four_digits(statistics.median(seconds))


@torch.no_grad()
def values(loss: PerceptualLoss, picture: Tensor, photo: Tensor) -> dict[str, float]:
    return {name: float(term) for name, term in loss(picture, photo).items()}


def refer(
    protocol: str,
    photos: list[Tensor],
    loss: PerceptualLoss,
    objectives: list[float],
    traces: Path | None,
) -> Reference:
    """Compare every photo's objective with the reference's."""
    iterations, pictures, seconds = [], [], []
    bar = tqdm(photos, desc=protocol, unit="photo", disable=None)
    for photo, objective in zip(bar, objectives, strict=True):
        record, picture = trace(photo, loss, protocol, objective, traces)
        number = record.first_at_or_below(objective)
        iterations.append(number)
        pictures.append(picture)
        seconds.append(record.seconds[-1 if number is None else number])
    figures = {**equivalents(iterations, PROTOCOLS[protocol].most), "by_photo": iterations}
    return Reference(figures, pictures, to_four_digits(statistics.median(seconds)))


def means(terms: list[dict[str, float]]) -> dict[str, float]:
    return {name: mean(term[name] for term in terms) for name in terms[0]}


def mean(numbers: Iterable[float]) -> float:
    return to_four_digits(statistics.fmean(numbers))


def to_four_digits(value: float) -> float:
    return float(f"{value:.4g}")

"""Gatys' method: the pixels themselves optimised under the training's own `PerceptualLoss`.

One picture in minutes where a network takes milliseconds; nothing that a network must have learnt
is in the way, so it is the yardstick for networks as well as a way to one careful picture. Source:
Gatys et al. (arXiv:1508.06576); coarse to fine: Gatys et al. (arXiv:1611.07865, section 6).

Departures from the papers:

1. Pixels are clipped to [0, 1] after every iteration, as Johnson et al. (arXiv:1603.08155, section
   4.1) do for their baseline: otherwise the objective is that of a picture nobody can show. A line
   search, which such a jump can bring to a halt, minimises the loss of the clipped picture instead.
2. L-BFGS can look for its step by a strong-Wolfe line search, which plain L-BFGS of the papers does
   not; it costs more evaluations and never climbs.
"""

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fst.losses import PerceptualLoss
from fst.system.errors import InputError

STARTS = ("photo", "noise", "blank")
OPTIMIZERS = ("lbfgs", "adam")
HISTORY = 20  # pairs of steps and gradients that L-BFGS keeps: 40 times the picture's memory
LINE_SEARCH = 25  # evaluations at most in one line search
ADAM_LR = 0.02  # of a range of 1
COARSEST = 512  # px, longer side: where the deepest layers still see a good part of the picture


class OptimizationLostError(InputError):
    """The objective is not finite any more; the message says since when and what to try."""


@dataclass(frozen=True)
class Iteration:
    """The state after ``number`` iterations; 0 is the start.

    ``picture`` is ``(1, 3, H, W)`` RGB in [0, 1], ``terms`` what `PerceptualLoss` says of it, and
    ``evaluations`` and ``seconds`` what it took to get there and to know its terms.
    """

    number: int
    evaluations: int
    seconds: float
    terms: dict[str, float]
    picture: Tensor

    @property
    def objective(self) -> float:
        return self.terms["total"]


@dataclass(frozen=True)
class _Look:
    """The terms of a picture, and the gradient of their total."""

    where: Tensor
    terms: dict[str, Tensor]
    gradient: Tensor


def start_picture(photo: Tensor, start: str, seed: int = 0) -> Tensor:
    """What the optimisation of a ``(1, 3, H, W)`` photo begins with, same shape, in [0, 1].

    ``photo`` itself, uniform ``noise``, or ``blank``: the photo's mean colour.

    Raises:
        InputError: Another name.
    """
    if start == "photo":
        return photo.clone()
    if start == "noise":
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
        return torch.rand(photo.shape, generator=generator).to(photo)
    if start == "blank":
        return photo.mean((2, 3), keepdim=True).expand_as(photo).clone()
    raise InputError(f"start: expected one of {', '.join(STARTS)}, found {start!r}")


def optimize(
    photo: Tensor,
    loss: PerceptualLoss,
    start: Tensor,
    optimizer: str = "lbfgs",
    line_search: bool = True,
    lr: float | None = None,
) -> Iterator[Iteration]:
    """Optimise a picture without end; whoever iterates says when it is enough.

    Args:
        photo: ``(1, 3, H, W)`` RGB in [0, 1], the content.
        loss: With the painting's style set.
        start: From `start_picture`, or any other picture of the photo's shape.
        optimizer: ``lbfgs`` or ``adam``.
        line_search: Whether L-BFGS looks for its step by the strong Wolfe conditions.
        lr: Learning rate; by default 1 for L-BFGS, 0.02 for Adam.

    Yields:
        An `Iteration` for the start and after each iteration.

    Raises:
        InputError: An unknown optimiser.
        OptimizationLostError: The objective is NaN or infinite.
    """
    picture = start.detach().clone().contiguous().requires_grad_()  # L-BFGS wants it contiguous
    stepper = _make_optimizer(picture, optimizer, line_search, lr)
    searching = optimizer == "lbfgs" and line_search
    evaluations, seconds, number = 0, 0.0, 0
    content = loss.content_of(photo)
    last: _Look | None = None  # a line search ends where it has looked: no need to look again

    def look() -> _Look:
        nonlocal evaluations, last
        if last and torch.equal(last.where, picture):
            picture.grad = last.gradient.clone()
            return last
        evaluations += 1
        stepper.zero_grad()
        shown = picture.clamp(0, 1).contiguous(memory_format=torch.channels_last)  # departure 1
        terms = loss(shown, content)
        terms["total"].backward()
        assert picture.grad is not None
        terms = {name: term.detach() for name, term in terms.items()}
        last = _Look(picture.detach().clone(), terms, picture.grad.clone())
        return last

    while True:
        began = time.perf_counter()
        here = look()
        done = evaluations
        values = {name: float(term) for name, term in here.terms.items()}
        if not math.isfinite(values["total"]):
            raise OptimizationLostError(
                f"iteration {number}: the objective is {values['total']}; try the line search, a "
                "lower learning rate or another start"
            )
        seconds += time.perf_counter() - began
        yield Iteration(number, done, seconds, values, here.where.clamp(0, 1))
        began = time.perf_counter()  # not what the caller does with the picture
        stepper.step(lambda: float(look().terms["total"]))
        if not searching:
            with torch.no_grad():
                picture.clamp_(0, 1)  # departure 1
        seconds += time.perf_counter() - began
        number += 1


def scales(side: int, coarsest: int = COARSEST) -> list[int]:
    """The sides of a pyramid: halved from ``side`` until at most ``coarsest``, coarse to fine.

    >>> scales(1500)
    [375, 750, 1500]
    """
    sides = [side]
    while sides[0] > coarsest:
        sides.insert(0, sides[0] // 2)
    return sides


def count_iterations(side: int, iterations: int) -> int:
    """Iterations of `coarse_to_fine` over all its scales."""
    return iterations + (len(scales(side)) - 1) * _finer(iterations)


def coarse_to_fine(
    photo: Tensor,
    painting: Tensor,
    loss: PerceptualLoss,
    iterations: int,
    style_size: int,
    start: str = "photo",
    optimizer: str = "lbfgs",
    line_search: bool = True,
    lr: float | None = None,
    seed: int = 0,
) -> Generator[tuple[int, Iteration], None, None]:
    """Optimise a picture of any size: the coarse one decides what the finer ones refine.

    The loss sees little more than a hundred pixels at once, so a large picture optimised at once
    gets small strokes only. Here the coarsest photo meets the painting in the size that it is given
    for a picture of at most 512 px, both grow together as far as the painting's resolution goes,
    and every result is the start of the next finer one, which takes a third of the iterations.

    Args:
        photo: ``(1, 3, H, W)`` RGB in [0, 1].
        painting: ``(1, 3, H, W)`` RGB in [0, 1], as large as there is.
        loss: Its style is set here, at every scale.
        iterations: At the coarsest scale.
        style_size: Shorter side of the painting at the coarsest scale, px.
        start: What the coarsest scale begins with, see `start_picture`.
        optimizer, line_search, lr: As for `optimize`.
        seed: Of the noise.

    Yields:
        ``(longer side, Iteration)`` for every iteration, and again from 0 at every scale.
    """
    longer = max(photo.shape[-2:])
    picture, sides = None, scales(longer)
    for side in sides:
        small = _reduce(photo, side / longer)
        shorter = style_size * side / sides[0]
        loss.set_style(_reduce(painting, min(1, shorter / min(painting.shape[-2:]))))
        if picture is None:
            begin, count = start_picture(small, start, seed), iterations
        else:
            height, width = small.shape[-2:]
            begin, count = _resize(picture, (height, width)), _finer(iterations)
        for state in optimize(small, loss, begin, optimizer, line_search, lr):
            yield side, state
            if state.number == count:
                break
        picture = state.picture


def _finer(iterations: int) -> int:
    return math.ceil(iterations / 3)


def _make_optimizer(
    picture: Tensor, name: str, line_search: bool, lr: float | None
) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam([picture], lr=lr or ADAM_LR)
    if name != "lbfgs":
        raise InputError(f"optimizer: expected one of {', '.join(OPTIMIZERS)}, found {name!r}")
    return torch.optim.LBFGS(
        [picture],
        lr=lr or 1,
        max_iter=1,  # one at a time, so that each can be looked at
        max_eval=1 + LINE_SEARCH,
        history_size=HISTORY,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe" if line_search else None,
    )


def _reduce(picture: Tensor, factor: float) -> Tensor:
    height, width = (max(1, round(side * factor)) for side in picture.shape[-2:])
    return picture if factor == 1 else _resize(picture, (height, width))


def _resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    resized = F.interpolate(picture, size, mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1)

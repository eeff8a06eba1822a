"""How many iterations of Gatys' method a network's single pass is worth.

Johnson et al. (arXiv:1603.08155, section 4.1 and figure 5) compare the objective of their networks
with that of L-BFGS by iteration. Here the comparison is a number by photo: the first iteration
whose objective is at or below the network's, under two protocols.

* ``johnson``: from noise, plain L-BFGS, as the paper's baseline.
* ``strict``: from the photo, with a strong-Wolfe line search: the best start and the best optimiser
  known here, so the smaller number.

A trace, the objective by iteration, belongs to a photo, a painting and a loss, not to a network. It
is computed up to where the network is met and kept in the user's cache; a better network of the
same painting makes it longer, and leaves the picture alone that stands for the reference.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fst.gatys import HISTORY, optimize, start_picture
from fst.images import Photo, read_photo, save_picture, to_array, to_tensor
from fst.losses import PerceptualLoss
from fst.system.files import atomic_path, cache_folder


@dataclass(frozen=True)
class Protocol:
    """How the reference is optimised, and for how long."""

    start: str
    line_search: bool
    least: int  # iterations of the reference's picture, and of every trace
    most: int  # iterations after which a network counts as worth so many


PROTOCOLS = {
    "johnson": Protocol(start="noise", line_search=False, least=50, most=300),
    "strict": Protocol(start="photo", line_search=True, least=30, most=150),
}


@dataclass(frozen=True)
class Trace:
    """Objective, evaluations and seconds by iteration, the start's being number 0."""

    objectives: list[float]
    evaluations: list[int]
    seconds: list[float]

    def first_at_or_below(self, objective: float) -> int | None:
        """The first iteration that is no worse than ``objective``; None if none is."""
        return next((k for k, value in enumerate(self.objectives) if value <= objective), None)


def trace(
    photo: Tensor, loss: PerceptualLoss, protocol: str, objective: float, cache: Path | None = None
) -> tuple[Trace, Tensor]:
    """Optimise a ``(1, 3, H, W)`` photo until ``objective`` is met, or read that from the cache.

    Args:
        photo: RGB in [0, 1].
        loss: With the painting's style set.
        protocol: ``johnson`` or ``strict``.
        objective: The network's; the trace ends where it is met, but not before the protocol's
            ``least`` iterations and not after its ``most``.
        cache: Folder of the traces; by default ``traces`` in the user's cache.

    Returns:
        The trace, and the picture after the protocol's ``least`` iterations, ``(1, 3, H, W)`` RGB
        in [0, 1] of 8 bits.
    """
    rules = PROTOCOLS[protocol]
    folder = cache or cache_folder() / "traces"
    stem = folder / f"{protocol}-{_digest(photo, loss, rules)}"
    record, picture = _load(stem)
    if record and picture is not None and _long_enough(record, rules, objective):
        return record, picture.to(photo)
    record, picture = Trace([], [], []), photo
    states = optimize(photo, loss, start_picture(photo, rules.start), line_search=rules.line_search)
    for state in states:
        record.objectives.append(state.objective)
        record.evaluations.append(state.evaluations)
        record.seconds.append(round(state.seconds, 3))
        if state.number == rules.least:
            picture = state.picture
        if _long_enough(record, rules, objective):
            break
    _save(stem, record, picture)
    return record, to_tensor(to_array(picture[0]))[None].to(photo)


def equivalents(numbers: Sequence[int | None], most: int) -> dict[str, float]:
    """Median, least, quartiles and greatest of equivalent iterations; None counts as ``most``."""
    values = np.array([most if value is None else value for value in numbers])
    low, first, median, third, high = np.percentile(values, (0, 25, 50, 75, 100)).tolist()
    return {"median": median, "min": low, "q1": first, "q3": third, "max": high}


def _long_enough(record: Trace, rules: Protocol, objective: float) -> bool:
    count = len(record.objectives) - 1
    if count >= rules.most:
        return True
    return count >= rules.least and record.first_at_or_below(objective) is not None


def _digest(photo: Tensor, loss: PerceptualLoss, rules: Protocol) -> str:
    """What the trace depends on: the photo's pixels, the loss with its targets and weights."""
    mixed = torch.is_autocast_enabled(photo.device.type)
    rule = {"start": rules.start, "line_search": rules.line_search, "least": rules.least}
    recipe = (rule, HISTORY, mixed, loss.extra_repr(), str(loss.extractor))
    digest = hashlib.sha256(json.dumps(recipe).encode())
    for tensor in (photo, *loss.state_dict().values()):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def _load(stem: Path) -> tuple[Trace | None, Tensor | None]:
    """A trace and its picture; None where there is none, or no readable one."""
    try:
        saved = Trace(**json.loads(stem.with_suffix(".json").read_text(encoding="utf-8")))
        return saved, to_tensor(read_photo(stem.with_suffix(".png")).pixels)[None]
    except (OSError, ValueError, TypeError):
        return None, None


def _save(stem: Path, record: Trace, picture: Tensor) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    save_picture(Photo(to_array(picture[0])), stem.with_suffix(".png"))
    with atomic_path(stem.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")

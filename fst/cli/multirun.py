"""One contact sheet and one table of a multirun: what each setting does to the same photos."""

import atexit
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image

from fst.images import (
    Photo,
    captioned_sheet,
    contact_sheet,
    find_images,
    flatten,
    read_photo,
    save_picture,
)
from fst.styles import read_card
from fst.stylizer import Stylizer
from fst.system.errors import InputError
from fst.system.tables import markdown_table

EXAMPLES = Path(__file__).parents[2] / "examples"  # of the repository; a wheel has none
PHOTOS, HEIGHT = 4, 240  # how many; px of each


@dataclass(frozen=True)
class Run:
    """One finished run: its settings, and the four photos that it painted, two by two."""

    settings: list[str]
    painted: Image.Image


class MultirunSheet(Callback):
    """Draws ``sheet.jpg`` in the multirun's folder: a block of four photos for every run.

    It is drawn anew after every run, so that one that fails, or Ctrl-C, loses none of those before.
    Blocks stand in the order of the runs, a row for each value of all settings but the last one, so
    that a sweep of style weights and style sizes is a table of weights by sizes. When all is over,
    failed runs or not, a table of their losses goes to stdout.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.lines: list[tuple[list[str], list[str]]] = []  # settings of a run, and its figures

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        hydra = config.hydra
        if hydra.mode != RunMode.MULTIRUN:
            return
        settings = list(job_return.overrides or [])
        if not self.lines:  # on_multirun_end does not come where a run fails
            atexit.register(lambda: print(table(self.lines)))
        if job_return.status != JobStatus.COMPLETED:
            print(f"run {hydra.job.num} failed: {' '.join(settings)}", file=sys.stderr)
            self.lines.append((settings, failure(job_return)))
            return
        self.lines.append((settings, figures(job_return.return_value)))
        self.runs.append(Run(settings, paint(job_return.return_value, choose_photos(config))))
        path = Path(hydra.sweep.dir) / "sheet.jpg"
        save_picture(Photo.from_image(draw(self.runs)), path, quality=85)
        print(f"contact sheet of {len(self.runs)} runs: {path}", file=sys.stderr)


def figures(style_file: Path) -> list[str]:
    """The cells of a finished run: losses on held-out photos, minutes, its file."""
    card = read_card(style_file)
    losses = [f"{card['metrics'][name]:.4g}" for name in ("total", "style", "content")]
    return [*losses, f"{card['training']['seconds'] / 60:.1f}", str(style_file)]


def failure(job: JobReturn) -> list[str]:
    try:
        said = str(job.return_value)  # raises what the job raised
    except InputError as error:
        said = str(error)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    return ["-", "-", "-", "-", "failed: " + " ".join(said.split())]


def table(lines: list[tuple[list[str], list[str]]]) -> str:
    """The runs as a Markdown table, by the settings in which they differ."""
    names = own_settings([settings for settings, _ in lines])
    head = ["settings", "total", "style", "content", "minutes", "style file"]
    rows = (["  ".join(own), *cells] for own, (_, cells) in zip(names, lines, strict=True))
    return markdown_table(head, rows)


def own_settings(runs: list[list[str]]) -> list[list[str]]:
    """Of each run, the settings that it does not share with all others."""
    common = set.intersection(*map(set, runs)) if len(runs) > 1 else set()
    return [[setting for setting in settings if setting not in common] for settings in runs]


def choose_photos(config: DictConfig) -> Sequence[Path]:
    """The first bundled photos; without them, photos that were held out from the training."""
    if EXAMPLES.is_dir():
        return find_images(EXAMPLES)[:PHOTOS]
    data = instantiate(config.data)
    data.setup()
    return data.val_paths[:PHOTOS]


def paint(style_file: Path, photos: Sequence[Path]) -> Image.Image:
    stylize = Stylizer(style_file)
    painted = [stylize(flatten(read_photo(path))) for path in photos]
    return contact_sheet([painted[: PHOTOS // 2], painted[PHOTOS // 2 :]], HEIGHT)


def draw(runs: list[Run]) -> Image.Image:
    """The sheet of the runs, captioned with the settings in which they differ."""
    own = own_settings([run.settings for run in runs])
    blocks = [("  ".join(settings), run.painted) for settings, run in zip(own, runs, strict=True)]
    across = len({settings[-1] for settings in own if settings}) or 1
    rows = [blocks[k : k + across] for k in range(0, len(blocks), across)]
    return captioned_sheet(rows, runs[0].painted.height)

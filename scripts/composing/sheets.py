"""One contact sheet of a multirun: what each setting does to the same four photos."""

import sys
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from PIL import Image, ImageDraw, ImageFont

from fst.images import Photo, contact_sheet, find_images, flatten, read_photo, save_picture
from fst.stylizer import Stylizer

EXAMPLES = Path(__file__).parents[2] / "examples"
PHOTOS, HEIGHT, CAPTION, TEXT = 4, 240, 28, 18  # px, but for the number of photos


class MultirunSheet(Callback):
    """Draws ``sheet.jpg`` in the multirun's folder: a block of four photos for every run.

    Blocks stand in the order of the runs, a row for each value of all settings but the last one, so
    that a sweep of style weights and style sizes is a table of weights by sizes.
    """

    def __init__(self) -> None:
        self.runs: list[tuple[list[str], Path]] = []  # settings, release file

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if job_return.status == JobStatus.COMPLETED:
            self.runs.append((list(job_return.overrides), job_return.return_value))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if not self.runs:
            return
        path = Path(config.hydra.sweep.dir) / "sheet.jpg"
        save_picture(Photo.from_image(draw(self.runs)), path, quality=85)
        print(f"contact sheet of {len(self.runs)} runs: {path}", file=sys.stderr)


def draw(runs: list[tuple[list[str], Path]]) -> Image.Image:
    """The sheet of the runs, captioned with the settings in which they differ."""
    photos = [flatten(read_photo(path)) for path in find_images(EXAMPLES)[:PHOTOS]]
    common = set.intersection(*(set(settings) for settings, _ in runs))
    own = [[setting for setting in settings if setting not in common] for settings, _ in runs]
    blocks = [
        block(photos, release, "  ".join(o)) for o, (_, release) in zip(own, runs, strict=True)
    ]
    across = len({settings[-1] for settings in own if settings}) or 1
    rows = [blocks[k : k + across] for k in range(0, len(blocks), across)]
    return contact_sheet(rows, blocks[0].height)


def block(photos: list[Image.Image], release: Path, caption: str) -> Image.Image:
    """The photos of one run, two by two, under its caption."""
    stylize = Stylizer(release)
    painted = [stylize(photo) for photo in photos]
    sheet = contact_sheet([painted[: PHOTOS // 2], painted[PHOTOS // 2 :]], HEIGHT)
    page = Image.new("RGB", (sheet.width, sheet.height + CAPTION), "white")
    font = ImageFont.load_default(TEXT)
    ImageDraw.Draw(page).text((8, 6), caption, fill="black", font=font)
    page.paste(sheet, (0, CAPTION))
    return page

"""``scripts/stylize.py`` with a painter that inverts colours and takes 0.1 s for it.

The tests that send signals run this file; others take its `Inverter` for a Stylizer.
"""

import runpy
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import fst.stylizer.stylizer
from fst.images import Photo

SECONDS = 0.1


class Inverter:
    """Stands for a `Stylizer`: the pixels inverted, where a mask is given only where it is white.

    Attributes:
        calls: The controls of every call so far.
    """

    seconds = 0.0

    def __init__(self, style, device="auto", engine="auto", precision="auto", **options) -> None:
        self.engine = SimpleNamespace(name=engine, precision=precision)
        self.style, self.device, self.options, self.calls = style, device, options, []

    def __call__(self, photo: Photo, *, mask=None, **controls) -> Photo:
        self.calls.append(controls)
        time.sleep(self.seconds)
        inverted = np.iinfo(photo.pixels.dtype).max - photo.pixels
        if mask is not None:
            inverted = np.where(mask[..., None] > 0.5, inverted, photo.pixels)
        return replace(photo, pixels=inverted)


if __name__ == "__main__":
    Inverter.seconds = SECONDS
    fst.stylizer.Stylizer = Inverter
    script = Path(__file__).parent.parent / "scripts" / "stylize.py"
    runpy.run_path(str(script), run_name="__main__")

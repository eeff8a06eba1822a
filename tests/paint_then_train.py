"""What a notebook does: paint with every engine, then train in the same process.

python -m tests.paint_then_train PHOTO STYLE [arguments of scripts/train.py]
"""

import signal
import sys
from contextlib import suppress

from PIL import Image

from fst.engines import available_engines
from fst.stylizer import Stylizer
from fst.system.errors import InputError
from tests.conftest import run_inline


def paint(photo: Image.Image, style: str) -> None:
    """Two sizes by every engine, in two precisions; they are dropped in the order of making."""
    stylizers = {}
    for engine in available_engines():
        # torch.compile takes 20 s for each
        for precision in ("fp32",) if engine == "compile" else ("fp32", "bf16"):
            with suppress(InputError):  # a precision that it does not have
                stylizers[engine, precision] = Stylizer(style, engine=engine, precision=precision)
    for stylizer in stylizers.values():
        for size in (photo.size, (64, 64)):
            assert stylizer(photo.resize(size)).size == size
    print("painted by", *(engine for engine, precision in stylizers if precision == "fp32"))


if __name__ == "__main__":
    path, style, *arguments = sys.argv[1:]
    with Image.open(path) as image:
        paint(image, style)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # as the loader does, but at any rate
    signal.raise_signal(signal.SIGCHLD)
    result = run_inline("train", *arguments)
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)
    sys.exit(result.returncode)

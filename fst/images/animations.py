"""Animated GIF, WebP and PNG: whole frames one after another, and as long as they were shown."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from PIL import Image

from fst.images.decoding import decode, open_image, reading
from fst.images.photo import Photo

Used = TypeVar("Used")
_FORMATS = ("GIF", "WEBP", "PNG", "AVIF")  # pages of a TIFF and pictures of an MPO are no frames


class Animation:
    """Frames that are decoded, and repainted, when they are asked for.

    Args:
        frames: Called for each walk through the frames.
        durations: How long each frame is shown, in ms.
        loop: How often all is shown; 0 is for ever.
        size: Width and height of the frames.
    """

    def __init__(
        self,
        frames: Callable[[], Iterator[Photo]],
        durations: list[int],
        loop: int,
        size: tuple[int, int],
    ) -> None:
        self._frames = frames
        self.durations, self.loop, self.size = durations, loop, size

    def __len__(self) -> int:
        return len(self.durations)

    def __iter__(self) -> Iterator[Photo]:
        return self._frames()

    def map(self, repaint: Callable[[Photo], Photo]) -> "Animation":
        """The same with every frame repainted, once it is asked for."""
        return Animation(lambda: map(repaint, self._frames()), self.durations, self.loop, self.size)


def is_animated(file: Image.Image) -> bool:
    """Whether an open file has more than one frame to show one after another."""
    frames = getattr(file, "n_frames", 1) - bool(file.info.get("default_image"))
    return file.format in _FORMATS and frames > 1


def read_animation(path: Path) -> Animation:
    """The animation in a file; looks at every frame once, to know how long it is shown.

    Raises:
        InputError: The file is damaged, then or while the frames are walked through.
    """
    durations = [duration for _, duration in _walk(path, lambda file: file.load())]
    with reading(path), path.open("rb") as stream:
        file = open_image(stream, path)
        loop, size = _loops(file), file.size
    return Animation(lambda: (frame for frame, _ in _walk(path, decode)), durations, loop, size)


def _walk(path: Path, use: Callable[[Image.Image], Used]) -> Iterator[tuple[Used, int]]:
    """What ``use`` makes of each frame, and its duration in ms."""
    with path.open("rb") as stream:
        with reading(path):
            file = open_image(stream, path)
            first = 1 if file.info.get("default_image") else 0  # for viewers that show a still
            last = getattr(file, "n_frames", 1)
        for number in range(first, last):
            with reading(path):
                file.seek(number)
                used = use(file)
                duration = round(file.info.get("duration", 0))
            yield used, duration


def _loops(file: Image.Image) -> int:
    """How often the animation is played; a GIF says how often it is repeated, or nothing at all."""
    if file.format != "GIF":
        return file.info.get("loop", 0)
    repeated = file.info.get("loop")
    return 1 if repeated is None else repeated + 1 if repeated else 0

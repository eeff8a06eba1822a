"""From a photo to a painted photo: which device, which engine, which tiles, how much of it.

>>> stylize = Stylizer("starry_night")                                   # doctest: +SKIP
>>> stylize(Image.open("photo.jpg"), strength=0.7).save("out.png")       # doctest: +SKIP
"""

import math
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fst.engines import DTYPES, Engine, make_engine
from fst.images import MAX_PIXELS, Photo, to_array, to_tensor
from fst.networks import MIN_SIDE, STRIDE, TransformerNet
from fst.styles import find_style, load_style
from fst.stylizer.controls import Controls, apply_controls, fill_transparent, limit_side, resize
from fst.stylizer.statistics import SAMPLE_LIVE, fold_picture_statistics
from fst.stylizer.tiles import MARGIN, stylize_tiles
from fst.system.devices import choose_device
from fst.system.errors import InputError

MEMORY = 1536  # MiB that a pass of the network may take
SAMPLE = 1_500_000  # px that the statistics of a tiled picture come from
ON_DISK = 1 << 28  # bytes; larger results are kept in a file while they grow
# what can be repainted, and comes back as the same
Picture = TypeVar("Picture", Image.Image, Photo, Tensor)
SIDES = 4 * MARGIN, 2048  # px of a tile's window, least and most


class Stylizer:
    """One trained style, or a blend of several, ready to repaint pictures.

    Args:
        style: The name of a shipped style, or the path of a style file; or several with weights,
            ``"starry_night:0.6,great_wave:0.4"``, whose results are averaged.
        device: ``auto`` takes a GPU where there is one; or ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        engine: ``auto`` or one of `fst.engines.ENGINES`.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        memory: MiB that one pass may take; by default 1536, on a CUDA GPU half of what is free.
            Pictures that need more are stylized in tiles, under statistics of `sample` pixels;
            smaller ones in one piece.
        sample: See `memory`, which limits it; ``math.inf`` is the whole picture, with statistics as
            of one piece and whatever memory that takes.

    Attributes:
        cards: What each style file says of itself (`fst.styles.release`).
        device: The device chosen.
        engine: The engine chosen, with its ``name`` and ``precision``.

    Raises:
        InputError: No such style, a file that cannot be used, no such device or engine, or a
            precision that the engine does not have.
    """

    def __init__(
        self,
        style: str | Path,
        device: str = "auto",
        engine: str = "auto",
        precision: str = "auto",
        memory: int | None = None,
        sample: float = SAMPLE,
    ) -> None:
        if memory is not None and memory < 64:
            raise InputError(f"memory: expected 64 MiB or more, found {memory}")
        self.device = choose_device(device)
        if memory is None:
            memory = MEMORY
            if self.device.type == "cuda":
                memory = torch.cuda.mem_get_info(self.device)[0] >> 21
        self._memory, self._sample = memory << 20, sample
        self._styles = []
        for name, weight in parse_styles(style):
            net, card = load_style(find_style(name))
            made = make_engine(net, self.device, engine, precision)
            self._styles.append(_Style(net, card, weight, made))

    @property
    def cards(self) -> list[dict[str, Any]]:
        return [style.card for style in self._styles]

    @property
    def engine(self) -> Engine:
        return self._styles[0].engine

    def __call__(self, picture: Picture, **controls: Any) -> Picture:
        """Repaint a picture; the answer has its kind and, without ``max_side``, its size.

        Args:
            picture: A PIL image, of which the RGB colours are repainted, mode RGB out; or a
                `Photo`, of which opacity, depth and metadata are kept; or RGB in [0, 1] as
                ``(3, H, W)`` or ``(N, 3, H, W)``, float32 out on the device of the input. At least
                16 px a side.
            controls: The fields of `fst.stylizer.controls.Controls`.

        Raises:
            InputError: Of another shape, too small, or a control out of its range.
        """
        wanted = Controls(**controls)
        if isinstance(picture, Image.Image):
            return self._photo(Photo.from_image(picture), wanted).image
        if isinstance(picture, Photo):
            return self._photo(picture, wanted)
        if picture.ndim not in (3, 4) or picture.shape[-3] != 3 or not picture.is_floating_point():
            raise InputError(
                "picture: expected floats of shape (3, H, W) or (N, 3, H, W) in [0, 1], found "
                f"{picture.dtype} of shape {tuple(picture.shape)}"
            )
        batch = picture.float() if picture.ndim == 4 else picture[None].float()
        out = self._batch(batch, wanted).to(picture.device)
        return out if picture.ndim == 4 else out[0]

    def _photo(self, photo: Photo, controls: Controls) -> Photo:
        if controls.max_side is not None:
            photo = limit_side(photo, controls.max_side)
        if controls.strength == 0:
            return photo
        visible = photo.pixels
        if photo.alpha is not None:
            visible = fill_transparent(photo.pixels, photo.alpha)
        stylized = self._scaled(visible, controls.scale)
        return replace(photo, pixels=apply_controls(photo.pixels, stylized, controls))

    def _batch(self, batch: Tensor, controls: Controls) -> Tensor:
        """``(N, 3, H, W)`` in [0, 1]; in one pass where no control and no limit asks for more."""
        height, width = batch.shape[-2:]
        size = controls.scale, controls.max_side
        if controls.plain and size == (1, None) and self._fits(len(batch) * height * width):
            first, *others = (style.weight * style.engine(batch) for style in self._styles)
            return sum(others, start=first)
        photos = (Photo(to_array(image, np.float32)) for image in batch)
        return torch.stack([to_tensor(self._photo(photo, controls).pixels) for photo in photos])

    def _scaled(self, pixels: np.ndarray, scale: float) -> np.ndarray:
        """The pass, at another resolution where asked."""
        if scale == 1:
            return self._blend(pixels)
        height, width = pixels.shape[:2]
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        if rows * columns > MAX_PIXELS or min(rows, columns) < MIN_SIDE:
            raise InputError(
                f"scale: expected the network to see {MIN_SIDE} px a side to {MAX_PIXELS // 10**6} "
                f"megapixels, found {columns}x{rows} px at {scale}; try one nearer to 1"
            )
        return np.array(resize(self._blend(resize(pixels, rows, columns)), height, width))

    def _blend(self, pixels: np.ndarray) -> np.ndarray:
        """The weighted mean of the styles' results; ``(H, W, 3)``, a new array of the same type."""
        first, *others = self._styles
        blended, share = self._pass(first, pixels), first.weight
        for style in others:
            share += style.weight
            strength = Controls(strength=style.weight / share)
            blended = apply_controls(blended, self._pass(style, pixels), strength)
        return blended

    def _pass(self, style: "_Style", pixels: np.ndarray) -> np.ndarray:
        """One style, full strength: in one piece where the memory allows, else in tiles."""
        height, width = pixels.shape[:2]
        try:
            if self._fits(height * width):
                return style.engine.stylize(pixels)
            return self._pass_tiles(style, pixels)
        except RuntimeError as error:  # torch.OutOfMemoryError on a GPU, a plain one on CPUs
            if "memory" not in str(error):
                raise
            raise InputError(
                f"picture: {width}x{height} px do not fit into the memory of {self.device}; "
                f"try a memory budget (--memory) below {self._memory >> 20} MiB"
            ) from error

    def _fits(self, pixels: int) -> bool:
        return pixels * sum(style.engine.working_bytes for style in self._styles) <= self._memory

    def _pass_tiles(self, style: "_Style", pixels: np.ndarray) -> np.ndarray:
        engine = style.engine
        affordable = self._memory / engine.working_bytes  # px at a time
        sample = self._sample
        if sample != math.inf:
            sample = min(sample, self._memory / (SAMPLE_LIVE * engine.activation_bytes))
        dtype = DTYPES[engine.precision]
        folded, colour = fold_picture_statistics(style.net, pixels, sample, self.device, dtype)
        tiles = style.tile_engine(folded, colour)
        side = int(min(max(math.sqrt(affordable), SIDES[0]), SIDES[1])) // STRIDE * STRIDE
        out = _empty(pixels)
        stylize_tiles(tiles.stylize, pixels, out, side)
        return out


@dataclass
class _Style:
    """One network of a `Stylizer`; its share of the result; its engines."""

    net: TransformerNet
    card: dict[str, Any]
    weight: float
    engine: Engine
    _tiles: Engine | None = None

    def tile_engine(self, folded: TransformerNet, colour: Tensor) -> Engine:
        """An engine of the same kind for a network with folded statistics, and its colour."""
        if self._tiles is None:
            whole = self.engine
            self._tiles = make_engine(folded, whole.device, whole.name, whole.precision, colour)
        else:
            self._tiles.load(folded, colour)
        return self._tiles


def parse_styles(text: str | Path) -> list[tuple[str, float]]:
    """Names and weights, which sum to 1, of ``"a:0.6,b:0.4"``; a name alone has weight 1.

    Raises:
        InputError: A weight is no number above 0.
    """
    if Path(text).is_file():
        return [(str(text), 1.0)]
    styles = []
    for part in str(text).split(","):
        name, colon, weight = part.strip().rpartition(":")
        if not colon:
            name, weight = part.strip(), "1"
        try:
            styles.append((name, float(weight)))
        except ValueError:
            styles.append((part.strip(), 1.0))  # a colon of a path; no such file is said later
    total = sum(weight for _, weight in styles)
    if not all(weight > 0 for _, weight in styles) or not math.isfinite(total):
        raise InputError(f"style: expected weights above 0, as in a:0.6,b:0.4; found {str(text)!r}")
    return [(name, weight / total) for name, weight in styles]


def _empty(pixels: np.ndarray) -> np.ndarray:
    """An array like a picture; a huge one in an unnamed temporary file."""
    if pixels.nbytes < ON_DISK:
        return np.empty(pixels.shape, pixels.dtype)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):  # a disk that fills up later would kill the process
                os.posix_fallocate(file.fileno(), 0, pixels.nbytes)
            return np.memmap(file, pixels.dtype, "w+", shape=pixels.shape)
    except OSError:  # no room there
        return np.empty(pixels.shape, pixels.dtype)

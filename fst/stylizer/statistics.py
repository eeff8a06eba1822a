"""The statistics of a whole picture, from a sample of small regions of it.

`fst.stylizer.tiles` says what they are for. The regions are spread over the picture. All of them go
through the network together, so that every norm sees what is pooled over all; only a region's core
counts, its margin is there for the receptive field. Asked for the whole picture, tiles take the
regions' place, and the statistics are exact.
"""

import numpy as np
import torch
from torch import Tensor, nn

from fst.engines.simplify import (
    LOOK,
    DeployedNet,
    deploy,
    fold_statistics,
    mean_colour,
    norms,
    shift_by_colour,
)
from fst.images import to_tensor
from fst.images.photo import full
from fst.networks import InstanceNorm, TransformerNet
from fst.stylizer.tiles import MARGIN, Tile, cut_out, grid, padded_size

# Regions that statistics are sampled from: many small ones say more than a few large ones, since
# neighbours resemble each other; a margin much shorter than the receptive field is enough for them.
REGION, REGION_MARGIN = 32, 16  # px: side of a region's core, and around it
SAMPLE_LIVE = 15  # activations of the first layer's size that a sampled px takes, as measured
CHUNK = 1 << 20  # px of regions that a convolution takes at a time


def fold_picture_statistics(
    net: TransformerNet,
    pixels: np.ndarray,
    sample: float,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[TransformerNet, Tensor]:
    """A network of which the norms have the statistics of one picture, folded.

    Args:
        net: A trained network.
        pixels: ``(H, W, 3)`` uint8, uint16, or float32 in [0, 1].
        sample: How many pixels of the picture to look at, spread over it; with as many as it has,
            the statistics are those of an untiled pass.
        device: Where to compute.
        dtype: Of the convolutions; statistics are float32.

    Returns:
        The folded network, and the picture's mean colour: an `Engine` takes both.
    """
    colour = mean_colour(to_tensor(pixels[::LOOK, ::LOOK])[None]).view(3)
    statistics = measure_statistics(net, pixels, sample, colour, device, dtype)
    return fold_statistics(net, statistics), colour


def measure_statistics(
    net: TransformerNet,
    pixels: np.ndarray,
    sample: float,
    colour: Tensor,
    device: torch.device,
    dtype: torch.dtype,
) -> list[tuple[Tensor, Tensor]]:
    """Variance and mean of every norm's input, for `fst.engines.simplify.fold_statistics`.

    Arguments as for `fold_picture_statistics`; ``colour`` is any near the picture's mean, ``(3,)``
    in 8-bit values.
    """
    height, width = padded_size(pixels)
    if sample < height * width and min(height, width) >= 3 * REGION:
        tiles, weights = choose_regions(pixels, sample)
    else:
        tiles = [tile for row in grid(height, width, 8 * MARGIN) for tile in row]
        tiles = tiles[:: max(1, round(height * width / sample))]  # of a long strip, not all
        areas = torch.tensor([float(_area(tile)) for tile in tiles])
        weights = areas / areas.sum()
    windows = torch.stack([to_tensor(cut_out(pixels, tile)) for tile in tiles])
    batch = (255 * windows - colour.view(-1, 1, 1)).to(device, dtype)
    measuring = deploy(net)
    shift = shift_by_colour(measuring, colour)
    # what comes behind the last norm need not run
    measuring.decoder = nn.Sequential(*(block for block in measuring.decoder if norms(block)))
    measuring.to(device, dtype).to(memory_format=torch.channels_last)
    pooled = _pool_norms(measuring, tiles, weights.to(device))
    with torch.inference_mode():
        measuring(batch.to(memory_format=torch.channels_last))
    statistics = [(norm.var.cpu(), norm.mean.cpu()) for norm in pooled]
    statistics[0] = statistics[0][0], statistics[0][1] + shift
    return statistics


def _area(tile: Tile) -> int:
    rows, columns = tile.core_rows, tile.core_columns
    return (rows.stop - rows.start) * (columns.stop - columns.start)


def choose_regions(pixels: np.ndarray, sample: float) -> tuple[list[Tile], Tensor]:
    """Regions with together about ``sample`` px, and how much each counts for the whole picture.

    They are cells of 32 px, spread evenly but the denser the more contrast they have: in a night
    sky the few lights make the statistics. The weights, ``(regions,)``, sum to 1; they make up for
    the density, and are calibrated (the regression estimator of survey sampling) so that the
    regions together have the colours and the contrast of all cells.
    """
    described = _describe_cells(pixels)
    height, width = described.shape[:2]
    contrast = described[..., -1] / max(described[..., -1].mean(), 1e-9)
    density = 0.5 + contrast
    density[[0, -1]] = density[:, [0, -1]] = 0  # a margin would lie beyond the border
    chosen, share = _systematic(density, max(1, round(sample / REGION**2)))
    weights = _calibrated(described.reshape(height * width, -1), chosen, 1 / share)
    core = slice(REGION_MARGIN, REGION_MARGIN + REGION)
    tiles = []
    for cell in chosen:
        top, left = (REGION * int(k) - REGION_MARGIN for k in divmod(cell, width))
        side = REGION + 2 * REGION_MARGIN
        tiles.append(Tile(slice(top, top + side), slice(left, left + side), core, core))
    return tiles, weights


def _describe_cells(pixels: np.ndarray) -> np.ndarray:
    """What is known of every cell without the network, ``(rows, columns, 12)``: a constant, the
    mean colour, its products, and the contrast within, between neighbours and in all."""
    height, width = (length // REGION for length in pixels.shape[:2])
    described = np.empty((height, width, 12), np.float32)
    for row in range(height):
        band = pixels[row * REGION : (row + 1) * REGION, : width * REGION]
        cells = band.reshape(REGION, width, REGION, 3).transpose(1, 0, 2, 3)
        cells = cells.astype(np.float32) / full(pixels.dtype)
        colour = cells.mean((1, 2))
        luma = cells.mean(3)
        products = [colour[:, i] * colour[:, j] for i in range(3) for j in range(i, 3)]
        contrast = np.abs(np.diff(luma, axis=2)).mean((1, 2)), luma.std((1, 2))
        described[row] = np.stack([np.ones(width), *colour.T, *products, *contrast], -1)
    return described


def _systematic(density: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most ``count`` cells, and the chance that each had: equal steps of density on a path."""
    there_and_back = np.arange(density.size).reshape(density.shape)
    there_and_back[1::2] = there_and_back[1::2, ::-1]
    path = there_and_back.ravel()
    chance = density.ravel()[path].astype(np.float64)
    for _ in range(8):  # no cell can be taken twice: the others get what is left
        chance = np.minimum(chance * (count / chance.sum()), 1)
    taken = np.diff(np.floor(np.cumsum(chance) + 0.5), prepend=0) > 0
    return path[taken], chance[taken]


def _calibrated(cells: np.ndarray, chosen: np.ndarray, weights: np.ndarray) -> Tensor:
    known = torch.from_numpy(cells).double()
    seen, start = known[chosen], torch.from_numpy(weights / weights.sum())
    missing = known.mean(0) - start @ seen
    inverse = torch.linalg.pinv((seen.T * start) @ seen, rtol=1e-9)
    calibrated = (start * (1 + seen @ (inverse @ missing))).clamp(min=0)
    return (calibrated / calibrated.sum()).float()


def _pool_norms(net: DeployedNet, tiles: list[Tile], weights: Tensor) -> "list[PooledNorm]":
    """Replace the norms of a deployed network, in place; and let it convolve in chunks."""
    pooled = []
    for block in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        for k, norm in enumerate(list(block)):
            if isinstance(norm, InstanceNorm):  # behind padding and convolution, or both in one
                block[0] = InChunks(*list(block)[:k])
                for between in range(1, k):
                    block[between] = nn.Identity()
                pooled.append(PooledNorm(norm, tiles, weights))
                block[k] = pooled[-1]
    return pooled


class PooledNorm(nn.Module):
    """An instance norm over the weighted cores of all windows, which remembers what it saw.

    It works in place, to save memory: only a convolution's output may come in.
    """

    def __init__(self, norm: InstanceNorm, tiles: list[Tile], weights: Tensor) -> None:
        super().__init__()
        self.norm, self.weights = norm, weights.view(-1, 1)
        self.side = tiles[0].rows.stop - tiles[0].rows.start
        self.groups: dict[tuple[int, int, int, int], list[int]] = {}  # windows of the same core
        for number, tile in enumerate(tiles):
            rows, columns = tile.core_rows, tile.core_columns
            core = rows.start, rows.stop, columns.start, columns.stop
            self.groups.setdefault(core, []).append(number)

    def forward(self, x: Tensor) -> Tensor:  # (windows, C, h, w)
        step = self.side // x.shape[2]  # 1, 2 or 4 px of the picture
        means, variances = (torch.empty(x.shape[:2], device=x.device) for _ in range(2))
        for core, members in self.groups.items():
            top, bottom, left, right = (side // step for side in core)
            for some in torch.tensor(members, device=x.device).split(256):
                own = x[some, :, top:bottom, left:right].float()
                variances[some], means[some] = torch.var_mean(own, dim=(2, 3), correction=0)
        self.mean = (self.weights * means).sum(0)
        self.var = (self.weights * (variances + (means - self.mean).square())).sum(0)
        scale = self.norm.weight.float() * torch.rsqrt(self.var + self.norm.eps)
        shift = self.norm.bias.float() - self.mean * scale
        dims = (1, -1, 1, 1)
        return x.mul_(scale.view(dims).to(x.dtype)).add_(shift.view(dims).to(x.dtype))


class InChunks(nn.Module):
    """Modules applied to a few windows at a time: what they need in between stays small."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        chunks = x.split(max(1, CHUNK // x[0, 0].numel()))
        first = self.body(chunks[0])
        shape = (len(x), *first.shape[1:])
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        done = len(first)
        out[:done] = first
        for chunk in chunks[1:]:
            out[done : done + len(chunk)] = self.body(chunk)
            done += len(chunk)
        return out

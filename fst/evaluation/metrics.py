"""What a picture or a network is worth in numbers: artefacts and stability.

All functions take pictures ``(N, 3, H, W)`` RGB in [0, 1] and give N numbers. The distances in
content and style are `fst.losses.PerceptualLoss`, the comparison with Gatys' method is
`fst.evaluation.traces`.

Artefacts are those that feed-forward networks are known for, each a number that an ordinary
picture keeps low, so that the photo's own and the reference's can stand beside it:

* `border_energy`: frames along the borders, which padding leaves;
* `checkerboard_energy`: the grid that upsampling leaves;
* `spots`: single extreme pixels, which instance norm is blamed for.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fst.system.errors import InputError

BORDER = 8  # px: how deep the padding's frame can be seen
PERIODS = (2, 4)  # px: of the grids of a network that upsamples twice
SPOT = 0.25  # of the range: how far a spot stands out from all its neighbours
SHIFT = (3, 5)  # px down and right: no multiples of the network's stride of 4
NOISE = 2 / 255  # standard deviation of a good sensor's noise
MIN_SIDE = 64  # px: smaller pictures have no interior to compare with


def border_energy(pictures: Tensor) -> Tensor:
    """Mean squared gradient of the outer 8 px over that of the rest, ``(N,)``; about 1 for photos.

    Raises:
        InputError: A side is under 64 px.
    """
    gray = _gray(pictures)
    energy = torch.zeros_like(gray)
    energy[:, 1:, :] += (gray[:, 1:, :] - gray[:, :-1, :]).square()
    energy[:, :, 1:] += (gray[:, :, 1:] - gray[:, :, :-1]).square()
    energy = energy[:, 1:, 1:]
    inner = energy[:, BORDER:-BORDER, BORDER:-BORDER]
    outer = (energy.sum((1, 2)) - inner.sum((1, 2))) / (energy[0].numel() - inner[0].numel())
    return outer / inner.mean((1, 2)).clamp_min(1e-12)


def checkerboard_energy(pictures: Tensor) -> Tensor:
    """Power at the frequencies of 2 and 4 px over that beside them, ``(N,)``; about 1 for photos.

    A grid of period p puts its power on the lines of frequency k / p of the spectrum, across or
    down. Each line is compared with its neighbours; the largest of the ratios is given. Sizes are
    cut to multiples of 4 for the lines to fall on whole frequencies, and tapered so that the jump
    from one border to the opposite is none.

    Raises:
        InputError: A side is under 64 px.
    """
    gray = _gray(pictures)
    height, width = (side // 4 * 4 for side in gray.shape[-2:])
    gray = gray[:, :height, :width]
    window = torch.hann_window(height).outer(torch.hann_window(width)).to(gray)
    gray = (gray - gray.mean((1, 2), keepdim=True)) * window
    power = torch.fft.fft2(gray).abs().square()
    ratios = []
    for profile in (power.mean(2), power.mean(1)):  # frequencies down, then across
        side = profile.shape[1]
        for period in PERIODS:
            line = side // period
            # a window widens a line to three frequencies; the neighbours begin behind them
            peak = profile[:, line - 1 : line + 2].amax(1)
            before, after = profile[:, line - 7 : line - 3], profile[:, line + 4 : line + 8]
            beside = torch.cat([before, after], 1)
            ratios.append(peak / beside.amax(1).clamp_min(1e-12))
    return torch.stack(ratios).amax(0)


def spots(pictures: Tensor) -> Tensor:
    """Isolated extreme pixels per million, ``(N,)``.

    A spot is a pixel that in some channel is brighter, or darker, than each of the sixteen on the
    ring two pixels around it, by a quarter of the range; lines and edges go on on the ring.
    """
    pictures = pictures.float()
    ring = [(y, x) for y in range(5) for x in range(5) if max(abs(y - 2), abs(x - 2)) == 2]
    padded = F.pad(pictures, (2, 2, 2, 2), mode="reflect")
    height, width = pictures.shape[-2:]
    around = [padded[..., y : y + height, x : x + width] for y, x in ring]
    highest = torch.stack(around).amax(0)
    lowest = torch.stack(around).amin(0)
    spots = ((pictures - highest > SPOT) | (lowest - pictures > SPOT)).any(1)
    return spots.float().mean((1, 2)) * 1e6


ARTEFACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "border": border_energy,
    "checkerboard": checkerboard_energy,
    "spots": spots,
}


def shift_stability(net: Callable[[Tensor], Tensor], photos: Tensor) -> Tensor:
    """PSNR in dB, ``(N,)``, between stylized shifted photos and shifted stylized photos.

    The shift is of 3 and 5 px; what it moves into the picture, and 32 px along the borders, is left
    out. What flickers in a video is what this loses.

    Raises:
        InputError: A side is under 128 px.
    """
    _check_side(photos, 2 * MIN_SIDE)
    down, right = SHIFT
    height, width = photos.shape[-2:]
    moved = net(photos[..., down:, right:])
    still = net(photos[..., : height - down, : width - right])[..., down:, right:]
    moved = moved[..., : height - 2 * down, : width - 2 * right]
    keep = slice(32, -32)
    return _psnr(moved[..., keep, keep], still[..., keep, keep])


def noise_stability(net: Callable[[Tensor], Tensor], photos: Tensor) -> Tensor:
    """PSNR in dB, ``(N,)``, between stylized photos with and without a sensor's noise of 2/255."""
    noise = torch.randn(photos.shape, generator=torch.Generator().manual_seed(0)).to(photos)
    return _psnr(net((photos + NOISE * noise).clamp(0, 1)), net(photos))


STABILITY = {"shift_db": shift_stability, "noise_db": noise_stability}


def _psnr(a: Tensor, b: Tensor) -> Tensor:
    return -10 * (a.float() - b.float()).square().mean((1, 2, 3)).clamp_min(1e-12).log10()


def _gray(pictures: Tensor) -> Tensor:
    _check_side(pictures, MIN_SIDE)
    return pictures.float().mean(1)


def _check_side(pictures: Tensor, least: int) -> None:
    height, width = pictures.shape[-2:]
    if min(height, width) < least:
        raise InputError(f"picture: expected at least {least} px a side, found {width}x{height}")

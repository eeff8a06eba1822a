"""The pictures that the student learns from: photos, photos in styles, paintings, all degraded."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fst.networks import build_network

WIDTH = 16  # channels of the style networks, as of most shipped ones
NORMS = 0.25  # standard deviation of the logarithms of what a net's instance norms are scaled by


class Mixer:
    """Makes the pictures of a step from photos.

    Args:
        nets: Style networks of `WIDTH`, ``(N, 3, H, W)`` RGB in [0, 1] to the same.
        paintings: Groups of them, seen equally often; ``(3, H, W)`` each, RGB in [0, 1].
        count: Of networks at work in a step, each on a part of the photos.

    Attributes:
        weights: Of each of the nets in one tensor, since many small ones take time.
        apply: ``apply(weights, photos)``: ``(N, 3, H, W)`` photos as the net of these weights, as
            `net` gives them, paints them; float32.
    """

    def __init__(
        self, nets: Sequence[nn.Module], paintings: Sequence[Sequence[Tensor]], count: int = 1
    ) -> None:
        self.count = count
        net = build_network("transformer", width=WIDTH)
        self.weights = [_flat(each.detach() for each in net.parameters()) for net in nets]
        # 1 for the weights of instance norms and biases
        self.norms = _flat(torch.full_like(each, each.dim() == 1) for each in net.parameters())
        self.paintings = [list(group) for group in paintings if group]
        shapes = {name: each.shape for name, each in net.named_parameters()}

        def apply(weights: Tensor, photos: Tensor) -> Tensor:
            parts = weights.split([shape.numel() for shape in shapes.values()])
            pairs = zip(shapes.items(), parts, strict=True)
            named = {name: part.view(shape) for (name, shape), part in pairs}
            return functional_call(net, named, (photos,)).float()

        self.apply = apply

    def compile(self) -> None:
        self.apply = torch.compile(self.apply, dynamic=False)

    def to(self, device: torch.device) -> None:
        self.norms, *self.weights = (each.to(device) for each in (self.norms, *self.weights))
        self.paintings = [[each.to(device) for each in group] for group in self.paintings]

    def net(self) -> Tensor:
        """The weights of a net between two of the nets, now and then with other instance norms.

        Most of the nets began as one another, so what lies between them is a style, too.
        """
        first, second = (self.weights[randint(len(self.weights))] for _ in range(2))
        between = first.lerp(second, max(0, 1.5 * torch.rand(()).item() - 0.5))
        if torch.rand(()) < 0.5:
            between = between * torch.exp(NORMS * self.norms * torch.randn_like(between))
        return between

    def painting(self, size: int) -> Tensor:
        """A part of a painting, now and then of two blended, ``(1, 3, size, size)``."""
        painting = self._painting(size)
        if torch.rand(()) < 0.3:
            painting = painting.lerp(self._painting(size), 0.3 + 0.4 * torch.rand(()).item())
        return painting

    def _painting(self, size: int) -> Tensor:
        group = self.paintings[randint(len(self.paintings))]
        painting = group[randint(len(group))]
        side = min(*painting.shape[1:], int(size * (0.7 + 2.3 * torch.rand(()).item())))
        part = random_crop(painting[None], side)
        if randint(2):
            part = part.flip(3)
        part = part.rot90(randint(4), (2, 3))
        return F.interpolate(part, (size, size), mode="bilinear", antialias=True).clamp(0, 1)

    @torch.no_grad()
    def stylize(self, photos: Tensor) -> Tensor:
        """Photos as some nets paint them; both ``(N, 3, H, W)`` RGB in [0, 1]."""
        return torch.cat([self.apply(self.net(), mine) for mine in self.share(photos)]).clamp(0, 1)

    def share(self, photos: Tensor) -> tuple[Tensor, ...]:
        """The photos of each of the networks."""
        return photos.tensor_split(min(self.count, len(photos)))

    @torch.no_grad()
    def pictures(self, photos: Tensor) -> Tensor:
        """Photos, photos in a style from weak to strong, and parts of paintings, all degraded.

        ``(N, 3, H, W)`` RGB in [0, 1]; so is the answer.
        """
        count, size = len(photos), photos.shape[-1]
        strength = bernoulli(0.85, photos) * (1.5 * uniform(photos)).clamp_max(1)
        pictures = photos + strength * (self.stylize(photos) - photos)
        for k in range(count):
            if torch.rand(()) < 0.2:
                pictures[k] = self.painting(size)[0]
            elif torch.rand(()) < 0.3:  # broader strokes
                side = int(size * (0.5 + 0.5 * torch.rand(()).item()))
                near = random_crop(pictures[k : k + 1], side)
                pictures[k] = F.interpolate(near, (size, size), mode="bilinear")[0]
        return degrade(pictures).contiguous(memory_format=torch.channels_last)


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors])


def degrade(pictures: Tensor) -> Tensor:
    """``(N, 3, H, W)`` pictures in [0, 1] in other colours and contrasts, some blurred or noisy."""
    pictures = torch.lerp(pictures, rotate_hue(pictures), bernoulli(0.4, pictures))
    mean = pictures.mean((2, 3), keepdim=True)
    cast = bernoulli(0.5, pictures)
    gain = 1 + 0.6 * cast * (uniform(pictures, 3) - 0.5)
    gain = gain * (1 - bernoulli(0.1, pictures) * uniform(pictures))
    changed = (pictures - mean) * gain + mean + 0.3 * cast * (uniform(pictures, 3) - 0.5)
    coarse = F.avg_pool2d(changed, 2 + randint(5), ceil_mode=True)
    coarse = F.interpolate(coarse, pictures.shape[2:], mode="bilinear")
    changed = torch.lerp(changed, coarse, bernoulli(0.12, pictures))
    noise = 0.4 * bernoulli(0.2, pictures) * uniform(pictures) ** 2
    return (changed + noise * torch.randn_like(changed)).clamp(0, 1)


def rotate_hue(pictures: Tensor) -> Tensor:
    """``(N, 3, H, W)`` pictures in [0, 1] of other hues and saturations; some are negatives."""
    angle = 2 * math.pi * torch.rand(len(pictures), device=pictures.device)
    grey = torch.full((3, 3), 1 / 3, device=pictures.device)
    across = pictures.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    colour = torch.eye(3, device=pictures.device) - grey
    angle, strength = angle[:, None, None], 1.5 * uniform(pictures)[..., 0]
    turn = grey + strength * (angle.cos() * colour + angle.sin() * across)  # Rodrigues
    with torch.autocast(pictures.device.type, enabled=False):
        rotated = torch.einsum("nij,njhw->nihw", turn, pictures)
    return torch.lerp(rotated, 1 - rotated, bernoulli(0.15, pictures))


def random_crop(pictures: Tensor, side: int) -> Tensor:
    """A random square of ``(N, C, H, W)`` pictures."""
    top, left = (randint(length - side + 1) for length in pictures.shape[2:])
    return pictures[..., top : top + side, left : left + side]


def bernoulli(share: float, pictures: Tensor) -> Tensor:
    """1 for so many of the pictures, 0 for the others, ``(N, 1, 1, 1)``."""
    return (uniform(pictures) < share).float()


def uniform(pictures: Tensor, channels: int = 1) -> Tensor:
    """From 0 to 1 for each of the pictures, ``(N, channels, 1, 1)``."""
    return torch.rand(len(pictures), channels, 1, 1, device=pictures.device)


def randint(end: int) -> int:
    return int(torch.randint(end, ()))

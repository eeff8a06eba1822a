"""Where the compact loss network's training has its pictures from."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.losses import PerceptualLoss
from fst.networks import build_network

RATE = 2e-3  # of a painter's Adam
LIVES = 200, 600  # steps of a painter
WEIGHTS = 4, 20  # its style weight
REFRESH = 20  # steps between two looks at its painting: the student learns
STYLE = {"relu1_1": 0.3, "relu2_1": 0.2, "relu3_1": 0.2, "relu4_1": 0.2, "relu5_1": 0.1}
CONTENT = {"relu3_1": 1.0}


def randint(end: int) -> int:
    return int(torch.randint(end, ()))


class Mixer:
    """Makes the pictures of a step from photos.

    Args:
        nets: Style networks, ``(N, 3, H, W)`` RGB in [0, 1] to the same.
        paintings: ``(3, H, W)`` each, RGB in [0, 1].
    """

    def __init__(self, nets: Sequence[nn.Module], paintings: Sequence[Tensor]) -> None:
        self.nets, self.paintings = list(nets), list(paintings)

    def painting(self, size: int) -> Tensor:
        """A random part of a random painting, ``(1, 3, size, size)``."""
        painting = self.paintings[randint(len(self.paintings))]
        largest = min(painting.shape[1:])
        side = min(largest, int(size * (1 + 2 * torch.rand(()).item())))
        top, left = (randint(length - side + 1) for length in painting.shape[1:])
        part = painting[None, :, top : top + side, left : left + side]
        return F.interpolate(part, (size, size), mode="bilinear", antialias=True).clamp(0, 1)

    def stylized(self, photos: Tensor) -> Tensor:
        """The photos as training against a loss network shows them, at some stage of it."""
        kind = torch.rand(()).item()
        found = photos
        if kind < 0.7:  # a style, from weak to strong
            net = self.nets[randint(len(self.nets))]
            strength = min(1, 1.5 * torch.rand(()).item())
            found = photos + strength * (net(photos).float() - photos)
        elif kind < 0.8:  # a flat picture, as of a new network
            found = photos + torch.rand(()).item() * (photos.mean((2, 3), keepdim=True) - photos)
        if torch.rand(()).item() < 0.25:
            size = 2 + randint(6)
            small = F.interpolate(found, scale_factor=1 / size, mode="bilinear", antialias=True)
            found = F.interpolate(small, found.shape[-2:], mode="bicubic")
        if torch.rand(()).item() < 0.3:
            found = found + 0.4 * torch.rand(()) ** 2 * torch.randn_like(found)
        return found.clamp(0, 1).contiguous(memory_format=torch.channels_last)


class Painter:
    """A style network that trains against the student while the student trains.

    What it paints is what the student is wrong about: it goes where the student's loss leads. After
    some hundred steps another begins, for another painting, with the weights of a trained network.

    Args:
        nets: Networks of width 16 to begin with.
        paintings: ``(3, H, W)`` each, RGB in [0, 1].
        student: ``student(images, layers)`` gives activations as loss networks do.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        paintings: Sequence[Tensor],
        student: Callable[[Tensor, Sequence[str]], dict],
    ) -> None:
        self.nets, self.paintings = list(nets), list(paintings)
        self.extractor = _View(student)
        self.left = 0

    def paint(self, photos: Tensor) -> Tensor:
        """Stylize ``(N, 3, H, W)`` photos, RGB in [0, 1], and learn from it by one step."""
        if self.left <= 0:
            self._begin()
        if self.left % REFRESH == 0:
            with torch.no_grad():
                self.loss.set_style(self.painting)
        self.left -= 1
        painted = self.net(photos).float()
        total = self.loss(painted, photos)["total"]
        parameters = list(self.net.parameters())
        gradients = torch.autograd.grad(total, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, 1)
        self.optimizer.step()
        return painted.detach().clamp(0, 1)

    def _begin(self) -> None:
        first, last = LIVES
        self.left = first + randint((last - first) // REFRESH) * REFRESH
        self.painting = self.paintings[randint(len(self.paintings))][None]
        self.net = build_network("transformer", width=16)
        self.net.load_state_dict(self.nets[randint(len(self.nets))].state_dict())
        self.net = self.net.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.net.parameters(), RATE)
        low, high = WEIGHTS
        weight = low * (high / low) ** torch.rand(()).item()
        self.loss = PerceptualLoss(lambda _: self.extractor, CONTENT, STYLE, 1, weight, 2)


class _View(nn.Module):
    """The student as a loss network of its present weights, which are not its own."""

    def __init__(self, student: Callable[[Tensor, Sequence[str]], dict]) -> None:
        super().__init__()
        self.student = [student]

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict:
        (student,) = self.student
        return student(images, layers)

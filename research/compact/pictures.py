"""Where the compact loss network's training has its pictures from."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fst.losses.compact import GRID
from fst.losses.distances import Features, dense, gram, relative_distances, total_variation
from fst.losses.views import MIRRORED
from fst.networks import build_network

WIDTH = 16  # channels of the style networks, as of most shipped ones
NORMS = 0.25  # of the logarithms of the factors by which a net's instance norms differ
RATE = 2e-3  # of a painter's Adam
LIVES = 200, 800  # steps of a painter
WEIGHTS = 4, 20  # its style weight
REFRESH = 20  # steps between two looks at its painting: the student learns
TV_WEIGHT = 2
STYLE = {"relu1_1": 0.3, "relu2_1": 0.2, "relu3_1": 0.2, "relu4_1": 0.2, "relu5_1": 0.1}
CONTENT = ("relu3_1", "relu3_1", "relu4_2")  # the layer of one painter in three is the deep one


def chance(share: float, pictures: Tensor) -> Tensor:
    """For each of the pictures whether, ``(N, 1, 1, 1)``: 1 or 0."""
    return (random(pictures) < share).float()


def random(pictures: Tensor, channels: int = 1) -> Tensor:
    """From 0 to 1 for each of the pictures, ``(N, channels, 1, 1)``."""
    return torch.rand(len(pictures), channels, 1, 1, device=pictures.device)


def randint(end: int) -> int:
    return int(torch.randint(end, ()))


def part(pictures: Tensor, side: int) -> Tensor:
    """A random square of ``(N, C, H, W)`` pictures."""
    top, left = (randint(length - side + 1) for length in pictures.shape[2:])
    return pictures[..., top : top + side, left : left + side]


class Mixer:
    """Makes the pictures of a step from photos.

    Args:
        nets: Style networks of `WIDTH`, ``(N, 3, H, W)`` RGB in [0, 1] to the same.
        paintings: Groups of them, seen equally often; ``(3, H, W)`` each, RGB in [0, 1].
        count: Of networks at work in a step, each on a part of the photos.

    Attributes:
        apply: ``apply(weights, photos)``: ``(N, 3, H, W)`` photos as the net of these weights, as
            `net` gives them, has them; float32.
    """

    def __init__(
        self, nets: Sequence[nn.Module], paintings: Sequence[Sequence[Tensor]], count: int = 1
    ) -> None:
        self.count = count
        net = build_network("transformer", width=WIDTH)
        # all of a net's weights in one tensor: many small ones take time
        self.weights = [_flat(each.detach() for each in net.parameters()) for net in nets]
        # 1 where they are instance norms' or biases
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
        """The weights of a net between two of the nets, its instance norms a little at random.

        Most of the nets began as one another, so what lies between them is a style, too.
        """
        first, second = (self.weights[randint(len(self.weights))] for _ in range(2))
        found = first.lerp(second, max(0, 1.5 * torch.rand(()).item() - 0.5))
        if torch.rand(()) < 0.5:
            found = found * torch.exp(NORMS * self.norms * torch.randn_like(found))
        return found

    def painting(self, size: int) -> Tensor:
        """A part of a painting, of two one over the other now and then, ``(1, 3, size, size)``."""
        found = self._painting(size)
        if torch.rand(()) < 0.3:
            found = found.lerp(self._painting(size), 0.3 + 0.4 * torch.rand(()).item())
        return found

    def _painting(self, size: int) -> Tensor:
        group = self.paintings[randint(len(self.paintings))]
        painting = group[randint(len(group))]
        side = min(*painting.shape[1:], int(size * (0.7 + 2.3 * torch.rand(()).item())))
        found = part(painting[None], side)
        if randint(2):
            found = found.flip(3)
        found = found.rot90(randint(4), (2, 3))
        return F.interpolate(found, (size, size), mode="bilinear", antialias=True).clamp(0, 1)

    @torch.no_grad()
    def styled(self, photos: Tensor) -> Tensor:
        """Photos as some nets have them; both ``(N, 3, H, W)`` RGB in [0, 1]."""
        found = [self.apply(self.net(), mine) for mine in self.parts(photos)]
        return torch.cat(found).clamp(0, 1)

    def parts(self, photos: Tensor) -> tuple[Tensor, ...]:
        """The photos of each of the networks."""
        return photos.tensor_split(min(self.count, len(photos)))

    @torch.no_grad()
    def pictures(self, photos: Tensor) -> Tensor:
        """Photos, photos in a style from weak to strong, and parts of paintings, in any condition:
        other colours, less contrast, blur, noise. ``(N, 3, H, W)`` RGB in [0, 1]; so is the answer.
        """
        count, size = len(photos), photos.shape[-1]
        strength = chance(0.85, photos) * (1.5 * random(photos)).clamp_max(1)
        found = photos + strength * (self.styled(photos) - photos)
        for k in range(count):
            if torch.rand(()) < 0.2:
                found[k] = self.painting(size)[0]
            elif torch.rand(()) < 0.3:  # broader strokes
                near = part(found[k : k + 1], int(size * (0.5 + 0.5 * torch.rand(()).item())))
                found[k] = F.interpolate(near, (size, size), mode="bilinear")[0]
        return worn(found).contiguous(memory_format=torch.channels_last)


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in tensors])


def turned(pictures: Tensor) -> Tensor:
    """``(N, 3, H, W)`` pictures in [0, 1] of other hues and saturations; some are negatives."""
    angle = 2 * math.pi * torch.rand(len(pictures), device=pictures.device)
    grey = torch.full((3, 3), 1 / 3, device=pictures.device)
    across = pictures.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    colour = torch.eye(3, device=pictures.device) - grey
    angle, strength = angle[:, None, None], 1.5 * random(pictures)[..., 0]
    turn = grey + strength * (angle.cos() * colour + angle.sin() * across)  # Rodrigues
    with torch.autocast(pictures.device.type, enabled=False):
        found = torch.einsum("nij,njhw->nihw", turn, pictures)
    return torch.lerp(found, 1 - found, chance(0.15, pictures))


def worn(pictures: Tensor) -> Tensor:
    """``(N, 3, H, W)`` pictures in [0, 1] in other colours and contrasts, some blurred or noisy."""
    pictures = torch.lerp(pictures, turned(pictures), chance(0.4, pictures))
    mean = pictures.mean((2, 3), keepdim=True)
    cast = chance(0.5, pictures)
    gain = 1 + 0.6 * cast * (random(pictures, 3) - 0.5)
    gain = gain * (1 - chance(0.1, pictures) * random(pictures))
    found = (pictures - mean) * gain + mean + 0.3 * cast * (random(pictures, 3) - 0.5)
    coarse = F.avg_pool2d(found, 2 + randint(5), ceil_mode=True)
    coarse = F.interpolate(coarse, pictures.shape[2:], mode="bilinear")
    found = torch.lerp(found, coarse, chance(0.12, pictures))
    noise = 0.4 * chance(0.2, pictures) * random(pictures) ** 2
    return (found + noise * torch.randn_like(found)).clamp(0, 1)


class Painters:
    """Style networks that train against the student while the student trains.

    What they paint is what the student is wrong about: they go where its loss leads. After some
    hundred steps each begins again, with another painting, from the weights of a trained network.

    Args:
        mixer: Where their paintings are from, and the networks that they begin as; as many of them
            are at work in a step.
        student: ``student(images, layers)`` gives activations as `fst.losses.compact.CompactVGG`.
    """

    def __init__(
        self, mixer: Mixer, student: Callable[..., Mapping[str, Tensor | Features]]
    ) -> None:
        self.mixer, self.student = mixer, student
        self.painters: list[_Painter] = []

    def paint(self, photos: Tensor) -> Tensor:
        """``(N, 3, H, W)`` photos in [0, 1], each as one of the painters has it; these learn a
        step. The student sees all at once: on a GPU many painters take little more time than one.
        """
        parts = self.mixer.parts(photos)
        for k, mine in enumerate(parts):
            if k == len(self.painters):
                self.painters.append(self._begin(mine))
            elif self.painters[k].left <= 0:
                self.painters[k] = self._begin(mine)
        painters = self.painters[: len(parts)]
        self._look([painter for painter in painters if painter.left % REFRESH == 0])
        pairs = list(zip(painters, parts, strict=True))
        painted = torch.cat([self.mixer.apply(one.weights, mine) for one, mine in pairs])
        owners = [painter for painter, mine in pairs for _ in mine]
        loss = self._loss(painted, photos, owners) * (len(painters) / len(photos))
        gradients = torch.autograd.grad(loss, [painter.weights for painter in painters])
        painted = painted.detach()
        finite = painted.isfinite().flatten(1).all(1)
        kept = iter(finite.tolist())
        for (painter, mine), gradient in zip(pairs, gradients, strict=True):
            painter.learn(gradient)
            if not all([next(kept) for _ in mine]):  # it went too far: another takes its place
                painter.left = 0
        return torch.where(finite.view(-1, 1, 1, 1), painted, photos).clamp(0, 1)

    @torch.no_grad()
    def _look(self, painters: Sequence["_Painter"]) -> None:
        """Take their paintings' Gram matrices, as the student of this step has them."""
        if painters:
            paintings = torch.cat([each.painting for each in painters])
            for number in range(len(MIRRORED)):
                found = self.student(*training_view(number, GRID, paintings), list(STYLE))
                for layer in STYLE:
                    for painter, one in zip(painters, gram(found[layer]).split(1), strict=True):
                        painter.grams[layer, number] = one

    def _loss(self, painted: Tensor, photos: Tensor, owners: Sequence["_Painter"]) -> Tensor:
        """The sum of the pictures' losses: a painter's weights have the gradient of its own."""
        contents = list(dict.fromkeys(owner.content for owner in owners))
        number = randint(len(MIRRORED) * GRID**2)
        painted, photos = training_view(number, GRID, painted, photos)
        found = self.student(painted, [*STYLE, *contents])
        with torch.no_grad():
            wanted = self.student(photos, contents)
        with torch.autocast(painted.device.type, enabled=False):
            style = 0
            for layer, weight in STYLE.items():
                grams = torch.cat([owner.grams[layer, number % len(MIRRORED)] for owner in owners])
                style = style + weight * relative_distances(gram(found[layer]), grams)
            loss = style * style.new_tensor([owner.weight for owner in owners])
            for layer in contents:
                mine = loss.new_tensor([owner.content == layer for owner in owners])
                both = dense(found[layer]), dense(wanted[layer])
                loss = loss + mine * relative_distances(*both)
            return loss.sum() + TV_WEIGHT * len(painted) * total_variation(painted)

    def _begin(self, photos: Tensor) -> "_Painter":
        size, kind = 2 * photos.shape[-1], torch.rand(())
        if kind < 0.5:
            painting = self.mixer.painting(size)
        else:  # there are few paintings
            painting = F.interpolate(photos[:1], (size, size), mode="bilinear")
            if kind < 0.8:
                painting = self.mixer.styled(painting)
        return _Painter(self.mixer.net(), worn(painting))


class _Painter:
    """The weights of a style network, on their way to a painting."""

    def __init__(self, weights: Tensor, painting: Tensor) -> None:
        self.weights = weights.clone().requires_grad_()
        self.painting = painting.contiguous(memory_format=torch.channels_last)
        self.grams: dict[tuple[str, int], Tensor] = {}  # by layer and number of `shown`
        self.optimizer = torch.optim.Adam([self.weights], RATE, fused=True)
        (first, last), (low, high) = LIVES, WEIGHTS
        self.left = first + REFRESH * randint((last - first) // REFRESH)
        self.weight = low * (high / low) ** torch.rand(()).item()
        self.content = CONTENT[randint(len(CONTENT))]

    def learn(self, gradient: Tensor) -> None:
        self.left -= 1
        self.weights.grad = gradient
        nn.utils.clip_grad_norm_(self.weights, 1)
        self.optimizer.step()

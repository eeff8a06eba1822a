"""Style networks that train against the student while the student trains.

A network that trains against a loss network goes where its gradients lead: to pictures that no
photo shows, of what the loss network takes for style and VGG-19 does not. The student learns from
them what it was wrong about.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fst.losses.compact import GRID
from fst.losses.distances import Features, dense, gram, relative_distances, total_variation
from fst.training.views import MIRRORS, training_view
from research.compact.pictures import Mixer, degrade, randint

RATE = 2e-3  # of a stylizer's Adam
LIVES = 200, 800  # steps of a stylizer: from, to
WEIGHTS = 4, 20  # its style weight: from, to
REFRESH = 20  # steps between two looks at its painting: the student learns meanwhile
TV_WEIGHT = 2
STYLE = {"relu1_1": 0.3, "relu2_1": 0.2, "relu3_1": 0.2, "relu4_1": 0.2, "relu5_1": 0.1}
CONTENT = ("relu3_1", "relu3_1", "relu4_2")  # one stylizer in three has the deep layer


class AdversarialStylizers:
    """Some stylizers at a time; after some hundred steps each begins again.

    It then has another painting, and the weights of a trained network.

    Args:
        mixer: Where their paintings are from, and the networks that they begin as; as many of them
            are at work in a step.
        student: ``student(images, layers)`` gives activations as `fst.losses.compact.CompactVGG`.
    """

    def __init__(
        self, mixer: Mixer, student: Callable[..., Mapping[str, Tensor | Features]]
    ) -> None:
        self.mixer, self.student = mixer, student
        self.current: list[_Stylizer] = []

    def paint(self, photos: Tensor) -> Tensor:
        """``(N, 3, H, W)`` photos in [0, 1], each as one of the stylizers paints it.

        These learn a step. The student sees all pictures at once: on a GPU many stylizers take
        little more time than one.
        """
        parts = self.mixer.share(photos)
        for k, mine in enumerate(parts):
            if k == len(self.current):
                self.current.append(self._begin(mine))
            elif self.current[k].left <= 0:
                self.current[k] = self._begin(mine)
        stylizers = self.current[: len(parts)]
        self._look([each for each in stylizers if each.left % REFRESH == 0])
        pairs = list(zip(stylizers, parts, strict=True))
        painted = torch.cat([self.mixer.apply(one.weights, mine) for one, mine in pairs])
        owners = [stylizer for stylizer, mine in pairs for _ in mine]
        loss = self._loss(painted, photos, owners) * (len(stylizers) / len(photos))
        gradients = torch.autograd.grad(loss, [stylizer.weights for stylizer in stylizers])
        painted = painted.detach()
        finite = painted.isfinite().flatten(1).all(1)
        fine = iter(finite.tolist())
        for (stylizer, mine), gradient in zip(pairs, gradients, strict=True):
            stylizer.learn(gradient)
            if not all([next(fine) for _ in mine]):  # it went too far: another takes its place
                stylizer.left = 0
        return torch.where(finite.view(-1, 1, 1, 1), painted, photos).clamp(0, 1)

    @torch.no_grad()
    def _look(self, stylizers: Sequence["_Stylizer"]) -> None:
        """Take their paintings' Gram matrices, as the student of this step has them."""
        if stylizers:
            paintings = torch.cat([each.painting for each in stylizers])
            for number in range(len(MIRRORS)):
                features = self.student(*training_view(number, GRID, paintings), list(STYLE))
                for layer in STYLE:
                    grams = gram(features[layer]).split(1)
                    for stylizer, one in zip(stylizers, grams, strict=True):
                        stylizer.grams[layer, number] = one

    def _loss(self, painted: Tensor, photos: Tensor, owners: Sequence["_Stylizer"]) -> Tensor:
        """The sum of the pictures' losses: each stylizer's weights have the gradient of its own."""
        contents = list(dict.fromkeys(owner.content for owner in owners))
        number = randint(len(MIRRORS) * GRID**2)
        painted, photos = training_view(number, GRID, painted, photos)
        features = self.student(painted, [*STYLE, *contents])
        with torch.no_grad():
            targets = self.student(photos, contents)
        with torch.autocast(painted.device.type, enabled=False):
            style = painted.new_zeros(len(painted))
            for layer, weight in STYLE.items():
                grams = torch.cat([owner.grams[layer, number % len(MIRRORS)] for owner in owners])
                style = style + weight * relative_distances(gram(features[layer]), grams)
            loss = style * style.new_tensor([owner.weight for owner in owners])
            for layer in contents:
                mine = loss.new_tensor([owner.content == layer for owner in owners])
                both = dense(features[layer]), dense(targets[layer])
                loss = loss + mine * relative_distances(*both)
            return loss.sum() + TV_WEIGHT * len(painted) * total_variation(painted)

    def _begin(self, photos: Tensor) -> "_Stylizer":
        size, kind = 2 * photos.shape[-1], torch.rand(())
        if kind < 0.5:
            painting = self.mixer.painting(size)
        else:  # there are few paintings
            painting = F.interpolate(photos[:1], (size, size), mode="bilinear")
            if kind < 0.8:
                painting = self.mixer.stylize(painting)
        return _Stylizer(self.mixer.net(), degrade(painting))


class _Stylizer:
    """The weights of a style network, on their way to a painting."""

    def __init__(self, weights: Tensor, painting: Tensor) -> None:
        self.weights = weights.clone().requires_grad_()
        self.painting = painting.contiguous(memory_format=torch.channels_last)
        self.grams: dict[tuple[str, int], Tensor] = {}  # by layer and view of the painting
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

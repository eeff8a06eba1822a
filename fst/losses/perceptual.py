"""Perceptual losses: content, Gram style and total variation, one recipe for everything.

Training, evaluation and the optimisation of pixels all use `PerceptualLoss`; ``print`` of one shows
its recipe. The extractor is injected. Sources: Gatys et al. (arXiv:1508.06576), Johnson et al.
(arXiv:1603.08155).

Departures from the papers:

1. The default normalisation is *relative*: every distance is divided by the energy of its target,
   so that a weight means the same for every layer, backbone, painting and photo. The paper's own is
   ``normalization="johnson2016"``.
2. Total variation is the mean of absolute differences, not a sum of squares: it does not grow with
   the picture, and it leaves single strong edges alone.

Losses are float32 whatever the precision of the images and features.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fst.losses.distances import (
    Features,
    content_distance,
    dense,
    gram,
    style_distance,
    total_variation,
)
from fst.losses.fused import LossNetwork
from fst.system.errors import InputError

NORMALIZATIONS = ("relative", "johnson2016")


class PerceptualLoss(nn.Module):
    """How far a picture is from a photo in content and from the painting in style.

    Args:
        extractor: Called with the list of layers, gives the loss network:
            ``network(images, layers) -> {layer: features}``, normalising inside.
        content: Weight by content layer; the content term is the weighted sum.
        style: Weight by style layer; the style term is the weighted sum.
        content_weight: Weight of the content term in the total.
        style_weight: Weight of the style term in the total.
        tv_weight: Weight of the total variation in the total.
        normalization: ``relative`` or ``johnson2016`` (module docstring).
        compiled: Whether the loss network may compile what it does between convolutions.

    Attributes:
        grams: The painting's Gram matrices by style layer, ``(1, C, C)``; see `set_style`.
    """

    def __init__(
        self,
        extractor: Callable[[Sequence[str]], nn.Module],
        content: Mapping[str, float],
        style: Mapping[str, float],
        content_weight: float,
        style_weight: float,
        tv_weight: float,
        normalization: str = "relative",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if normalization not in NORMALIZATIONS:
            raise InputError(
                f"normalization: expected one of {', '.join(NORMALIZATIONS)}; "
                f"found {normalization!r}"
            )
        self.content, self.style = dict(content), dict(style)
        self.weights = {"content": content_weight, "style": style_weight, "tv": tv_weight}
        self.normalization = normalization
        self.extractor = extractor([*self.style, *self.content])
        for part in self.extractor.modules():
            if isinstance(part, LossNetwork):
                part.compiled = compiled
        self.grams = nn.ParameterDict()

    def set_style(self, painting: Tensor) -> None:
        """Compare with the style of a painting, ``(1, 3, H, W)`` RGB in [0, 1], from now on.

        Raises:
            InputError: A Gram matrix is not finite.
        """
        self.grams = self.style_of(painting)

    @torch.no_grad()
    def style_of(self, painting: Tensor) -> nn.ParameterDict:
        """The Gram matrices of a painting by style layer, frozen; see `set_style`."""
        features, grams = self.extractor(painting, list(self.style)), nn.ParameterDict()
        for layer in self.style:
            matrix = gram(features[layer])
            if not torch.isfinite(matrix).all():
                raise InputError(f"painting: expected finite style features, found NaN in {layer}")
            grams[layer] = nn.Parameter(matrix, requires_grad=False)
        return grams

    @torch.no_grad()
    def content_of(self, photos: Tensor) -> dict[str, Tensor | Features]:
        """The features of ``(N, 3, H, W)`` photos by content layer, to compare with them often."""
        return self.extractor(photos, list(self.content))

    def forward(
        self,
        stylized: Tensor,
        photos: Tensor | Mapping[str, Tensor | Features],
        grams: nn.ParameterDict | None = None,
    ) -> dict[str, Tensor]:
        """Compare ``(N, 3, H, W)`` pictures with the photos they came from, RGB in [0, 1].

        Args:
            stylized: The pictures.
            photos: The photos, or what `content_of` gave of them.
            grams: What `style_of` gave of the painting; by default that of `set_style`.

        Returns:
            Scalars: ``total`` (the weighted sum to minimise), the unweighted ``content``, ``style``
            and ``tv``, and each layer's distance as ``content_relu3_1``, ``style_relu1_1`` ...

        Raises:
            RuntimeError: There is no style to compare with.
        """
        grams = self.grams if grams is None else grams
        if not grams:
            raise RuntimeError("PerceptualLoss: call set_style(painting) first")
        features = self.extractor(stylized, [*self.style, *self.content])
        targets = self.content_of(photos) if isinstance(photos, Tensor) else photos
        with torch.autocast(stylized.device.type, enabled=False):
            content = {
                layer: content_distance(
                    dense(features[layer]), dense(targets[layer]), self.normalization
                )
                for layer in self.content
            }
            style = {
                layer: style_distance(features[layer], grams[layer], self.normalization)
                for layer in self.style
            }
            terms = {
                "content": _weigh(content, self.content),
                "style": _weigh(style, self.style),
                "tv": total_variation(stylized),
            }
            total = _weigh(terms, self.weights)
        layers = {f"content_{name}": term for name, term in content.items()}
        layers |= {f"style_{name}": term for name, term in style.items()}
        return {"total": total, **terms, **layers}

    def extra_repr(self) -> str:
        weighted = ", ".join(f"{weight:g} {name}" for name, weight in self.weights.items())
        return f"{self.normalization}: {weighted}; content {self.content}; style {self.style}"


def _weigh(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of scalars."""
    weighted = [weights[name] * term for name, term in terms.items()]
    return sum(weighted[1:], start=weighted[0])

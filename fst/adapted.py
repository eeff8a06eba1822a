"""Activations that are linear maps of fewer channels.

The Gram matrix of what a linear map A makes of features with Gram matrix G is A G A^T, so these
activations are only made where they are asked for themselves.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from fst.distances import gram_matrix


@dataclass
class Adapted:
    """What a loss network may give in the place of activations."""

    features: Tensor  # (N, c, h, w)
    weight: Tensor  # (phases, C, c): one map, or four for a picture of twice the size
    style: Tensor  # likewise, of the Gram matrix
    size: tuple[int, int]  # H and W

    def gram(self) -> Tensor:
        """What `fst.distances.gram_matrix` is of VGG's activations, ``(N, C, C)``."""
        gram = gram_matrix(self.features)[:, None]
        return (self.style @ gram @ self.style.mT).mean(1)

    def dense(self) -> Tensor:
        """The activations themselves, ``(N, C, H, W)``."""
        # channel C of phase p is C P + p to pixel_shuffle
        weight = self.weight.transpose(0, 1).flatten(0, 1)[..., None, None]
        wide = F.conv2d(self.features, weight.to(self.features.dtype))
        if len(self.weight) > 1:
            wide = F.pixel_shuffle(wide, 2)
        down, right = (side - found for side, found in zip(self.size, wide.shape[2:], strict=True))
        # of an odd side the last row or column again
        return F.pad(wide, (0, right, 0, down), mode="replicate") if down or right else wide

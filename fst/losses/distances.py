"""Gram matrices, and squared distances of features and of Gram matrices.

Float32 whatever the precision of the features.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 256  # positions: a product of so many loses little by its rounding to bfloat16


class _Gram(torch.autograd.Function):
    """The Gram matrix with a gradient of one matrix product, where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        flat, gram = _flat_and_gram(features)
        ctx.save_for_backward(flat)
        ctx.shape = features.shape
        return gram

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (flat,) = ctx.saved_tensors
        symmetric = (gradient + gradient.mT) / flat.shape[1]
        return _unflatten(flat @ symmetric.to(flat.dtype), ctx.shape)


class _GramDistance(torch.autograd.Function):
    """Squared distances of Gram matrices to a symmetric one, with the gradient of both at once."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor) -> Tensor:
        flat, gram = _flat_and_gram(features)
        difference = gram.sub_(target)
        ctx.save_for_backward(flat, difference)
        ctx.shape = features.shape
        return _squares(difference)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        flat, difference = ctx.saved_tensors
        scaled = difference * (4 / flat.shape[1] * gradient).view(-1, 1, 1)
        return _unflatten(flat @ scaled.to(flat.dtype), ctx.shape), None


def _flat_and_gram(features: Tensor) -> tuple[Tensor, Tensor]:
    flat = features.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H W, C): a view of channels-last
    count, area, channels = flat.shape
    if flat.dtype != torch.bfloat16:
        return flat, flat.mT @ flat / area
    # products of bf16 are summed in float32 but come back in bf16: take them from short pieces,
    # and sum these in float32
    whole = area // PIECE * PIECE
    pieces = flat[:, :whole].unflatten(1, (-1, PIECE)).flatten(0, 1)  # (N pieces, PIECE, C)
    total = (pieces.mT @ pieces).float().unflatten(0, (count, -1)).sum(1)
    if whole < area:
        rest = flat[:, whole:].float()
        total = total.baddbmm_(rest.mT, rest)
    return flat, total.view(count, channels, channels).div_(area)


def _unflatten(flat: Tensor, shape: torch.Size) -> Tensor:
    count, channels, height, width = shape
    return flat.view(count, height, width, channels).permute(0, 3, 1, 2)


class _SquaredDistance(torch.autograd.Function):
    """Sums of squared differences, one for each of a batch, with a gradient of one product."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, target: Tensor) -> Tensor:
        difference = features.float() - target
        ctx.save_for_backward(difference)
        ctx.dtype = features.dtype
        return _squares(difference)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        scale = (2 * gradient).view(-1, *[1] * (difference.ndim - 1))
        return (difference * scale).to(ctx.dtype), None


def _squares(x: Tensor) -> Tensor:
    """The sum of squares of each of a batch, ``(N,)`` float32."""
    over = tuple(range(1, x.ndim))
    return torch.linalg.vector_norm(x, dim=over, dtype=torch.float32).square()


def gram_matrix(features: Tensor) -> Tensor:
    """Channel correlations of ``(N, C, H, W)`` features, averaged over positions: ``(N, C, C)``.

    Float32 from features of float32, bfloat16 or float16 (converted first: it would overflow). From
    bfloat16 its entries are within a few thousandths.

    >>> gram_matrix(torch.ones(1, 2, 3, 3))
    tensor([[[1., 1.],
             [1., 1.]]])
    """
    return _Gram.apply(_wide(features))


def _wide(features: Tensor) -> Tensor:
    return features.float() if features.dtype == torch.float16 else features


class Features(Protocol):
    """Activations that a loss network has not made yet: only who asks for them pays for them."""

    def gram(self) -> Tensor: ...

    def dense(self) -> Tensor: ...


def dense(features: Tensor | Features) -> Tensor:
    """The activations themselves, ``(N, C, H, W)``."""
    return features if isinstance(features, Tensor) else features.dense()


def gram(features: Tensor | Features) -> Tensor:
    """Their Gram matrices, ``(N, C, C)``."""
    return gram_matrix(features) if isinstance(features, Tensor) else features.gram()


def squared_distances(features: Tensor, target: Tensor) -> Tensor:
    """Squared distances of ``(N, ...)`` to one target or to N, ``(N,)`` float32."""
    return _SquaredDistance.apply(features, target)


def relative_distances(features: Tensor, target: Tensor) -> Tensor:
    """`squared_distances` over the energy of the target or targets, ``(N,)`` float32."""
    return _relative(squared_distances(features, target), target)


def _relative(squared: Tensor, target: Tensor) -> Tensor:
    return squared / _squares(target).clamp_min(1e-12)


def style_distance(
    features: Tensor | Features, target: Tensor, normalization: str = "relative"
) -> Tensor:
    """Squared distance of Gram matrices to a target ``(1, C, C)``, batch mean.

    ``relative`` divides by the target's energy: 0 is equal, 1 is as far as no style at all.
    ``johnson2016`` is the squared Frobenius norm of Gram matrices divided by C H W.
    """
    if not isinstance(features, Tensor):
        squared = squared_distances(features.gram(), target)
    else:
        squared = _GramDistance.apply(_wide(features), target)
    if normalization == "relative":
        return _relative(squared, target).mean()
    return (squared / target.shape[1] ** 2).mean()  # H W is in the Gram matrix already


def content_distance(features: Tensor, target: Tensor, normalization: str = "relative") -> Tensor:
    """Squared distance of features ``(N, C, H, W)`` to those of the photos, batch mean.

    ``relative`` divides by the energy of each photo's features, ``johnson2016`` by C H W.
    """
    if normalization == "relative":
        return relative_distances(features, target).mean()
    return (squared_distances(features, target) / target[0].numel()).mean()


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, across plus down, of ``(N, 3, H, W)`` in [0, 1].

    >>> total_variation(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
    tensor(1.)
    """
    images = images.float()
    across = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    return across + down

"""VGG's convolutions in three of lower rank: what the compact loss network begins with.

Tucker-2 (Kim et al., arXiv:1511.06530) by what the convolutions are given and answer in pictures
(Zhang et al., arXiv:1505.06798), not by their kernels alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fst.losses.compact import RANKED, CompactVGG
from fst.losses.vgg import VGGFeatures, layer_names

TINY = 1e-6  # of the greatest eigenvalue: what is less is no direction
SHARE = 12  # pictures of a pass


@torch.no_grad()
def decompose(net: CompactVGG, teacher: VGGFeatures, pictures: Tensor) -> None:
    """Begin a student's layers that are made as VGG-19's are: relu3_1 and those after relu4_1.

    Args:
        net: The student; of these layers it answers, and expects to be given, what VGG-19 has
            divided by its RMS.
        teacher: With all layers up to relu5_1.
        pictures: ``(N, 3, H, W)`` RGB in [0, 1], such as the student is to know.
    """
    names = {index - 1: name for name, index in layer_names(teacher.arch).items()}
    size = None
    for index, given in _inputs(teacher, pictures):
        name = names[index]
        if name not in RANKED or name == "relu4_1":  # what that is given is no VGG's
            size = None
            continue
        conv = teacher.features[index]
        answers = torch.cat([conv(part) for part in given.split(SHARE)])
        end = net.ends[name]
        own = _rms(answers.relu())
        # of what was pooled on the way the RMS is another
        _begin(net.trunk[end - 3 : end], conv, given, answers, size or _rms(given), own)
        size = own


def _inputs(teacher: VGGFeatures, pictures: Tensor) -> Iterator[tuple[int, Tensor]]:
    """What each of a VGG's convolutions is given, by its index."""
    x = (pictures - teacher.mean) / teacher.std
    for index, layer in enumerate(teacher.features):
        if isinstance(layer, nn.Conv2d):
            yield index, x
        x = torch.cat([layer(part) for part in x.split(SHARE)])


def _begin(
    layers: nn.Sequential,
    conv: nn.Conv2d,
    given: Tensor,
    own: Tensor,
    before: float,
    after: float,
) -> None:
    """Make three convolutions answer to ``given / before`` with ``own / after``."""
    down, middle, up = layers
    kernel = conv.weight.double() * before  # for what is given over that
    given = _flat(given) / before
    # the directions of what is given that make the most of the answer
    metric = torch.einsum("oihw,ojhw->ij", kernel, kernel)
    root, inverse = _roots(metric)
    found = _directions(root @ (given.T @ given / len(given)) @ root, down.out_channels)
    narrow = given @ root @ found
    size = narrow.square().mean().sqrt()
    down.weight.copy_((found.T @ root / size)[..., None, None])
    middle_kernel = torch.einsum("oihw,ij->ojhw", kernel, inverse @ found * size)
    # those of the answer
    flat = _flat(own)
    mean = flat.mean(0)
    flat = flat - mean
    found = _directions(flat.T @ flat / len(flat), middle.out_channels)
    size = (flat @ found).square().mean().sqrt()
    middle.weight.copy_(torch.einsum("or,oihw->rihw", found / size, middle_kernel))
    up.weight.copy_((found * size / after)[..., None, None])
    bias = conv.bias.double() - mean
    up.bias.copy_((found @ (found.T @ bias) + mean) / after)


def _rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()


def _flat(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(0, 2).double()


def _directions(covariance: Tensor, count: int) -> Tensor:
    """The eigenvectors of the greatest eigenvalues, as columns."""
    return torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :count]


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Its square root, and the inverse of that."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(TINY * values.max()).sqrt()
    return vectors * values @ vectors.T, vectors / values @ vectors.T

"""VGG's convolutions in three of lower rank: what the student's deep layers begin with.

Tucker-2 (Kim et al., arXiv:1511.06530). The few channels are the directions that matter in pictures
(Zhang et al., arXiv:1505.06798), not those of the kernels alone.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fst.losses.compact import RANKED
from fst.losses.vgg import VGGFeatures, layer_names
from research.compact.student import Student

TINY = 1e-6  # of the greatest eigenvalue: what is less is no direction
SHARE = 12  # pictures of a pass


@torch.no_grad()
def decompose(net: Student, teacher: VGGFeatures, pictures: Tensor) -> None:
    """Give the student VGG-19's own layers: relu3_1 and those after relu4_1.

    Args:
        net: What it has of these layers, and is given, is what VGG-19 has divided by its RMS.
        teacher: With all layers up to relu5_1.
        pictures: ``(N, 3, H, W)`` RGB in [0, 1], such as the student is to know.
    """
    names = {index - 1: name for name, index in layer_names(teacher.arch).items()}
    size = None
    for index, given in _inputs(teacher, pictures):
        name = names[index]
        if name not in RANKED or name == "relu4_1":  # relu4_1 is given the student's own channels
            size = None
            continue
        conv = teacher.features[index]
        answers = torch.cat([conv(part) for part in given.split(SHARE)])
        end = net.ends[name]
        own = _rms(answers.relu())
        # pooling in between changes the RMS, but the student is given what was divided before
        _begin(net.trunk[end - 3 : end], conv, given, answers, size or _rms(given), own)
        size = own


def _inputs(teacher: VGGFeatures, pictures: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The index of each of a VGG's convolutions, and what it is given."""
    x = (pictures - teacher.mean) / teacher.std
    for index, layer in enumerate(teacher.features):
        if isinstance(layer, nn.Conv2d):
            yield index, x
        x = torch.cat([layer(part) for part in x.split(SHARE)])


def _begin(
    layers: nn.Sequential, conv: nn.Conv2d, given: Tensor, own: Tensor, before: float, after: float
) -> None:
    """Make three convolutions answer to ``given / before`` with ``own / after``."""
    down, middle, up = layers
    kernel = conv.weight.double() * before  # for what is given over that
    given = _flat(given) / before
    # the directions of what is given that make the most of the answer
    root, inverse = _roots(torch.einsum("oihw,ojhw->ij", kernel, kernel))
    basis = _directions(root @ (given.T @ given / len(given)) @ root, down.out_channels)
    size = (given @ root @ basis).square().mean().sqrt()
    down.weight.copy_((basis.T @ root / size)[..., None, None])
    middle_kernel = torch.einsum("oihw,ij->ojhw", kernel, inverse @ basis * size)
    # those of the answer
    flat = _flat(own)
    mean = flat.mean(0)
    flat = flat - mean
    basis = _directions(flat.T @ flat / len(flat), middle.out_channels)
    size = (flat @ basis).square().mean().sqrt()
    middle.weight.copy_(torch.einsum("or,oihw->rihw", basis / size, middle_kernel))
    up.weight.copy_((basis * size / after)[..., None, None])
    bias = conv.bias.double() - mean
    up.bias.copy_((basis @ (basis.T @ bias) + mean) / after)


def _rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()


def _flat(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).flatten(0, 2).double()


def _directions(covariance: Tensor, count: int) -> Tensor:
    """The eigenvectors of the greatest eigenvalues, as columns."""
    return torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :count]


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix's square root, and the inverse of that."""
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(TINY * values.max()).sqrt()
    return vectors * values @ vectors.T, vectors / values @ vectors.T

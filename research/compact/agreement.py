"""How far one loss network says what another says, on pictures from weak to strong stylization."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fst.losses import PerceptualLoss
from fst.losses.compact import STYLED, CompactVGG
from fst.losses.distances import gram, gram_matrix

STRENGTHS = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the style network's answer over the photo


def agreement(
    loss: PerceptualLoss, teacher: PerceptualLoss, net: nn.Module, photos: Sequence[Tensor]
) -> dict[str, float]:
    """Compare two losses with the same layers, both of one painting.

    Args:
        loss: That of the loss network in question.
        teacher: That of the loss network to agree with.
        net: A style network for the painting.
        photos: ``(3, H, W)`` each, RGB in [0, 1].

    Returns:
        ``style`` and ``content``, the rank correlations (Spearman) of the two losses over all
        photos at all strengths; ``ratio_style`` and ``ratio_content``, the medians of the one over
        the other; and by layer, as ``gradient_style_relu1_1``, the mean cosine of their gradients
        with respect to the picture.
    """
    values: dict[str, list[tuple[float, float]]] = {"style": [], "content": []}
    cosines: dict[str, list[float]] = {}
    for photo in photos:
        with torch.no_grad():
            painted = net(photo[None]).float()
        for strength in STRENGTHS:
            picture = torch.lerp(photo[None], painted, strength).requires_grad_()
            ours, theirs = loss(picture, photo[None]), teacher(picture, photo[None])
            for name, pairs in values.items():
                pairs.append((ours[name].item(), theirs[name].item()))
            for name in filter(lambda name: "_relu" in name, ours):
                pair = [
                    torch.autograd.grad(terms[name], picture, retain_graph=True)[0].flatten()
                    for terms in (ours, theirs)
                ]
                cosine = torch.cosine_similarity(*pair, dim=0, eps=1e-20).item()
                cosines.setdefault(f"gradient_{name}", []).append(cosine)
    found = {}
    for name, pairs in values.items():
        both = torch.tensor(pairs).T
        found[name] = rank_correlation(*both)
        found[f"ratio_{name}"] = (both[0] / both[1]).median().item()
    return found | {name: sum(each) / len(each) for name, each in cosines.items()}


@torch.no_grad()
def style_errors(
    student: CompactVGG, teacher: nn.Module, pictures: Tensor, painting: Tensor
) -> dict[str, float]:
    """How wrong the student is about what pictures lack of a painting's style.

    Args:
        student: With all of VGG's channels.
        teacher: ``teacher(images, layers)`` gives VGG-19's activations by name.
        pictures: ``(N, 3, H, W)`` RGB in [0, 1], in the style of the painting.
        painting: ``(1, 3, H, W)`` RGB in [0, 1].

    Returns:
        By layer the squared error of the Gram matrices' distance to the painting's, over the energy
        of the painting's: comparable with `fst.losses.distances.style_distance`, of which it is the error.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in STYLED}
    goals = {name: gram_matrix(each) for name, each in teacher(painting, STYLED).items()}
    seen = {name: gram(each) for name, each in student(painting, STYLED).items()}
    for picture in pictures.split(1):
        ours, theirs = student(picture, STYLED), teacher(picture, STYLED)
        for name, goal in goals.items():
            error = (gram(ours[name]) - seen[name]) - (gram_matrix(theirs[name]) - goal)
            found[name].append(error.square().sum() / goal.square().sum())
    return {name: torch.stack(errors).mean().item() for name, errors in found.items()}


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's, of values without ties.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 10.0, 11.0]))
    1.0
    """
    ranks = torch.stack([values.argsort().argsort().float() for values in (first, second)])
    return torch.corrcoef(ranks)[0, 1].item()

"""How far the compact loss network agrees with VGG-19, on pictures from weak to strong stylization.

python -m research.compact.agreement weights=FILE photos=PHOTOS paths.paintings=PAINTINGS
python -m research.compact.agreement weights=FILE photos=PHOTOS update_card=true

Photos and paintings should be such as the compact network has not been trained with. `agreement`
and `style_errors` say what the figures are.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from fst.cli.composing import config_errors, run_alone
from fst.images import find_images
from fst.losses import PerceptualLoss
from fst.losses.compact import CompactVGG, load_compact
from fst.losses.distances import gram, gram_matrix
from fst.styles import find_style, load_style, replace_card
from fst.system.errors import InputError, check_whole
from fst.system.tables import markdown_table
from fst.training.data import HeldOutPhotos, load_painting

STRENGTHS = (0.1, 0.25, 0.5, 0.75, 1.0)  # of the style network's answer over the photo
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # of the default loss
PAINTING = 512  # px, shorter side


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
        ``style`` and ``content``: the rank correlations (Spearman) of the two losses over all
        photos at all strengths. ``ratio_style`` and ``ratio_content``: the medians of the one over
        the other. By layer, as ``gradient_style_relu1_1``: the mean cosine of their gradients with
        respect to the picture.
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
    figures = {}
    for name, pairs in values.items():
        both = torch.tensor(pairs).T
        figures[name] = rank_correlation(*both)
        figures[f"ratio_{name}"] = (both[0] / both[1]).median().item()
    return figures | {name: sum(each) / len(each) for name, each in cosines.items()}


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
        By layer the squared error of the Gram matrices' difference from the painting's, over the
        energy of the painting's: in the units of `fst.losses.distances.style_distance`.
    """
    errors: dict[str, list[Tensor]] = {name: [] for name in STYLE_LAYERS}
    goals = {name: gram_matrix(each) for name, each in teacher(painting, STYLE_LAYERS).items()}
    beliefs = {name: gram(each) for name, each in student(painting, STYLE_LAYERS).items()}
    for picture in pictures.split(1):
        ours, theirs = student(picture, STYLE_LAYERS), teacher(picture, STYLE_LAYERS)
        for name, goal in goals.items():
            error = (gram(ours[name]) - beliefs[name]) - (gram_matrix(theirs[name]) - goal)
            errors[name].append(error.square().sum() / goal.square().sum())
    return {name: torch.stack(each).mean().item() for name, each in errors.items()}


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's, of values without ties.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 10.0, 11.0]))
    1.0
    """
    ranks = torch.stack([values.argsort().argsort().float() for values in (first, second)])
    return torch.corrcoef(ranks)[0, 1].item()


def measure(cfg: DictConfig) -> dict[str, dict[str, float]]:
    """The figures of every style, by name."""
    check_whole("count", cfg.count, 1)
    check_whole("size", cfg.size, 64)
    if cfg.update_card and cfg.styles:
        raise InputError(
            "update_card: expected styles=null, what the file's training has not seen; found "
            f"styles={list(cfg.styles)}"
        )
    file = Path(str(cfg.weights)).expanduser()
    net, card = load_compact(file)
    loss, teacher = instantiate(cfg.compact), instantiate(cfg.vgg19)
    paths = find_images(Path(str(cfg.photos)).expanduser())
    if not paths:
        raise InputError(f"{cfg.photos}: expected photos, found none")
    step = max(1, len(paths) // cfg.count)  # from all over the folder
    photos = HeldOutPhotos(paths[::step][: cfg.count], cfg.size)
    pictures = [photos[k][0].float() / 255 for k in range(len(photos))]
    measured = {}
    for style in cfg.styles or card["training"]["held_out_paintings"]:
        path = Path(str(cfg.paths.paintings)).expanduser() / f"{style}.jpg"
        painting = load_painting(path, PAINTING)[None]
        for each in loss, teacher:
            each.set_style(painting)
        styled, _ = load_style(find_style(style))
        figures = agreement(loss, teacher, styled, pictures)
        with torch.no_grad():
            painted = styled(torch.stack(pictures))
        errors = style_errors(net, teacher.extractor, painted, painting)
        figures |= {f"error_style_{layer}": error for layer, error in errors.items()}
        measured[style] = {name: round(value, 4) for name, value in figures.items()}
        print(f"{style}: measured", file=sys.stderr)
    if cfg.update_card:
        about = {"photos": len(pictures), "size": cfg.size, "styles": measured}
        replace_card(file, {**card, "agreement": about})
    return measured


def table(measured: dict[str, dict[str, float]]) -> str:
    """Markdown, a row for each style."""
    names = list(next(iter(measured.values())))
    rows = [
        [style, *(f"{figures[name]:.3f}" for name in names)] for style, figures in measured.items()
    ]
    return markdown_table(["style", *(name.replace("_", " ") for name in names)], rows)


@hydra.main(
    version_base="1.3", config_path=str(Path(__file__).parent / "configs"), config_name="agreement"
)
def run_hydra(cfg: DictConfig) -> None:
    with config_errors():
        torch.manual_seed(0)
        print(table(measure(cfg)))


def main() -> None:
    run_alone(run_hydra)


if __name__ == "__main__":
    main()

"""How far the compact loss network agrees with VGG-19, on pictures from weak to strong stylization.

python scripts/agreement.py weights=FILE photos=PHOTOS
python scripts/agreement.py weights=FILE photos=PHOTOS update_card=true

Photos and paintings are such as the compact network has not been trained with. What the figures are
is said in fst/agreement.py.
"""

import sys
from pathlib import Path

import hydra
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from fst.cli.composing import config_errors, run_alone
from fst.images import find_images
from fst.losses.compact import load_compact
from fst.styles import find_style, load_style, replace_card
from fst.system.errors import InputError, check_whole
from fst.training.data import HeldOutPhotos, load_painting
from research.compact.agreement import agreement, style_errors

PAINTING = 512  # px, shorter side


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
    found = {}
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
        found[style] = {name: round(value, 4) for name, value in figures.items()}
        print(f"{style}: measured", file=sys.stderr)
    if cfg.update_card:
        about = {"photos": len(pictures), "size": cfg.size, "styles": found}
        replace_card(file, {**card, "agreement": about})
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown, a row for each style."""
    names = list(next(iter(found.values())))
    rows = [["style", *(name.replace("_", " ") for name in names)], ["---"] * (len(names) + 1)]
    rows += [
        [style, *(f"{figures[name]:.3f}" for name in names)] for style, figures in found.items()
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


@hydra.main(version_base="1.3", config_path="../configs", config_name="agreement")
def run_hydra(cfg: DictConfig) -> None:
    with config_errors():
        torch.manual_seed(0)
        print(table(measure(cfg)))


def main() -> None:
    run_alone(run_hydra)


if __name__ == "__main__":
    main()

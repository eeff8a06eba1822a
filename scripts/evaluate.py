"""Measure styles on photos that no training has seen, against Gatys' method and by themselves.

python scripts/evaluate.py checkpoint=starry_night photos=PHOTOS
python scripts/evaluate.py checkpoint=all photos=PHOTOS update_card=true

What the numbers are: README.md, "What the numbers mean"; fst/metrics.py and fst/traces.py.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import torch
from composing import autocast, config_errors, find_painting, pick_device, run_alone
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from fst.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint, shipped_styles
from fst.data import MIN_SIDE, HeldOutPhotos, PhotoDataModule, list_photos, load_painting
from fst.errors import InputError, check_whole
from fst.files import atomic_path, check_folder
from fst.images import (
    Photo,
    contact_sheet,
    find_images,
    flatten,
    read_photo,
    resize_longer,
    save_picture,
    to_image,
    to_tensor,
)
from fst.losses import PerceptualLoss
from fst.metrics import ARTEFACTS, STABILITY
from fst.traces import PROTOCOLS, equivalents, trace

GATYS5_PAINTING = 512  # px, shorter side


@dataclass
class Evaluation:
    """What is known of one style: the figures, and rows of pictures for the contact sheet."""

    figures: dict[str, Any]
    rows: list[list[Image.Image]]


def evaluate(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """Measure every checkpoint asked for; gives the figures by style."""
    if cfg.held_out is not None:
        check_whole("held_out", cfg.held_out, 1)
    check_whole("size", cfg.size, 128)  # px: the deepest layers need as much
    output = Path(cfg.output)
    check_folder(output)
    for protocol in cfg.protocols:
        if protocol not in PROTOCOLS:
            raise InputError(
                f"protocols: expected some of {', '.join(PROTOCOLS)}, found {protocol!r}"
            )
    paths, large = find_photos(cfg.photos, cfg.held_out), find_large(cfg.large_photos)
    checkpoints = [find_checkpoint(name) for name in wanted(cfg.checkpoint)]
    device = pick_device(cfg.device)
    gatys5 = instantiate(cfg.gatys5).to(device, memory_format=torch.channels_last)
    results = {}
    for checkpoint in checkpoints:
        net, card = load_checkpoint(checkpoint)
        found = evaluate_style(cfg, net, card, paths, large or paths, gatys5, device)
        results[checkpoint.stem] = found.figures
        save_json(found.figures, output / f"{checkpoint.stem}.json")
        sheet = contact_sheet(found.rows, cfg.size)
        save_picture(Photo.from_image(sheet), output / f"{checkpoint.stem}.jpg")
        if cfg.update_card:
            save_checkpoint(checkpoint, net, {**card, "evaluation": found.figures})
    return results


def find_photos(folder: str, held_out: int | None) -> list[Path]:
    """The photos that training holds out of a folder, or all of it."""
    if held_out is None:
        return list_photos(folder)
    photos = PhotoDataModule(folder, MIN_SIDE, batch_size=1, held_out=held_out)
    photos.setup()
    return photos.val_paths


def find_large(sources: Any) -> list[Path]:
    """The files, and those in the folders, of one path or several."""
    found = [Path(name).expanduser() for name in as_list(sources or [])]
    return [path for name in found for path in (find_images(name) if name.is_dir() else [name])]


def wanted(checkpoint: Any) -> list[str]:
    if checkpoint == "all":
        return shipped_styles()
    return as_list(checkpoint)


def as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(each) for each in value]


def evaluate_style(
    cfg: DictConfig,
    net: nn.Module,
    card: dict[str, Any],
    paths: list[Path],
    large: list[Path],
    gatys5: PerceptualLoss,
    device: torch.device,
) -> Evaluation:
    """All measures of one network; the loss is the one it was trained with."""
    file = f"{cfg.paths.paintings}/{card['style']['file']}"
    painting = find_painting(OmegaConf.create({**card["style"], "image": file}))
    loss = own_loss(card["loss"], cfg.extractors).to(device, memory_format=torch.channels_last)
    loss.set_style(load_painting(painting, card["style"]["size"])[None].to(device))
    gatys5.set_style(load_painting(painting, GATYS5_PAINTING)[None].to(device))
    squares = HeldOutPhotos(paths, cfg.size)
    photos = [squares[k][0][None].to(device) / 255 for k in range(len(paths))]
    net = net.to(device, memory_format=torch.channels_last)
    painted, seconds = repaint(net, photos)
    with autocast(device, cfg.precision):
        terms = [
            values(loss, picture, photo) for picture, photo in zip(painted, photos, strict=True)
        ]
        references = refer(cfg, photos, loss, [term["total"] for term in terms])
        distances = [gatys5_of(net, path, gatys5, cfg.gatys5_size, device) for path in large]
    pictures = {"photo": photos, "network": painted}
    pictures |= {f"reference_{name}": found.pictures for name, found in references.items()}
    figures = {
        "photos": {"count": len(paths), "size": cfg.size, "names": [path.name for path in paths]},
        "loss": means(terms),
        "equivalents": {name: found.figures for name, found in references.items()},
        "gatys5": {
            "size": cfg.gatys5_size,
            "names": [path.name for path in large],
            **means(distances),
            "by_photo": [[rounded(each["style"]), rounded(each["content"])] for each in distances],
        },
        "artefacts": {
            name: {who: mean(float(measure(one)) for one in ones) for who, ones in pictures.items()}
            for name, measure in ARTEFACTS.items()
        },
        "stability": {
            name: mean(float(measure(net, photo)) for photo in photos)
            for name, measure in STABILITY.items()
        },
        "seconds": {"network": seconds, **{k: found.seconds for k, found in references.items()}},
    }
    rows = zip(*pictures.values(), strict=True)
    return Evaluation(figures, [[to_image(one[0]) for one in row] for row in rows])


def own_loss(recipe: dict[str, Any], extractors: DictConfig) -> PerceptualLoss:
    """The loss that a card describes, on the loss network of this machine."""
    extractor = instantiate(extractors[recipe["extractor"]["arch"]])
    return PerceptualLoss(extractor, **{k: v for k, v in recipe.items() if k != "extractor"})


@torch.no_grad()
def repaint(net: nn.Module, photos: list[Tensor]) -> tuple[list[Tensor], float]:
    """The network's pictures, and the median of the seconds that one took."""
    net(photos[0])  # the first pass takes longer
    painted, seconds = [], []
    for photo in photos:
        began = time.perf_counter()
        painted.append(net(photo))
        float(painted[-1][0, 0, 0, 0])  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return painted, rounded(statistics.median(seconds))


@torch.no_grad()
def values(loss: PerceptualLoss, picture: Tensor, photo: Tensor) -> dict[str, float]:
    return {name: float(term) for name, term in loss(picture, photo).items()}


@torch.no_grad()
def gatys5_of(
    net: nn.Module, path: Path, gatys5: PerceptualLoss, size: int, device: torch.device
) -> dict[str, float]:
    """Relative style and content distance of one photo of at most ``size`` px longer side."""
    image = flatten(read_photo(path))
    photo = to_tensor(resize_longer(image, min(size, max(image.size))))[None].to(device)
    with torch.autocast(device.type, enabled=False):
        picture = net(photo)
    terms = values(gatys5, picture, photo)
    return {name: terms[name] for name in ("style", "content")}


@dataclass
class Reference:
    """What one protocol says of all photos."""

    figures: dict[str, Any]
    pictures: list[Tensor]
    seconds: float  # median time to the equivalent iteration


def refer(
    cfg: DictConfig, photos: list[Tensor], loss: PerceptualLoss, objectives: list[float]
) -> dict[str, Reference]:
    """Compare every photo's objective with the reference's under every protocol."""
    cache = Path(cfg.traces) if cfg.traces else None
    found = {}
    for protocol in cfg.protocols:
        iterations, pictures, seconds = [], [], []
        bar = tqdm(photos, desc=protocol, unit="photo", disable=None)
        for photo, objective in zip(bar, objectives, strict=True):
            record, picture = trace(photo, loss, protocol, objective, cache)
            number = record.first_at_or_below(objective)
            iterations.append(number)
            pictures.append(picture)
            seconds.append(record.seconds[-1 if number is None else number])
        figures = {
            **equivalents(iterations, PROTOCOLS[protocol].most),
            "by_photo": iterations,
        }
        found[protocol] = Reference(figures, pictures, rounded(statistics.median(seconds)))
    return found


def means(terms: list[dict[str, float]]) -> dict[str, float]:
    return {name: mean(term[name] for term in terms) for name in terms[0]}


def mean(values: Iterator[float]) -> float:
    return rounded(statistics.fmean(values))


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def save_json(figures: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures as a Markdown table, one row a style."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "objective": lambda f: f"{f['loss']['total']:.3g}",
        "style": lambda f: f"{f['loss']['style']:.3g}",
        "content": lambda f: f"{f['loss']['content']:.3g}",
    }
    first = next(iter(results.values()))
    for name in first["equivalents"]:
        columns[f"{name} (range)"] = lambda f, name=name: spread(f["equivalents"][name])
        columns[f"{name} speed-up"] = lambda f, name=name: speedup(f["seconds"], name)
    columns["gatys5 style / content"] = lambda f: (
        f"{f['gatys5']['style']:.3f} / {f['gatys5']['content']:.2f}"
    )
    for name in first["artefacts"]:
        columns[name] = lambda f, name=name: " / ".join(
            f"{value:.3g}" for value in f["artefacts"][name].values()
        )
    for name in first["stability"]:
        columns[name.replace("_", " ")] = lambda f, name=name: f"{f['stability'][name]:.1f}"
    lines = [["style", *columns], ["---"] * (len(columns) + 1)]
    lines += [[style, *(show(f) for show in columns.values())] for style, f in results.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(figures: dict[str, float]) -> str:
    return f"{figures['median']:.0f} ({figures['min']:.0f}-{figures['max']:.0f})"


def speedup(seconds: dict[str, float], protocol: str) -> str:
    return f"{seconds[protocol] / seconds['network']:.0f}x"


@hydra.main(version_base="1.3", config_path="../configs", config_name="evaluate")
def run_hydra(cfg: DictConfig) -> None:
    with config_errors():
        results = evaluate(cfg)
        print(table(results))
        print(f"figures and contact sheets: {cfg.output}", file=sys.stderr)


if __name__ == "__main__":
    run_alone(run_hydra)

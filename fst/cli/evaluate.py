"""Measure styles on photos that no training has seen, against Gatys' method and by themselves.

fst evaluate style=starry_night photos=PHOTOS
fst evaluate style=all photos=PHOTOS large_photos=LARGE update_card=true

What the numbers are: docs/evaluation.md; fst/evaluation/metrics.py and fst/evaluation/traces.py.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from fst.cli.composing import config_errors, find_painting, run_command
from fst.evaluation import Evaluation, distances, measure
from fst.evaluation.traces import PROTOCOLS
from fst.images import Photo, contact_sheet, find_images, save_picture
from fst.losses import PerceptualLoss
from fst.styles import find_style, load_style, replace_card, shipped_styles
from fst.system.devices import autocast, choose_device, resolve_precision
from fst.system.errors import InputError, check_whole, one_line_errors
from fst.system.files import atomic_path, check_folder
from fst.system.process import leave, signals
from fst.system.tables import markdown_table
from fst.training.data import MIN_SIDE, HeldOutPhotos, PhotoDataModule, load_painting
from fst.training.photos import list_photos

GATYS5_PAINTING = 512  # px, shorter side


@dataclass(frozen=True)
class Style:
    """A style file, read and checked, and where its painting is."""

    file: Path
    net: nn.Module
    card: dict[str, Any]
    painting: Path


def evaluate(cfg: DictConfig) -> dict[str, dict[str, Any]]:
    """Measure every style asked for; gives the figures by the name of its file."""
    check_settings(cfg)
    output = Path(str(cfg.output))
    check_folder(output)
    styles = [read(file, cfg) for file in find_styles(cfg.styles)]
    paths, large = find_photos(str(cfg.photos), cfg.held_out), find_large(cfg.large_photos)
    device = choose_device(cfg.device)
    gatys5 = instantiate(cfg.gatys5).to(device, memory_format=torch.channels_last)
    results = {}
    for style in styles:
        name = style.file.stem
        found = evaluate_style(cfg, style, paths, large or paths, gatys5, device)
        results[name] = found.figures
        save_json(found.figures, output / f"{name}.json")
        sheet = contact_sheet(found.rows, cfg.size)
        save_picture(Photo.from_image(sheet), output / f"{name}.jpg")
        if cfg.update_card:
            replace_card(style.file, {**style.card, "evaluation": found.figures})
        print(f"{name}: measured; {output / name}.json", file=sys.stderr)
    return results


def check_settings(cfg: DictConfig) -> None:
    """Raise an InputError for what would fail later."""
    if cfg.held_out is not None:
        check_whole("held_out", cfg.held_out, 1)
    check_whole("size", cfg.size, 128)  # px: the deepest layers need as much
    check_whole("gatys5_size", cfg.gatys5_size, 128)
    if not isinstance(cfg.update_card, bool):
        raise InputError(f"update_card: expected true or false, found {cfg.update_card!r}")
    if not isinstance(cfg.protocols, ListConfig) or set(cfg.protocols) - set(PROTOCOLS):
        raise InputError(
            f"protocols: expected a list of some of {', '.join(PROTOCOLS)}, found {cfg.protocols}"
        )
    if cfg.update_card and set(cfg.protocols) != set(PROTOCOLS):
        raise InputError(
            f"update_card: expected all protocols to be measured ({', '.join(PROTOCOLS)}), found "
            f"{cfg.protocols}; leave protocols as it is"
        )


def find_styles(wanted: Any) -> list[Path]:
    """The style files asked for, no two of one name, since results are named after them."""
    names = shipped_styles() if wanted == "all" else as_list(wanted)
    if not names:
        raise InputError("style: expected a style, a style file or a list of them, found nothing")
    files = [find_style(name) for name in names]
    stems = [file.stem for file in files]
    for stem in stems:
        if stems.count(stem) > 1:
            raise InputError(
                f"style: expected files of different names, found {stem} twice; evaluate them "
                "one by one with another output"
            )
    return files


def read(file: Path, cfg: DictConfig) -> Style:
    """A style with all that its evaluation needs.

    Raises:
        InputError: It says too little of itself, its painting is missing or another picture, or
            fewer photos were held out from its training than ``held_out``.
    """
    net, card = load_style(file)
    missing = {"style", "loss"} - card.keys()
    if missing:
        raise InputError(
            f"{file}: expected a card with style and loss, found none of "
            f"{' and '.join(sorted(missing))}; evaluate what fst train wrote"
        )
    kept = card.get("data", {}).get("held_out")
    if cfg.held_out is not None and kept is not None and cfg.held_out > kept:
        raise InputError(
            f"held_out: expected at most {kept}, as many as {file.name} was not trained on, found "
            f"{cfg.held_out}"
        )
    where = f"{cfg.paths.paintings}/{card['style']['file']}"
    painting = find_painting(OmegaConf.create({**card["style"], "image": where}))
    expected = card["style"].get("sha256")
    if expected and hashlib.sha256(painting.read_bytes()).hexdigest() != expected:
        raise InputError(
            f"{painting}: expected the very file that {file.name} was trained with (SHA-256 "
            f"{expected[:12]}...), found another one; against it the figures would be wrong"
        )
    return Style(file, net, card, painting)


def find_photos(folder: str, held_out: int | None) -> Sequence[Path]:
    """The photos that training holds out of a folder, or all of it."""
    if held_out is None:
        found = list_photos(folder)
        if not found:
            raise InputError(f"{folder}: expected a folder of photos, found none in it")
        return found
    photos = PhotoDataModule(folder, MIN_SIDE, batch_size=1, held_out=held_out)
    photos.setup()
    return photos.val_paths


def find_large(sources: Any) -> list[Path]:
    """The files, and those in the folders, of one path or several."""
    if sources is None:
        return []
    found = []
    for path in (Path(name).expanduser() for name in as_list(sources)):
        inside = find_images(path) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise InputError(f"{path}: expected a picture or a folder of pictures, found none")
        found += inside
    return found


def as_list(value: Any) -> list[str]:
    """One value or several, as text: a folder called 2024 is a number to YAML."""
    return [str(each) for each in value] if isinstance(value, ListConfig) else [str(value)]


def evaluate_style(
    cfg: DictConfig,
    style: Style,
    paths: Sequence[Path],
    large: Sequence[Path],
    gatys5: PerceptualLoss,
    device: torch.device,
) -> Evaluation:
    """All measures of one network; the loss is the one it was trained with."""
    recipe = style.card["loss"]
    loss = own_loss(recipe, cfg.extractors).to(device).to(memory_format=torch.channels_last)
    loss.set_style(load_painting(style.painting, style.card["style"]["size"])[None].to(device))
    gatys5.set_style(load_painting(style.painting, GATYS5_PAINTING)[None].to(device))
    squares = HeldOutPhotos(paths, cfg.size)
    photos = [squares[k][0][None].to(device) / 255 for k in range(len(paths))]
    net = style.net.to(device).to(memory_format=torch.channels_last)
    cache = Path(str(cfg.traces)) if cfg.traces else None
    with autocast(device, cfg.precision):
        found = measure(net, loss, photos, cfg.protocols, cache)
        far = distances(net, large, gatys5, cfg.gatys5_size, device)
    if not far:
        print(
            f"gatys5: not measured; expected photos of {cfg.gatys5_size} px or more on the longer "
            "side, found smaller ones; try large_photos=FOLDER",
            file=sys.stderr,
        )
    found.figures |= {
        "photos": {"count": len(paths), "size": cfg.size, "names": [path.name for path in paths]},
        "gatys5": far,
        "machine": {
            "device": device.type,
            "threads": torch.get_num_threads(),
            "precision": resolve_precision(cfg.precision, device.type),
            "torch": torch.__version__,
        },
    }
    return found


def own_loss(recipe: dict[str, Any], extractors: DictConfig) -> PerceptualLoss:
    """The loss that a card describes, on the loss network of this machine."""
    # what was trained with the compact loss network is measured with what that stands for
    extractor = instantiate(extractors[recipe["extractor"].get("arch", "vgg19")])
    return PerceptualLoss(extractor, **{k: v for k, v in recipe.items() if k != "extractor"})


def save_json(figures: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures as a Markdown table, one row a style."""
    rows = {style: cells(figures) for style, figures in results.items()}
    columns = list(next(iter(rows.values())))
    return markdown_table(
        ["style", *columns], [[style, *(row[c] for c in columns)] for style, row in rows.items()]
    )


def cells(figures: dict[str, Any]) -> dict[str, str]:
    """A style's row, by column."""
    loss, far = figures["loss"], figures["gatys5"]
    row = {
        "objective": f"{loss['total']:.3g}",
        "style": f"{loss['style']:.3g}",
        "content": f"{loss['content']:.3g}",
    }
    for name, equivalent in figures["equivalents"].items():
        row[f"{name} (range)"] = spread(equivalent)
        row[f"{name} speed-up"] = speedup(figures["seconds"], name)
    row["gatys5 style / content"] = f"{far['style']:.3f} / {far['content']:.2f}" if far else "-"
    for name, values in figures["artefacts"].items():
        row[name] = " / ".join(f"{value:.3g}" for value in values.values())
    for name, value in figures["stability"].items():
        row[name.replace("_", " ")] = f"{value:.1f}"
    return row


def spread(figures: dict[str, float]) -> str:
    return f"{figures['median']:.0f} ({figures['min']:.0f}-{figures['max']:.0f})"


def speedup(seconds: dict[str, float], protocol: str) -> str:
    return f"{seconds[protocol] / seconds['network']:.0f}x"


def run(cfg: DictConfig) -> None:
    with config_errors():
        results = evaluate(cfg)
        print(table(results))
        print(f"figures and contact sheets: {cfg.output}", file=sys.stderr)


def as_settings(words: Sequence[str]) -> list[str]:
    """``style=`` as ``styles=``: by the former hydra would look for a preset in configs/style.

    Raises:
        InputError: The old name of the key.
    """
    for word in words:
        if word.startswith("checkpoint="):
            raise InputError(
                f"checkpoint: expected its new name, style; try style={word.partition('=')[2]}"
            )
    return ["styles" + word[5:] if word.startswith("style=") else word for word in words]


def main(argv: Sequence[str] | None = None) -> None:
    with signals(leave), one_line_errors():
        words = as_settings(sys.argv[1:] if argv is None else argv)
        run_command("evaluate", run, words)

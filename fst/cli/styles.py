"""Which styles there are, and where one comes from.

fst styles                  the shipped styles
fst styles outputs/         the style files in a folder
fst styles starry_night     the card of one: a shipped style, or a style file's path
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fst.styles import SUFFIX, find_style, read_card, shipped_styles
from fst.system.errors import InputError, one_line_errors
from fst.system.tables import markdown_table

Card = dict[str, Any]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        "fst styles", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("style", nargs="*", help="a shipped style, a style file, or a folder")
    options.add_argument("--json", action="store_true", help="whole cards, for programs")
    return options


def style_files(folder: Path) -> list[Path]:
    """The style files in a folder and in those below it; safetensors files of others are not.

    Raises:
        InputError: There are none.
    """
    files = sorted(path for path in folder.rglob(f"*{SUFFIX}") if is_style(path))
    if not files:
        raise InputError(f"{folder}: expected style files ({SUFFIX}) in it, found none")
    return files


def is_style(path: Path) -> bool:
    try:
        read_card(path)
    except InputError:
        return False
    return True


def table(cards: dict[Path, Card], shipped: bool) -> str:
    """One row a style: how to name it, and what it is."""
    rows = []
    for path, card in cards.items():
        style = card.get("style", {})
        name = path.stem if shipped else path
        width = card["network"]["arguments"].get("width", "-")
        painting = style.get("title") or style.get("file") or "-"
        said = (style.get(key) or "-" for key in ("painter", "year"))
        rows.append([name, painting, *said, width, f"{path.stat().st_size / 1e6:.1f}"])
    return markdown_table(["style", "painting", "painter", "year", "width", "MB"], rows)


def describe(path: Path, card: Card) -> Iterator[tuple[str, str]]:
    """What a card says, as label and text; nothing of what it leaves out."""
    style, loss, training = (card.get(key, {}) for key in ("style", "loss", "training"))
    yield "file", f"{path}, {path.stat().st_size / 1e6:.1f} MB"
    painting = [style.get("title") or style.get("file"), style.get("painter"), style.get("year")]
    if any(painting):
        yield "painting", ", ".join(str(each) for each in painting if each)
    if style.get("page"):
        yield "page", style["page"]
    if card.get("licence"):
        yield "licence", card["licence"]
    network = card["network"]
    arguments = (f"{key} {value}" for key, value in network["arguments"].items())
    yield "network", ", ".join([network["name"], *arguments])
    if training:
        yield "trained", ", ".join(describe_training(card))
    if loss:
        extractor = loss["extractor"].get("arch") or loss["extractor"]["name"]
        weights = (f"{key} {loss[f'{key}_weight']:g}" for key in ("style", "content", "tv"))
        yield "loss", f"{extractor}, weights: {', '.join(weights)}"
    if metrics := card.get("metrics"):
        figures = (f"{key} {metrics[key]:.4g}" for key in ("total", "style", "content"))
        yield "held out", ", ".join(figures)
    if worth := card.get("evaluation", {}).get("equivalents"):
        figures = (f"{each['median']:.0f} ({name})" for name, each in worth.items())
        yield "worth", f"iterations of Gatys' method: {', '.join(figures)}"


def describe_training(card: Card) -> Iterator[str]:
    training, photos = card["training"], card.get("data", {})
    if "steps" in training:
        yield f"{training['steps']:,} steps"
    if photos:
        yield f"{photos['batch_size']} of {photos['photos']:,} photos at {photos['crop_size']} px"
    yield training["optimizer"]["name"]
    if training.get("init"):
        yield f"beginning with {training['init']}"
    if "seconds" in training:
        yield f"{training['seconds'] / 60:.0f} minutes"
    if card.get("date"):
        yield card["date"]


def show(names: Sequence[str], as_json: bool) -> None:
    folders = [Path(name) for name in names if Path(name).is_dir()]
    files = [find_style(name) for name in names or shipped_styles() if not Path(name).is_dir()]
    files += [path for folder in folders for path in style_files(folder)]
    cards = {path: read_card(path) for path in files}
    one = len(names) == 1 and not folders
    if as_json:
        each = [{"name": path.stem, "file": str(path), **card} for path, card in cards.items()]
        print(json.dumps(each[0] if one else each, indent=1, ensure_ascii=False))
    elif one:
        ((path, card),) = cards.items()
        for label, text in describe(path, card):
            print(f"{label:10}{text}")
    else:
        print(table(cards, shipped=not names))


def main(argv: Sequence[str] | None = None) -> None:
    args = parser().parse_args(argv)
    with one_line_errors(), suppress(BrokenPipeError):  # `fst styles | head`
        show(args.style, args.json)

"""Paint one photo in every style, and show them beside each other, to choose from.

fst sheet photo.jpg -o sheet.jpg
fst sheet photo.jpg --styles starry_night great_wave outputs/mine/RUN/mine.safetensors

Without -o the sheet is <photo>-sheet.jpg in the current folder.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# what needs torch is imported later: --help is quick
from fst.styles import find_style, shipped_styles
from fst.system.errors import InputError, check_whole, one_line_errors
from fst.system.files import check_folder
from fst.system.process import leave, signals

if TYPE_CHECKING:
    from PIL import Image

SIDE = 1024  # px, longer side that is painted: strokes look as on a photo of that size
ASPECT = 1.4  # of the sheet, more or less


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        "fst sheet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = options.add_argument
    add("photo", type=Path)
    add("-o", "--output", type=Path, help="a picture")
    add("--styles", nargs="+", metavar="STYLE", help="some of them, or style files; by default all")
    add("--height", type=int, default=300, help="px of each picture (%(default)s)")
    return options


def across(photo: "Image.Image", pictures: int) -> int:
    """How many pictures stand in a row."""
    square = math.sqrt(pictures * ASPECT * photo.height / photo.width)
    return min(max(round(square), 1), pictures)


def draw(args: argparse.Namespace) -> Path:
    """Write the sheet; gives its path."""
    check_whole("--height", args.height, 16)
    output = args.output or Path(f"{args.photo.stem}-sheet.jpg")
    styles = args.styles or shipped_styles()
    files = [find_style(style) for style in styles]
    from tqdm import tqdm

    from fst.images import (
        Photo,
        captioned_sheet,
        check_output,
        flatten,
        read_photo,
        resize_longer,
        save_picture,
    )
    from fst.stylizer import Stylizer

    check_output(output)
    check_folder(output.parent)
    if output.resolve() == args.photo.resolve():
        raise InputError(f"{output}: is the photo; try another output")
    photo = flatten(read_photo(args.photo))
    photo = resize_longer(photo, min(SIDE, max(photo.size)))
    pictures = [(args.photo.name, photo)]
    for style, file in zip(styles, tqdm(files, unit="style", disable=None), strict=True):
        pictures.append((Path(style).stem, Stylizer(file)(photo)))
    wide = across(photo, len(pictures))
    rows = [pictures[k : k + wide] for k in range(0, len(pictures), wide)]
    save_picture(Photo.from_image(captioned_sheet(rows, args.height)), output)
    return output


def main(argv: Sequence[str] | None = None) -> None:
    with signals(leave), one_line_errors():
        print(draw(parser().parse_args(argv)))

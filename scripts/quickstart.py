"""Repaint the bundled photos with every shipped style, and put all on one contact sheet.

python scripts/quickstart.py
"""

import argparse
import sys
import time
from pathlib import Path

from fst.checkpoint import shipped_styles
from fst.errors import InputError, one_line_errors
from fst.images import Photo, contact_sheet, find_images, read_photo, save_picture
from fst.stylizer import Stylizer

EXAMPLES = Path(__file__).parent.parent / "examples"
HEIGHT = 360  # px of a row of the contact sheet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("quickstart"), help="a folder")
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="a folder of photos")
    return parser.parse_args()


def repaint_all(photos: list[Path], styles: list[str], output: Path) -> Path:
    """Write every photo in every style, and the contact sheet, one row a photo; gives its path."""
    rows = [[read_photo(path).image] for path in photos]
    for style in styles:
        stylizer = Stylizer(style)
        card = stylizer.cards[0]["style"]
        print(f"{style}: {card['title']}, {card['painter']}, {card['year']}", file=sys.stderr)
        for path, row in zip(photos, rows, strict=True):
            start = time.perf_counter()
            row.append(stylizer(row[0]))
            seconds = time.perf_counter() - start
            save_picture(Photo.from_image(row[-1]), output / f"{path.stem}-{style}.jpg")
            size = f"{row[0].width}x{row[0].height}"
            print(f"  {path.name}, {size} px: {seconds:.2f} s", file=sys.stderr)
    sheet = output / "contact_sheet.jpg"
    save_picture(Photo.from_image(contact_sheet(rows, HEIGHT)), sheet)
    return sheet


def main() -> None:
    args = parse_args()
    with one_line_errors():
        photos, styles = find_images(args.photos), shipped_styles()
        if not photos or not styles:
            missing = "photos in it" if not photos else "styles to repaint it with"
            raise InputError(f"{args.photos}: expected {missing}, found none")
        sheet = repaint_all(photos, styles, args.output)
    print(f"""
pictures:      {args.output}/
contact sheet: {sheet}

Next:
  repaint your own photo
    .venv/bin/python scripts/stylize.py PHOTO.jpg --style {styles[0]} -o painted.jpg
  train a style of your own
    .venv/bin/python scripts/train.py style.name=mine style.image=PAINTING.jpg \\
        experiment=fast data.root=FOLDER_OF_PHOTOS
  watch the training
    .venv/bin/tensorboard --logdir outputs""")


if __name__ == "__main__":
    main()

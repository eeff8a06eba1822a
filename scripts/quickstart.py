"""The whole job at once: train a style, repaint photos with it and with every shipped style.

python scripts/quickstart.py
python scripts/quickstart.py trainer.max_steps=100

Nothing is downloaded: the painting is one of the project's own (scripts/generate_painting.py), the
loss network is the compact one that ships with it, and the photos to train on are parts of the
bundled ones and scenes drawn by rule. Words on the command line are settings of `fst train`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from drawing.scenes import make_photos
from PIL import Image

from fst.cli.composing import quoted
from fst.images import Photo, captioned_sheet, find_images, flatten, read_photo, save_picture
from fst.styles import shipped_styles
from fst.stylizer import Stylizer
from fst.system.errors import InputError, one_line_errors

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
STYLE = "tides"  # its painting comes with the repository
TRAINING_PHOTOS = 96
HEIGHT = 260  # px of a row of the contact sheet


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", help="of fst train, as trainer.max_steps=100")
    parser.add_argument("-o", "--output", type=Path, default=Path("quickstart"), help="a folder")
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="a folder of photos")
    return parser.parse_args()


def train(photos: list[Image.Image], output: Path, settings: list[str]) -> Path:
    """Train the bundled painting on photos made from these; gives the style file."""
    make_photos(output / "training_photos", photos, TRAINING_PHOTOS)
    command = [
        sys.executable, str(ROOT / "scripts/train.py"), f"style={STYLE}", "experiment=fast",
        "loss/extractor=compact", f"style.image={quoted(ROOT / 'paintings' / f'{STYLE}.jpg')}",
        f"data.root={quoted(output / 'training_photos')}",
        f"paths.outputs={quoted(output / 'training')}", *settings,
    ]  # fmt: skip
    if subprocess.run(command, stdout=sys.stderr).returncode:
        raise InputError("training failed; its message is above")
    style_files = (output / "training" / STYLE).glob(f"*/{STYLE}.safetensors")
    return max(style_files, key=lambda path: path.stat().st_mtime)


def repaint_all(photos: list[Path], styles: list[str | Path], output: Path) -> Path:
    """Write every photo in every style, and a contact sheet, a column a photo; gives its path."""
    rows = [[(path.stem, read_photo(path).image) for path in photos]]
    for style in styles:
        stylizer = Stylizer(style)
        card = stylizer.cards[0]["style"]
        name = Path(style).stem
        print(f"{name}: {card['title']}, {card['painter']}, {card['year']}", file=sys.stderr)
        row: list[tuple[str, Image.Image]] = []
        for stem, photo in rows[0]:
            start = time.perf_counter()
            picture = stylizer(photo)
            seconds = time.perf_counter() - start
            save_picture(Photo.from_image(picture), output / f"{stem}-{name}.jpg")
            print(f"  {stem}, {photo.width}x{photo.height} px: {seconds:.2f} s", file=sys.stderr)
            row.append(("" if row else name, picture))
        rows.append(row)
    sheet = output / "contact_sheet.jpg"
    save_picture(Photo.from_image(captioned_sheet(rows, HEIGHT)), sheet)
    return sheet


def main() -> None:
    args = parse_args()
    with one_line_errors():
        photos, styles = find_images(args.photos), shipped_styles()
        if not photos or not styles:
            missing = "photos in it" if not photos else "styles to repaint it with"
            raise InputError(f"{args.photos}: expected {missing}, found none")
        style = train([flatten(read_photo(path)) for path in photos], args.output, args.settings)
        sheet = repaint_all(photos, [style, *styles], args.output)
    print(f"""
pictures:      {args.output}/
contact sheet: {sheet}
new style:     {style}

Next:
  repaint your own photo with it
    .venv/bin/fst stylize PHOTO.jpg --style {style} -o painted.jpg
  train a painting of your own, also from as few as twenty photos
    .venv/bin/fst train style.name=mine style.image=PAINTING.jpg \\
        loss/extractor=compact experiment=fast data.root=FOLDER_OF_PHOTOS
  watch the training
    .venv/bin/tensorboard --logdir {args.output}/training""")


if __name__ == "__main__":
    main()

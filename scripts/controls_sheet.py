"""Draw the README's sheet of all controls on one photo.

python scripts/controls_sheet.py -o docs/controls.jpg
"""

import argparse
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter

from fst.images import Photo, captioned_sheet, read_photo, save_picture
from fst.stylizer import Stylizer
from fst.system.errors import one_line_errors

PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.jpg"
STYLES = "starry_night", "great_wave"
ACROSS = 4  # panels in a row
PANEL, GAP = 388, 16  # px: a panel's side, and between panels
QUALITY = 72  # of the JPEG, for under 400 kB
INSET = 96  # px: side of the mask in the corner of its panel
PERSON = (146, 8, 304, 225), (10, 150, 385, 760)  # ellipses around head and body, px of the photo


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/controls.jpg"))
    return parser.parse_args()


def background(size: tuple[int, int]) -> Image.Image:
    """A mask with soft edges: white around the person, black on her."""
    mask = Image.new("L", size, 255)
    for ellipse in PERSON:
        ImageDraw.Draw(mask).ellipse(ellipse, fill=0)
    return mask.filter(ImageFilter.GaussianBlur(9))


def panels(photo: Image.Image) -> list[tuple[str, Image.Image]]:
    """Caption and picture of every control; captions are options of ``fst stylize``."""
    first, second = STYLES
    stylize, mask = Stylizer(first), background(photo.size)
    blend = f"{first}:0.5,{second}:0.5"

    def paint(**controls: Any) -> Image.Image:
        return stylize(photo, **controls)

    return [
        ("the photo", photo),
        (f"--style {first}", paint()),
        ("--strength 0.5", paint(strength=0.5)),
        ("--preserve-color", paint(preserve_color=True)),
        ("--mask background.png", with_inset(paint(mask=mask), mask)),
        ("--scale 0.5", paint(scale=0.5)),
        ("--scale 2", paint(scale=2)),
        (f"--style {blend}", Stylizer(blend)(photo)),
    ]


def with_inset(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture as a panel with the mask, framed, in its lower right corner."""
    panel = picture.resize((PANEL, PANEL), Image.Resampling.LANCZOS)
    small = mask.resize((INSET, INSET)).convert("RGB")
    corner = PANEL - INSET - 8
    panel.paste("white", (corner - 2, corner - 2, corner + INSET + 2, corner + INSET + 2))
    panel.paste(small, (corner, corner))
    return panel


def main() -> None:
    args = parse_args()
    with one_line_errors():
        everything = panels(read_photo(PHOTO).image)
        rows = [everything[k : k + ACROSS] for k in range(0, len(everything), ACROSS)]
        sheet = captioned_sheet(rows, PANEL, GAP)
        save_picture(Photo.from_image(sheet), args.output, quality=QUALITY)
    print(args.output)


if __name__ == "__main__":
    main()

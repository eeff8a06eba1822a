"""Draw the README's sheet of all controls on one photo.

python scripts/controls_sheet.py -o docs/controls.jpg
"""

import argparse
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from fst.images import Photo, read_photo, save_picture
from fst.stylizer import Stylizer
from fst.system.errors import one_line_errors

PHOTO = Path(__file__).parent.parent / "examples" / "astronaut.jpg"
STYLES = "starry_night", "great_wave"
COLUMNS, PANEL, GAP, CAPTION, TEXT = 4, 388, 16, 40, 21  # px, but for the columns
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
    """Caption and picture of every control; captions are options of ``scripts/stylize.py``."""
    first, second = STYLES
    stylize, mask = Stylizer(first), background(photo.size)
    blend = f"{first}:0.5,{second}:0.5"

    def painted(**controls: Any) -> Image.Image:
        return stylize(photo, **controls)

    return [
        ("the photo", photo),
        (f"--style {first}", painted()),
        ("--strength 0.5", painted(strength=0.5)),
        ("--preserve-color", painted(preserve_color=True)),
        ("--mask background.png", with_inset(painted(mask=mask), mask)),
        ("--scale 0.5", painted(scale=0.5)),
        ("--scale 2", painted(scale=2)),
        (f"--style {blend}", Stylizer(blend)(photo)),
    ]


def with_inset(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture as a panel with the mask, framed, in its lower right corner."""
    panel, small = fitted(picture), mask.resize((INSET, INSET)).convert("RGB")
    corner = PANEL - INSET - 8
    panel.paste("white", (corner - 2, corner - 2, corner + INSET + 2, corner + INSET + 2))
    panel.paste(small, (corner, corner))
    return panel


def fitted(picture: Image.Image) -> Image.Image:
    return picture.resize((PANEL, PANEL), Image.Resampling.LANCZOS)


def sheet(captioned: list[tuple[str, Image.Image]]) -> Image.Image:
    """Panels in rows of four, captions underneath."""
    rows, across, down = len(captioned) // COLUMNS, PANEL + GAP, PANEL + CAPTION
    page = Image.new("RGB", (COLUMNS * across - GAP, rows * down), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT)
    for number, (caption, picture) in enumerate(captioned):
        left, top = number % COLUMNS * across, number // COLUMNS * down
        page.paste(fitted(picture), (left, top))
        middle = left + PANEL // 2, top + PANEL + CAPTION // 2
        draw.text(middle, caption, fill="black", font=font, anchor="mm")
    return page


def main() -> None:
    args = parse_args()
    with one_line_errors():
        page = sheet(panels(read_photo(PHOTO).image))
        save_picture(Photo.from_image(page), args.output, quality=QUALITY)
    print(args.output)


if __name__ == "__main__":
    main()

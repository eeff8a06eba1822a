"""Contact sheets: rows of pictures on white, with or without captions."""

from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont

LETTERS = 0.054  # height of a caption's letters over that of a picture
SMALLEST, LARGEST = 10, 22  # px, of the letters
AROUND = 1.6  # height of a caption's line over that of its letters


def contact_sheet(rows: Iterable[Iterable[Image.Image]], height: int, gap: int = 8) -> Image.Image:
    """Rows of pictures, each ``height`` px high, with ``gap`` px around them."""
    return _arrange([[scale_to_height(image, height) for image in row] for row in rows], gap)


def captioned_sheet(
    rows: Sequence[Sequence[tuple[str, Image.Image]]], height: int, gap: int = 8
) -> Image.Image:
    """Rows of ``(caption, picture)``, each picture ``height`` px high, its caption above it.

    A caption that is wider than its picture is set in smaller letters.
    """
    letters = min(max(round(LETTERS * height), SMALLEST), LARGEST)
    panels = [
        [_put_caption(text, scale_to_height(image, height), letters) for text, image in row]
        for row in rows
    ]
    return _arrange(panels, gap)


def scale_to_height(image: Image.Image, height: int) -> Image.Image:
    """The picture at ``height`` px, in its own aspect."""
    width = max(1, round(image.width * height / image.height))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _put_caption(text: str, image: Image.Image, letters: int) -> Image.Image:
    line = round(AROUND * letters)
    font = ImageFont.load_default(letters)
    while font.getlength(text) > image.width and letters > SMALLEST:
        letters -= 1
        font = ImageFont.load_default(letters)
    panel = Image.new("RGB", (image.width, line + image.height), "white")
    ImageDraw.Draw(panel).text((0, line // 2), text, fill="black", font=font, anchor="lm")
    panel.paste(image, (0, line))
    return panel


def _arrange(rows: list[list[Image.Image]], gap: int) -> Image.Image:
    """Pictures of one height in rows, on white."""
    width = max(sum(image.width + gap for image in row) for row in rows) + gap
    height = max(image.height for row in rows for image in row)
    sheet = Image.new("RGB", (width, (height + gap) * len(rows) + gap), "white")
    for number, row in enumerate(rows):
        left = gap
        for image in row:
            sheet.paste(image, (left, gap + number * (height + gap)))
            left += image.width + gap
    return sheet

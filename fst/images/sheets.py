"""Contact sheets."""

from collections.abc import Iterable

from PIL import Image


def contact_sheet(rows: Iterable[Iterable[Image.Image]], height: int, gap: int = 8) -> Image.Image:
    """Rows of pictures, all scaled to ``height`` px, on white with ``gap`` px between them."""
    scaled = [
        [image.resize((round(image.width * height / image.height), height)) for image in row]
        for row in rows
    ]
    width = max(sum(image.width + gap for image in row) for row in scaled) + gap
    sheet = Image.new("RGB", (width, (height + gap) * len(scaled) + gap), "white")
    for number, row in enumerate(scaled):
        left = gap
        for image in row:
            sheet.paste(image, (left, gap + number * (height + gap)))
            left += image.width + gap
    return sheet

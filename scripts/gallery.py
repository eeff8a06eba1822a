"""Draw the gallery from the shipped styles and the bundled photos.

python scripts/gallery.py

Writes docs/gallery.md with one sheet for each style (every bundled photo, four strengths, strokes
of three sizes), docs/contact_sheet.jpg with one photo in every style, and the table in
checkpoints/README.md, which repeats what the style files say of themselves.
"""

import argparse
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from fst.images import Photo, captioned_sheet, find_images, flatten, read_photo, save_picture
from fst.styles import find_style, load_style, shipped_styles
from fst.stylizer import Stylizer
from fst.system.errors import InputError, one_line_errors
from fst.system.files import atomic_path
from fst.system.tables import markdown_table

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
STRENGTHS, SCALES = (0.25, 0.5, 0.75, 1), (0.5, 1, 2)
HEIGHT = 300  # px of a picture
ACROSS = 4  # pictures in a row of the contact sheet
QUALITY = 80
MARK = "<!-- table: scripts/gallery.py -->"  # before and after it
COLUMNS = (
    "style", "painting", "width", "style weight", "steps", "minutes", "johnson", "strict",
    "gatys5 style", "gatys5 content", "MB",
)  # fmt: skip
WIDE = "-w32"  # the end of a wide network's name; a narrow one of the same style is beside it


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs", help="a folder")
    parser.add_argument("--photos", type=Path, default=EXAMPLES, help="a folder of photos")
    parser.add_argument(
        "--table", type=Path, default=ROOT / "checkpoints/README.md", help="file with the table"
    )
    parser.add_argument("--only-table", action="store_true", help="draw no pictures")
    parser.add_argument("--styles", nargs="+", help="draw the sheets of these only; default: all")
    return parser.parse_args()


def style_sheet(stylize: Stylizer, photos: list[tuple[str, Image.Image]]) -> Image.Image:
    """Every photo, then the first one in several strengths and with strokes of several sizes."""
    first = photos[0][1]
    everything = [(name, stylize(photo)) for name, photo in photos]
    strengths = [(f"--strength {s:g}", stylize(first, strength=s)) for s in STRENGTHS]
    scales = [(f"--scale {s:g}", stylize(first, scale=s)) for s in SCALES]
    return captioned_sheet([everything, strengths, scales], HEIGHT)


def chapter(style: str, card: dict[str, Any]) -> str:
    """The style's part of gallery.md."""
    painting = card["style"]
    text = (
        f"[{painting['title']}]({painting['page']}), {painting['painter']}, {painting['year']} "
        f"({painting['licence']})."
    )
    if style.endswith(WIDE):
        text += f" The network of width 32 beside `{style.removesuffix(WIDE)}`."
    paragraphs = [f"## {style}", text, f"![{style}](gallery/{style}.jpg)\n"]
    if "evaluation" in card:
        paragraphs.insert(2, verdict(card["evaluation"]))
    return "\n\n".join(paragraphs)


def verdict(evaluation: dict[str, Any]) -> str:
    """What the style is worth, in one sentence."""
    worth = " and ".join(
        f"{figures['median']:.0f} ({name})" for name, figures in evaluation["equivalents"].items()
    )
    text = f"One pass is worth {worth} iterations of Gatys' method; " if worth else ""
    distances = evaluation["gatys5"]
    return (
        f"{text}gatys5 style {distances['style']:.3f}, content {distances['content']:.2f} "
        f"at {distances['size']} px."
    )


def cells(style: str) -> list[object]:
    """A style file's row of the table, from its card; a dash where the card says nothing."""
    path = find_style(style)
    _, card = load_style(path)
    painting, training = card["style"], card["training"]
    evaluation = card.get("evaluation", {"equivalents": {}, "gatys5": {}})
    return [
        f"`{style}`",
        f"[{painting['title']}]({painting['page']}), {painting['painter']}, {painting['year']}",
        card["network"]["arguments"]["width"],
        card["loss"]["style_weight"],
        f"{training['steps']:,}",
        round(training["seconds"] / 60),
        *(median_and_range(evaluation["equivalents"].get(name)) for name in ("johnson", "strict")),
        *(evaluation["gatys5"].get(name, "-") for name in ("style", "content")),
        f"{path.stat().st_size / 1e6:.2f}",
    ]


def median_and_range(figures: dict[str, float] | None) -> str:
    """Of equivalent iterations."""
    if figures is None:
        return "-"
    return f"{figures['median']:.0f} ({figures['min']:.0f} to {figures['max']:.0f})"


def put_table(path: Path, styles: list[str]) -> None:
    """Replace what stands between the marks of a Markdown file."""
    parts = (path.read_text(encoding="utf-8") if path.is_file() else "").split(MARK)
    if len(parts) != 3:
        raise InputError(
            f"{path}: expected {MARK} before and after the table, found {len(parts) - 1}"
        )
    parts[1] = f"\n{markdown_table(COLUMNS, map(cells, styles))}\n"
    with atomic_path(path) as temporary:
        temporary.write_text(MARK.join(parts), encoding="utf-8")


def draw(styles: list[str], drawn: list[str], photos: list[Path], output: Path) -> None:
    """Write gallery.md, the contact sheet of all styles, and the sheets of those in ``drawn``."""
    pictures = [(path.stem, flatten(read_photo(path))) for path in photos]
    tiles, chapters = [(pictures[0][0], pictures[0][1])], []
    for style in tqdm(styles, unit="style", disable=None):
        stylize = Stylizer(style)
        chapters.append(chapter(style, stylize.cards[0]))
        if not style.endswith(WIDE):
            tiles.append((style, stylize(pictures[0][1])))
        if style in drawn:
            sheet = Photo.from_image(style_sheet(stylize, pictures))
            save_picture(sheet, output / "gallery" / f"{style}.jpg", quality=QUALITY)
    rows = [tiles[k : k + ACROSS] for k in range(0, len(tiles), ACROSS)]
    sheet = captioned_sheet(rows, HEIGHT)
    save_picture(Photo.from_image(sheet), output / "contact_sheet.jpg", quality=QUALITY)
    head = (
        "# Gallery\n\nEvery shipped style on the bundled photos, at four strengths and with "
        "strokes of three sizes.\nMade by `make gallery`.\n"
    )
    with atomic_path(output / "gallery.md") as temporary:
        temporary.write_text("\n".join([head, *chapters]), encoding="utf-8")


def main() -> None:
    args = parse_args()
    with one_line_errors():
        photos, styles = find_images(args.photos), shipped_styles()
        if not photos or not styles:
            missing = "photos in it" if not photos else "styles to repaint it with"
            raise InputError(f"{args.photos}: expected {missing}, found none")
        for name in args.styles or []:
            if name not in styles:
                raise InputError(f"--styles: expected some of {', '.join(styles)}, found {name!r}")
        put_table(args.table, styles)
        if args.only_table:
            return
        draw(styles, args.styles or styles, photos, args.output)
    print(args.output / "gallery.md")


if __name__ == "__main__":
    main()

"""Paint a picture by rule: a style to train with that needs no download.

python scripts/generate_painting.py -o paintings/tides.jpg

How it is painted: scripts/drawing/strokes.py.
"""

import argparse
from pathlib import Path

from drawing.strokes import paint

from fst.images import Photo, save_picture
from fst.system.errors import one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("paintings/tides.jpg"))
    parser.add_argument("--size", type=int, default=768, help="px a side")
    parser.add_argument("--seed", type=int, default=4, help="another number, another picture")
    args = parser.parse_args()
    with one_line_errors():
        save_picture(Photo.from_image(paint(args.size, args.seed)), args.output, quality=88)
    print(args.output)


if __name__ == "__main__":
    main()

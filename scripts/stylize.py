"""Repaint photos with a trained style.

python scripts/stylize.py photo.jpg --style starry_night -o out.jpg
python scripts/stylize.py photos/ more/*.png --style outputs/mine/RUN/mine.safetensors -o painted/
"""

import argparse
import sys
from pathlib import Path

from fst.checkpoint import shipped_styles
from fst.errors import InputError, one_line_errors
from fst.files import check_folder
from fst.images import SUFFIXES, Photo, check_output, find_images, read_photo, save_photo
from fst.stylizer import Stylizer


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("inputs", nargs="+", type=Path, help="photos, or folders of photos")
    parser.add_argument(
        "--style",
        required=True,
        help=f"a shipped style ({', '.join(shipped_styles())}) or the path of a release file",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        help=f"a file ({', '.join(SUFFIXES)}) for one photo, else a folder",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    return parser.parse_args()


def plan(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """Pairs of photo and output file; folders keep their tree below the output folder.

    Raises:
        InputError: An input is missing, a folder has no photos, or two photos or a photo and its
            output would be the same file.
    """
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: expected a picture, found no such file")
    if len(inputs) == 1 and not inputs[0].is_dir() and output.suffix and not output.is_dir():
        check_output(output)
        pairs = [(inputs[0], output)]
    else:
        pairs = [(path, output / name) for each in inputs for path, name in expand(each, output)]
    sources = {source.resolve() for source, _ in pairs}
    taken: dict[Path, Path] = {}
    for source, target in pairs:
        if target in taken:
            raise InputError(
                f"{target}: expected one photo for it, found {taken[target]} and {source}"
            )
        if target.resolve() in sources:
            raise InputError(f"{target}: is one of the photos; try another output")
        taken[target] = source
    return pairs


def expand(path: Path, output: Path) -> list[tuple[Path, Path]]:
    """Photos of one input, with their names below the output folder; none from in there."""
    if not path.is_dir():
        # what Pillow reads but does not write well, such as GIF, becomes PNG
        known = path.suffix.lower() in SUFFIXES
        return [(path, Path(path.name) if known else Path(path.stem + ".png"))]
    photos, painted = find_images(path), output.resolve()
    if path.resolve() in painted.parents:  # an earlier run's paintings are no photos
        photos = [photo for photo in photos if painted not in photo.resolve().parents]
    if not photos:
        raise InputError(f"{path}: expected photos ({', '.join(SUFFIXES)}) in it, found none")
    return [(photo, photo.relative_to(path)) for photo in photos]


def stylize(stylizer: Stylizer, pairs: list[tuple[Path, Path]]) -> int:
    """Repaint every pair; unreadable photos are reported and left out. Gives their number."""
    failed = 0
    for source, target in pairs:
        try:
            photo = read_photo(source)
            save_photo(Photo(stylizer(photo.image), photo.alpha), target)
        except InputError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
        else:
            print(target)
    return failed


def main() -> None:
    args = parse_args()
    with one_line_errors():
        pairs = plan(args.inputs, args.output)
        check_folder(pairs[0][1].parent)
        stylizer = Stylizer(args.style, args.device)
        failed = stylize(stylizer, pairs)
        if failed and len(pairs) > 1:
            raise InputError(f"{failed} of {len(pairs)} photos could not be repainted (see above)")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

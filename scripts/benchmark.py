"""Measure on this machine what the documents say of speed and memory.

python scripts/benchmark.py stylize --json times.json
python scripts/benchmark.py stylize --engines eager openvino --sizes 512x512 1920x1080
python scripts/benchmark.py train --photos PHOTOS
python scripts/benchmark.py loss
python scripts/benchmark.py tiles --megapixels 12
python scripts/benchmark.py tiles --megapixels 100 --no-untiled
python scripts/benchmark.py folder PHOTOS --count 300
python scripts/benchmark.py photos PHOTOS --counts 1000 100000 1000000

Tables go to stdout, progress to stderr. How each number is measured is said in
scripts/benchmarks/.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# what needs torch is imported later: --help is quick
from fst.system.errors import InputError, one_line_errors
from fst.system.files import atomic_path, check_folder
from fst.system.tables import markdown_table

ENGINES = "eager", "compile", "onnxruntime", "openvino"
SIZES = "256x256", "512x512", "1024x1024", "1920x1080", "640x480"
Tables = Iterable[tuple[Any, list[Any]]]  # titles, by the rows' names where rows have them
EXAMPLES = Path(__file__).parent.parent / "examples"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = _command(commands, "stylize", "one pass: every engine against the plain network")
    add = command.add_argument
    add("--sizes", nargs="+", default=SIZES, metavar="WxH", help=f"px ({' '.join(SIZES)})")
    add("--engines", nargs="+", choices=ENGINES, help="those to measure (all that are installed)")
    add("--repeats", type=int, default=5, help="rounds, of which the medians are (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the rows there, too")
    add("--quick", action="store_true", help="one size and one round, to see whether it works")

    command = _command(commands, "tiles", "pictures in tiles against pictures in one piece")
    add = command.add_argument
    add("--megapixels", type=float, default=12, help="of the pictures (%(default)s)")
    add("--photos", type=Path, default=EXAMPLES, metavar="FOLDER", help="what they are made of")
    add(
        "--no-untiled",
        dest="untiled",
        action="store_false",
        help="only the run from file to file, for pictures whose single pass would not fit",
    )
    _add_engine(command)

    command = _command(commands, "folder", "a folder of photos against what its steps allow")
    add = command.add_argument
    add("folder", type=Path, help="photos, also in its subfolders; they stay as they are")
    add("--count", type=int, default=300, help="the first so many of them (%(default)s)")
    add("--repeats", type=int, default=5, help="starts, of which the median is (%(default)s)")
    _add_engine(command)

    text = "fst train against a plainly written loop in float32"
    command = commands.add_parser("train", help=text, description=text)
    add = command.add_argument
    settings = "fast", "johnson2016"
    add("--settings", nargs="+", choices=settings, default=settings, help="presets (both)")
    add("--photos", type=Path, default=EXAMPLES, metavar="FOLDER", help="to train on (examples)")
    add("--steps", type=int, default=30, help="that count (%(default)s)")
    add("--repeats", type=int, default=2, help="rounds, of which the medians are (%(default)s)")
    add("--json", type=Path, metavar="FILE", help="write the rows there, too")
    add(
        "--quick",
        action="store_true",
        help="three steps, nothing compiled: whether it works",
    )

    text = "the compact loss network against VGG-19, forward and backward"
    command = commands.add_parser("loss", help=text, description=text)
    command.add_argument("--repeats", type=int, default=20, help="rounds (%(default)s)")

    text = "what a data set's size costs a training: time to the first batch, memory"
    command = commands.add_parser("photos", help=text, description=text)
    add = command.add_argument
    add("folder", type=Path, help="photos to make large folders of; they stay as they are")
    add("--counts", nargs="+", type=int, default=[1000, 100_000], help="photos (1000 100000)")
    add("--quick", action="store_true", help="few batches, to see whether it works")
    return parser.parse_args()


def _command(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text)
    command.add_argument("--style", default="starry_night", help="a shipped style or its file")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    return command


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument("--engine", default="auto", choices=["auto", *ENGINES])
    command.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"])


def check_options(args: argparse.Namespace) -> None:
    """Raise an `InputError` for what would only fail after minutes."""
    for count in getattr(args, "counts", ()):
        if count < 20:
            raise InputError(f"counts: expected numbers from 20 up, found {count}")
    for name in "repeats", "count", "megapixels", "steps":
        if (value := getattr(args, name, 1)) <= 0:
            raise InputError(f"{name}: expected a number above 0, found {value}")
    if getattr(args, "json", None):
        if args.json.is_dir():
            raise InputError(f"{args.json}: expected a file to write, found a folder")
        check_folder(args.json.parent)


def parse_size(text: str) -> tuple[int, int]:
    """Width and height of ``"640x480"``."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"sizes: expected WIDTHxHEIGHT in px, as in 640x480, found {text!r}")
    return int(width), int(height)


def stylize(args: argparse.Namespace) -> Tables:
    from benchmarks import passes

    if args.quick:
        args.repeats = 1
        args.sizes = SIZES[:1] if args.sizes is SIZES else args.sizes
    args.sizes = [parse_size(text) for text in args.sizes]
    return ((passes.TITLES, rows) for rows in passes.run(args))


def train(args: argparse.Namespace) -> Tables:
    from benchmarks import training
    from benchmarks.measuring import find_photos, warn_of_load

    find_photos(args.photos)
    warn_of_load()
    return ((training.TITLES, rows) for rows in training.run(args))


def loss(args: argparse.Namespace) -> Tables:
    from benchmarks import losses
    from benchmarks.measuring import warn_of_load

    warn_of_load()
    return ((losses.TITLES, rows) for rows in losses.run(args))


def tiles(args: argparse.Namespace) -> Tables:
    from benchmarks import tiles

    return ((tiles.TITLES, rows) for rows in tiles.run(args))


def folder(args: argparse.Namespace) -> Tables:
    from benchmarks import folders

    return folders.run(args)


def photos(args: argparse.Namespace) -> Tables:
    from benchmarks import photos

    return ((photos.TITLES, rows) for rows in photos.run(args))


def show(tables: Tables, file: Path | None) -> None:
    """Print tables as they come, and write the rows that have names to a JSON file."""
    from benchmarks.measuring import digits, machine

    print(machine(), end="\n\n")
    dicts = []
    for titles, rows in tables:
        if isinstance(titles, dict):
            dicts += rows
            rows = [[row[key] for key in titles] for row in rows]
            titles = list(titles.values())
        table = markdown_table(titles, [[digits(value) for value in row] for row in rows])
        print(table, end="\n\n", flush=True)
    if file:
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(dicts, indent=1) + "\n")


def main() -> None:
    with one_line_errors():
        args = parse_args()
        check_options(args)
        commands = stylize, train, loss, tiles, folder, photos
        command = {function.__name__: function for function in commands}[args.command]
        show(command(args), getattr(args, "json", None))


if __name__ == "__main__":
    main()

"""Write a style as an ONNX file that takes pictures of any size.

fst export --style starry_night -o starry_night.onnx
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

# what needs torch is imported later: --help is quick
from fst.system.errors import one_line_errors
from fst.system.process import leave, signals


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        "fst export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--style", required=True, help="a shipped style, or a style file's path")
    options.add_argument("-o", "--output", required=True, type=Path, help="ends in .onnx")
    return options


def main(argv: Sequence[str] | None = None) -> None:
    with signals(leave), one_line_errors():
        args = parser().parse_args(argv)
        from fst.engines.onnx_export import CHECKED, export_onnx
        from fst.styles import find_style, load_style

        net, card = load_style(find_style(args.style))
        difference = export_onnx(net, args.output, card)
    size = args.output.stat().st_size / 1e6
    sizes = ", ".join(f"{width}x{height}" for _, _, height, width in CHECKED)
    print(f"{args.output}: {size:.1f} MB, within {difference:.1e} of PyTorch at {sizes} px")

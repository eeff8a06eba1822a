"""Write a style as an ONNX file that takes pictures of any size.

python scripts/export.py --style starry_night -o starry_night.onnx
"""

import argparse
from pathlib import Path

# what needs torch is imported later: --help is quick
from fst.system.errors import one_line_errors
from fst.system.process import leave, signals


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--style", required=True, help="a shipped style, or a release file's path")
    parser.add_argument("-o", "--output", required=True, type=Path, help="ends in .onnx")
    return parser.parse_args()


def main() -> None:
    with signals(leave), one_line_errors():
        args = parse_args()
        from fst.engines.onnx_export import CHECKED, export_onnx
        from fst.styles import find_style, load_style

        net, card = load_style(find_style(args.style))
        difference = export_onnx(net, args.output, card)
    size = args.output.stat().st_size / 1e6
    sizes = ", ".join(f"{width}x{height}" for _, _, height, width in CHECKED)
    print(f"{args.output}: {size:.1f} MB, within {difference:.1e} of PyTorch at {sizes} px")

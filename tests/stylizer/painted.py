"""Prints the SHA-256 of what every shipped style makes of every example photo, as JSON."""

import hashlib
import json

from fst.images import read_photo
from fst.styles import shipped_styles
from fst.stylizer import Stylizer
from tests.conftest import ROOT


def main() -> None:
    painted = {}
    for style in shipped_styles():
        stylize = Stylizer(style, device="cpu", engine="eager", precision="fp32")
        for path in sorted((ROOT / "examples").glob("*.jpg")):
            pixels = stylize(read_photo(path), max_side=256).pixels
            painted[f"{style}/{path.stem}"] = hashlib.sha256(pixels.tobytes()).hexdigest()
    print(json.dumps(painted, indent=1))


if __name__ == "__main__":
    main()

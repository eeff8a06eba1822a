"""Where style files are, and the card that each has in its header. Loads no torch.

A style file is a safetensors file whose metadata hold three strings: ``format`` (``fst``),
``format_version`` and ``card``, the JSON of a dictionary. What a card says: `fst.styles.release`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fst.system.errors import InputError

FORMAT, FORMAT_VERSION = "fst", 1
SUFFIX = ".safetensors"


def shipped_folder() -> Path:
    """``checkpoints/`` of the repository, or its copy inside an installed package."""
    package = Path(__file__).parents[1]
    inside = package / "checkpoints"
    return inside if inside.is_dir() else package.parent / "checkpoints"


def shipped_styles() -> list[str]:
    """Names of the styles that come with the package, sorted."""
    return sorted(path.stem for path in shipped_folder().glob(f"*{SUFFIX}"))


def find_style(style: str | Path) -> Path:
    """The style file of a shipped style's name, or the path itself if it is one.

    Raises:
        InputError: Neither a shipped style nor a file.
    """
    if Path(style).is_file():
        return Path(style)
    shipped = shipped_folder() / f"{style}{SUFFIX}"
    if str(style) in shipped_styles():
        return shipped
    close = get_close_matches(str(style), shipped_styles(), n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise InputError(
        f"style: expected one of {', '.join(shipped_styles())}, or the path of a {SUFFIX} file; "
        f"found {str(style)!r}{hint}"
    )


def read_card(path: str | Path) -> dict[str, Any]:
    """What a style file says of itself; its weights are left alone.

    Raises:
        InputError: No such file, no style file, or of a newer format.
    """
    with open_style(Path(path), "numpy") as (_, card):
        return card


@contextmanager
def open_style(path: Path, framework: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An open style file, whose tensors are of ``framework`` (``pt`` or ``numpy``), and its card.

    Raises:
        InputError: No such file, no style file, damaged, or of a newer format.
    """
    _check_magic(path)
    try:
        with safe_open(path, framework=framework) as file:
            yield file, _parse_card(file.metadata() or {}, path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected a style file, found it damaged ({error})") from error


def _check_magic(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: expected a style file, found no such file")
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(
            f"{path}: expected a style file that can be read, found it closed ({error.strerror})"
        ) from error
    if start[8:9] == b"{":  # safetensors: after the header's length, whose bytes can be any
        return
    if start[:1] == b"\x80" or start[:2] == b"PK":
        raise InputError(
            f"{path}: expected a style file ({SUFFIX}), found a pickle, which can run any code "
            f"when it is opened and is refused; try the {SUFFIX} file that training writes beside "
            "it"
        )
    raise InputError(f"{path}: expected a style file ({SUFFIX}), found another kind of file")


def _parse_card(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: expected a style file written by fst, found a {SUFFIX} file of another "
            f"program (format {metadata.get('format')!r})"
        )
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise InputError(
            f"{path}: expected format version {FORMAT_VERSION}, found "
            f"{metadata.get('format_version')!r}; try a newer fst"
        )
    try:
        card: dict[str, Any] = json.loads(metadata["card"])
        card["network"]["name"], card["network"]["arguments"].items()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: expected a card that names the network, found none ({error!r})"
        ) from error
    return card

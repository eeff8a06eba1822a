"""The command ``fst``: finds the sub-command, and imports no other.

Importing this module and asking for help load no torch.
"""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from fst import __version__
from fst.system.errors import InputError, install_hint, one_line_errors
from fst.system.process import leave, signals


class Command(NamedTuple):
    """A sub-command: the module whose ``main`` it is, the extra it needs, what it does."""

    module: str
    extra: str | None
    summary: str


COMMANDS = {
    "stylize": Command("fst.cli.stylize", None, "repaint photos; also without its name"),
    "sheet": Command("fst.cli.sheet", None, "one photo in every style, to choose from"),
    "styles": Command("fst.cli.styles", None, "which styles there are, and where one comes from"),
    "train": Command("fst.cli.train", "train", "train a network for one painting"),
    "evaluate": Command("fst.cli.evaluate", "train", "measure styles against Gatys' method"),
    "optimize": Command("fst.cli.optimize", "train", "one careful picture by Gatys' method"),
    "check-photos": Command("fst.cli.check_photos", "train", "find photos of no use to training"),
    "export": Command("fst.cli.export", None, "write a style as an ONNX file"),
}
DEFAULT = "stylize"

USAGE = """\
usage: fst PHOTO... --style NAME [options]
       fst COMMAND ...

Train a network for a painting once, then repaint any photo in one forward pass.

  fst photo.jpg --style starry_night
  fst train style.name=mine style.image=painting.jpg data.root=PHOTOS

commands:
{commands}

fst COMMAND --help lists what a command takes; fst --version says which fst this is."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``fst`` with these words, by default those of the command line."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        lines = (f"  {name:{width}}  {each.summary}" for name, each in COMMANDS.items())
        print(USAGE.format(commands="\n".join(lines)))
    elif words[0] == "--version":
        print(f"fst {__version__}")
    else:
        with one_line_errors(), signals(leave):
            name, rest = split(words)
            module = load(name)
        module.main(rest)


def split(words: list[str]) -> tuple[str, list[str]]:
    """The sub-command and its words; photos or options alone are for `DEFAULT`.

    Raises:
        InputError: The first word is neither a sub-command nor a file.
    """
    first = words[0]
    if first in COMMANDS:
        return first, words[1:]
    if first.startswith("-") or Path(first).suffix or "/" in first or Path(first).exists():
        return DEFAULT, words  # which says so where there is no such file
    close = get_close_matches(first, COMMANDS, n=1)
    hint = f"did you mean fst {close[0]}?" if close else "try fst --help"
    raise InputError(f"{first}: expected a photo or a command of fst, found neither; {hint}")


def load(name: str) -> ModuleType:
    """The module of a sub-command.

    Raises:
        InputError: It needs a package of its extra, which is not installed.
    """
    command = COMMANDS[name]
    try:
        return import_module(command.module)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if command.extra is None or package in ("", "fst"):
            raise
        raise InputError(
            f"fst {name}: expected the package {package}, found it missing; "
            f"try {install_hint(command.extra)}"
        ) from error

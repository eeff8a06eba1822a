"""What the user gave cannot be used: one exception type, and one line on stderr for it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is for the user as it stands: one line that says what was expected, what was
    found, and what to try.
    """


def check_whole(name: str, value: object, least: int) -> None:
    """Raise an `InputError` unless ``value`` is a whole number from ``least`` up."""
    if not isinstance(value, int) or value < least:
        raise InputError(f"{name}: expected a whole number from {least} up, found {value!r}")


def install_hint(extra: str) -> str:
    """The command that installs what an extra of fst adds, to end a message with."""
    return f'pip install "fst-style[{extra}]"'


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with ``error: <message>`` and status 1 when an `InputError` reaches here.

    Scripts run their work inside it. Other exceptions are bugs and keep their traceback.
    """
    try:
        yield
    except InputError as error:
        # a loader's worker puts a traceback before it
        message = str(error).strip().splitlines()[-1]
        prefix = f"{InputError.__module__}.{InputError.__name__}: "
        print(f"error: {message.removeprefix(prefix)}", file=sys.stderr)
        sys.exit(1)

"""Ctrl-C and SIGTERM: what they do at which time."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = signal.SIGINT, signal.SIGTERM


def leave(number: int, _frame: FrameType | None) -> None:
    """A signal before the first photo, maybe in the middle of an import: just go."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


def interrupt(number: int, _frame: FrameType | None) -> None:
    """A signal while photos are being repainted; a second one changes nothing."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


@contextmanager
def signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have ``handler`` answer Ctrl-C and SIGTERM, but not where they are ignored (``nohup``)."""
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    for each in _SIGNALS:
        if before[each] is not signal.SIG_IGN:
            signal.signal(each, handler)
    try:
        yield
    finally:
        for each in _SIGNALS:
            signal.signal(each, before[each])

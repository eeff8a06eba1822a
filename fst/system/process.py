"""This process: its signals, cores and memory. Torch-free: a command hears Ctrl-C at once."""

import ctypes
import mmap
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


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
HEAP = 7 * 2**28  # bytes: what glibc keeps is less than 2 GiB


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, in large pages: else a step takes an eighth longer.

    Giving memory back and taking it anew costs a tenth of a step, small pages a thirtieth. Of use
    to processes that allocate the same large tensors again and again. Elsewhere than on glibc it
    does nothing.
    """
    if os.name != "posix":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(M_MMAP_MAX, 0)  # large blocks, too, come from the heap
    libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    block = libc.malloc(HEAP)  # takes addresses, no memory
    if block:
        first = -(-block // mmap.PAGESIZE) * mmap.PAGESIZE
        size = block + HEAP - mmap.PAGESIZE - first
        for advice in mmap.MADV_DONTNEED, mmap.MADV_HUGEPAGE:
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(size), advice)
        libc.free(ctypes.c_void_p(block))

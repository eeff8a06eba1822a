"""Decoding, network and encoding at the same time, each at another photo.

All of it runs in threads: Pillow, torch and the other engines let go of Python's lock while they
work.
"""

import errno
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fst.images import Animation, Photo
from fst.serving.folders import Job
from fst.system.errors import InputError

# pixels that a run holds, of pictures decoded or painted and not yet written
HELD_BYTES = 2**30
GRACE = 3.0  # seconds that an interrupted run gives the pictures that are just being written
# what ails the place of the output, not one photo
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE}


@dataclass
class _Item:
    """A photo on its way: its job, its picture as it is by now, and what that takes up."""

    job: Job
    picture: Photo | Animation | None = None
    controls: dict[str, Any] = field(default_factory=dict)
    held: int = 0

    def whole(self) -> Photo | Animation:
        """The picture, which is there from decoding to writing."""
        assert self.picture is not None
        return self.picture


Step = tuple[Callable[[_Item], None], _Item]  # what a thread does next, and to which picture


class _Stopped(Exception):
    """The run ends before this picture is whole."""


class Pipeline:
    """Decode, repaint and write photos, each step while the others are at other photos.

    Every painter has a thread, and ``workers`` threads decode ahead of them and encode after them.
    No more than 2 ``workers`` + 1 pictures wait for a painter, and no more than `HELD_BYTES` of
    pixels for anything, but one picture always passes. Iterate within ``with``: the jobs come as
    they end, each with None or the line that says why it could not be done; an exception that is
    no `InputError` or `MemoryError` is a bug and is raised. Leaving the ``with`` ends the threads.

    Args:
        jobs: What to do.
        painters: ``painter(picture, **controls) -> picture``, a `Stylizer` each; each is called by
            one thread at a time.
        read: Gives the picture of a job and the controls that are its own.
        write: Writes a picture to a path, whole or not at all.
        workers: Threads that decode and encode.

    Attributes:
        total: Number of photos.
        written: Number of photos written so far.
        errors: One line for every photo that could not be.
        hopeless: Whether a photo failed in a way that every other would.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        painters: Sequence[Callable[..., Any]],
        read: Callable[[Job], tuple[Photo | Animation, dict[str, Any]]],
        write: Callable[[Photo | Animation, Path], None],
        workers: int,
    ) -> None:
        self.written, self.hopeless = 0, False
        self.errors: list[str] = []
        self.total, self._todo = len(jobs), deque(_Item(job) for job in jobs)
        self._read, self._write = read, write
        self._decoded: deque[_Item] = deque()
        self._painted: deque[_Item] = deque()
        self._buffer = 2 * workers + len(painters)  # sizes vary; half took 8 % longer
        self._ahead = 0  # pictures decoded or being decoded that no painter has taken
        self._held, self._last_held = 0, HELD_BYTES  # until one is decoded, nothing is known
        self._stopped, self._change = False, threading.Condition()
        self._ended: queue.Queue[tuple[_Item, BaseException | None]] = queue.Queue()
        paints = [partial(self._paint, painter, threading.Lock()) for painter in painters]
        choices = [partial(self._choose_picture, paint) for paint in paints]
        self._painters = [self._thread(choose) for choose in choices]
        self._workers = [self._thread(self._choose_work) for _ in range(workers)]

    def _thread(self, choose: Callable[[], Step | None]) -> threading.Thread:
        # a daemon, since nothing can stop a network within a picture
        return threading.Thread(target=self._run, args=(choose,), daemon=True)

    def __enter__(self) -> "Pipeline":
        for thread in self._workers + self._painters:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._change:
            self._stopped = True
            self._change.notify_all()
        # an interrupted run waits for no network, and not for long for a file
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        until = time.monotonic() + GRACE
        for thread in self._workers if interrupted else self._workers + self._painters:
            thread.join(max(0, until - time.monotonic()) if interrupted else None)
        while not self._ended.empty():
            self._count(*self._ended.get())

    def __iter__(self) -> Iterator[tuple[Job, str | None]]:
        for _ in range(self.total):
            item, error = self._next_ended()
            yield item.job, self._count(item, error)
            if self.hopeless:
                return

    def _next_ended(self) -> tuple[_Item, BaseException | None]:
        while True:  # in short waits: on Windows Ctrl-C does not end a long one
            try:
                return self._ended.get(timeout=0.5)
            except queue.Empty:
                continue

    def _count(self, item: _Item, error: BaseException | None) -> str | None:
        """Take note of how a photo ended; gives the error's line, if any."""
        if error is None:
            self.written += 1
            return None
        if isinstance(error, _Stopped):
            return None
        if not isinstance(error, (InputError, MemoryError)):
            raise error
        if isinstance(error, MemoryError):
            error = InputError("does not fit into the memory; try --max-side, or fewer --workers")
        line, source = str(error).removeprefix("picture: "), str(item.job.source)
        self.errors.append(line if source in line else f"{source}: {line}")
        return self.errors[-1]

    def _run(self, choose: Callable[[], Step | None]) -> None:
        """The life of a thread: one step of one picture after the other, as ``choose`` says."""
        while True:
            chosen: Step | None = None
            with self._change:
                while not self._stopped and (chosen := choose()) is None:
                    self._change.wait()
                if chosen is None or self._stopped:
                    return
            step, item = chosen
            try:
                step(item)
            except BaseException as error:  # the main thread raises what is a bug
                self._end(item, error)

    def _choose_work(self) -> Step | None:
        """Encode what is painted, but first decode when the painters have nothing."""
        room = (
            self._todo
            and not self.hopeless
            and self._ahead < self._buffer
            and len(self._painted) < self._buffer
            and (not self._held or self._held + self._last_held <= HELD_BYTES)
        )
        if self._painted and (self._ahead >= len(self._painters) or not room):
            return self._encode, self._painted.popleft()
        if not room:
            return None
        item = self._todo.popleft()
        self._ahead += 1
        self._hold(item, self._last_held)
        return self._decode, item

    def _decode(self, item: _Item) -> None:
        try:
            item.picture, item.controls = self._read(item.job)
        except BaseException:
            with self._change:
                self._ahead -= 1
            raise
        with self._change:
            self._last_held = _size_of(item.picture)
            self._hold(item, self._last_held)
            self._decoded.append(item)
            self._change.notify_all()

    def _choose_picture(self, paint: Callable[[_Item], None]) -> Step | None:
        if not self._decoded:
            return None
        self._ahead -= 1
        self._change.notify_all()
        return paint, self._decoded.popleft()

    def _paint(self, painter: Callable[..., Any], lock: threading.Lock, item: _Item) -> None:
        """Repaint a picture; of an animation each frame as the encoder asks for it."""

        def repaint(photo: Photo) -> Photo:
            if self._stopped:
                raise _Stopped
            with lock:
                return painter(photo, **item.controls)

        picture = item.whole()
        item.picture = picture.map(repaint) if isinstance(picture, Animation) else repaint(picture)
        with self._change:
            self._painted.append(item)
            self._change.notify_all()

    def _encode(self, item: _Item) -> None:
        try:
            self._write(item.whole(), item.job.target)
        except InputError as error:
            cause = error.__cause__
            self.hopeless |= isinstance(cause, OSError) and cause.errno in _FULL
            raise
        self._end(item, None)

    def _end(self, item: _Item, error: BaseException | None) -> None:
        item.picture = None
        self._ended.put((item, error))
        with self._change:
            self._hold(item, 0)
            self._change.notify_all()

    def _hold(self, item: _Item, size: int) -> None:
        self._held += size - item.held
        item.held = size


def _size_of(picture: Photo | Animation) -> int:
    """Bytes of a picture's pixels; an animation has one frame at a time."""
    if isinstance(picture, Animation):
        return 0
    return picture.pixels.nbytes + (0 if picture.alpha is None else picture.alpha.nbytes)

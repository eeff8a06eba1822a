"""What keeps a long run from being lost: checkpoints, orderly stops, disks that are full."""

import io
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fst.system.errors import InputError
from fst.system.files import atomic_path
from fst.training.runs import BEFORE, LAST


class StoppedError(InputError):
    """Training ended on request; all of it is in the checkpoint."""


@contextmanager
def warn_unless_written(what: str) -> Iterator[None]:
    """Turn a file that cannot be written into a line on stderr: training goes on without it."""
    try:
        yield
    except (InputError, OSError) as error:
        _warn(f"warning: {what} not written, training goes on: {error}")


def report_thread(failed: threading.ExceptHookArgs) -> None:
    """For ``threading.excepthook``: a line, too, of files that another thread cannot write."""
    if issubclass(failed.exc_type, OSError) and "tensorboard" in type(failed.thread).__module__:
        _warn(f"warning: curves not written, training goes on: {failed.exc_value}")
    else:
        threading.__excepthook__(failed)


def log_interval(trainer: pl.Trainer) -> int:
    """Steps between two points of the curves."""
    return trainer.log_every_n_steps  # type: ignore[attr-defined]  # Lightning sets it later


@cache
def _warn(line: str) -> None:  # the same one once
    print(line, file=sys.stderr, flush=True)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, whole or not at all also where /tmp is another disk.

    The one before stays as ``previous.ckpt``. A checkpoint that cannot be
    written becomes a line on stderr.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        new = path.with_suffix(".new")
        whole = io.BytesIO()  # written to a file, torch calls a full disk an internal error
        torch.save(checkpoint, whole)
        with warn_unless_written("checkpoint"):
            with atomic_path(new) as temporary:
                temporary.write_bytes(whole.getbuffer())
            if path.exists():
                path.replace(path.with_name(BEFORE))
            new.replace(path)


class Checkpoints(Checkpoint):
    """Writes ``last.ckpt`` every so many steps, every so many minutes, at the end, and on request.

    Ctrl-C and SIGTERM let the step end and stop training with a checkpoint; a second Ctrl-C stops
    it at once. Lightning writes a step's curves after the step: a checkpoint of one that has curves
    would lose them to a kill between the two, so it is that of the next step instead.

    Args:
        folder: Where they go.
        every_n_steps: Steps between two.
        every_minutes: Minutes between two at most.

    Raises:
        StoppedError: Out of ``trainer.fit``, when stopped.
    """

    def __init__(self, folder: str | Path, every_n_steps: int, every_minutes: float) -> None:
        self.path = Path(folder) / LAST
        self.every_n_steps, self.seconds = every_n_steps, 60 * every_minutes
        self._written, self._at = -1, 0.0
        self._asked = self._owed = False
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._written, self._at = trainer.global_step, time.monotonic()
        for number in signal.SIGINT, signal.SIGTERM:  # after Lightning set its own
            self._before[number] = signal.getsignal(number)
            if self._before[number] is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        stop = trainer.strategy.reduce_boolean_decision(self._asked, all=False)
        late = time.monotonic() - self._at > self.seconds
        late = trainer.strategy.reduce_boolean_decision(late, all=False)
        step = trainer.global_step
        last = step == trainer.max_steps
        due = step % self.every_n_steps == 0 or late or last or stop or self._owed
        due = due and step != self._written  # accumulated batches share a step
        interval = log_interval(trainer)
        has_curves = step % interval == 0 and interval > 1
        self._owed = due and has_curves and not last
        if self._owed:
            return
        if due:
            self._written, self._at = step, time.monotonic()
            trainer.save_checkpoint(self.path)
        if stop:
            raise StoppedError(f"stopped after step {step}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

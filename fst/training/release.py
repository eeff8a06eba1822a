"""The callback that writes the style file."""

import datetime
import platform
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from fst import __version__
from fst.styles import save_style
from fst.training.checkpoints import warn_unless_written
from fst.training.data import photos_of
from fst.training.lit_module import StyleModule


class Release(Callback):
    """Writes the style file whenever the held-out photos say it is the best so far.

    The best is ``path``; when training ends on weights that are not the best, these go beside it
    as ``<style>-last.safetensors``.

    Args:
        path: ``<style>.safetensors``.
        card: What the file says of itself (`fst.styles.release`); metrics, steps, versions and the
            date are added here.
    """

    def __init__(self, path: str | Path, card: dict[str, Any]) -> None:
        self.path, self.card = Path(path), card
        self.best = float("inf")
        self.metrics: dict[str, float] = {}  # of the last validation
        self.step = -1  # likewise
        self.written = self.path  # what it went to
        self.missing = False  # whether the last one could not be written
        self._seconds = 0.0  # before a resume

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "seconds": self.seconds()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self._seconds = state["best"], state["seconds"]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":  # a validation afterwards is part of the run
            self._since = time.perf_counter()

    def seconds(self) -> float:
        """Wall time of the run so far, over all its resumptions."""
        return self._seconds + time.perf_counter() - self._since

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.step = trainer.global_step
        self.metrics = {
            name.removeprefix("held_out/"): float(f"{value.item():.6g}")
            for name, value in trainer.callback_metrics.items()
            if name.startswith("held_out/")
        }
        last = trainer.global_step >= trainer.max_steps
        if self.metrics["total"] <= self.best:
            self._write(trainer, pl_module, self.path)
        elif last:
            self._write(trainer, pl_module, self.path.with_stem(f"{self.path.stem}-last"))

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, path: Path) -> None:
        self.missing = True
        with warn_unless_written("style file"):
            self._save(trainer, pl_module, path)
            self.written, self.missing = path, False
            self.best = min(self.best, self.metrics["total"])

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule, path: Path) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, StyleModule)
        progress = {"steps": trainer.global_step, "seconds": round(self.seconds())}
        card = {
            **self.card,
            "data": photos_of(trainer).summary(),
            "training": {**self.card["training"], **progress},
            "metrics": self.metrics,
            "versions": {
                "fst": __version__,
                "torch": torch.__version__,
                "pytorch_lightning": pl.__version__,
                "python": platform.python_version(),
            },
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }
        save_style(path, pl_module.net, card)

"""What a run shows and leaves behind: samples, throughput, profile, card."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torchvision.utils import make_grid

from fst.images import Photo, save_picture, to_array
from fst.system.files import atomic_path, make_folder
from fst.training.checkpoints import log_interval, warn_unless_written
from fst.training.data import photos_of


def _tensorboard(trainer: pl.Trainer) -> Any | None:
    """The SummaryWriter of the run, or None where there is no TensorBoard logger or not rank 0."""
    for logger in trainer.loggers if trainer.is_global_zero else ():
        if isinstance(logger, TensorBoardLogger):
            return logger.experiment
    return None


class RunLogger(TensorBoardLogger):
    """TensorBoard without the curve of the epoch: photos are an endless stream here.

    What cannot be written becomes a line on stderr, and training goes on.
    """

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with warn_unless_written("curves"):
            try:
                super().log_metrics({k: v for k, v in metrics.items() if k != "epoch"}, step)
            except ValueError as error:  # what Lightning makes of every error
                raise error.__cause__ or error from None

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        with warn_unless_written("hparams"):
            super().log_hyperparams(*args, **kwargs)

    @rank_zero_only
    def save(self) -> None:
        with warn_unless_written("curves"):
            super().save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        with warn_unless_written("curves"):
            super().finalize(status)


class SampleGrid(Callback):
    """Photo beside stylized photo, for the same few held-out photos, as training goes on.

    Goes to TensorBoard (``samples``) and to ``folder/step_000100.png``.

    Args:
        every_n_steps: Steps between two grids.
        photos: How many held-out photos to show.
        folder: Where the PNG files go.
    """

    def __init__(self, every_n_steps: int, photos: int, folder: str | Path) -> None:
        self.every_n_steps, self.count, self.folder = every_n_steps, photos, Path(folder)
        self._photos = torch.empty(0)
        self._last = 0  # step of the last grid

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        held_out = photos_of(trainer).held_out_photos()
        count = min(self.count, len(held_out))
        self._photos = torch.stack([held_out[k][0] for k in range(count)]).float() / 255

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any, **__: Any
    ) -> None:
        step = trainer.global_step
        due = step > 0 and (step % self.every_n_steps == 0 or step == trainer.max_steps)
        if due and step != self._last and trainer.is_global_zero:
            self._last = step  # accumulated batches share a step
            self._show(trainer, pl_module, step)

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        with torch.no_grad():
            stylized = pl_module(self._photos.to(pl_module.device)).cpu()
        pairs = torch.stack([self._photos, stylized], dim=1).flatten(0, 1)  # photo, stylized, ...
        grid = make_grid(pairs, nrow=4)
        with warn_unless_written("samples"):
            save_picture(Photo(to_array(grid)), self.folder / f"step_{step:06d}.png")
            if writer := _tensorboard(trainer):
                # Lightning's curves count from 0: after the tenth step they are at 9
                writer.add_image("samples/photo_and_stylized", grid, step - 1)


class Throughput(Callback):
    """Images per second since the last log, in the progress bar and in TensorBoard."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since, self._images = time.perf_counter(), 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Tensor,
        batch_idx: int,
    ) -> None:
        self._images += len(batch) * trainer.world_size
        if trainer.global_step % log_interval(trainer) == 0:
            elapsed = time.perf_counter() - self._since
            rate = self._images / elapsed
            pl_module.log("images_per_s", rate, prog_bar=True, logger=False)
            pl_module.log("speed/images_per_s", rate)
            self._since, self._images = time.perf_counter(), 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:  # validation is no training time
            self._since, self._images = time.perf_counter(), 0


class ProgressBar(TQDMProgressBar):
    """Lightning's bar without the version number, and with the right time left after a resume."""

    def on_train_start(self, trainer: pl.Trainer, *args: Any) -> None:
        super().on_train_start(trainer, *args)
        # Lightning tells the bar of an epoch that begins, and none begins after a resume
        self.train_progress_bar.reset(trainer.max_steps * trainer.accumulate_grad_batches)
        self.train_progress_bar.initial = trainer.global_step

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()  # what is said next begins a line

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class Profile(Callback):
    """Records some batches with PyTorch's profiler, when the compiled passes are compiled.

    Writes ``trace.json``, which ui.perfetto.dev and chrome://tracing open, and ``operations.txt``,
    the operations by their time.

    Args:
        folder: Where they go.
        first: Batch of this process to begin with; half of what is left where that is less.
        batches: How many to record.
    """

    def __init__(self, folder: str | Path, first: int = 20, batches: int = 5) -> None:
        self.folder, self.first, self.batches = Path(folder), first, batches
        self._profiler: torch.profiler.profile | None = None
        self._seen = self._last = 0

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
        self._begin = min(self.first, left // 2 + 1)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._seen += 1
        if trainer.is_global_zero and self._seen == self._begin:
            self._last = self._seen + self.batches - 1
            self._profiler = torch.profiler.profile()
            self._profiler.start()

    def on_train_batch_end(self, *_: Any) -> None:
        if self._seen >= self._last:
            self._write()

    def on_train_end(self, *_: Any) -> None:
        self._write()

    def _write(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return
        profiler.stop()
        with warn_unless_written("profile"):
            make_folder(self.folder)
            with atomic_path(self.folder / "trace.json") as temporary:
                profiler.export_chrome_trace(str(temporary))
            by = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
            table = profiler.key_averages().table(sort_by=by, row_limit=40)
            with atomic_path(self.folder / "operations.txt") as temporary:
                temporary.write_text(table, encoding="utf-8")


class RunCard(Callback):
    """Puts the painting and the composed config beside the curves.

    Args:
        painting: ``(3, H, W)`` RGB in [0, 1], as the loss sees it.
        config: The composed config as YAML.
        command: What resumes or repeats the run.
    """

    def __init__(self, painting: Tensor, config: str, command: str) -> None:
        self.painting, self.config, self.command = painting, config, command

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if writer := _tensorboard(trainer):
            writer.add_image("painting", self.painting, trainer.global_step)
            text = f"    {self.command}\n\n```yaml\n{self.config}```"
            writer.add_text("config", text, trainer.global_step)

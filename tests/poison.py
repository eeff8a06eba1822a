"""A callback that ruins a training, to see what is left of it."""

import pytorch_lightning as pl
import torch


class Poison(pl.Callback):
    """A weight becomes NaN after ``step`` steps, before the checkpoint of that step is written."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, *_) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(pl_module.net.parameters()).fill_(torch.nan)

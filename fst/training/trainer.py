"""What Lightning's Trainer has, and its types leave out."""

from typing import TYPE_CHECKING, cast

import pytorch_lightning as pl

if TYPE_CHECKING:
    from fst.training.data import PhotoDataModule


def log_interval(trainer: pl.Trainer) -> int:
    """Steps between two points of a curve."""
    return cast(int, trainer.log_every_n_steps)  # type: ignore[attr-defined]


def photos_of(trainer: pl.Trainer) -> "PhotoDataModule":
    """The photos that a trainer was given."""
    return cast("PhotoDataModule", trainer.datamodule)  # type: ignore[attr-defined]

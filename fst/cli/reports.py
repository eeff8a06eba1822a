"""What a training says of itself: its folder's name, its hparams, its last lines."""

import re
import shlex
import sys
from collections.abc import Iterable

import pytorch_lightning as pl
from omegaconf import DictConfig

from fst.cli.composing import without_hydra_keys
from fst.training.data import PhotoDataModule
from fst.training.release import Release

LONGEST = 80  # characters of a run's settings in its folder's name
SAID_ELSEWHERE = ("style", "style.name", "style.image", "data.root", "ckpt_path", "compile")


def run_name(overrides: Iterable[str]) -> str:
    """The settings of a command as a folder's name: ``fast_weight-5_crop_size-192``.

    What says nothing of the training (paths, names, hydra's own) is left out, and so is what hydra
    does not take unquoted in ``ckpt_path=RUN/...``.
    """
    words = []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key in SAID_ELSEWHERE or key.startswith(("paths.", "callbacks.", "hydra.")):
            continue
        if "/" in value:  # another style's file, a folder
            continue
        words.append(value if key == "experiment" else f"{key.rsplit('.', 1)[-1]}-{value}")
    return re.sub(r"[^\w.+-]+", "-", "_".join(words), flags=re.ASCII)[:LONGEST].rstrip("-_.")


def report(trainer: pl.Trainer, photos: PhotoDataModule, release: Release, cfg: DictConfig) -> None:
    """Final metrics to TensorBoard's hparams and to stdout, with what to do next."""
    seconds = release.seconds()
    images = trainer.global_step * photos.photos_a_step()
    hparams = {
        "style": cfg.style.name,
        "style_size": cfg.style.size,
        "style_weight": cfg.loss.style_weight,
        "tv_weight": cfg.loss.tv_weight,
        "shift_weight": cfg.shift_weight,
        **{f"network_{key}": value for key, value in without_hydra_keys(cfg.network).items()},
        "crop_size": cfg.data.crop_size,
        "batch_size": cfg.data.batch_size,
        "optimizer": cfg.optimizer._target_.rsplit(".", 1)[-1],
        "lr": cfg.optimizer.lr,
        "steps": cfg.trainer.max_steps,
        "seed": cfg.seed,
    }
    metrics = release.metrics
    final = {f"summary/{name}": metrics[name] for name in ("total", "style", "content")}
    final |= {"summary/minutes": seconds / 60, "summary/images_per_s": images / seconds}
    assert trainer.logger is not None
    trainer.logger.log_hyperparams(hparams, final)
    if photos.skipped:
        said = f"{len(photos.skipped)} unusable photos were left out:"
        print(said, *photos.skipped, sep="\n  ", file=sys.stderr)
    print(f"held-out photos: style {metrics['style']:.4g}  content {metrics['content']:.4g}")
    print(
        f"{trainer.global_step} steps in {seconds / 60:.1f} minutes: {images / seconds:.3g} "
        "images/s, with all beginnings and validations"
    )
    if release.written != release.path:
        print(f"best so far: {release.path} (total {release.best:.4g})")
    print(f"style file: {release.written} (total {metrics['total']:.4g})")
    print(f"use it: fst PHOTO --style {shlex.quote(str(release.written))}")

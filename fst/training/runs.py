"""Run folders: which one to go on with, and whether it is fit for that.

A run's folder holds ``config.yaml``, ``checkpoints/last.ckpt`` with the one before it, and what it
shows and leaves behind.
"""

import sys
from pathlib import Path

import torch

from fst.system.errors import InputError

LAST, BEFORE = "last.ckpt", "previous.ckpt"


def find_resume(ckpt_path: str, runs: Path) -> Path:
    """The checkpoint to go on from.

    Args:
        ckpt_path: A run's ``.ckpt`` file, or ``last`` for the newest below ``runs``.
        runs: Folder of the runs of one style.

    Raises:
        InputError: There is none, or it does not lie in a run's folder.
    """
    if ckpt_path == "last":
        files = sorted(runs.glob("*/checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
        if not files:
            raise InputError(
                f"ckpt_path=last: expected a run with a checkpoint in {runs}, found none"
            )
        checkpoint = _whole(files[-1].resolve().parent)
    else:
        checkpoint = Path(ckpt_path).expanduser().resolve()
        if not checkpoint.is_file():
            raise InputError(f"ckpt_path: expected last or a .ckpt file, found none at {ckpt_path}")
    if checkpoint.parent.name != "checkpoints" or not config_of(checkpoint).is_file():
        raise InputError(
            f"ckpt_path: expected a checkpoint in a run's folder (RUN/checkpoints/last.ckpt with "
            f"RUN/config.yaml), found {checkpoint}"
        )
    return checkpoint


def _whole(folder: Path) -> Path:
    """The last checkpoint of a run, or the one before, said on stderr, where it is damaged."""
    last, before = folder / LAST, folder / BEFORE
    if not last.exists():
        return before
    try:
        resume_step(last)
    except InputError:
        if not before.exists():
            raise
        print(f"warning: {last} is damaged; going on from {before}", file=sys.stderr)
        return before
    return last


def config_of(checkpoint: Path) -> Path:
    """The composed config that the run of a checkpoint began with."""
    return checkpoint.parent.parent / "config.yaml"


def resume_step(checkpoint: Path) -> int:
    """The number of steps that a checkpoint has behind it.

    Raises:
        InputError: It is damaged.
    """
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"]
    except Exception as error:  # torch raises many kinds on damaged files
        raise InputError(
            f"{checkpoint}: expected a checkpoint of Lightning, found a damaged file; try "
            f"{BEFORE} beside it, or start again without ckpt_path"
        ) from error

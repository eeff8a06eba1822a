"""Run folders: which one to go on with, and whether it is fit for that.

A run's folder holds ``config.yaml``, ``checkpoints/last.ckpt`` and what it shows and leaves behind.
"""

from pathlib import Path

import torch

from fst.errors import InputError


def find_resume(ckpt_path: str, runs: Path) -> Path:
    """The checkpoint to go on from.

    Args:
        ckpt_path: A run's ``.ckpt`` file, or ``last`` for the newest below ``runs``.
        runs: Folder of the runs of one style.

    Raises:
        InputError: There is none, or it does not lie in a run's folder.
    """
    if ckpt_path == "last":
        found = sorted(runs.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
        if not found:
            raise InputError(
                f"ckpt_path=last: expected a run with a checkpoint in {runs}, found none"
            )
        checkpoint = found[-1].resolve()
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
            f"{checkpoint}: expected a checkpoint of Lightning, found a damaged file; "
            "start again without ckpt_path"
        ) from error

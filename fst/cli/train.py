"""Train a network for one painting.

fst train style.name=mine style.image=painting.jpg data.root=PHOTOS
fst train style=starry_night experiment=fast data.root=PHOTOS
fst train style=starry_night experiment=fast data.root=PHOTOS ckpt_path=last
fst train --config-dir MY_CONFIGS style=mine data.root=PHOTOS
"""

import hashlib
import shlex
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fst.cli.composing import (
    as_dict,
    config_errors,
    find_painting,
    quiet_lightning,
    run_command,
    with_target_name,
    without_hydra_keys,
)
from fst.cli.failures import as_input_error
from fst.cli.reports import report, run_name
from fst.styles import find_style, load_style
from fst.system.devices import resolve_compile, resolve_precision
from fst.system.errors import InputError, check_whole
from fst.system.files import check_folder, make_folder
from fst.system.process import keep_freed_memory
from fst.training.callbacks import Profile, RunCard
from fst.training.checkpoints import AtomicCheckpointIO, StoppedError, report_thread
from fst.training.data import load_painting
from fst.training.lit_module import StyleModule
from fst.training.release import Release
from fst.training.runs import config_of, find_resume, resume_step
from fst.training.start import begin_with
from fst.training.views import views_for


def train(cfg: DictConfig) -> Path:
    """Run one composed experiment; gives the style file with its last weights."""
    check_settings(cfg)
    checkpoint = go_on(cfg) if cfg.ckpt_path is not None else None
    cfg.trainer.precision = resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    cfg.compile = resolve_compile(cfg.compile, cfg.trainer.max_steps)
    OmegaConf.resolve(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)

    run = Path(cfg.paths.run)
    check_folder(run)
    painting = load_painting(find_painting(cfg.style), cfg.style.size)
    photos = instantiate(cfg.data)
    photos.setup()  # before the loss network, so that a wrong folder is said at once
    loss = instantiate(cfg.loss, compiled=cfg.compile)
    loss.set_style(painting[None])
    views = views_for(loss, painting[None])
    net = start_from(instantiate(cfg.network), cfg.init)
    module = StyleModule(
        net,
        loss,
        instantiate(cfg.optimizer),
        instantiate(cfg.scheduler),
        cfg.shift_weight,
        cfg.compile,
        views,
    )

    release = Release(run / f"{cfg.style.name}.safetensors", describe(cfg))
    card = RunCard(painting, OmegaConf.to_yaml(cfg), command_line())
    # what a killed run logged after its last checkpoint is dropped
    purge = resume_step(checkpoint) if checkpoint else None
    settings = as_dict(cfg.trainer)
    profiling = [Profile(run / "profile")] if settings.pop("profile") else []
    trainer = instantiate(
        settings,
        callbacks=[*instantiate(cfg.callbacks).values(), release, card, FreshPages(), *profiling],
        logger=instantiate(cfg.logger, purge_step=purge),
        plugins=[AtomicCheckpointIO()],
        val_check_interval=cfg.trainer.val_check_interval * cfg.trainer.accumulate_grad_batches,
    )
    if trainer.is_global_zero:
        make_folder(run)
        if not checkpoint:
            OmegaConf.save(cfg, run / "config.yaml")
        print(f"run: {run}\nwatch: tensorboard --logdir {cfg.paths.outputs}", file=sys.stderr)
    if cfg.compile and trainer.is_global_zero:
        print("compiling: the first steps take a minute or two", file=sys.stderr)
    with redirect_stdout(sys.stderr):  # Lightning's progress bar; results go to stdout
        try:
            trainer.fit(module, photos, ckpt_path=checkpoint)
        except (Exception, SystemExit) as error:
            again = " ckpt_path=last" if list(run.glob("checkpoints/*.ckpt")) else ""
            if said := as_input_error(error, f"go on with: {command_line()}{again}"):
                raise said from error
            raise
        if release.step != trainer.global_step:  # the last steps were no whole interval
            trainer.validate(module, photos, verbose=False)
    if release.missing:
        kept = list(run.glob("checkpoints/*.ckpt"))
        way = (
            f"its weights are in {run}/checkpoints; make room and go on with: {command_line()} "
            "ckpt_path=last"
            if kept
            else "nor for a checkpoint; make room and begin again"
        )
        raise InputError(
            f"{release.path}: expected room for the trained network, found none; {way}"
        )
    if trainer.is_global_zero:
        report(trainer, photos, release, cfg)
    return release.written


class FreshPages(pl.Callback):
    """Gives back what the sanity check took: pages that workers share no longer stay large."""

    def on_sanity_check_end(self, *_: Any) -> None:
        keep_freed_memory()


def start_from(net: nn.Module, init: str | None) -> nn.Module:
    """The network with the weights of a style file, if one is named, else as it is."""
    if init is not None:
        found, _ = load_style(find_style(init))
        begin_with(net, found.state_dict())
    return net


def check_settings(cfg: DictConfig) -> None:
    """Raise an InputError for what the libraries behind a setting would not refuse clearly."""
    check_whole("trainer.max_steps", cfg.trainer.max_steps, 1)
    check_whole("trainer.accumulate_grad_batches", cfg.trainer.accumulate_grad_batches, 1)
    check_whole("trainer.log_every_n_steps", cfg.trainer.log_every_n_steps, 1)
    check_whole("seed", cfg.seed, 0)
    if not isinstance(cfg.trainer.profile, bool):
        raise InputError(f"trainer.profile: expected true or false, found {cfg.trainer.profile!r}")
    if not isinstance(cfg.shift_weight, int | float) or cfg.shift_weight < 0:
        raise InputError(f"shift_weight: expected a number from 0 up, found {cfg.shift_weight}")
    rate = cfg.optimizer.lr
    if not isinstance(rate, int | float) or rate <= 0:
        raise InputError(f"optimizer.lr: expected a number above 0, found {rate}")
    cfg.style.name = str(cfg.style.name)  # style.name=1 is a number to YAML


def go_on(cfg: DictConfig) -> Path:
    """The checkpoint to go on from; points ``cfg`` at its run's folder."""
    checkpoint = find_resume(str(cfg.ckpt_path), Path(cfg.paths.outputs) / cfg.style.name)
    began = OmegaConf.load(config_of(checkpoint))
    assert isinstance(began, DictConfig)
    check_same_run(cfg, began)
    cfg.paths.run = str(checkpoint.parents[1])
    return checkpoint


def check_same_run(cfg: DictConfig, began: DictConfig) -> None:
    """Raise an InputError unless ``cfg`` goes on with what the run began with."""
    keys = ["style.name", "style.size", "network", "optimizer", "scheduler._target_", "seed"]
    keys += ["shift_weight", "data.crop_size", "trainer.accumulate_grad_batches"]
    keys += [f"loss.{key}" for key in cfg.loss if key != "extractor"]
    for key in keys:
        then, now = (_comparable(key, OmegaConf.select(config, key)) for config in (began, cfg))
        if then != now:
            raise InputError(
                f"resume: expected {key}={then}, as the run began with, found {now}; "
                "repeat the settings of its command"
            )


def _comparable(key: str, setting: Any) -> Any:
    """A setting with only the last word of each ``_target_``: classes keep their names when their
    modules move."""
    if key.endswith("_target_") and isinstance(setting, str):
        return setting.rsplit(".", 1)[-1]
    if isinstance(setting, Mapping):
        return {name: _comparable(name, setting[name]) for name in setting}
    return setting


def describe(cfg: DictConfig) -> dict[str, Any]:
    """What the style file will say of this run, without any path of this machine."""
    config = as_dict(cfg)
    style, loss, network = config["style"], config["loss"], config["network"]
    picture = Path(style.pop("image")).expanduser()
    del style["weight"]  # stands in the loss
    style |= {"file": picture.name, "sha256": hashlib.sha256(picture.read_bytes()).hexdigest()}
    extractor = with_target_name(loss["extractor"])
    if extractor.get("weights"):
        extractor["weights"] = Path(extractor["weights"]).name
    licence = f"weights: MIT, as fst; painting: {style['licence']}"
    return {
        "network": {
            "name": network["name"],
            "arguments": {k: v for k, v in without_hydra_keys(network).items() if k != "name"},
        },
        "style": style,
        "loss": {**without_hydra_keys(loss), "extractor": extractor},
        "training": {
            "optimizer": with_target_name(config["optimizer"]),
            "scheduler": with_target_name(config["scheduler"]),
            "precision": config["trainer"]["precision"],
            "gradient_clip_val": config["trainer"]["gradient_clip_val"],
            "shift_weight": config["shift_weight"],
            "seed": config["seed"],
            "init": config["init"] and Path(config["init"]).stem,
        },
        "licence": licence,
    }


def command_line() -> str:
    """The command of this run, to be pasted; without an earlier ckpt_path."""
    job = HydraConfig.get()
    sources = job.runtime.config_sources
    own = [source.path for source in sources if source.provider == "command-line"]
    words = [word for path in own for word in ("--config-dir", path)]
    words += [word for word in job.overrides.task if not word.startswith("ckpt_path=")]
    return shlex.join(["fst", "train", *words])


def name_folder(cfg: DictConfig, number: int | None = None) -> None:
    """Add a run's settings to its folder's name, and its number in a sweep: all have one time."""
    words = [str(cfg.paths.run)]
    words += [] if number is None else [str(number)]
    words += filter(None, [run_name(HydraConfig.get().overrides.task)])
    cfg.paths.run = "_".join(words)


def run(cfg: DictConfig) -> Path:
    """`train` in a folder named after its settings; of a sweep, one of its runs."""
    job = HydraConfig.get()
    if job.mode != RunMode.MULTIRUN:
        with config_errors():  # here too: hydra would put a line of its own before the error's
            name_folder(cfg)
            return train(cfg)
    try:
        name_folder(cfg, job.job.num)
        return train(cfg)
    except InputError as error:
        if not isinstance(error.__cause__, SystemExit | StoppedError):
            raise  # the other runs go on
        with config_errors():
            raise InputError(
                f"interrupted in run {job.job.num}; those before it are kept"
            ) from error


def main(argv: Sequence[str] | None = None) -> None:
    threading.excepthook = report_thread  # TensorBoard writes in one
    quiet_lightning()
    run_command("train", run, argv)

"""Repaint one photo by Gatys' method: minutes instead of milliseconds, and no network to train.

fst optimize photo=photo.jpg style.name=mine style.image=painting.jpg
fst optimize photo=photo.jpg style=starry_night size=1024

Ctrl-C and SIGTERM keep the picture as far as it is.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from fst.cli.composing import config_errors, find_painting, run_command
from fst.gatys import (
    OPTIMIZERS,
    STARTS,
    Iteration,
    OptimizationLostError,
    coarse_to_fine,
    count_iterations,
    scales,
)
from fst.images import (
    Photo,
    check_output,
    flatten,
    read_photo,
    resize_longer,
    save_picture,
    to_array,
    to_tensor,
)
from fst.system.devices import autocast, choose_device
from fst.system.errors import InputError, check_whole
from fst.system.files import check_folder
from fst.system.process import interrupt, leave, signals
from fst.training.data import load_painting

NARROWEST = 32  # px: two positions of the deepest style layer
SHOWN = ("total", "style", "content")  # beside the progress bar


def optimize(cfg: DictConfig) -> Iteration:
    """Optimise one picture; gives its last state."""
    check_settings(cfg)
    output = output_of(cfg)
    check_folder(output.parent)
    device = choose_device(cfg.device)
    began = time.perf_counter()
    photo = to_tensor(resize_longer(flatten(read_photo(cfg.photo)), cfg.size))[None].to(device)
    painting = load_largest(find_painting(cfg.style), cfg.style.size, cfg.size)[None].to(device)
    check_coarsest(photo, cfg.size)
    loss = instantiate(cfg.loss).to(device, memory_format=torch.channels_last)
    states = coarse_to_fine(
        photo,
        painting,
        loss,
        cfg.iterations,
        cfg.style.size,
        start=cfg.start,
        optimizer=cfg.method,
        line_search=cfg.line_search,
        lr=cfg.lr,
        seed=cfg.seed,
    )
    state: Iteration | None = None
    try:
        with signals(interrupt), autocast(device, cfg.precision), closing(states):
            for state in watched(states, cfg, output):  # noqa: B007 - the last one is wanted
                pass
    except (KeyboardInterrupt, OptimizationLostError) as stop:
        why = str(stop) if isinstance(stop, OptimizationLostError) else "interrupted"
        if state is None:
            raise InputError(f"{why}; there is no picture yet to save") from stop
        save(state, output)
        raise InputError(f"{why}; saved as far as it was: {output} ({said(state)})") from stop
    assert state is not None
    save(state, output)
    minutes = (time.perf_counter() - began) / 60
    print(f"{output}: {said(state)}, {minutes:.1f} minutes")
    return state


def output_of(cfg: DictConfig) -> Path:
    """Where the picture goes: never over the photo."""
    folder = Path(cfg.paths.outputs) / "optimized"
    named = f"{Path(str(cfg.photo)).stem}-{cfg.style.name}.png"
    output = Path(str(cfg.output)) if cfg.output is not None else folder / named
    check_output(output)
    if output.resolve() == Path(str(cfg.photo)).resolve():
        raise InputError(f"output: expected another file than the photo, found {output}")
    return output


def load_largest(path: Path, style_size: int, size: int) -> Tensor:
    """The painting for the finest scale, as far as its resolution goes, ``(3, H, W)``."""
    wanted = round(style_size * size / scales(size)[0])
    there_is = min(flatten(read_photo(path)).size)
    return load_painting(path, max(style_size, min(wanted, there_is)))


def check_coarsest(photo: Tensor, size: int) -> None:
    """Raise an InputError for a photo too narrow for the loss network."""
    height, width = photo.shape[-2:]
    if min(height, width) * scales(size)[0] / size < NARROWEST:
        raise InputError(
            f"photo: expected a shorter side of at least {NARROWEST} px at every scale, found "
            f"{width}x{height} px; crop it, or try a larger size"
        )


def watched(
    states: Iterator[tuple[int, Iteration]], cfg: DictConfig, output: Path
) -> Iterator[Iteration]:
    """The states as they come, with progress bar, pictures on the way and TensorBoard's curves."""
    writer = SummaryWriter(output.with_suffix("")) if cfg.tensorboard else None
    total = count_iterations(cfg.size, cfg.iterations)
    with tqdm(total=total, unit="it", disable=None) as bar:
        for side, state in states:
            bar.set_description(f"{side} px", refresh=False)
            bar.set_postfix({name: f"{state.terms[name]:.4g}" for name in SHOWN}, refresh=False)
            bar.update(state.number > 0)
            due = cfg.save_every and state.number and state.number % cfg.save_every == 0
            if due:
                save(state, output.with_stem(f"{output.stem}-{side}px-{state.number:04d}"))
            if writer:
                for name, value in state.terms.items():
                    writer.add_scalar(f"{side}px/{name}", value, state.number)
                if due:
                    writer.add_image(f"{side}px", state.picture[0], state.number)
            yield state
    if writer:
        writer.close()


def save(state: Iteration, path: Path) -> None:
    save_picture(Photo(to_array(state.picture[0])), path)


def said(state: Iteration) -> str:
    terms = "  ".join(f"{name} {state.terms[name]:.4g}" for name in SHOWN)
    return f"iteration {state.number}: {terms}"


def check_settings(cfg: DictConfig) -> None:
    """Raise an InputError for what would fail later."""
    check_whole("size", cfg.size, 64)
    check_whole("iterations", cfg.iterations, 1)
    check_whole("save_every", cfg.save_every, 0)
    check_whole("seed", cfg.seed, 0)
    check_whole("style.size", cfg.style.size, NARROWEST)
    for name, choices in (("start", STARTS), ("method", OPTIMIZERS)):
        if cfg[name] not in choices:
            raise InputError(f"{name}: expected one of {', '.join(choices)}, found {cfg[name]!r}")
    number = isinstance(cfg.lr, int | float) and not isinstance(cfg.lr, bool)
    if cfg.lr is not None and not (number and cfg.lr > 0):
        raise InputError(f"lr: expected a number above 0, found {cfg.lr!r}")


def run(cfg: DictConfig) -> None:
    with config_errors():
        optimize(cfg)


def main(argv: Sequence[str] | None = None) -> None:
    with signals(leave):
        run_command("optimize", run, argv)

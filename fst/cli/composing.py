"""What the commands that compose a config share: hydra itself, paintings, errors as one line."""

import functools
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fst.system.errors import InputError, one_line_errors
from fst.system.process import keep_freed_memory


def config_folder() -> Path:
    """``configs/`` of the repository, or its copy inside an installed package."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def find_painting(style: DictConfig) -> Path:
    """The painting's file; a missing one is named with the page where it can be had."""
    path = Path(str(style.image)).expanduser()
    if path.is_file():
        return path
    if style.page is None:
        raise InputError(f"style.image: expected a picture, found no file at {path}")
    raise InputError(
        f"painting: expected {style.title} ({style.painter}, {style.year}) at {path}, found "
        f"no such file; get it from {style.page} and set paths.paintings or FST_PAINTINGS to "
        "its folder"
    )


def as_dict(node: DictConfig) -> dict[str, Any]:
    """A config node as plain Python."""
    return cast(dict[str, Any], OmegaConf.to_container(node))


def without_hydra_keys(node: Mapping[str, Any]) -> dict[str, Any]:
    """A config node without hydra's own keys."""
    return {key: value for key, value in node.items() if not key.startswith("_")}


def with_target_name(node: dict[str, Any]) -> dict[str, Any]:
    """A config node with the last word of its target as ``name``."""
    return {"name": node["_target_"].rsplit(".", 1)[-1], **without_hydra_keys(node)}


def one_line(error: Exception) -> str:
    """What hydra says in several lines; an InputError inside speaks for itself."""
    if isinstance(error.__cause__, InputError):
        return str(error.__cause__)
    if str(error).startswith("Could not override"):
        key = str(error).split("'")[1]
        reason = str(error.__cause__ or error).splitlines()[0]
        return (
            f"setting: expected a key of the config, found {key!r} ({reason}); --cfg job shows all"
        )
    said = " ".join(str(error).split()).partition(" Config search path:")[0]
    if missing := re.search(r"Missing mandatory value: (\S+)", said):
        return f"{missing[1]}: expected a value, found none; try {missing[1]}=... or --help"
    return said


@contextmanager
def config_errors() -> Iterator[None]:
    """End the process with one line on an error of the user's or of hydra's."""
    with one_line_errors():
        try:
            yield
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(one_line(error)) from error


def run_alone(script: Callable[[], object]) -> None:
    """Run a function under ``hydra.main`` as a script does, with errors as one line."""
    keep_freed_memory()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra's own report takes six lines
    with config_errors():
        script()


def run_command(
    command: str, task: Callable[[DictConfig], object], words: Sequence[str] | None
) -> None:
    """Have hydra compose ``configs/<command>.yaml`` with these words, and run ``task`` with it.

    Hydra reads its words from ``sys.argv``. ``task`` finds there what it was before: Lightning
    starts that very command again where a training takes several processes.

    Args:
        command: A sub-command of ``fst``.
        task: Takes the composed config.
        words: Settings and hydra's own options; None: what follows the program's name.
    """
    whole = sys.argv

    @functools.wraps(task)
    def run_whole(cfg: DictConfig) -> object:
        sys.argv = whole
        return task(cfg)

    main = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=command)
    sys.argv = [f"fst {command}", *(whole[1:] if words is None else words)]
    try:
        run_alone(main(run_whole))
    finally:
        sys.argv = whole


def quiet_lightning() -> None:
    """Leave out what Lightning says that is known and of no use here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # no CUDA on a CPU
    for known in (
        "does not have many workers",  # held-out photos are few
        "in eval mode at the start of training",  # the loss network stays so
        "not resumable",  # ours counts its photos
        "treespec, LeafSpec",  # Lightning 2.6 on torch 2.15
    ):
        warnings.filterwarnings("ignore", f".*{known}")


def quoted(path: Path) -> str:
    """As Hydra takes names with any characters in them."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

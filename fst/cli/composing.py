"""What the scripts that compose a config share: paintings, config nodes, errors as one line."""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
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
    return " ".join(str(error).split())


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


def quiet_lightning() -> None:
    """Leave out what Lightning says that is known and of no use here."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
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

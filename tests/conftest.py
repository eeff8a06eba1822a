"""Pictures, a tiny checkpoint, and a way to run the scripts, for every test."""

import contextlib
import getpass
import io
import os
import runpy
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from fst.cli.main import COMMANDS, main
from fst.networks import build_network
from fst.styles import save_style

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"  # photos and weights that are not the project's to distribute

if isa := os.environ.get("ATEN_CPU_CAPABILITY"):  # of which the compiler's cache knows nothing
    CACHE = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}_{isa}"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(CACHE))

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"needs the shared photos and VGG-19 weights in {SHARED}"
)


def make_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth coloured blobs and an edge, mode RGB: enough structure to stylize."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    picture = coarse.resize((width, height), Image.Resampling.BICUBIC)
    box = [width // 4, height // 4, width // 2, height // 2]
    picture.paste(tuple(int(v) for v in rng.integers(0, 256, 3)), box)
    return picture


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    make_picture(90, 70).save(path)
    return path


def make_photo_folder(root: Path) -> Path:
    """Twelve photos of several sizes in a nested folder."""
    for k in range(12):
        path = root / ("a" if k % 2 else "b/c") / f"{k:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_picture(80 + 10 * k, 100, seed=k).save(path)
    return root


def make_painting(path: Path) -> Path:
    make_picture(120, 90, seed=99).save(path)
    return path


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    return make_photo_folder(tmp_path / "photos")


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    return make_painting(tmp_path / "painting.png")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A style file of an untrained width-4 network."""
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    network = {"name": "transformer", "arguments": {"width": 4}}
    save_style(path, build_network("transformer", width=4), {"network": network})
    return path


def start_of(name: str) -> list[str]:
    """What starts ``fst <name>``, or ``scripts/<name>.py`` where the command has no such word."""
    script = [str(ROOT / "scripts" / f"{name}.py")]
    return [sys.executable, *(["-m", "fst", name] if name in COMMANDS else script)]


def run_script(name: str, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command or a script as a user would, from the repository's folder."""
    command = [*start_of(name), *map(str, args)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def run_inline(name: str, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """`run_script` within this process: many times faster, since torch is loaded already."""
    words, folder = start_of(name)[1:], Path.cwd()
    if name in COMMANDS:
        words[:2], run = ["fst"], main
    else:
        run = partial(runpy.run_path, words[0], run_name="__main__")
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", [*words, *map(str, args)]),
        mock.patch.dict(os.environ, env),
        mock.patch.object(sys, "path", [str(ROOT / "scripts"), *sys.path]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            os.chdir(ROOT)
            run()
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            GlobalHydra.instance().clear()
            os.chdir(folder)
    return subprocess.CompletedProcess(args, status, out.getvalue(), err.getvalue())


def cells(line: str) -> list[str]:
    """The cells of one line of a Markdown table."""
    return [cell.strip() for cell in line.strip("| ").split(" | ")]


def error_line(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed script leaves; fails the test on a traceback or a zero exit."""
    assert result.returncode != 0, result.stdout
    lines = result.stderr.strip().splitlines()
    assert "Traceback" not in result.stderr, result.stderr
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert lines == errors or lines[0].startswith("run: "), result.stderr
    return errors[0]

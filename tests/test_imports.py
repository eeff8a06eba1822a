"""Stylizing must stay light: it starts in the time that torch and Pillow take."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

HEAVY = ("torchvision", "pytorch_lightning", "lightning", "hydra", "omegaconf", "tensorboard")
LIGHT = ("fst", "fst.images", "fst.networks", "fst.checkpoint", "fst.stylizer", "fst.files")


def heavy_after(code: str) -> list[str]:
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout.split()


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module):
    assert heavy_after(f"import {module}") == []


def test_losses_need_torch_alone():
    assert heavy_after("import fst.losses") == []


def test_stylizing_imports_nothing_heavy(photo, checkpoint, tmp_path):
    script = ROOT / "scripts/stylize.py"
    argv = [str(script), str(photo), "--style", str(checkpoint), "-o", str(tmp_path / "out.png")]
    code = f"import sys, runpy; sys.argv = {argv!r}\ntry: runpy.run_path({str(script)!r}, "
    code += "run_name='__main__')\nexcept SystemExit as stop: assert stop.code == 0"
    result = heavy_after(code)
    assert result == [str(tmp_path / "out.png")]  # the script's own line, and no module after it


def test_hydra_appears_nowhere_in_the_package():
    for path in (ROOT / "fst").glob("*.py"):
        assert not re.search(r"^\s*(import|from) (hydra|omegaconf)", path.read_text(), re.M), path


def test_no_file_is_over_300_lines():
    for folder in ("fst", "scripts", "tests"):
        for path in (ROOT / folder).glob("*.py"):
            assert len(path.read_text().splitlines()) <= 300, path

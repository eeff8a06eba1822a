"""Stylizing stays light; what may import what is a contract (import-linter, in pyproject.toml)."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

TRAINING = ("torchvision", "pytorch_lightning", "lightning", "hydra", "omegaconf", "tensorboard")
OPTIONAL = ("onnx", "onnxruntime", "onnxscript", "openvino", "pillow_heif", "pyvips")
HEAVY = ("torch", *TRAINING, *OPTIONAL)  # torch imports tqdm by itself


def heavy_after(code: str) -> list[str]:
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return result.stdout.split()


def test_the_package_and_the_ground_floor_load_no_torch():
    assert heavy_after("import fst, fst.system.errors, fst.system.files, fst.system.process") == []


@pytest.mark.slow
def test_stylizing_imports_torch_alone():
    """All in one process: each takes torch's start."""
    rooms = "stylizer, fst.engines, fst.images, fst.styles, fst.serving.folders, fst.losses"
    assert heavy_after(f"import fst.{rooms}, fst.serving.pipeline") == ["torch"]


def painted(photo, checkpoint, tmp_path, engine: str) -> list[str]:
    """The heavy packages that repainting a photo loads, behind the command's own line."""
    script, out = ROOT / "scripts/stylize.py", tmp_path / "out.png"
    argv = [str(script), str(photo), "--style", str(checkpoint), "-o", str(out), "--engine", engine]
    code = f"import sys, runpy; sys.argv = {argv!r}\ntry: runpy.run_path({str(script)!r}, "
    code += "run_name='__main__')\nexcept SystemExit as stop: assert stop.code == 0"
    first, *loaded = heavy_after(code)
    assert first == str(out)
    return loaded


@pytest.mark.slow
def test_stylizing_a_file_imports_what_it_uses(photo, checkpoint, tmp_path):
    assert painted(photo, checkpoint, tmp_path, "eager") == ["torch"]


@pytest.mark.slow
def test_stylizing_with_openvino_imports_no_exporter(photo, checkpoint, tmp_path):
    assert painted(photo, checkpoint, tmp_path, "openvino") == ["torch", "openvino"]


def test_no_file_is_over_300_lines():
    for folder in ("fst", "scripts", "tests", "research"):
        for path in (ROOT / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 300, path

"""Stylizing must stay light: it starts in the time that torch and Pillow take."""

import re
import subprocess
import sys

from tests.conftest import ROOT

TRAINING = ("torchvision", "pytorch_lightning", "lightning", "hydra", "omegaconf", "tensorboard")
OPTIONAL = ("onnx", "onnxruntime", "onnxscript", "openvino", "pillow_heif", "pyvips")
HEAVY = (*TRAINING, *OPTIONAL)  # torch imports tqdm by itself
# what only training needs, and the engine that imports its package
OTHER = (
    "callbacks",
    "data",
    "gatys",
    "metrics",
    "traces",
    "lit_module",
    "safety",
    "losses",
    "runs",
    "decomposition",
    "distillation",
    "vgg",
    "openvino_engine",
)
LIGHT = sorted({path.stem for path in (ROOT / "fst").glob("[a-z]*.py")} - set(OTHER))


def heavy_after(code: str) -> list[str]:
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout.split()


def test_light_modules_are_known():
    known = "engines", "deploy", "tiling", "controls", "folders", "pipeline", "photo", "stylizer"
    assert {*known, "checkpoint", "export", "files", "images", "networks"} <= set(LIGHT)


def test_light_modules_import_nothing_heavy():
    """All in one process: each takes torch's start."""
    assert heavy_after("import fst, " + ", ".join(f"fst.{name}" for name in LIGHT)) == []


def test_losses_need_torch_alone():
    assert heavy_after("import fst.losses") == []


def painted(photo, checkpoint, tmp_path, engine: str) -> list[str]:
    """The heavy packages that repainting a photo loads, behind the script's own line."""
    script, out = ROOT / "scripts/stylize.py", tmp_path / "out.png"
    argv = [str(script), str(photo), "--style", str(checkpoint), "-o", str(out), "--engine", engine]
    code = f"import sys, runpy; sys.argv = {argv!r}\ntry: runpy.run_path({str(script)!r}, "
    code += "run_name='__main__')\nexcept SystemExit as stop: assert stop.code == 0"
    first, *loaded = heavy_after(code)
    assert first == str(out)
    return loaded


def test_stylizing_imports_what_it_uses(photo, checkpoint, tmp_path):
    assert painted(photo, checkpoint, tmp_path, "eager") == []


def test_stylizing_with_openvino_imports_no_exporter(photo, checkpoint, tmp_path):
    assert painted(photo, checkpoint, tmp_path, "openvino") == ["openvino"]


def test_hydra_appears_nowhere_in_the_package():
    for path in (ROOT / "fst").glob("*.py"):
        assert not re.search(r"^\s*(import|from) (hydra|omegaconf)", path.read_text(), re.M), path


def test_no_file_is_over_300_lines():
    for folder in ("fst", "scripts", "tests"):
        for path in (ROOT / folder).glob("*.py"):
            assert len(path.read_text().splitlines()) <= 300, path

"""Training after painting, in one process: a user's notebook (docs/lab/crash-after-painting.md)."""

import os
import subprocess
import sys

import pytest

from fst.engines import available_engines
from tests.cli.test_end_to_end import arguments, only_run
from tests.conftest import ROOT


@pytest.mark.slow
def test_a_process_that_painted_with_every_engine_trains(
    photo, checkpoint, photo_folder, painting, tmp_path
):
    out = tmp_path / "out"
    more = "compile=true", "data.workers=2", "shift_weight=0", "trainer.precision=32-true"
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.paint_then_train"]
    command += [photo, checkpoint, *arguments(photo_folder, painting, out, *more)]
    result = subprocess.run(
        command, cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"painted by {' '.join(available_engines())}\n")
    assert "20 steps in" in result.stdout
    assert (only_run(out) / "mine.safetensors").exists()

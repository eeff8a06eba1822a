"""Every shipped style repaints the example photos bit for bit as it always did (eager, fp32).

Sums depend on a CPU's vector units; a process in which PyTorch and oneDNN use the least of them
gives the same bits on every x86 machine, with any number of threads. The hashes were taken before
the code moved into its folders. A new style adds its own, from `python -m tests.stylizer.painted`
under the variables below.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fst.styles import shipped_styles
from tests.conftest import ROOT

KNOWN = json.loads(Path(__file__).with_name("shipped_styles.json").read_text())
LEAST = {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="hashes of x86 machines")
@pytest.mark.skipif(
    not torch.__version__.startswith(f"{KNOWN['torch']}."),
    reason=f"hashes of torch {KNOWN['torch']}; another may sum in another order",
)
def test_shipped_styles_paint_what_they_painted():
    result = subprocess.run(
        [sys.executable, "-m", "tests.stylizer.painted"],
        cwd=ROOT, env={**os.environ, **LEAST}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    painted = json.loads(result.stdout)
    assert {name.split("/")[0] for name in painted} == set(shipped_styles())
    other = sorted(name for name in KNOWN["sha256"] if painted.get(name) != KNOWN["sha256"][name])
    assert not other, f"painted differently: {', '.join(other)}"
    assert painted.keys() == KNOWN["sha256"].keys(), "a new style or photo: add its hash"

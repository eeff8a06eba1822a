"""A process that painted still hears signals (docs/lab/crash-after-painting.md)."""

import os
import signal
import subprocess
import sys

import pytest

from fst.engines import available_engines
from tests.conftest import ROOT

PAINT = """
import os, signal, sys
import numpy as np
import torch
from fst.engines import make_engine
from fst.networks import build_network

def paint():
    engines = [make_engine(build_network("transformer", width=2), torch.device("cpu"), "openvino")
               for _ in range(2)]
    for engine in engines:
        engine.stylize(np.zeros((16, 16, 3), np.uint8))
    while engines:
        del engines[0]

paint()
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    sys.exit("stopped")
"""


@pytest.mark.slow
@pytest.mark.skipif("openvino" not in available_engines(), reason="needs openvino")
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_after_engines_were_dropped_in_the_order_of_making(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", PAINT], cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, "stopped\n")

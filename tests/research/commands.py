"""A way to run the commands of research/compact within the tests' process."""

import contextlib
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from tests.conftest import ROOT


def run(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    """``python -m research.compact.NAME`` from the repository's root."""
    module, folder = importlib.import_module(f"research.compact.{name}"), Path.cwd()
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", [f"{name}.py", *map(str, args)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            os.chdir(ROOT)
            module.main()
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            GlobalHydra.instance().clear()
            os.chdir(folder)
    return subprocess.CompletedProcess(args, status, out.getvalue(), err.getvalue())

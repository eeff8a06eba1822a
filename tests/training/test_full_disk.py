"""A training where nothing more can be written goes on, and says so."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fst.styles import load_style
from fst.training import checkpoints as safety
from fst.training.checkpoints import Checkpoints
from tests.cli.test_end_to_end import arguments, only_run
from tests.conftest import ROOT
from tests.training.test_safety import run, step_of


def test_a_full_disk_is_reported_and_training_goes_on(tmp_path, photo_folder, monkeypatch, capsys):
    write, calls = Path.write_bytes, []

    def full(path, content):
        calls.append(path)
        if len(calls) == 2:
            write(path, b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    safety._warn.cache_clear()
    monkeypatch.setattr(Path, "write_bytes", full)
    run(
        tmp_path, photo_folder, Checkpoints(tmp_path / "c", every_n_steps=1, every_minutes=60),
        max_steps=3,
    )  # fmt: skip
    assert len(calls) == 3
    assert "warning: checkpoint not written, training goes on: " in (err := capsys.readouterr().err)
    assert "No space left on device" in err
    assert step_of(tmp_path / "c/last.ckpt") == 3
    assert step_of(tmp_path / "c/previous.ckpt") == 1
    assert len(list((tmp_path / "c").iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, photo_folder, capsys):
    (tmp_path / "c").touch()  # a file where the folder should be
    safety._warn.cache_clear()
    trainer, _ = run(
        tmp_path, photo_folder, Checkpoints(tmp_path / "c", every_n_steps=1, every_minutes=60)
    )
    assert trainer.global_step == 4
    assert capsys.readouterr().err.count("warning: checkpoint not written") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs a limit on file sizes")
@pytest.mark.parametrize("limit", [100_000, 10_000])
def test_a_disk_without_room_does_not_stop_training(limit, photo_folder, painting, tmp_path):
    """No file may be larger than a limit: one that a release meets, and one that none does."""
    import resource  # not on Windows

    outputs = tmp_path / "out"
    args = arguments(photo_folder, painting, outputs)
    process = subprocess.run(
        [sys.executable, str(ROOT / "scripts/train.py"), *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, text=True,
        capture_output=True, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (limit, limit)
        ),
    )  # fmt: skip
    err = process.stderr
    assert "Traceback" not in err, err
    assert err.count("warning: checkpoint not written, training goes on: ") == 1, err
    assert "20/20" in err  # to the end
    run = only_run(outputs)
    assert not list(run.glob("checkpoints/*.ckpt"))
    release = run / "mine.safetensors"
    if limit == 100_000:
        assert process.returncode == 0, err
        assert load_style(release)[1]["training"]["steps"] in (10, 20)
    else:
        assert process.returncode == 1
        assert not release.exists()
        assert (
            "expected room for the trained network, found none; nor for a checkpoint; make" in err
        )
    assert not list(run.rglob(".*"))  # nothing half-written

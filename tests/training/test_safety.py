"""What may happen to a long run, and what is left of it."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from fst.styles import load_style
from fst.system.errors import InputError
from fst.training import data
from fst.training.checkpoints import AtomicCheckpointIO, Checkpoints
from tests.cli.test_end_to_end import arguments, only_run
from tests.conftest import ROOT, error_line, run_inline
from tests.training.test_callbacks import fit
from tests.training.test_data import FakeTrainer

KILLS = int(os.environ.get("FST_TEST_KILLS", "2"))
ENDLESS = ["trainer.max_steps=100000", "trainer.val_check_interval=100000", "compile=false"]


@pytest.fixture
def as_input_error(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from fst.cli.failures import as_input_error

    return as_input_error


def step_of(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


def run(tmp_path, photo_folder, checkpoints, **options):
    io = {"plugins": [AtomicCheckpointIO()], "enable_checkpointing": True}
    return fit(tmp_path, photo_folder, [checkpoints], **io, **options)


def test_checkpoints_come_by_steps_and_the_one_before_is_kept(tmp_path, photo_folder):
    run(tmp_path, photo_folder, Checkpoints(tmp_path / "c", every_n_steps=3, every_minutes=60))
    assert step_of(tmp_path / "c/previous.ckpt") == 3
    assert step_of(tmp_path / "c/last.ckpt") == 4  # the last step
    assert len(list((tmp_path / "c").iterdir())) == 2


def test_checkpoints_come_by_minutes(tmp_path, photo_folder):
    run(tmp_path, photo_folder, Checkpoints(tmp_path / "c", every_n_steps=100, every_minutes=0))
    assert step_of(tmp_path / "c/previous.ckpt") == 3


def start(photo_folder, painting, outputs, *more) -> subprocess.Popen:
    """A training that goes on until something happens, at its first checkpoint or later."""
    command = [sys.executable, str(ROOT / "scripts/train.py")]
    command += arguments(photo_folder, painting, outputs, *ENDLESS, *more)
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(outputs.glob("*/*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    return process


def end(process: subprocess.Popen) -> str:
    """The error line that it leaves."""
    out, err = process.communicate(timeout=120)
    kept = [line for line in err.splitlines() if line.startswith(("error: ", "Traceback"))]
    assert process.returncode == 1, err
    assert len(kept) == 1, err
    assert not out
    return kept[0]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_and_saves(number, photo_folder, painting, tmp_path):
    process = start(photo_folder, painting, tmp_path / "out")
    process.send_signal(number)
    line = end(process)
    checkpoints = only_run(tmp_path / "out") / "checkpoints"
    assert line.startswith(f"error: stopped after step {step_of(checkpoints / 'last.ckpt')}; go on")
    assert line.endswith(" ckpt_path=last")
    assert (checkpoints / "previous.ckpt").exists()


def test_a_checkpoint_waits_for_the_curves_of_its_step(tmp_path):
    saved = []
    trainer = SimpleNamespace(
        global_step=0, max_steps=9, log_every_n_steps=3,
        save_checkpoint=lambda _: saved.append(step),
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision),
    )  # fmt: skip
    checkpoints = Checkpoints(tmp_path, every_n_steps=2, every_minutes=5)
    checkpoints.on_train_start(trainer, None)
    checkpoints.teardown(trainer, None, "fit")
    for batch in range(2, 20):  # two to a step
        step = trainer.global_step = (batch - 1) // 2
        checkpoints.on_train_batch_end(trainer, None)
    assert saved == [2, 4, 7, 8, 9]  # the sixth has curves; the last has no next


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_kills_at_random_moments_change_nothing(photo_folder, painting, tmp_path):
    """FST_TEST_KILLS=20 takes some minutes."""
    steps, chance = 12 * KILLS, random.Random(0)
    more = f"trainer.max_steps={steps}", "callbacks.checkpoint.every_n_steps=2", "compile=false"
    whole = arguments(photo_folder, painting, tmp_path / "whole", *more)
    assert run_inline("train", *whole).returncode == 0
    outputs = tmp_path / "killed"
    killed = arguments(photo_folder, painting, outputs, *more)
    command, reached = [sys.executable, str(ROOT / "scripts/train.py"), *killed], 0
    for _ in range(KILLS):
        again = ["ckpt_path=last"] if reached else []
        process = subprocess.Popen(
            [*command, *again], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT,
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        while process.poll() is None and newest_step(outputs) <= reached:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
        reached = newest_step(outputs)
    last = run_inline("train", *killed, "ckpt_path=last")
    assert last.returncode == 0, last.stderr
    found, expected = (
        torch.load(only_run(tmp_path / name) / "checkpoints/last.ckpt", weights_only=True)
        for name in ("killed", "whole")
    )
    assert found["global_step"] == steps
    for name, tensor in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], tensor), name
    curves = []
    for name in "killed", "whole":
        events = EventAccumulator(str(only_run(tmp_path / name)))
        events.Reload()
        curves.append([(event.step, event.value) for event in events.Scalars("loss/total")])
    assert curves[0] == curves[1]  # one curve, the same


def newest_step(outputs: Path) -> int:
    """Of the checkpoints that are whole at this moment."""
    steps = [0]
    for path in outputs.glob("*/*/checkpoints/*.ckpt"):
        with contextlib.suppress(Exception):  # replaced while it is read
            steps.append(step_of(path))
    return max(steps)


@pytest.mark.slow
def test_photos_that_disappear_end_in_one_line(photo_folder, painting, tmp_path):
    process = start(photo_folder, painting, tmp_path / "out", "data.workers=1")
    shutil.rmtree(photo_folder)
    line = end(process)
    assert "photos: expected usable ones, found " in line
    assert line.endswith(" ckpt_path=last")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to find the worker")
def test_a_killed_worker_ends_in_one_line(photo_folder, painting, tmp_path):
    process = start(photo_folder, painting, tmp_path / "out", "data.workers=1")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    line = end(process)
    assert "photos: a process that reads them was killed" in line
    assert line.endswith(" ckpt_path=last")


def test_nan_ends_in_one_line_and_leaves_the_last_good_release(photo_folder, painting, tmp_path):
    more = ["trainer.max_steps=12", "trainer.val_check_interval=4", "compile=false"]
    more += ["+callbacks.poison._target_=tests.poison.Poison", "+callbacks.poison.step=6"]
    result = run_inline("train", *arguments(photo_folder, painting, tmp_path / "out", *more))
    line = next(line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert re.match(
        r"error: training stopped at step 6: the loss term (content|tv) is nan; try", line
    )
    net, card = load_style(only_run(tmp_path / "out") / "mine.safetensors")
    assert card["training"]["steps"] == 4
    assert all(weight.isfinite().all() for weight in net.parameters())


class Hanging(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, k):
        time.sleep(60)


def test_a_hanging_loader_is_given_up(as_input_error):
    with pytest.raises(RuntimeError, match="timed out") as caught:
        next(iter(DataLoader(Hanging(), num_workers=1, timeout=1)))
    line = str(as_input_error(caught.value, "go on with: x"))
    assert line.startswith(f"photos: expected a batch within {data.PATIENCE} s, found none")


def test_the_loader_of_a_training_has_a_time_limit(photo_folder):
    module = data.PhotoDataModule(photo_folder, 64, 1, held_out=1, workers=1)
    module.setup()
    module.trainer = FakeTrainer()
    assert module.train_dataloader().timeout == data.PATIENCE


def test_a_full_gpu_names_the_settings(as_input_error):
    error = as_input_error(torch.OutOfMemoryError("CUDA out of memory. Tried ..."), "go on")
    assert isinstance(error, InputError)
    assert "try a smaller data.batch_size, data.crop_size" in str(error)


def test_what_is_not_understood_stays_as_it_is(as_input_error):
    assert as_input_error(RuntimeError("shape mismatch"), "go on") is None
    assert as_input_error(InputError("says it all"), "go on") is None


@pytest.fixture
def two_checkpoints(photo_folder, painting, tmp_path):
    outputs = tmp_path / "out"
    more = "trainer.max_steps=10", "callbacks.checkpoint.every_n_steps=4"
    result = run_inline("train", *arguments(photo_folder, painting, outputs, *more))
    assert result.returncode == 0, result.stderr
    return only_run(outputs) / "checkpoints", more, outputs


@pytest.mark.slow
def test_a_damaged_checkpoint_falls_back_to_the_one_before(two_checkpoints, photo_folder, painting):
    checkpoints, more, outputs = two_checkpoints
    last, before = checkpoints / "last.ckpt", checkpoints / "previous.ckpt"
    expected = torch.load(last, weights_only=True)["state_dict"]
    assert (step_of(last), step_of(before)) == (10, 8)
    last.write_bytes(last.read_bytes()[:1000])
    args = arguments(photo_folder, painting, outputs, *more, "ckpt_path=last")
    result = run_inline("train", *args)
    assert result.returncode == 0, result.stderr
    assert f"warning: {last} is damaged; going on from {before}" in result.stderr
    for name, tensor in torch.load(last, weights_only=True)["state_dict"].items():
        assert torch.equal(tensor, expected[name]), name
    last.write_bytes(b"")
    before.unlink()
    line = error_line(run_inline("train", *args))
    assert "last.ckpt: expected a checkpoint of Lightning, found a damaged file" in line

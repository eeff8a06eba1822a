"""Several processes, and several batches a step: the same training as one larger batch.

Processes and accumulated batches of one photo take the same sums: their trainings are equal, on
every machine. Convolutions add a batch of two photos in another order, and every step multiplies
what that rounds.
"""

import os
import socket
import subprocess
import sys

import pytest
import torch

from fst.styles import load_style
from tests.cli.test_end_to_end import DESCENT, arguments, only_run
from tests.conftest import ROOT, make_painting, make_photo_folder, run_script

EXACT = ["trainer.precision=32-true", "trainer.accelerator=cpu", "shift_weight=0", *DESCENT]
STEPS = ["trainer.max_steps=6", "trainer.val_check_interval=3", "trainer.log_every_n_steps=3"]
TWO = ["trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=1"]
ACCUMULATED = ["data.batch_size=1", "trainer.accumulate_grad_batches=2"]


def result_of(outputs):
    """The losses on held-out photos and the weights that a training ended with."""
    net, card = load_style(only_run(outputs) / "mine.safetensors")
    return card["metrics"], net.state_dict()


def trained(photo_folder, painting, outputs, *more):
    args = arguments(photo_folder, painting, outputs, *EXACT, *STEPS, *more)
    result = run_script("train", *args, OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("style file: ") == 1  # one process speaks
    return result_of(outputs)


def distance(metrics, expected):
    return max(abs(metrics[name] - value) / value for name, value in expected.items())


def assert_equal(result, expected):
    (metrics, weights), (metrics_of_one, weights_of_one) = result, expected
    assert metrics == metrics_of_one
    for name, weight in weights_of_one.items():
        assert torch.equal(weights[name], weight), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process with two batches of a photo a step: its pictures, and its result."""
    root = tmp_path_factory.mktemp("alone")
    pictures = make_photo_folder(root / "photos"), make_painting(root / "painting.png")
    return pictures, trained(*pictures, root / "out", *ACCUMULATED)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs gloo")
def test_two_processes_train_as_one(alone, tmp_path):
    pictures, expected = alone
    assert_equal(trained(*pictures, tmp_path / "two", *TWO), expected)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def finish(*processes: subprocess.Popen) -> None:
    """Fails unless all end well, and one alone speaks of the release."""
    said = [process.communicate(timeout=300) for process in processes]
    assert all(process.returncode == 0 for process in processes), said
    assert sum(out.count("style file: ") for out, _ in said) == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs gloo")
@pytest.mark.parametrize("launcher", ["torchrun", "slurm"])
def test_launchers_of_clusters_start_one_training(launcher, alone, tmp_path):
    pictures, expected = alone
    args = [str(ROOT / "scripts/train.py")]
    args += arguments(*pictures, tmp_path / "two", *EXACT, *STEPS, *TWO)
    common = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = {"cwd": ROOT, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if launcher == "torchrun":
        start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
        start.append(f"--master-port={free_port()}")
        finish(subprocess.Popen([*start, *args], env=common, **options))
    else:  # what srun tells the processes that it starts
        slurm = {
            "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1",
            "SLURM_JOB_ID": str(10_000 + free_port()), "SLURM_JOB_NAME": "fst", "SLURM_NODEID": "0",
            "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": str(free_port()),
        }  # fmt: skip
        ranks = ({"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01")
        command = [sys.executable, *args]
        envs = [common | slurm | rank for rank in ranks]
        finish(*(subprocess.Popen(command, env=env, **options) for env in envs))
    assert_equal(result_of(tmp_path / "two"), expected)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs gloo")
def test_one_process_goes_on_with_what_two_began(alone, tmp_path):
    """By one step: a batch of two photos takes other sums."""
    pictures, (expected, _) = alone
    trained(*pictures, tmp_path / "two", *TWO, "callbacks.checkpoint.every_n_steps=5")
    before = only_run(tmp_path / "two") / "checkpoints/previous.ckpt"
    assert torch.load(before, weights_only=True)["global_step"] == 5
    more = "data.batch_size=2", f"ckpt_path={before}"
    metrics, _ = trained(*pictures, tmp_path / "two", *more)
    assert distance(metrics, expected) < 1e-5


@pytest.mark.slow
def test_accumulated_batches_train_as_one(alone, tmp_path):
    """For two steps: a batch of two photos takes other sums."""
    pictures, _ = alone
    two = "data.batch_size=2", "trainer.max_steps=2", "trainer.val_check_interval=2"
    expected, accumulated, other = (
        trained(*pictures, tmp_path / name, *two, *more)[0]
        for name, more in (("one", []), ("two", ACCUMULATED), ("other", ["data.seed=1"]))
    )
    assert distance(accumulated, expected) < 1e-5
    assert distance(other, expected) > 1e-3  # what other photos change

"""``fst optimize`` as a user runs it: results, interruptions, and one line for bad input."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import ROOT, error_line, make_picture, run_inline

RANDOM = [f"hydra.searchpath=[file://{ROOT}/tests/configs]", "loss/extractor=random"]


def arguments(photo, painting, output, *more):
    return [
        f"photo={photo}", "style.name=mine", f"style.image={painting}", "style.size=64",
        *RANDOM, f"output={output}", "size=64", "iterations=4", *more,
    ]  # fmt: skip


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def test_a_picture_and_what_it_took(photo, painting, tmp_path):
    out = tmp_path / "new" / "out.png"
    result = run_inline("optimize", *arguments(photo, painting, out, "save_every=2"))
    assert result.returncode == 0, result.stderr
    assert re.search(r"out.png: iteration 4: total \S+  style \S+  content \S+, ", result.stdout)
    assert size_of(out) == (64, 50)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "out-64px-0002.png", "out-64px-0004.png", "out.png",
    ]  # fmt: skip


def test_large_pictures_go_from_coarse_to_fine(photo, painting, tmp_path):
    out = tmp_path / "out.jpg"
    more = ["size=600", "iterations=2", "save_every=1", "start=blank", "method=adam"]
    result = run_inline("optimize", *arguments(photo, painting, out, *more))
    assert result.returncode == 0, result.stderr
    assert size_of(out) == (600, 467)
    names = sorted(path.name for path in tmp_path.glob("out-*"))
    assert names == ["out-300px-0001.jpg", "out-300px-0002.jpg", "out-600px-0001.jpg"]


def test_the_default_output_is_named_for_photo_and_style(photo, painting, tmp_path):
    more = ["output=null", f"paths.outputs={tmp_path}", "save_every=0", "iterations=1"]
    assert run_inline("optimize", *arguments(photo, painting, None, *more)).returncode == 0
    assert size_of(tmp_path / "optimized" / f"{photo.stem}-mine.png") == (64, 50)


def test_the_photo_is_never_written_over(photo, painting):
    before = photo.read_bytes()
    line = error_line(run_inline("optimize", *arguments(photo, painting, photo)))
    assert "expected another file than the photo" in line
    assert photo.read_bytes() == before


def test_a_lost_optimisation_keeps_the_picture_before(photo, painting, tmp_path):
    out = tmp_path / "out.png"
    more = ["line_search=false", "lr=inf", "save_every=0", "iterations=50"]
    line = error_line(run_inline("optimize", *arguments(photo, painting, out, *more)))
    assert "the objective is" in line
    assert "saved as far as it was" in line
    assert size_of(out) == (64, 50)


def test_tensorboard_has_the_terms(photo, painting, tmp_path):
    out = tmp_path / "out.png"
    more = ["tensorboard=true", "line_search=false", "start=noise"]
    assert run_inline("optimize", *arguments(photo, painting, out, *more)).returncode == 0
    events = EventAccumulator(str(tmp_path / "out"))
    events.Reload()
    assert "64px/total" in events.Tags()["scalars"]
    totals = [event.value for event in events.Scalars("64px/total")]
    assert len(totals) == 5
    assert totals[-1] < totals[0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_keep_the_picture(number, photo, painting, tmp_path):
    out = tmp_path / "out.png"
    command = [sys.executable, str(ROOT / "scripts" / "optimize.py")]
    command += arguments(photo, painting, out, "iterations=1000000", "save_every=3")
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # ignored in the background
    )
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("out-64px-*.png")):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()  # where the test fails, nothing goes on for a million iterations
    assert process.returncode == 1
    assert re.search(
        r"^error: interrupted; saved as far as it was: \S+out\.png \(iteration \d+", err, re.M
    )
    assert "Traceback" not in err
    assert size_of(out) == (64, 50)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("start=sky", "start: expected one of photo, noise, blank, found 'sky'"),
        ("method=sgd", "method: expected one of lbfgs, adam, found 'sgd'"),
        ("iterations=0", "iterations: expected a whole number from 1 up, found 0"),
        ("size=10", "size: expected a whole number from 64 up, found 10"),
        ("lr=-1", "lr: expected a number above 0, found -1"),
        ("lr=true", "lr: expected a number above 0, found True"),
        ("seed=abc", "seed: expected a whole number from 0 up, found 'abc'"),
        ("style.size=20", "style.size: expected a whole number from 32 up, found 20"),
        ("style.image=null", "expected a picture, found no file at None"),
        ("size=1026", "photo: expected a shorter side of at least 32 px at every scale"),
        ("precision=16", "precision: expected auto, 32-true or bf16-mixed, found 16"),
        ("device=abacus", "device: expected auto, cpu or a GPU of this machine, found 'abacus'"),
        ("photo={tmp}/no.jpg", "no.jpg: expected a picture"),
        ("output={tmp}/out.txt", "out.txt"),
        ("iterationz=3", "expected a key of the config, found 'iterationz'"),
    ],
)
def test_bad_settings(override, said, photo, painting, tmp_path):
    if override.startswith("size=1026"):
        make_picture(600, 40).save(photo)
    args = arguments(photo, painting, tmp_path / "out.png", override.format(tmp=tmp_path))
    assert said in error_line(run_inline("optimize", *args))
    assert not (tmp_path / "out.png").exists()


def test_the_photo_is_required(painting, tmp_path):
    make_picture(80, 70).save(tmp_path / "a.png")
    args = arguments(tmp_path / "a.png", painting, tmp_path / "out.png")[1:]
    assert "photo: expected a value, found none" in error_line(run_inline("optimize", *args))

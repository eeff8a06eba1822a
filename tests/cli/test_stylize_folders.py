"""Long runs of ``fst stylize``, with a painter that waits: going on, Ctrl-C, kills, options."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fst.images
import fst.system.files
from fst.system.errors import InputError
from tests.conftest import ROOT, error_line, make_picture, run_inline
from tests.scripts.test_scripts import files
from tests.slow_stylize import Inverter


@pytest.fixture
def painters(monkeypatch) -> list[Inverter]:
    """`Inverter` in the place of `Stylizer`; the list of those that a script made."""
    made = []

    def make(*args, **options):
        made.append(Inverter(*args, **options))
        return made[-1]

    monkeypatch.setattr("fst.stylizer.Stylizer", make)
    return made


def make_pngs(root: Path, number: int) -> Path:
    for k in range(number):
        path = root / "ab"[k % 2] / f"{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_picture(24 + k, 20, seed=k).save(path)
    return root


def stylize(*args):
    return run_inline("stylize", *args, "--style", "x")


def test_an_interrupted_run_goes_on_and_overwrite_begins_again(painters, tmp_path):
    photos, out = make_pngs(tmp_path / "photos", 6), tmp_path / "out"
    assert len(stylize(photos, "-o", out).stdout.splitlines()) == 6
    (out / "a/02.png").unlink()
    before = (out / "a/00.png").stat().st_mtime_ns
    result = stylize(photos, "-o", out)
    assert result.stdout.splitlines() == [str(out / "a/02.png")]
    assert "5 already there; --overwrite repaints them" in result.stderr
    result = stylize(photos, "-o", out)
    assert (result.returncode, result.stdout) == (0, "")
    assert "6 already there" in result.stderr
    assert (out / "a/00.png").stat().st_mtime_ns == before
    assert len(stylize(photos, "-o", out, "--overwrite").stdout.splitlines()) == 6
    assert (out / "a/00.png").stat().st_mtime_ns > before


def test_a_file_that_is_named_is_always_written(painters, tmp_path):
    photo = make_pngs(tmp_path, 1) / "a/00.png"
    for _ in range(2):
        result = stylize(photo, "-o", tmp_path / "out.png")
        assert result.stdout == f"{tmp_path / 'out.png'}\n"
        assert result.stderr == "auto auto on auto\n"
    with Image.open(photo) as before, Image.open(tmp_path / "out.png") as after:
        assert np.array_equal(255 - np.asarray(before), np.asarray(after))


def test_options_reach_the_painter(painters, tmp_path):
    photo = make_pngs(tmp_path, 1) / "a/00.png"
    options = "--engine eager --precision bf16 --memory 200 --device cpu --strength 0.5 --scale 0.7"
    result = stylize(
        photo, "-o", tmp_path / "x.png", *options.split(), "--preserve-color", "--max-side", 99
    )
    assert result.stderr == "eager bf16 on cpu\n"
    (painter,) = painters
    assert (painter.device, painter.options) == ("cpu", {"memory": 200})
    assert painter.calls == [
        {"strength": 0.5, "preserve_color": True, "scale": 0.7, "max_side": 99}
    ]


def test_every_gpu_takes_part(painters, monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    photos = make_pngs(tmp_path / "photos", 2)
    result = stylize(photos, "-o", tmp_path / "out")
    assert [painter.device for painter in painters] == ["cuda:0", "cuda:1"]  # two photos
    assert "auto auto on cuda:0, cuda:1" in result.stderr
    assert sum(len(painter.calls) for painter in painters) == 2
    stylize(photos, "-o", tmp_path / "out2", "--device", "cuda:2")
    assert [painter.device for painter in painters[2:]] == ["cuda:2"]


def test_quality_and_metadata(painters, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Camera & Co"
    make_picture(200, 150).save(tmp_path / "x.jpg", exif=exif)
    sizes = []
    for number, quality in enumerate((95, 30)):
        out = tmp_path / f"{number}.jpg"
        stylize(tmp_path / "x.jpg", "-o", out, "--quality", quality)
        sizes.append(out.stat().st_size)
        with Image.open(out) as painted:
            assert painted.getexif()[0x010F] == "Camera & Co"
    assert sizes[1] < sizes[0] / 2
    stylize(tmp_path / "x.jpg", "-o", tmp_path / "bare.jpg", "--strip-metadata")
    with Image.open(tmp_path / "bare.jpg") as painted:
        assert 0x010F not in painted.getexif()


def test_masks_of_a_folder_and_a_missing_one(painters, tmp_path):
    photos, masks, out = make_pngs(tmp_path / "photos", 3), tmp_path / "masks", tmp_path / "out"
    for name, color in (("a/00.bmp", "white"), ("b/01.png", "black")):
        (masks / name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open((photos / name).with_suffix(".png")) as photo:
            Image.new("L", photo.size, color).save(masks / name)
    result = stylize(photos, "-o", out, "--mask", masks)
    assert result.returncode == 1
    assert f"error: {photos / 'a/02.png'}: expected a mask for it at" in result.stderr
    assert files(out) == ["a/00.png", "b/01.png"]
    for name, inverted in (("a/00.png", True), ("b/01.png", False)):
        with Image.open(photos / name) as before, Image.open(out / name) as after:
            expected = np.asarray(before) ^ (255 * inverted)
            assert np.array_equal(expected, np.asarray(after))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--strength", "1.5", "strength: expected 0 to 1, found 1.5"),
        ("--strength", "nan", "strength: expected 0 to 1, found nan"),
        ("--scale", "0", "scale: expected 0.05 to 20, found 0.0"),
        ("--max-side", "3", "max_side: expected 16 px or more, found 3"),
        ("--quality", "0", "quality: expected 1 to 100, found 0"),
        ("--workers", "0", "workers: expected 1 to 1024, found 0"),
        ("--mask", "nosuch.png", "nosuch.png: expected a picture, found no such file"),
    ],
)
def test_bad_options(option, value, said, painters, tmp_path):
    photos = make_pngs(tmp_path / "photos", 2)
    assert said in error_line(stylize(photos, "-o", tmp_path / "out", option, value))
    assert painters == []
    assert not (tmp_path / "out").exists()


def test_failed_photos_are_listed_at_the_end(painters, tmp_path):
    photos, out = make_pngs(tmp_path / "photos", 8), tmp_path / "out"
    for name in ("a/00.png", "b/03.png"):
        (photos / name).write_text("hello")
    result = stylize(photos, "-o", out)
    assert result.returncode == 1
    *listed, last = result.stderr.strip().splitlines()[-3:]
    for name, line in zip(("a/00.png", "b/03.png"), sorted(listed), strict=True):
        assert line.startswith(f"error: {photos / name}: expected a picture")
    assert last == "error: 2 of 8 photos could not be repainted (see above)"
    assert len(files(out)) == 6
    assert "8/8" in result.stderr
    assert "images/s" in result.stderr


def test_a_full_disk_ends_the_run(painters, monkeypatch, tmp_path):
    def full(*_args, **_options):
        raise InputError("out: cannot be written (No space)") from OSError(errno.ENOSPC, "No space")

    monkeypatch.setattr(fst.images, "save_picture", full)
    photos = make_pngs(tmp_path / "photos", 60)
    result = stylize(photos, "-o", tmp_path / "out")
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert "of 60 photos could not be repainted (see above); " in last
    assert last.endswith(" were left out, since they would fail as well")
    assert result.stderr.count("No space") < 30


def start(photos: Path, out: Path) -> subprocess.Popen[str]:
    """`slow_stylize` in a process of its own, some photos of many written."""
    # a shell that runs the tests in the background has its children ignore Ctrl-C
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    argv = ["stylize.py", str(photos), "--style", "x", "-o", str(out)]
    script = ROOT / "tests" / "slow_stylize.py"
    code = heard + f"import runpy, sys; sys.argv = {argv!r}; "
    code += f"runpy.run_path({str(script)!r}, run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while len(list(out.rglob("*.png"))) < 4 and process.poll() is None:
        assert time.monotonic() < end, "nothing was written"
        time.sleep(0.01)
    return process


def check_whole(out: Path) -> None:
    """Every picture opens; a hidden one is what a killed process was writing."""
    for name in files(out):
        if Path(name).name.startswith("."):
            continue
        with Image.open(out / name) as picture:
            picture.load()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_files_and_one_line(number, tmp_path):
    photos, out = make_pngs(tmp_path / "photos", 60), tmp_path / "out"
    process = start(photos, out)
    process.send_signal(number)
    sent = time.monotonic()
    stdout, stderr = process.communicate(timeout=60)
    assert time.monotonic() - sent < 5
    assert process.returncode == 128 + number
    written = files(out)
    assert stderr.strip().splitlines()[-1] == (
        f"interrupted: {len(written)} of 60 written; the same command goes on"
    )
    assert "Traceback" not in stderr
    assert 4 <= len(written) < 60
    assert {str(out / name) for name in written} >= set(stdout.splitlines())
    assert not [name for name in written if Path(name).name.startswith(".")]
    check_whole(out)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_run_goes_on(painters, tmp_path):
    photos, out = make_pngs(tmp_path / "photos", 60), tmp_path / "out"
    process = start(photos, out)
    process.kill()
    process.communicate()
    check_whole(out)
    visible = [out / name for name in files(out) if not Path(name).name.startswith(".")]
    written = {path: path.stat().st_mtime_ns for path in visible}
    killed_while_writing = (
        next(iter(written)).parent / f".fst-{fst.system.files._HOST}-{process.pid}-abc.png"
    )
    killed_while_writing.write_bytes(b"half")
    result = stylize(photos, "-o", out)
    assert result.returncode == 0, result.stderr
    assert f"{len(written)} already there" in result.stderr
    expected = {str(out / name) for name in files(photos)} - {str(path) for path in written}
    assert sorted(result.stdout.splitlines()) == sorted(expected)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert files(out) == files(photos)
    check_whole(out)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_at_the_start_is_quiet():
    code = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupter:\n"  # Ctrl-C in the middle of the imports
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupter())\n"
        f"sys.argv = ['stylize.py', {str(ROOT / 'examples')!r}, '--style', 'x', '-o', 'no']\n"
        f"runpy.run_path({str(ROOT / 'scripts/stylize.py')!r}, run_name='__main__')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (130, "interrupted\n")


def test_help_needs_no_torch():
    code = "import sys, runpy; sys.argv = ['stylize.py', '--help']\ntry: runpy.run_path("
    code += f"{str(ROOT / 'scripts/stylize.py')!r}, run_name='__main__')\n"
    code += "except SystemExit: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("False\n")

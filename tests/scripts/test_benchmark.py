"""The benchmark works and computes what it says; how fast anything is, no test asks."""

import json
import math
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import ROOT, error_line, make_picture, run_inline, run_script

sys.path.insert(0, str(ROOT / "scripts"))

from benchmarks import floor, folders, losses, measuring, passes, plain_loop, tiles, variants
from benchmarks.floor import Rates, Work, measure_rates, watch

from fst.engines import available_engines
from fst.networks import TransformerNet, UpsampleBlock
from fst.system.devices import has_bf16_units
from fst.system.errors import InputError

KEYS = {"setting", "variant", "images_per_s", "ratio", "peak_mib", "psnr"}
CPU = torch.device("cpu")
EAGER = "--device", "cpu", "--engine", "eager", "--precision", "fp32"


@pytest.mark.parametrize("command", ["stylize", "train", "loss", "tiles", "folder", "photos"])
def test_help(command):
    result = run_inline("benchmark", command, "--help")
    assert result.returncode == 0
    assert "--style" in result.stdout or command in ("train", "loss", "photos")


@pytest.mark.slow
@pytest.mark.parametrize("precisions", [("bf16", "fp32"), ("fp32",)])
def test_the_loss_networks_are_timed_in_the_precisions_of_the_cpu(precisions, monkeypatch):
    monkeypatch.setattr(losses, "PICTURES", dict.fromkeys(losses.PICTURES, (1, 64)))
    monkeypatch.setattr(losses, "has_bf16_units", lambda: "bf16" in precisions)
    tables = list(losses.run(Namespace(repeats=1)))
    assert [(row[0], row[1], row[2]) for rows in tables for row in rows] == [
        (precision, what, name)
        for precision in precisions
        for what in ("activations", "loss", "a step's")
        for name in ("vgg19", "compact")
    ]
    assert all(row[3] > 0 and row[4] > 0 for rows in tables for row in rows)


def test_help_is_quick_since_it_does_not_load_torch():
    result = run_script("benchmark", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    assert "argparse" in result.stderr
    assert " torch\n" not in result.stderr


def test_the_products_of_a_convolution():
    out, work = watch(nn.Conv2d(3, 8, 3), torch.rand(1, 3, 10, 12))
    products = 8 * (8 * 10) * (3 * 3 * 3)
    assert out.shape == (1, 8, 8, 10)
    assert work == Work(2 * products, 2 * products, values=8 * 8 * 10, pixels=10 * 12)


def test_repeated_pixels_need_multiplying_once():
    _, work = watch(UpsampleBlock(3, 8), torch.rand(1, 3, 10, 12))
    assert work.flops == 2 * 8 * (20 * 24) * (3 * 3 * 3)
    assert work.least == pytest.approx(work.flops * 4 / 9)


def test_a_pass_over_four_times_the_pixels_is_four_times_the_work():
    net = TransformerNet(4)
    (_, small), (_, large) = (watch(net, torch.rand(1, 3, side, 16)) for side in (16, 64))
    assert large == Work(*(4 * value for value in vars(small).values()))


def test_the_floor_is_the_longer_one_of_arithmetic_and_memory():
    work = Work(flops=500, least=400, values=90, pixels=10)
    assert Rates({"fp32": 100, "bf16": 200}, 1e9).floor(work, "fp32") == 4
    assert Rates({"fp32": 100, "bf16": 200}, 1e9).floor(work, "bf16") == 2
    assert Rates({"fp32": 1e9, "bf16": 1e9}, 10).floor(work, "fp32") == (8 * 90 + 60) / 10
    best = Rates({"fp32": 1}, 4).maximum(Rates({"fp32": 3}, 2))
    assert best == Rates({"fp32": 3}, 4)


def test_a_precision_without_units_is_no_faster_than_float32():
    work = Work(flops=500, least=400, values=90, pixels=10)
    rates = Rates({"fp32": 100}, 1e9)
    assert rates.floor(work, "bf16") == rates.floor(work, "fp32") == 4


@pytest.mark.parametrize("units", [True, False])
def test_only_what_the_cpu_computes_in_hardware_is_its_peak(units, monkeypatch):
    """Emulated products are slow: a share of their rate would be far above 1."""
    rates = {torch.float32: 100.0, torch.bfloat16: 300.0 if units else 2.0}
    monkeypatch.setattr(floor, "has_bf16_units", lambda: units)
    monkeypatch.setattr(floor, "_product_rate", lambda dtype, *_: rates[dtype])
    assert measure_rates(CPU, quick=True).best == (("bf16", 300) if units else ("fp32", 100))


def test_psnr():
    picture = np.full((4, 5, 3), 7, np.uint8)
    assert measuring.psnr(picture, picture + 1) == pytest.approx(20 * math.log10(255))
    assert measuring.psnr(picture, picture - np.float32(0.5)) == pytest.approx(54.15, abs=0.01)
    assert measuring.psnr(picture, picture) == math.inf


def test_ratios_are_of_the_same_round():
    """A round in which all took ten times as long changes nothing."""
    assert measuring.times_faster([1, 10, 1], [2, 20, 3]) == 2
    assert measuring.times_faster([3.0], [1.5]) == 0.5


def test_the_variants_take_turns():
    called = []
    seconds = measuring.rounds([lambda: called.append("a"), lambda: called.append("b")], 3, CPU)
    assert "".join(called) == "abbaab"
    assert [len(own) for own in seconds] == [3, 3]
    assert min(map(min, seconds)) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_peak_counts_what_was_freed_again_and_not_what_was_there():
    """In a process of its own: after a training, malloc keeps what is freed."""
    code = "import numpy as np, torch; from benchmarks.measuring import peak_mib\n"
    code += "before = np.ones(8 << 20, np.uint8)\n"
    code += "action = lambda: np.ones(64 << 20, np.uint8).sum()\n"
    code += "print(peak_mib(action, torch.device('cpu')), before.all())"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "scripts")])
    said = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    if said[0] == "None":
        pytest.skip("this system does not tell")
    assert 63 < float(said[0]) < 72


def test_three_digits_count():
    values = 1, 0.12345, "x", None, 123.4, math.inf, -math.inf
    assert [*map(measuring.digits, values)] == ["1", "0.123", "x", "", "123", "equal", "-inf"]


def test_the_baseline_is_the_plain_network():
    net = TransformerNet(4).eval()
    pixels = np.array(make_picture(40, 33))
    plain = variants.Plain(net, CPU, "fp32")(pixels)
    with torch.inference_mode():
        exact = 255 * net(torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1)[None])[0]
    assert plain.dtype == np.uint8
    assert np.abs(plain - exact.permute(1, 2, 0).numpy()).max() <= 0.5 + 1e-3


def test_stylize(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "VIDEO", (40, 36))
    engines = sorted({"eager", "openvino"} & set(available_engines()))
    options = "--quick", "--device", "cpu", "--style", checkpoint, "--engines", *engines
    out = tmp_path / "new" / "rows.json"
    result = run_inline("benchmark", "stylize", *options, "--sizes", "48x32", "40x36",
                        "--json", out)  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = json.loads(out.read_text())
    assert all(row.keys() >= KEYS and math.isfinite(row["psnr"]) for row in rows)
    assert all(row["psnr"] > 30 and row["images_per_s"] > 0 for row in rows)
    wide, narrow = ([row for row in rows if row["setting"] == f"48x32 width {w}"] for w in (32, 4))
    assert [row["variant"] for row in wide] == [row["variant"] for row in narrow]
    assert wide[0]["variant"] == "plain fp32"
    assert wide[0]["ratio"] == narrow[0]["ratio_same_width"] == 1
    assert {row["variant"] for row in wide} >= {f"{name} fp32" for name in ("plain", *engines)}
    video = [row["setting"] for row in rows if row["setting"].startswith("40x36")]
    assert video == ["40x36 width 32"] + ["40x36 width 4"] * len(narrow)
    assert result.stdout.count("\n| ") == len(rows) + 4  # and the head of two tables
    assert f"torch {torch.__version__.split('+')[0]}" in result.stdout.splitlines()[0]


def test_a_style_as_wide_as_the_baseline_is_the_baseline(tmp_path, monkeypatch):
    net = TransformerNet(passes.WIDTH)
    monkeypatch.setattr(passes, "load_style", lambda path: (net, {}))
    assert passes.networks("starry_night") == [net]


@pytest.mark.slow
def test_tiles(checkpoint):
    """Of one picture: of what it takes to need tiles at all."""
    args = Namespace(style=checkpoint, device="cpu", engine="eager", precision="fp32")
    pixels = np.asarray(make_picture(1000, 720))
    rows = list(tiles.compare("blobs", pixels, args))
    assert {len(row) for row in rows} == {len(tiles.TITLES)}
    assert [row[4] for row in rows[:4]] == [None, "untiled", "untiled", "untiled"]
    assert rows[-1][4] == rows[-3][1]  # two sizes of tiles under the same statistics
    for *_, difference, largest in rows[1:]:
        assert difference > 40
        assert largest < 64
    assert max(row[-1] for row in rows[3:]) <= 1  # the whole picture's statistics


def test_budgets_do_not_hold_the_picture():
    large, small = tiles.budgets(12_000_000, 96)
    assert 12e6 * 96 / 2**20 > large > small >= tiles.LEAST
    with pytest.raises(InputError, match=r"megapixels: expected more than 0.8, .* found 0.5"):
        tiles.budgets(500_000, 96)


def test_pictures_of_many_megapixels(photo_folder):
    assert tiles.side_lengths(12) == (4000, 3000)
    assert tiles.mosaic(measuring.find_photos(photo_folder), 101, 77).size == (101, 77)


def test_from_file_to_file(checkpoint, photo_folder):
    options = "--style", checkpoint, "--photos", photo_folder, "--megapixels", 0.1, "--no-untiled"
    result = run_inline("benchmark", "tiles", *options, *EAGER)
    assert result.returncode == 0, result.stderr
    assert "| mosaic  | file to file |" in result.stdout


def test_the_bound_of_a_folder():
    steps = folders.Step(wall=2, busy=4), folders.Step(wall=3, busy=6)
    assert folders.bound(steps, 2) == 5
    assert folders.bound(steps, 8) == 3  # no faster than a step alone


@pytest.mark.slow
def test_folder(checkpoint, photo_folder):
    before = sorted(photo_folder.rglob("*"))
    options = "--count", 4, "--repeats", 1, "--style", checkpoint
    result = run_inline("benchmark", "folder", photo_folder, *options, *EAGER)
    assert result.returncode == 0, result.stderr
    for name in "decoding", "network", "encoding", "bound", "pipeline", "empty", "filled":
        assert f"\n| {name} " in result.stdout
    assert sorted(photo_folder.rglob("*")) == before


@pytest.mark.slow
def test_train(tmp_path):
    rows = tmp_path / "rows.json"
    options = "--quick", "--settings", "fast", "--repeats", 1, "--json", rows
    result = run_script("benchmark", "train", *options)
    assert result.returncode == 0, result.stderr
    plain, product = json.loads(rows.read_text())
    assert (plain["variant"], product["variant"]) == ("plain", "product")
    assert plain["setting"] == product["setting"] == "fast"
    assert product["ratio"] == pytest.approx(product["images_per_s"] / plain["images_per_s"])
    assert 0 < product["wait_share"] < 1
    assert product["peak_mib"] > 500
    assert 0 < plain["peak_share"] < 1
    assert plain["peak"].startswith("bf16 " if has_bf16_units() else "fp32 ")


def test_the_plain_loop_is_the_products_network():
    plain = plain_loop.plain_net(6)
    for parameter, ours in zip(
        [p for p in plain.parameters() if p.ndim > 1],
        [p for p in TransformerNet(6).parameters() if p.ndim > 1],
        strict=True,
    ):
        assert parameter.shape == ours.shape


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_photos(tmp_path):
    for k in range(20):
        make_picture(90, 80, seed=k).save(tmp_path / f"{k}.jpg")
    result = run_script("benchmark", "photos", tmp_path, "--counts", 100, "--quick")
    assert result.returncode == 0, result.stderr
    for way in "reading the folder", "its index", "annotations":
        assert re.search(rf"\| 100 +\| {way} ", result.stdout), result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["photos", "{tmp}"], "expected at least 20 photos, found 0"),
        (["photos", "{tmp}", "--counts", "3"], "counts: expected numbers from 20 up, found 3"),
        (["train", "--photos", "{tmp}/nosuch"], "nosuch: expected a folder of photos"),
        (["train", "--steps", "0"], "steps: expected a number above 0, found 0"),
        (["folder", "{tmp}/nosuch"], "nosuch: expected a folder of photos, found no such folder"),
        (["folder", "{tmp}"], "expected photos in it, found none; try"),
        (["tiles", "--photos", "{tmp}/nosuch"], "nosuch: expected a folder of photos"),
        (["tiles", "--megapixels", "0"], "megapixels: expected a number above 0, found 0"),
        (["stylize", "--json", "{tmp}"], "expected a file to write, found a folder"),
        (["stylize", "--json", "{tmp}/file/rows.json"], "file: expected a folder to write into"),
        (["stylize", "--sizes", "512"], "sizes: expected WIDTHxHEIGHT in px, as in 640x480, found"),
        (["stylize", "--sizes", "8x64"], "image: expected at least 16x16 px, found 8x64"),
        (["stylize", "--repeats", "0"], "repeats: expected a number above 0, found 0"),
        (["stylize", "--style", "monalisa"], "style: expected one of"),
    ],
)
def test_bad_input(args, said, tmp_path):
    (tmp_path / "file").touch()
    result = run_inline("benchmark", *(word.format(tmp=tmp_path) for word in args))
    assert said in error_line(result)

"""``fst train --multirun``: one run a setting, and one contact sheet of them all."""

import pytest
from PIL import Image, ImageColor

from fst.styles import load_style
from tests.cli.test_end_to_end import arguments
from tests.conftest import ROOT, cells, run_script


@pytest.mark.slow
def test_a_grid_of_weights_and_sizes_makes_one_sheet(photo_folder, painting, tmp_path):
    outputs = tmp_path / "outputs"
    grid = ["style.weight=5,20", "style.size=64,96", "trainer.max_steps=2"]
    grid.append("trainer.val_check_interval=2")
    args = arguments(photo_folder, painting, outputs, *grid)
    result = run_script("train", "--multirun", *args)
    assert result.returncode == 0, result.stderr
    runs = sorted((outputs / "mine").iterdir())
    named = [run.name.split("_", 2)[2] for run in runs]
    assert named == [
        f"{k}_smoke_loss-extractor-compact_weight-{weight}_size-{size}_max_steps-2_val_check_interval-2"
        for k, (weight, size) in enumerate([(5, 64), (5, 96), (20, 64), (20, 96)])
    ]
    assert all((run / "mine.safetensors").is_file() for run in runs)
    (multirun,) = (outputs / "multirun").iterdir()
    assert f"contact sheet of 4 runs: {multirun}/sheet.jpg" in result.stderr
    with Image.open(multirun / "sheet.jpg") as sheet:
        assert 0.8 < sheet.width / sheet.height < 2  # two blocks across, two down
    head, _, *rows = result.stdout[result.stdout.index("| settings") :].splitlines()
    assert cells(head) == ["settings", "total", "style", "content", "minutes", "style file"]
    assert [cells(row)[0] for row in rows] == [
        f"style.weight={weight}  style.size={size}" for weight in (5, 20) for size in (64, 96)
    ]
    for row, run in zip(rows, runs, strict=True):
        total = load_style(run / "mine.safetensors")[1]["metrics"]["total"]
        assert cells(row)[1] == f"{total:.4g}"
        assert cells(row)[-1] == f"{run}/mine.safetensors"


@pytest.mark.slow
def test_a_run_that_fails_stops_no_other_and_loses_no_sheet(photo_folder, painting, tmp_path):
    outputs = tmp_path / "outputs"
    short = ["trainer.max_steps=2", "trainer.val_check_interval=2"]
    args = arguments(photo_folder, painting, outputs, "style.size=64,16,96", *short)
    result = run_script("train", "--multirun", *args)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "run 1 failed: " in result.stderr
    assert result.stderr.strip().endswith(
        "error: style.size: expected a whole number from 64 up, found 16"
    )
    rows = [row for row in result.stdout.splitlines() if row.startswith("| style.size=")]
    assert [cells(row)[-1].endswith(".safetensors") for row in rows] == [True, False, True]
    (multirun,) = (outputs / "multirun").iterdir()
    assert f"contact sheet of 2 runs: {multirun}/sheet.jpg" in result.stderr
    assert (multirun / "sheet.jpg").is_file()


def test_blocks_stand_in_rows_by_the_last_setting_that_differs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from fst.cli.multirun import Run, draw

    colours = ["red", "green", "blue", "yellow", "cyan", "magenta"]
    settings = [["a=1", f"w={w}", f"s={s}"] for w in (5, 9) for s in (1, 2, 3)]
    runs = [Run(s, Image.new("RGB", (60, 40), c)) for s, c in zip(settings, colours, strict=True)]
    sheet = draw(runs)
    found = [
        sheet.getpixel((round((k + 0.5) * sheet.width / 3), round((row + 0.7) * sheet.height / 2)))
        for row in range(2)
        for k in range(3)
    ]
    assert found == [ImageColor.getrgb(colour) for colour in colours]

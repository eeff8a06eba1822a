"""``fst check-photos`` finds every file that training cannot use; training leaves them out."""

import json
import shutil

import pytest

from fst.system.errors import InputError
from fst.training.data import PhotoDataModule
from tests.conftest import error_line, make_picture, run_inline


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    (root / "in").mkdir(parents=True)
    for k in range(6):
        make_picture(100 + k, 80, seed=k).save(root / f"{k}.jpg")
    make_picture(90, 80, seed=9).convert("L").save(root / "gray.jpg")
    shutil.copy(root / "1.jpg", root / "in" / "same.jpg")
    make_picture(100, 63, seed=8).save(root / "in" / "small.png")
    (root / "cut.jpg").write_bytes((root / "0.jpg").read_bytes()[:600])
    (root / "text.png").write_text("no picture")
    (root / "empty.webp").touch()
    return root


BAD = ["cut.jpg", "empty.webp", "in/same.jpg", "in/small.png", "text.png"]


def test_it_finds_what_cannot_be_used(data):
    result = run_inline("check-photos", data)
    assert result.returncode == 1
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert lines[str(data)] == "12 photos, 7 of use"
    assert lines["unreadable (no picture, or cut short)"] == "3: cut.jpg, empty.webp, text.png"
    assert lines["too small (the shorter side is under 64 px)"] == "1: in/small.png"
    assert lines["duplicate (the same bytes as another file)"] == "1: in/same.jpg"
    assert lines["without colour"] == "1"


def test_the_list_is_what_training_leaves_out(data, tmp_path):
    names = tmp_path / "exclude.txt"
    result = run_inline("check-photos", data, "--list", names)
    assert result.returncode == 0
    assert f"data.exclude={names}" in result.stdout
    assert names.read_text().splitlines() == BAD
    module = PhotoDataModule(data, 64, 1, held_out=1, exclude=names)
    module.setup()
    used = {path.relative_to(data).as_posix() for path in [*module.train_paths, *module.val_paths]}
    assert used == {"gray.jpg", *(f"{k}.jpg" for k in range(6))}
    assert not module.skipped


def test_json_has_every_name(data):
    result = run_inline("check-photos", data, "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout) == {
        "folder": str(data), "photos": 12, "colourless": 1, "duplicate": ["in/same.jpg"],
        "too_small": ["in/small.png"], "unreadable": ["cut.jpg", "empty.webp", "text.png"],
    }  # fmt: skip


def test_a_good_folder_exits_with_0(photo_folder):
    assert run_inline("check-photos", photo_folder).returncode == 0


def test_wrong_settings_are_one_clear_line(data, tmp_path):
    assert "no such folder" in error_line(run_inline("check-photos", tmp_path / "nosuch"))
    assert "--workers: expected a w" in error_line(run_inline("check-photos", data, "--workers", 0))
    with pytest.raises(InputError, match=r"data.exclude: expected a text file .* found none"):
        PhotoDataModule(data, 64, 1, exclude=tmp_path / "nosuch.txt").setup()
    everything = tmp_path / "all.txt"
    everything.write_text("\n".join(p.relative_to(data).as_posix() for p in data.rglob("*.*")))
    with pytest.raises(InputError, match=r"expected at least 2 photos to be left of 12"):
        PhotoDataModule(data, 64, 1, exclude=everything).setup()

"""Where ``fst stylize`` writes to without -o, and what it says with --json."""

import json
import os

import pytest
from PIL import Image

from fst.cli.stylize import label, parser, repaint
from tests.scripts.test_scripts import files


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def stylized(*words) -> int:
    return repaint(parser().parse_args([*map(str, words), "--engine", "eager"]))


def test_a_photo_is_named_after_its_style(photo, checkpoint, here, capsys):
    assert stylized(photo, "--style", checkpoint) == 0
    assert capsys.readouterr().out == "photo-tiny.jpg\n"
    assert files(here) == ["photo-tiny.jpg"]


def test_what_is_there_already_is_left_alone(photo, checkpoint, here, capsys):
    (here / "photo-tiny.jpg").write_text("mine")
    assert stylized(photo, "--style", checkpoint) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "photo-tiny.jpg is there already; --overwrite repaints it\n")
    assert (here / "photo-tiny.jpg").read_text() == "mine"
    assert stylized(photo, "--style", checkpoint, "--overwrite") == 0
    with Image.open(here / "photo-tiny.jpg") as painted:
        assert painted.size == (90, 70)


def test_a_folder_becomes_a_folder(photo_folder, photo, checkpoint, here):
    assert stylized(f"{photo_folder}{os.sep}", photo, "--style", checkpoint) == 0
    inside = {name.removeprefix("photos-tiny/") for name in files(here)}
    assert inside == {*files(photo_folder), "photo-tiny.jpg"}


def test_the_current_folder_becomes_one_inside(photo, checkpoint, here):
    photo.rename(here / "a.jpg")
    for _ in range(2):
        assert stylized(".", "--style", checkpoint) == 0
        assert files(here) == ["a.jpg", "here-tiny/a.jpg"]


def test_blends_and_shares_make_names_of_their_own():
    assert label("udnie") == "udnie"
    assert label("runs/mine.safetensors") == "mine"
    assert label("udnie:3,great_wave:1") == "udnie-0.75-great_wave-0.25"


def test_json_is_a_line_for_each_written_photo(photo_folder, checkpoint, here, capsys):
    (photo_folder / "a/bad.jpg").write_text("hello")
    assert stylized(photo_folder, "--style", checkpoint, "-o", here, "--json") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(line["target"] for line in lines) == [str(here / name) for name in files(here)]
    for line in lines:
        assert line["source"] == line["target"].replace(str(here), str(photo_folder))
        assert (line["style"], line["engine"]) == (str(checkpoint), "eager")
        assert line["precision"] in ("fp32", "bf16", "fp16")
        assert len(line["devices"]) >= 1

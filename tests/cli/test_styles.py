"""``fst styles``: a table of what is there, and the card of one."""

import json
import subprocess
import sys

import pytest

from fst.styles import load_style, read_card, replace_card, shipped_styles
from tests.conftest import ROOT, cells, error_line, run_inline


def said(*words) -> str:
    result = run_inline("styles", *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_row_for_every_shipped_style():
    head, _, *rows = said().splitlines()
    assert cells(head) == ["style", "painting", "painter", "year", "width", "MB"]
    assert [cells(row)[0] for row in rows] == shipped_styles()
    starry = next(row for row in rows if "| starry_night " in row)
    assert cells(starry)[1:5] == ["The Starry Night", "Vincent van Gogh", "1889", "16"]


def test_a_card_in_readable_lines(checkpoint):
    lines = dict(line.split(maxsplit=1) for line in said("starry_night").splitlines())
    assert lines["painting"] == "The Starry Night, Vincent van Gogh, 1889"
    assert lines["network"] == "transformer, width 16"
    assert "400 steps" in lines["trained"]
    assert "66 (johnson), 23 (strict)" in lines["worth"]
    assert said(checkpoint).splitlines()[1:] == ["network   transformer, width 4"]


@pytest.mark.parametrize("name", shipped_styles())
def test_every_card_can_be_shown(name):
    assert len(said(name).splitlines()) >= 8


def test_the_style_files_of_a_folder(checkpoint, tmp_path):
    (tmp_path / "other.safetensors").write_bytes(b"no style")
    rows = said(tmp_path).splitlines()[2:]
    assert [cells(row)[0] for row in rows] == [str(checkpoint)]


def test_json_is_the_whole_card(checkpoint):
    card = json.loads(said(checkpoint, "--json"))
    assert card.pop("name") == "tiny"
    assert card.pop("file") == str(checkpoint)
    assert card == read_card(checkpoint)
    every = json.loads(said("--json"))
    assert [each["name"] for each in every] == shipped_styles()


def test_a_card_is_the_same_with_its_weights_and_without(checkpoint):
    replace_card(checkpoint, {**read_card(checkpoint), "licence": "mine: ä"})
    assert read_card(checkpoint) == load_style(checkpoint)[1]
    assert "licence   mine: ä" in said(checkpoint)


def test_no_torch_is_loaded():
    code = "import sys\nfrom fst.cli.main import main\nmain(['styles'])\n"
    code += "main(['styles', 'udnie'])\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_bad_names(tmp_path):
    assert "style: expected one of " in error_line(run_inline("styles", "monalisa"))
    assert "expected style files (.safetensors) in it, found none" in error_line(
        run_inline("styles", tmp_path)
    )
    (tmp_path / "x.safetensors").write_text("hello")
    line = error_line(run_inline("styles", tmp_path / "x.safetensors"))
    assert "x.safetensors: expected a style file (.safetensors), found another kind" in line

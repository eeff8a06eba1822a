"""The gallery is drawn by one command, and the one in docs/ is of today's styles."""

import shutil
import sys

import pytest
from PIL import Image

from fst.styles import find_style, load_style, shipped_styles
from tests.conftest import ROOT, error_line, run_inline

STYLES = shipped_styles()


@pytest.mark.slow
def test_a_sheet_a_style_one_of_all_and_the_table(tmp_path):
    table, style = tmp_path / "table.md", STYLES[0]
    shutil.copy(ROOT / "checkpoints/README.md", table)
    result = run_inline("gallery", "-o", tmp_path, "--table", table, "--styles", style)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "gallery.md").read_text()
    assert f"## {style}" in text
    assert f"![{style}](gallery/{style}.jpg)" in text
    for name in (f"gallery/{style}", "contact_sheet"):
        with Image.open(tmp_path / f"{name}.jpg") as sheet:
            assert min(sheet.size) > 300
    assert [path.name for path in (tmp_path / "gallery").iterdir()] == [f"{style}.jpg"]
    rows = [line for line in table.read_text().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == STYLES  # whatever is drawn


def test_unknown_styles_are_refused(tmp_path):
    line = error_line(run_inline("gallery", "-o", tmp_path, "--styles", "monalisa"))
    assert f"expected some of {', '.join(STYLES)}, found 'monalisa'" in line
    assert not list(tmp_path.iterdir())


def test_a_table_without_its_marks_is_refused(tmp_path):
    (tmp_path / "table.md").write_text("nothing")
    args = ["-o", tmp_path, "--table", tmp_path / "table.md"]
    assert "before and after the table" in error_line(run_inline("gallery", *args))
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


def test_the_table_says_what_the_release_files_say(tmp_path):
    kept, drawn = ROOT / "checkpoints/README.md", tmp_path / "table.md"
    shutil.copy(kept, drawn)
    args = ["-o", tmp_path, "--table", drawn, "--only-table"]
    assert run_inline("gallery", *args).returncode == 0
    assert drawn.read_text() == kept.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    rows = [line.split("`")[1] for line in kept.read_text().splitlines() if line.startswith("| `")]
    assert rows == shipped_styles()


def test_the_gallery_is_of_todays_styles_and_figures():
    gallery = (ROOT / "docs/gallery.md").read_text()
    for style in STYLES:
        assert chapter_of(style) in gallery
    assert [line[3:] for line in gallery.splitlines() if line.startswith("## ")] == STYLES
    assert {path.stem for path in (ROOT / "docs/gallery").glob("*.jpg")} == set(STYLES)


def chapter_of(style):
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from gallery import chapter
    finally:
        sys.path.pop(0)
    return chapter(style, load_style(find_style(style))[1])

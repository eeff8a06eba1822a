"""``fst sheet``: one photo in every style."""

import shutil

import pytest
from PIL import Image

from fst.cli import sheet
from tests.conftest import error_line, make_picture, run_inline


def test_a_photo_in_several_styles(photo, checkpoint, tmp_path):
    other = shutil.copy(checkpoint, tmp_path / "other.safetensors")
    out = tmp_path / "new" / "sheet.png"
    result = run_inline(
        "sheet", photo, "-o", out, "--styles", checkpoint, other, "--height", 70
    )  # the photo is 90x70
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{out}\n"
    with Image.open(out) as painted:
        assert painted.width == 2 * 90 + 3 * 8  # two beside each other
        assert 2 * 70 < painted.height < 2 * 100


def test_all_shipped_styles_are_taken_without_a_choice(photo, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "shipped_styles", lambda: [str(checkpoint)] * 3)
    monkeypatch.chdir(tmp_path)
    args = sheet.parser().parse_args([str(photo)])
    assert str(sheet.draw(args)) == "photo-sheet.jpg"
    assert (tmp_path / "photo-sheet.jpg").is_file()


@pytest.mark.parametrize(
    ("size", "pictures", "wide"), [((300, 200), 17, 4), ((200, 300), 17, 6), ((10, 900), 3, 3)]
)
def test_the_sheet_is_about_as_wide_as_a_page(size, pictures, wide):
    assert sheet.across(make_picture(*size), pictures) == wide


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--styles", "monalisa"], "style: expected one of"),
        (["--height", "2"], "--height: expected a whole number from 16 up, found 2"),
        (["-o", "x.doc"], "x.doc: expected a suffix among"),
        (["-o", "{photo}"], "photo.jpg: is the photo; try another output"),
    ],
)
def test_bad_input(words, said, photo):
    words = [word.format(photo=photo) for word in words]
    assert said in error_line(run_inline("sheet", photo, *words))


def test_a_photo_that_is_not_there(tmp_path):
    line = error_line(run_inline("sheet", tmp_path / "no.jpg", "-o", tmp_path / "x.jpg"))
    assert "no.jpg: expected a picture, found no such file" in line
    assert not list(tmp_path.iterdir())

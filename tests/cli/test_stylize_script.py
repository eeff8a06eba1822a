"""``fst stylize`` as a user runs it: results, exit codes, one clear line for every bad input."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import error_line, make_picture, run_inline
from tests.scripts.test_scripts import files
from tests.styles.test_release import rewrite


def test_many_photos_and_a_folder_keep_names_tree_and_sizes(
    photo_folder, photo, checkpoint, tmp_path
):
    out = tmp_path / "out"
    result = run_inline("stylize", photo_folder, photo, "--style", checkpoint, "-o", out)
    assert result.returncode == 0, result.stderr
    assert files(out) == sorted([*files(photo_folder), "photo.jpg"])
    assert len(result.stdout.splitlines()) == 13
    for name in files(photo_folder):
        with Image.open(photo_folder / name) as before, Image.open(out / name) as after:
            assert after.size == before.size


def test_orientation_and_alpha_survive(checkpoint, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    make_picture(60, 40).save(tmp_path / "turned.jpg", exif=exif)
    clear = make_picture(60, 40).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((60, 40)))
    clear.save(tmp_path / "clear.png")
    inputs = tmp_path / "turned.jpg", tmp_path / "clear.png"
    result = run_inline("stylize", *inputs, "--style", checkpoint, "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "out/turned.jpg") as turned:
        assert turned.size == (40, 60)
        assert turned.getexif().get(0x0112, 1) == 1
    with Image.open(tmp_path / "out/clear.png") as painted:
        assert painted.getchannel("A").tobytes() == clear.getchannel("A").tobytes()


def test_one_unreadable_photo_does_not_stop_the_others(photo_folder, checkpoint, tmp_path):
    (photo_folder / "a/bad.jpg").write_text("hello")
    result = run_inline("stylize", photo_folder, "--style", checkpoint, "-o", tmp_path / "out")
    assert result.returncode == 1
    assert "a/bad.jpg: expected a picture" in result.stderr
    assert "error: 1 of 13 photos could not be repainted" in result.stderr
    assert len(files(tmp_path / "out")) == 12


def test_a_photo_is_never_overwritten_by_its_painting(photo, photo_folder, checkpoint, tmp_path):
    before = photo.read_bytes()
    line = error_line(run_inline("stylize", photo, "--style", checkpoint, "-o", photo))
    assert "is one of the photos; try another output" in line
    assert photo.read_bytes() == before
    (tmp_path / "twin").mkdir()
    shutil.copy(photo, tmp_path / "twin" / photo.name)
    twins = photo, tmp_path / "twin" / photo.name
    line = error_line(run_inline("stylize", *twins, "--style", checkpoint, "-o", tmp_path / "out"))
    assert "expected one photo for it, found" in line


def test_paintings_inside_the_folder_of_photos_are_not_painted_again(photo_folder, checkpoint):
    before = {name: (photo_folder / name).read_bytes() for name in files(photo_folder)}
    (photo_folder / "painted").mkdir()
    for _ in range(2):
        out = photo_folder / "painted"
        result = run_inline("stylize", photo_folder, "--style", checkpoint, "-o", out)
        assert result.returncode == 0, result.stderr
        assert files(out) == sorted(before)
    for name, content in before.items():
        assert (photo_folder / name).read_bytes() == content
    line = error_line(
        run_inline("stylize", photo_folder, "--style", checkpoint, "-o", photo_folder)
    )
    assert "is one of the photos; try another output" in line


def bad_photo(kind: str, photo: Path, folder: Path) -> Path:
    path = folder / f"{kind}.jpg"
    if kind == "text":
        path.write_text("hello")
    elif kind == "cut":
        path.write_bytes(photo.read_bytes()[:700])
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "missing.jpg: expected a picture, found no such file"),
        ("text", "text.jpg: expected a picture, found something else in it"),
        ("cut", "cut.jpg: expected a whole picture, found it unreadable"),
        ("folder", "folder.jpg: expected photos (.jpg, .jpeg"),
    ],
)
def test_bad_photos(kind, said, photo, checkpoint, tmp_path):
    out = tmp_path / "out" / "x.png"
    bad = bad_photo(kind, photo, tmp_path)
    assert said in error_line(run_inline("stylize", bad, "--style", checkpoint, "-o", out))
    assert not out.parent.exists()


def bad_style(kind: str, checkpoint: Path, folder: Path) -> Path | str:
    path = folder / f"{kind}.safetensors"
    weights = load_file(checkpoint)
    if kind == "unknown":
        return "monalisa"
    if kind == "pickle":
        torch.save(weights, path)
        return path
    if kind == "shapes":
        weights["decoder.3.bias"] = torch.zeros(4)
    if kind == "nan":
        weights["decoder.3.bias"] = torch.full((3,), torch.nan)
    if kind == "foreign":
        save_file(weights, path)
        return path
    return rewrite(checkpoint, path, weights)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unknown", "style: expected one of "),
        ("pickle", "found a pickle, which can run any code"),
        (
            "shapes",
            "expected decoder.3.bias of shape (3,) for the network its card names, found (4,)",
        ),
        ("nan", "expected finite weights, found NaN or infinity in decoder.3.bias"),
        ("foreign", "expected a style file written by fst"),
    ],
)
def test_bad_styles(kind, said, photo, checkpoint, tmp_path):
    out, style = tmp_path / "out" / "x.png", bad_style(kind, checkpoint, tmp_path)
    assert said in error_line(run_inline("stylize", photo, "--style", style, "-o", out))
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("photo.jpg/x.png", "expected a folder to write into"),
        ("photo.jpg", "photo.jpg: is one of the photos"),
        ("out.doc", "out.doc: expected a suffix among .jpg, .jpeg, .png"),
    ],
)
def test_bad_outputs(output, said, photo, checkpoint, tmp_path):
    before = files(tmp_path)
    result = run_inline("stylize", photo, "--style", checkpoint, "-o", tmp_path / output)
    assert said in error_line(result)
    assert files(tmp_path) == before

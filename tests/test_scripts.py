"""The scripts as a user runs them: results, exit codes, and one clear line for every bad input."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import ROOT, error_line, make_picture, run_inline, run_script
from PIL import Image
from safetensors.torch import load_file, save_file
from test_checkpoint import rewrite
from test_end_to_end import arguments

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
NO_NETWORK = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name):
    result = run_script(name, "--help")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout) > 200
    assert re.match(r"usage: |train is powered by Hydra", result.stdout)


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
        assert 0x0112 not in turned.getexif()
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


def test_quickstart_repaints_every_photo_in_every_style(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    make_picture(64, 48).save(photos / "one.jpg")
    result = run_inline("quickstart", "--photos", photos, "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    shipped = sorted(path.stem for path in (ROOT / "checkpoints").glob("*.safetensors"))
    assert files(tmp_path / "out") == sorted(
        ["contact_sheet.jpg", *(f"one-{s}.jpg" for s in shipped)]
    )
    assert str(tmp_path / "out" / "contact_sheet.jpg") in result.stdout
    assert "tensorboard --logdir" in result.stdout


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
        ("text", "text.jpg: expected a picture (.jpg, .jpeg, .png"),
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
        ("foreign", "expected a style checkpoint written by fst"),
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
        ("out.gif", "out.gif: expected a suffix among .jpg, .jpeg, .png"),
    ],
)
def test_bad_outputs(output, said, photo, checkpoint, tmp_path):
    before = files(tmp_path)
    result = run_inline("stylize", photo, "--style", checkpoint, "-o", tmp_path / output)
    assert said in error_line(result)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.root={tmp}/nosuch", "nosuch: expected a folder of pictures, found no such folder"),
        (
            "data.root={tmp}/empty",
            "empty: expected at least 2 photos to train on, found 0; set data",
        ),
        ("style=monalisa", "Could not find 'style/monalisa'"),
        ("trainer.max_stepz=3", "expected a key of the config, found 'trainer.max_stepz' (Key"),
        ("network.width=0", "network width: expected a whole number from 1 up, found 0"),
        ("style.image={tmp}/nosuch.jpg", "style.image: expected a picture, found no file at"),
        ("style.image={tmp}/dot.png", "expected a painting of at least 64 px on its shorter side"),
        ("style.image=???", "Missing mandatory value: style.image"),
        ("paths.outputs={tmp}/dot.png", "expected a folder to write into"),
        ("ckpt_path=last", "ckpt_path=last: expected a run with a checkpoint in"),
        ("trainer.max_steps=0", "trainer.max_steps: expected a whole number from 1 up, found 0"),
        ("data.workers=-1", "data.workers: expected a whole number from 0 up, found -1"),
        ("style.size=abc", "style.size: expected a whole number from 64 up, found 'abc'"),
        ("optimizer.lr=-1", "optimizer.lr: expected a number above 0, found -1"),
        ("ckpt_path={tmp}/dot.png", "ckpt_path: expected a checkpoint in a run's folder"),
        ("ckpt_path={tmp}/no.ckpt", "ckpt_path: expected last or a .ckpt file, found none at"),
    ],
)
def test_bad_settings(override, said, photo_folder, painting, tmp_path):
    (tmp_path / "empty").mkdir()
    make_picture(3, 3).save(tmp_path / "dot.png")
    before = files(tmp_path)
    args = arguments(photo_folder, painting, tmp_path / "outputs", override.format(tmp=tmp_path))
    assert said in error_line(run_inline("train", *args))
    assert files(tmp_path) == before


def test_missing_vgg_weights_offline(photo_folder, painting, tmp_path):
    before = files(tmp_path)
    args = arguments(photo_folder, painting, tmp_path / "outputs", "loss/extractor=vgg19")
    args.remove("loss/extractor=random")
    cache = {"TORCH_HOME": str(tmp_path / "cache"), "FST_VGG_WEIGHTS": "IMAGENET1K_V1"}
    # a process of its own: urllib keeps the proxies that it first saw
    line = error_line(run_script("train", *args, **cache, **NO_NETWORK))
    assert "weights of vgg19: found no local file, and vgg19-dcbb9e9d.pth (548 MB)" in line
    assert "FST_VGG_WEIGHTS=FILE" in line
    assert files(tmp_path) == before


def test_a_missing_painting_of_a_preset_names_the_page(photo_folder):
    result = run_inline(
        "train", "style=great_wave", f"data.root={photo_folder}", FST_PAINTINGS="no"
    )
    line = error_line(result)
    assert (
        "expected The Great Wave off Kanagawa (Katsushika Hokusai, 1831) at no/great_wave" in line
    )
    assert "https://en.wikipedia.org" in line
    assert "FST_PAINTINGS" in line

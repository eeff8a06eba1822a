"""The scripts as a user runs them: results, exit codes, and one clear line for every bad input."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.test_end_to_end import arguments
from tests.conftest import ROOT, error_line, make_picture, run_inline, run_script

SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
NO_NETWORK = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name):
    result = run_script(name, "--help")
    assert result.returncode == 0, result.stderr
    assert len(result.stdout) > 200
    assert re.match(r"usage: |fst (train|evaluate|optimize) ", result.stdout)


@pytest.mark.slow
def test_quickstart_trains_a_style_and_repaints_every_photo_in_every_style(tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    make_picture(164, 148).save(photos / "one.jpg")
    short = ["trainer.max_steps=4", "trainer.val_check_interval=4", "data.crop_size=64"]
    result = run_script("quickstart", *short, "--photos", photos, "-o", out)
    assert result.returncode == 0, result.stderr
    shipped = sorted(path.stem for path in (ROOT / "checkpoints").glob("*.safetensors"))
    expected = ["contact_sheet.jpg", "one-tides.jpg", *(f"one-{s}.jpg" for s in shipped)]
    assert sorted(path.name for path in out.glob("*.jpg")) == sorted(expected)
    assert str(out / "contact_sheet.jpg") in result.stdout
    (release,) = out.glob("training/tides/*/tides.safetensors")
    assert f"--style {release}" in result.stdout
    assert len(list((out / "training_photos").iterdir())) == 96
    assert "tensorboard --logdir" in result.stdout


@pytest.mark.slow
def test_quickstart_says_what_training_says(tmp_path):
    result = run_script("quickstart", "trainer.max_steps=0", "-o", tmp_path)
    assert result.returncode == 1
    assert "error: trainer.max_steps: expected a whole number from 1 up" in result.stderr
    assert result.stderr.splitlines()[-1] == "error: training failed; its message is above"


def test_a_picture_is_painted_by_rule(tmp_path):
    pictures = []
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        result = run_inline(
            "generate_painting", "-o", tmp_path / name, "--size", 96, "--seed", seed
        )
        assert result.returncode == 0, result.stderr
        pictures.append(Image.open(tmp_path / name))
    assert pictures[0].size == (96, 96)
    assert pictures[0].tobytes() == pictures[1].tobytes() != pictures[2].tobytes()
    assert len(pictures[0].getcolors(96 * 96)) > 1000


@pytest.mark.slow
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
        ("style.image=???", "style.image: expected a value, found none; try style.image=..."),
        ("paths.outputs={tmp}/dot.png", "expected a folder to write into"),
        ("ckpt_path=last", "ckpt_path=last: expected a run with a checkpoint in"),
        ("init=monalisa", "style: expected one of burning_parliament"),
        (
            "init=udnie",
            "init: expected the weights of a network of the same kind",
        ),  # width 16, not 4
        ("trainer.max_steps=0", "trainer.max_steps: expected a whole number from 1 up, found 0"),
        ("data.workers=-1", "data.workers: expected a whole number from 0 up, found -1"),
        ("style.size=abc", "style.size: expected a whole number from 64 up, found 'abc'"),
        ("optimizer.lr=-1", "optimizer.lr: expected a number above 0, found -1"),
        ("trainer.profile=maybe", "trainer.profile: expected true or false, found 'maybe'"),
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


@pytest.mark.slow
def test_missing_vgg_weights_offline(photo_folder, painting, tmp_path):
    before = files(tmp_path)
    args = arguments(photo_folder, painting, tmp_path / "outputs", "loss/extractor=vgg19")
    args.remove("loss/extractor=compact")
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

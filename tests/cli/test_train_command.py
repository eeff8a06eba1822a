"""``fst train``: presets of one's own, hydra's options, the command to go on with."""

import shlex
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from fst.cli import multirun, train
from fst.cli.main import main
from fst.styles import load_style
from tests.cli.test_end_to_end import arguments, only_run
from tests.conftest import ROOT, run_inline


@pytest.fixture
def presets(tmp_path):
    """A folder with a style and an experiment of one's own."""
    folder = tmp_path / "my presets"
    for group in "style", "experiment":
        (folder / group).mkdir(parents=True)
    style = "defaults: [custom]\nname: fog\nimage: fog.jpg\nweight: 11\n"
    (folder / "style/fog.yaml").write_text(style)
    text = "# @package _global_\ntrainer: {max_steps: 77}\n"
    (folder / "experiment/mine.yaml").write_text(text)
    return folder


def test_presets_of_ones_own_are_found(presets):
    words = "--config-dir", presets, "style=fog", "experiment=mine", "data.root=x"
    result = run_inline("train", *words, "--cfg", "job")
    assert result.returncode == 0, result.stderr
    config = yaml.safe_load(result.stdout)
    assert (config["style"]["name"], config["style"]["size"]) == ("fog", 512)
    assert (config["style"]["weight"], config["trainer"]["max_steps"]) == (11, 77)


def test_the_command_to_go_on_with_can_be_pasted(presets, monkeypatch, capsys):
    painting = r"style.image='/a b/it\'s.jpg'"
    words = ["--config-dir", str(presets), "style=fog", painting, "data.root=/x y", "seed=3"]
    given = []

    def record(cfg):
        given.append(list(sys.argv))
        print(train.command_line())
        print(cfg.style.image)

    monkeypatch.setattr(train, "train", record)
    started = ["/bin/fst", "train", *words, "ckpt_path=last"]
    monkeypatch.setattr(sys, "argv", started)
    main()
    command, image = capsys.readouterr().out.splitlines()
    assert given == [started]  # Lightning starts this again
    assert sys.argv == started
    assert shlex.split(command) == ["fst", "train", *words]
    main(shlex.split(command)[1:])
    assert capsys.readouterr().out.splitlines() == [command, image]


def test_without_the_bundled_photos_a_sweep_shows_held_out_ones(
    photo_folder, monkeypatch, tmp_path
):
    data = {"_target_": "fst.training.data.PhotoDataModule", "root": str(photo_folder)}
    data |= {"crop_size": 64, "batch_size": 1, "held_out": 2}
    config = OmegaConf.create({"data": data})
    assert len(multirun.choose_photos(config)) == multirun.PHOTOS
    monkeypatch.setattr(multirun, "EXAMPLES", tmp_path / "nosuch")
    photos = multirun.choose_photos(config)
    assert len(photos) == 2
    assert all(path.is_relative_to(photo_folder) for path in photos)


@pytest.mark.slow
def test_the_installed_command_trains_in_two_processes(photo_folder, painting, tmp_path):
    """What pip writes for ``fst`` is a file like this; Lightning starts it once more."""
    door = tmp_path / "fst"
    door.write_text("import sys\nfrom fst.cli.main import main\nsys.exit(main())\n")
    two = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    short = ["trainer.max_steps=2", "trainer.val_check_interval=2", "data.batch_size=1"]
    args = arguments(photo_folder, painting, tmp_path / "out", *two, *short)
    result = subprocess.run(
        [sys.executable, door, "train", *args],
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("style file: ") == 1
    card = load_style(only_run(tmp_path / "out") / "mine.safetensors")[1]
    assert card["training"]["steps"] == 2

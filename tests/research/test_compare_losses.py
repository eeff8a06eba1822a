"""The comparison of loss networks asks for the right runs, and says what they found."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from fst.cli.reports import run_name
from fst.system.errors import InputError
from research.compact import compare_losses
from tests.conftest import ROOT, error_line, make_painting
from tests.research.commands import run as run_command

SPEED = {"compact": 30, "vgg19": 12}  # images a second
OBJECTIVE = {("compact", 50): 2.2, ("vgg19", 50): 2.0, ("vgg19", 20): 4.0}


@pytest.fixture
def runs(monkeypatch):
    """The configs of all scripts that are run; in their place files appear."""
    configs = []

    def run(script: Path, *settings: str, **_: str) -> None:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            cfg = compose(script.stem, list(settings))
        configs.append(cfg)
        if script.stem == "evaluate":
            style, network, steps = Path(cfg.styles).stem.split("-")
            loss = {"total": OBJECTIVE[network, int(steps)], "style": 0.125, "content": 0.5}
            worth = {"johnson": {"median": 40.2, "min": 30, "max": 50}}
            figures = {"loss": loss, "equivalents": worth}
            (Path(cfg.output) / f"{style}-{network}-{steps}.json").write_text(json.dumps(figures))
        elif "meter" in cfg.callbacks:
            network = "compact" if "Compact" in cfg.loss.extractor._target_ else "vgg19"
            Path(cfg.callbacks.meter.file).write_text(json.dumps({"images_per_s": SPEED[network]}))
        else:
            folder = Path(f"{cfg.paths.run}_{run_name(settings)}")  # as scripts/train.py names it
            folder.mkdir(parents=True)
            shipped = ROOT / "checkpoints" / f"{cfg.style.name}.safetensors"
            shutil.copyfile(shipped, folder / shipped.name)

    monkeypatch.setattr(compare_losses, "run_child", run)
    return configs


@pytest.fixture
def photos(monkeypatch, tmp_path):
    """A folder without photos, and the painting of udnie."""
    (tmp_path / "paintings").mkdir()
    make_painting(tmp_path / "paintings/udnie.jpg")
    monkeypatch.setenv("FST_PAINTINGS", str(tmp_path / "paintings"))
    (tmp_path / "my photos").mkdir()
    return tmp_path / "my photos"


def arguments(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["compare_losses.py", *map(str, words)])
    return compare_losses.parse_args()


def test_the_same_steps_and_the_same_time(runs, photos, monkeypatch, tmp_path):
    args = arguments(
        monkeypatch, photos, "--styles", "udnie", "--steps", 50, "-o", tmp_path / "out",
        "--precision", "32-true",
    )  # fmt: skip
    rows = compare_losses.compare(args)
    cells = [(cell[0], cell[1], cell[4], cell[7], cell[8]) for cell in rows]
    assert cells == [
        ("udnie", "compact", "2.200", "40 (30-50)", ""),
        ("udnie", "vgg19", "2.000", "40 (30-50)", "1.100"),
        ("udnie", "vgg19", "4.000", "40 (30-50)", "0.550"),
    ]
    trainings = [cfg for cfg in runs if "trainer" in cfg]
    assert [cfg.trainer.max_steps for cfg in trainings] == [*[51] * 6, 50, 50, 20]
    assert {cfg.data.root for cfg in trainings} == {str(photos)}
    assert len({cfg.compile for cfg in trainings}) == 1  # one is not faster for that
    assert {cfg.trainer.precision for cfg in trainings} == {"32-true"}
    once = len(runs)
    monkeypatch.setitem(SPEED, "vgg19", 13)
    assert compare_losses.compare(args) == rows
    assert len(runs) == once


def test_bad_input_is_said_before_anything_runs(runs, photos, monkeypatch, tmp_path):
    good = [photos, "--styles", "udnie", "--steps", 50, "--compare", "steps", "-o", tmp_path / "a"]
    assert len(compare_losses.compare(arguments(monkeypatch, *good))) == 2
    once = len(runs)
    for words, said in (
        ([*good, "--steps", 60], "expected the settings that it began with.*try another"),
        ([*good, "--steps", 0], "--steps: expected a whole number from 1 up, found 0"),
        ([tmp_path / "none", *good[1:]], "none: expected a folder of photos, found none"),
        ([*good, "--weights", tmp_path / "w"], "expected one of .*w'"),
    ):
        with pytest.raises(InputError, match=said):
            compare_losses.compare(arguments(monkeypatch, *words))
    (tmp_path / "a/settings.json").write_text("{")
    with pytest.raises(InputError, match=r"settings.json: expected what this command wrote"):
        compare_losses.compare(arguments(monkeypatch, *good))
    assert len(runs) == once


@pytest.mark.slow
def test_an_unknown_painting_and_what_a_training_says_is_said(photos, tmp_path):
    words = photos, "--compare", "steps", "-o", tmp_path / "out", "--styles"
    unknown = run_command("compare_losses", *words, "udnie", "nobody")
    assert unknown.returncode == 1
    assert "nobody" in error_line(unknown)
    failed = run_command("compare_losses", *words, "udnie")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: train.py: ")

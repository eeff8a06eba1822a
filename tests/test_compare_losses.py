"""The comparison of loss networks asks for the right runs, and says what they found."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_inline
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(ROOT / "scripts"))

import compare_losses

from fst.errors import InputError

SPEED = {"compact": 30, "vgg19": 12}  # images a second
OBJECTIVE = {("compact", 50): 2.2, ("vgg19", 50): 2.0, ("vgg19", 20): 4.0}


@pytest.fixture
def runs(monkeypatch):
    """The configs of all scripts that are run; in their place files appear."""
    found = []

    def run(script: Path, *settings: str, **_: str) -> None:
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            cfg = compose(script.stem, list(settings))
        found.append(cfg)
        if script.stem == "evaluate":
            style, network, steps = Path(cfg.checkpoint).stem.split("-")
            loss = {"total": OBJECTIVE[network, int(steps)], "style": 0.125, "content": 0.5}
            worth = {"johnson": {"median": 40.2, "min": 30, "max": 50}}
            figures = {"loss": loss, "equivalents": worth}
            (Path(cfg.output) / f"{style}-{network}-{steps}.json").write_text(json.dumps(figures))
        elif "meter" in cfg.callbacks:
            network = "compact" if "Compact" in cfg.loss.extractor._target_ else "vgg19"
            Path(cfg.callbacks.meter.file).write_text(json.dumps({"images_per_s": SPEED[network]}))
        else:
            Path(cfg.paths.run).mkdir(parents=True)
            shipped = ROOT / "checkpoints" / f"{cfg.style.name}.safetensors"
            shutil.copyfile(shipped, Path(cfg.paths.run) / shipped.name)

    monkeypatch.setattr(compare_losses, "run_child", run)
    return found


def arguments(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["compare_losses.py", *map(str, words)])
    return compare_losses.parse_args()


def test_the_same_steps_and_the_same_time(runs, monkeypatch, tmp_path):
    args = arguments(
        monkeypatch, "my photos", "--styles", "udnie", "--steps", 50, "-o", tmp_path,
        "trainer.precision=32-true",
    )  # fmt: skip
    rows = compare_losses.compare(args)
    cells = [(cell[0], cell[1], cell[4], cell[7], cell[8]) for cell in rows]
    assert cells == [
        ("udnie", "compact", "2.200", "40 (30-50)", ""),
        ("udnie", "vgg19", "2.000", "40 (30-50)", "1.10"),
        ("udnie", "vgg19", "4.000", "40 (30-50)", "0.55"),
    ]
    trainings = [cfg for cfg in runs if "trainer" in cfg]
    assert [cfg.trainer.max_steps for cfg in trainings] == [41, 41, 50, 50, 20]
    assert {cfg.data.root for cfg in trainings} == {"my photos"}
    assert {cfg.trainer.precision for cfg in trainings} == {"32-true"}
    once = len(runs)
    assert compare_losses.compare(args) == rows
    assert len(runs) == once + 2  # the speeds


def test_another_folder_is_asked_for_with_other_settings(runs, monkeypatch, tmp_path):
    words = "photos", "--styles", "udnie", "--steps", 50, "--compare", "steps", "-o", tmp_path
    assert len(compare_losses.compare(arguments(monkeypatch, *words))) == 2
    with pytest.raises(InputError, match="expected the settings that it began with.*try another"):
        compare_losses.compare(arguments(monkeypatch, *words, "seed=3"))


def test_what_a_training_says_is_said(tmp_path):
    words = "--styles", "udnie", "--compare", "steps", "-o", tmp_path / "out"
    result = run_inline("compare_losses", tmp_path / "none", *words)
    assert result.returncode == 1
    assert re.match(r"error: train.py: .*/none: expected a folder", result.stderr.split("\n")[-2])

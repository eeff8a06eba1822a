"""Every command and every path of the README."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.conftest import ROOT, run_inline

TEXT = (ROOT / "README.md").read_text()
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S)
    for line in block.splitlines()
    if line.strip()
]


def test_every_kind_of_command_is_there():
    kinds = {" ".join(words[:2]) for words in COMMANDS}
    assert {"make quickstart", "make test", "python scripts/stylize.py"} <= kinds
    assert {"python scripts/train.py", "tensorboard --logdir"} <= kinds


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command(words, tmp_path, painting, photo_folder):
    if words[0] == "make":
        result = subprocess.run(
            ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
        )
        known = "scripts/quickstart.py", "scripts/gallery.py", "pytest"
        assert any(name in result.stdout for name in known)
    elif words[:2] == ["python", "scripts/stylize.py"]:
        stylize(words[2:], tmp_path)
    elif words[:2] == ["python", "scripts/export.py"]:
        export(words[2:], tmp_path)
    elif words[:2] == ["python", "scripts/benchmark.py"]:
        benchmark(words[2:], tmp_path)
    elif words[:2] == ["python", "scripts/compare_losses.py"]:  # tests/test_compare_losses.py
        assert run_inline("compare_losses", *words[2:], "--help").returncode == 0
    elif words[:2] == ["python", "scripts/check_data.py"]:
        names = tmp_path / words[-1]
        assert run_inline("check_data", photo_folder, words[3], names).returncode == 0
        assert names.exists()
    elif "scripts/train.py" in words:
        assert words[0] in ("python", "torchrun", "srun")  # started so in tests/test_scale.py
        args = words[words.index("scripts/train.py") + 1 :]
        config = composed("train", args, painting, photo_folder)
        assert config["data"]["root"] == str(photo_folder)
    elif words[:2] == ["python", "scripts/evaluate.py"]:
        config = composed("evaluate", words[2:], painting, photo_folder)
        assert config["photos"] == str(photo_folder)
    elif words[:2] in (["python", "scripts/distill.py"], ["python", "scripts/agreement.py"]):
        name = Path(words[1]).stem
        config = composed(name, words[2:], painting, photo_folder)
        assert str(photo_folder) in (
            config["photos"] if name == "agreement" else config["data"]["root"]
        )
    elif words[:2] == ["python", "scripts/optimize.py"]:
        assert composed("optimize", words[2:], painting, photo_folder)["iterations"] >= 200
    elif words[0] == "tensorboard":
        subprocess.run([Path(sys.executable).parent / "tensorboard", "--version"], check=True)
    else:
        assert words[0] == "export"
        assert words[1].startswith("FST_VGG_WEIGHTS=")
        assert "FST_VGG_WEIGHTS" in (ROOT / "configs/loss/extractor/vgg19.yaml").read_text()


def stylize(args: list[str], tmp_path: Path) -> None:
    """The command itself, its output moved to a temporary folder."""
    args[args.index("-o") + 1] = str(tmp_path / args[args.index("-o") + 1])
    expanded = [
        str(path) for word in args for path in (sorted(ROOT.glob(word)) if "*" in word else [word])
    ]
    result = run_inline("stylize", *expanded)
    assert result.returncode == 0, result.stderr
    for line in result.stdout.splitlines():
        with Image.open(line) as painted:
            assert min(painted.size) > 200


def export(args: list[str], tmp_path: Path) -> None:
    args[args.index("-o") + 1] = str(tmp_path / args[args.index("-o") + 1])
    result = run_inline("export", *args)
    assert result.returncode == 0, result.stderr
    assert Path(args[args.index("-o") + 1]).stat().st_size > 500_000


def benchmark(args: list[str], tmp_path: Path) -> None:
    """The command with its output moved, as short as it can be."""
    if args[0] == "stylize":
        args[args.index("--json") + 1] = str(tmp_path / "bench.json")
        args += ["--quick", "--engines", "eager"]
    else:  # minutes; `tests/test_benchmark.py` runs them small
        args = [args[0], "--help"]
    result = run_inline("benchmark", *args)
    assert result.returncode == 0, result.stderr


def composed(script: str, args: list[str], painting: Path, photo_folder: Path) -> dict:
    """The command's config, its capital words filled in; of a sweep, the first of its runs."""
    filled = {
        "PAINTINGS": painting.parent,
        "PAINTING.jpg": painting,
        "PHOTOS": photo_folder,
        "LARGE": photo_folder,
        "PHOTO.jpg": painting,
    }
    args = [re.sub(r"=([A-Z]+(?:\.jpg)?)$", lambda m: f"={filled[m[1]]}", word) for word in args]
    if "--multirun" in args:
        args = [word.replace("glob(*,exclude=custom)", "udnie") for word in args]
        args = [re.sub(r"=([^,]+),.*", r"=\1", word) for word in args if word != "--multirun"]
    result = run_inline(script, *args, "--cfg", "job")
    assert result.returncode == 0, result.stderr
    return yaml.safe_load(result.stdout)


def test_every_link_leads_to_a_file():
    for path in (ROOT / "README.md", ROOT / "checkpoints/README.md", *ROOT.glob("docs/*.md")):
        folder, document = path.parent, path.read_text()
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document):
            assert (folder / target).exists(), target
    for path in re.findall(r"^\| (`.*?`) \|", TEXT, re.M):
        for name in re.findall(r"`((?:fst|scripts|configs|checkpoints)/[\w.]*)`", path):
            assert (ROOT / name).exists(), name

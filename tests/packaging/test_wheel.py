"""The wheel alone, in an empty folder: its styles, its presets, its command.

It is built and installed into an environment of its own, which sees what pip would install beside
it, and neither the repository nor any other package of this one.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from copy import copy
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT, make_painting, make_photo_folder, make_picture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="needs symbolic links"),
]
LARGEST = 30_000_000  # bytes


def needed(requirements: Iterable[str], extras: Iterable[str]) -> set[str]:
    """The installed distributions that these requirements bring, and theirs."""
    names: set[str] = set()
    pending = [(text, frozenset(extras)) for text in requirements]
    seen = set(pending)
    while pending:
        text, wanted = pending.pop()
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in (*wanted, "")):
            continue
        names.add(requirement.name)
        more = distribution(requirement.name).requires or []
        new = {(each, frozenset(requirement.extras)) for each in more} - seen
        seen |= new
        pending += new
    return names


def link(names: Iterable[str], folder: Path) -> None:
    """The packages of these distributions, and nothing else."""
    folder.mkdir()
    for name in names:
        found: Distribution = distribution(name)
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            source, target = Path(str(found.locate_file(top))), folder / top
            if source.exists() and not target.exists():
                target.symlink_to(source)


class Installed:
    """The wheel in an environment of its own, and an empty folder to work in."""

    packages: Path

    def __init__(self, root: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(root)]
        subprocess.run([*pip, *build, str(ROOT)], check=True)
        (self.wheel,) = root.glob("*.whl")
        venv = root / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        self.bin = venv / "bin"
        install = ["--python", str(self.bin / "python"), "install", "--no-deps", "--no-index"]
        subprocess.run([*pip, *install, str(self.wheel)], check=True)
        (self.site,) = venv.glob("lib/python*/site-packages")
        self.here = root / "here"
        self.here.mkdir()

    def with_packages(self, *extras: str) -> "Installed":
        """It, seeing what pip would install beside it: for no extras, what the base needs."""
        seeing = copy(self)
        seeing.packages = self.here.parent / "-".join(["base", *extras])
        (info,) = self.site.glob("*.dist-info")
        link(needed(Distribution.at(info).requires or [], extras), seeing.packages)
        return seeing

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """A program of the environment, as a user starts it who has nothing else."""
        environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "PYTHONPATH": str(self.packages),
            "HOME": str(self.here),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            [str(self.bin / str(words[0])), *map(str, words[1:])],
            env=environment, cwd=self.here, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def output(self, *words: object) -> str:
        result = self.run(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = Installed(tmp_path_factory.mktemp("wheel"))
    make_picture(300, 200).save(made.here / "photo.jpg")
    return made


@pytest.fixture(scope="module")
def base(installed: Installed) -> Installed:
    return installed.with_packages()


@pytest.fixture(scope="module")
def train(installed: Installed) -> Installed:
    return installed.with_packages("train")


def test_the_wheel_is_small(installed):
    assert installed.wheel.name.startswith("fst_style-")
    assert installed.wheel.stat().st_size <= LARGEST


def test_it_paints_with_the_base_alone(base):
    for package in "torchvision", "pytorch_lightning", "hydra", "openvino", "onnx", "pyvips", "pip":
        assert base.run("python", "-c", f"import {package}").returncode == 1, package
    assert base.output("python", "-c", "import fst; print(fst.__file__)").startswith(str(base.site))
    assert "| starry_night " in base.output("fst", "styles")
    words = "stylize", "photo.jpg", "--style", "starry_night", "-o", "out.jpg"
    assert base.output("fst", *words) == "out.jpg\n"
    assert (base.here / "out.jpg").stat().st_size > 5_000
    code = "from fst import Stylizer, read_photo, save_picture\n"
    code += "save_picture(Stylizer('udnie')(read_photo('photo.jpg')), 'painted.png')"
    base.output("python", "-c", code)
    assert (base.here / "painted.png").is_file()


def test_without_an_extra_each_feature_says_what_to_install(base):
    said = {
        "train": ["train"],
        "fast": ["photo.jpg", "--style", "udnie", "--engine", "openvino"],
        "heic": ["photo.jpg", "--style", "udnie", "-o", "out.heic"],
    }
    for extra, words in said.items():
        result = base.run("fst", *words)
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")
        assert f'pip install "fst-style[{extra}]"' in result.stderr
        assert result.stderr.count("\n") == 1


def test_it_trains_and_paints_with_what_it_trained(train):
    make_photo_folder(train.here / "photos")
    make_painting(train.here / "painting.png")
    train.output(
        "fst", "train", "style.name=mine", "style.image=painting.png", "loss/extractor=compact",
        "data.root=photos", "data.crop_size=64", "style.size=64", "trainer.max_steps=20",
        "trainer.val_check_interval=20",
    )  # fmt: skip
    (file,) = train.here.glob("outputs/mine/*/mine.safetensors")
    assert train.output("fst", "photo.jpg", "--style", file) == "photo-mine.jpg\n"
    assert (train.here / "photo-mine.jpg").is_file()
    assert "trained   20 steps" in train.output("fst", "styles", file)

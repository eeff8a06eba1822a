"""Every command, Python example, link and path of the README and of the documents' pages.

Commands are run or parsed in a folder that has ``examples/`` and everything that stands in
capitals on the pages: PHOTO.jpg, PHOTOS, PAINTING.jpg, PAINTINGS, RUN, MY_CONFIGS ...
"""

import contextlib
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from unittest import mock

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

import fst
from tests.conftest import ROOT, make_painting, make_photo_folder

README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "checkpoints/README.md",
    *sorted(ROOT.glob("docs/*.md")),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HYDRA = ("train", "evaluate", "optimize")
LAUNCHERS = ("torchrun", "srun")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


COMMANDS = {
    line.split("  #")[0].strip(): shlex.split(line, comments=True)
    for page in PAGES
    for block in blocks(page, "sh")
    for line in block.splitlines()
    if line.strip()
}
EXAMPLES = {
    f"{page.relative_to(ROOT)}:{number}": block
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"))
}


@pytest.fixture
def place(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with all that the pages' commands name."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    with Image.open(ROOT / "examples/astronaut.jpg") as photo:
        photo.resize((192, 192)).save(tmp_path / "PHOTO.jpg")
    for name in "PHOTOS", "LARGE":
        make_photo_folder(tmp_path / name)
    for name in "PAINTING.jpg", "PAINTINGS/starry_night.jpg":
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make_painting(tmp_path / name)
    own = tmp_path / "MY_CONFIGS/style/mine.yaml"
    own.parent.mkdir(parents=True)
    shutil.copy(ROOT / "configs/style/custom.yaml", own)
    own.write_text(own.read_text().replace("???", "mine"))
    trained = tmp_path / "outputs/mine/RUN/mine.safetensors"
    trained.parent.mkdir(parents=True)
    shutil.copy(checkpoint, trained)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_fst(*words: str) -> str:
    """The command ``fst`` in this process; gives its standard output."""
    from fst.cli.main import main

    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["fst", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(list(words))
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            GlobalHydra.instance().clear()
    assert status == 0, err.getvalue()
    return out.getvalue()


def test_every_kind_of_command_is_there():
    in_readme = README.read_text()
    for command in "make quickstart", "make test", "pip install", "fst train", "tensorboard":
        assert f"\n{command}" in in_readme
    kinds = {words[1] for words in COMMANDS.values() if words[0] == "fst"}
    assert {"stylize", "styles", "sheet", "export", "check-photos", *HYDRA} <= kinds


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_command(words: list[str], place: Path) -> None:
    if words[0] in LAUNCHERS:  # started so in tests/training/test_scale.py
        words = words[words.index("fst") :]
    check = {"fst": fst_command, "make": make, "pip": pip, "python": script, "export": variable}
    if words[0] == "tensorboard":
        subprocess.run([sys.executable, "-m", "tensorboard.main", "--version"], check=True)
    else:
        check[words[0]](words[1:], place)


def fst_command(words: list[str], place: Path) -> None:
    """Hydra's commands composed, the others run as they stand."""
    if words[0] in HYDRA:
        config = composed(words)
        expected = {"train": ("data", "root"), "evaluate": ("photos",), "optimize": ("photo",)}
        for key in expected[words[0]]:
            config = config[key]
        assert (place / str(config)).exists()
        return
    before = set(place.rglob("*.*"))
    out = run_fst(*words)
    if words[0] == "styles":
        assert "starry_night" in out
    elif words[0] == "export":
        assert (place / words[words.index("-o") + 1]).stat().st_size > 500_000
    elif words[0] == "check-photos":
        assert (place / words[words.index("--list") + 1]).exists()
    else:
        painted = set(place.rglob("*.*")) - before
        assert painted
        for path in painted:
            with Image.open(path) as picture:
                assert min(picture.size) >= 192


def composed(words: list[str]) -> dict:
    """The command's config; of a sweep, that of the first of its runs."""
    if "--multirun" in words:
        words = [word.replace("glob(*,exclude=custom)", "udnie") for word in words]
        words = [re.sub(r"=([^,\[]+),.*", r"=\1", word) for word in words if word != "--multirun"]
    if "--config-dir" in words:
        after = words.index("--config-dir") + 1
        words = [*words[:after], str(Path(words[after]).resolve()), *words[after + 1 :]]
    return yaml.safe_load(run_fst(*words, "--cfg", "job"))


def make(words: list[str], place: Path) -> None:
    command = ["make", "-n", *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert any(name in result.stdout for name in ("scripts/", "pytest"))


def pip(words: list[str], place: Path) -> None:
    """Files and extras that an installation names are the project's."""
    assert words[0] in ("install", "wheel")
    named = [word for word in words[1:] if "." in word]
    assert named
    for word in named:
        target, _, extras = word.rstrip("]").partition("[")
        wheel = f"{PROJECT['name'].replace('-', '_')}-{fst.__version__}-py3-none-any.whl"
        assert target in (".", f"dist/{wheel}")
        wanted = set(extras.split(",")) if extras else set()
        assert wanted <= set(PROJECT["optional-dependencies"])


def script(words: list[str], place: Path) -> None:
    """A script's options are parsed; what takes minutes has a small test of its own."""
    assert words[0] == "scripts/benchmark.py"  # tests/scripts/test_benchmark.py
    folder = str(ROOT / "scripts")
    with mock.patch.object(sys, "argv", words), mock.patch.object(sys, "path", [folder, *sys.path]):
        parsed = runpy.run_path(str(ROOT / words[0]))["parse_args"]()
    assert parsed.command == words[1]


def variable(words: list[str], place: Path) -> None:
    name = words[0].partition("=")[0]
    assert name in (ROOT / "configs/loss/extractor/vgg19.yaml").read_text()


@pytest.mark.parametrize("code", EXAMPLES.values(), ids=EXAMPLES)
def test_python(code: str, place: Path) -> None:
    exec(compile(code, "README", "exec"), {})
    for name in re.findall(r'"(painted\.\w+)"', code):
        assert (place / name).is_file()


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


ALL_PAGES = sorted(
    {*PAGES, *ROOT.glob("docs/lab/*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md")}
)


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
            assert anchor in map(slug, headings), link


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_is_there(page: Path) -> None:
    if page.name == "CHANGELOG.md":  # names what has gone
        return
    text = page.read_text(encoding="utf-8")
    folders = "fst|scripts|configs|checkpoints|research|tests|docs|examples"
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", text):
        assert "NAME" in name or (ROOT / name).exists(), name


def test_readme_is_short():
    assert len(README.read_text().splitlines()) <= 170


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    pages = {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\((\w[\w-]*\.md)\)", index))


def test_the_version_is_the_same_everywhere():
    newest = re.search(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)[1]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert newest == str(cited["version"]) == fst.__version__


def test_nothing_says_to_install_somebody_elses_package():
    wrong = re.compile(r"pip install [\"']?fst(?!-style)\b")
    kept = [*ALL_PAGES]
    for folder in "fst", "scripts", "configs", "research":
        kept += [path for path in ROOT.glob(f"{folder}/**/*.*") if path.suffix in (".py", ".yaml")]
    assert not [path for path in kept if wrong.search(path.read_text(encoding="utf-8"))]

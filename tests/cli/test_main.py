"""The command ``fst``: which sub-command runs, what it loads, what it says of wrong words."""

import subprocess
import sys

import pytest

import fst
from fst.cli.main import COMMANDS, load, main
from fst.system.errors import InputError
from tests.conftest import ROOT, error_line, run_inline, run_script

LIGHT = [name for name, command in COMMANDS.items() if command.extra is None]


def called(words, capsys):
    """What ``fst`` writes to stdout, and its exit code."""
    try:
        main(words)
    except SystemExit as stop:
        return capsys.readouterr().out, stop.code
    return capsys.readouterr().out, 0


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_names_every_command(words, capsys):
    out, status = called(words, capsys)
    assert status == 0
    for name, command in COMMANDS.items():
        assert f"  {name} " in out
        assert command.summary in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_under_its_own_name(name):
    result = run_inline(name, "--help")
    assert result.returncode == 0, result.stderr
    assert f"fst {name}" in result.stdout
    assert "scripts/" not in result.stdout


def test_help_loads_no_torch():
    code = "import sys\nfrom fst.cli.main import main\n"
    for words in [], *([name, "--help"] for name in LIGHT):
        code += f"try: main({words})\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_python_m_fst_is_the_command(capsys):
    result = subprocess.run(
        [sys.executable, "-m", "fst", "--version"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.stdout == f"fst {fst.__version__}\n"
    assert called(["--version"], capsys) == (result.stdout, 0)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("styliz", "did you mean fst stylize?"),
        ("check_photos", "did you mean fst check-photos?"),
        ("nosuch", "try fst --help"),
    ],
)
def test_an_unknown_word_is_one_line(word, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        main([word, "--style", "udnie"])
    assert stop.value.code == 1
    said = f"error: {word}: expected a photo or a command of fst, found neither; {hint}\n"
    assert capsys.readouterr().err == said


def test_a_photo_that_is_not_there_is_said_so(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["nosuch.jpg", "--style", "udnie"])
    assert stop.value.code == 1
    said = "error: nosuch.jpg: expected a picture, found no such file\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in LIGHT])
def test_a_missing_extra_is_one_line(name, monkeypatch):
    for module in [COMMANDS[name].module, "fst.cli.composing", "fst.training.data"]:
        monkeypatch.delitem(sys.modules, module, raising=False)
    for package in "hydra", "pytorch_lightning", "torchvision":
        monkeypatch.setitem(sys.modules, package, None)
    said = rf'^fst {name}: expected the package \w+, found it missing; try pip install "fst-style'
    with pytest.raises(InputError, match=rf"{said}\[train\]\"$"):
        load(name)


def test_a_photo_needs_no_sub_command(photo, checkpoint, tmp_path, capsys):
    out = tmp_path / "out.png"
    words = [str(photo), "--style", str(checkpoint), "-o", str(out)]
    assert called(words, capsys) == (f"{out}\n", 0)
    assert called([*words[1:], words[0]], capsys) == (f"{out}\n", 0)  # options first


def test_names_are_imported_when_they_are_asked_for():
    code = (
        "import sys, fst\n"
        "assert 'torch' not in sys.modules\n"
        "assert set(fst.__all__) <= set(dir(fst))\n"
        "for name in fst.__all__: assert getattr(fst, name)\n"
        "from fst import InputError, Photo, Stylizer, read_photo, save_picture\n"
        "assert Stylizer.__module__ == 'fst.stylizer.stylizer'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="module 'fst' has no attribute 'nosuch'"):
        fst.nosuch  # noqa: B018


@pytest.mark.parametrize("name", ["train", "stylize", "evaluate", "optimize", "export"])
def test_the_scripts_are_doors_to_the_commands(name):
    text = (ROOT / "scripts" / f"{name}.py").read_text()
    assert f'main(["{name}", *sys.argv[1:]])' in text
    assert len(text.splitlines()) < 10


@pytest.mark.slow
def test_bad_words_of_hydra_are_said_under_the_commands_name():
    result = run_script("train", "--nosuch")
    assert result.returncode == 2
    assert result.stderr.startswith("usage: fst train ")
    line = error_line(run_inline("train", "style.name=mine", "--config-dir", "nosuch"))
    assert line.startswith("error: Additional config directory ")

"""What the scripts that compose a config decide by themselves."""

import sysconfig

import pytest

from fst.cli.reports import run_name
from fst.system.devices import resolve_compile
from fst.system.errors import InputError
from fst.system.process import keep_freed_memory


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A compiler and Python's headers, or so it seems."""
    (tmp_path / "c++").touch(mode=0o755)
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    return tmp_path


def test_compiling_is_for_runs_that_are_long_enough_for_it(compiler):
    assert resolve_compile("auto", 200)
    assert not resolve_compile("auto", 199)
    assert resolve_compile(True, 1)
    assert not resolve_compile(False, 10_000)


@pytest.mark.parametrize("lacking", ["c++", "Python.h"])
def test_without_a_compiler_nothing_is_compiled_unless_asked_for(compiler, lacking):
    (compiler / lacking).unlink()
    assert not resolve_compile("auto", 10_000)
    assert not resolve_compile(False, 10_000)
    with pytest.raises(
        InputError, match="compile: expected a C.. compiler and Python.s headers, f"
    ):
        resolve_compile(True, 10_000)


def test_another_value_is_refused():
    with pytest.raises(InputError, match="compile: expected auto, true or false, found 'yes'"):
        resolve_compile("yes", 10)


def test_keeping_freed_memory_is_harmless():
    keep_freed_memory()


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], ""),
        (["style=udnie", "data.root=/x", "paths.outputs=y", "ckpt_path=last"], ""),
        (
            ["experiment=fast", "style.weight=5", "data.crop_size=192"],
            "fast_weight-5_crop_size-192",
        ),
        (["init=/a/b.safetensors", "+trainer.limit=1", "~x"], "limit-1_x"),
        (["loss.style={relu1_1: 1}"], "style--relu1_1-1"),
        (["seed=" + "1" * 200], "seed-" + "1" * 75),
    ],
)
def test_runs_are_named_by_their_settings(overrides, name):

    assert run_name(overrides) == name

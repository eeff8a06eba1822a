import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fst.system.errors import InputError
from fst.system.files import atomic_path, cache_folder, check_folder, make_folder, remove_leftovers


def test_the_file_appears_whole(tmp_path):
    target = tmp_path / "new" / "out.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(KeyError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_file_has_the_usual_mode(tmp_path):
    plain, target = tmp_path / "plain", tmp_path / "target"
    plain.touch()
    with atomic_path(target):
        pass
    assert target.stat().st_mode == plain.stat().st_mode


def test_a_folder_that_cannot_be_is_said(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "sub", tmp_path / "file"):
        for action in (check_folder, make_folder):
            with pytest.raises(InputError, match=r"expected a folder .* but .*file is a file; try"):
                action(path)


def test_checking_a_folder_makes_nothing(tmp_path):
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_folder_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match="found .* read-only; try another place"):
        make_folder(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    with (
        pytest.raises(InputError, match=r"out.txt: cannot be written \(No space left on device\)"),
        atomic_path(tmp_path / "out.txt") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_file_keeps_the_suffix_and_says_whose_it_is(tmp_path):
    with atomic_path(tmp_path / "out.tar.jpg") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".fst-")
        assert f"-{os.getpid()}-" in temporary.name
        assert temporary.suffix == ".jpg"


def test_leftovers_of_dead_processes_are_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        names = {
            number: leftover(tmp_path / "sub", number) for number in (os.getpid(), alive.pid, 2**40)
        }
        others = [tmp_path / "sub" / ".fst-otherhost-1-abc.png", tmp_path / "sub" / "fst-1-a.png"]
        for path in others:
            path.touch()
        remove_leftovers([tmp_path / "sub", tmp_path / "sub", tmp_path / "no"])
        kept = set(names.values()) & set((tmp_path / "sub").iterdir())
        assert kept == {names[alive.pid]}
        alive.communicate()
    remove_leftovers([tmp_path / "sub"])
    assert sorted((tmp_path / "sub").iterdir()) == sorted(others)


def leftover(folder: Path, number: int) -> Path:
    """What a killed process of this number would leave."""
    with atomic_path(folder / "x.png") as temporary:
        name = temporary.name.replace(f"-{os.getpid()}-", f"-{number}-")
    (folder / "x.png").unlink()
    (folder / name).touch()
    return folder / name


def test_threads_do_not_change_the_umask(tmp_path):
    before = os.umask(0o022)
    os.umask(before)

    def write(number):
        for k in range(20):
            with atomic_path(tmp_path / f"{number}-{k}"):
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert os.umask(before) == before
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~before}


def test_the_cache_is_the_users_and_nowhere_without_a_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fst"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "fst"

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(InputError):
        make_folder(cache_folder())

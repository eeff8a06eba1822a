"""The index of photos: what it lists, what it remembers, and when it looks again."""

import json
import os
import pickle
import time

import pytest

from fst.images import find_images, index
from fst.images.index import index_annotations, index_folder
from fst.system.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "WORTH_KEEPING", 1)


@pytest.fixture
def walks(monkeypatch):
    """Counts how often a folder is read."""
    count = []
    walk = index._walk
    monkeypatch.setattr(index, "_walk", lambda root: count.append(root) or walk(root))
    return count


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for name in ("b.jpg", "a.JPEG", "in/c.png", "in/deep/d.webp", "é ü.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name in (".hidden.jpg", "notes.txt", ".git/x.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def age(root):
    """Make the folders older than what the index holds for too young to be sure of."""
    old = time.time() - 60
    for path, _, _ in os.walk(root):
        os.utime(path, (old, old))


def names(root):
    return [path.relative_to(root).as_posix() for path in index_folder(root)]


def test_it_lists_what_find_images_lists(folder):
    found = index_folder(folder)
    assert sorted(found) == find_images(folder)
    assert found[0] == folder / "a.JPEG"
    assert list(found[1:3]) == list(found)[1:3]
    assert list(pickle.loads(pickle.dumps(found))) == list(found)


def test_a_folder_that_did_not_change_is_read_once(folder, walks):
    age(folder)
    first, again = names(folder), names(folder)
    assert first == again
    assert len(walks) == 1


@pytest.mark.parametrize("change", ["add", "add below", "remove", "rename"])
def test_a_changed_folder_is_read_again(folder, walks, change):
    age(folder)
    before = names(folder)
    if change == "remove":
        (folder / "in/deep/d.webp").unlink()
    elif change == "rename":
        (folder / "in/c.png").rename(folder / "in/e.png")
    else:
        (folder / ("in/deep" if change == "add below" else ".") / "new.jpg").touch()
    assert names(folder) != before
    assert [folder / name for name in sorted(names(folder))] == sorted(find_images(folder))
    assert len(walks) >= 2


def test_a_folder_that_changed_a_moment_ago_is_not_trusted(folder, walks):
    names(folder)  # just made: a file may come within the same tick of the clock
    names(folder)
    assert len(walks) == 2


def test_a_damaged_cache_is_replaced(folder, walks, tmp_path):
    age(folder)
    before = names(folder)
    (file,) = (tmp_path / "cache/fst/photos").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert names(folder) == before
    assert names(folder) == before
    assert len(walks) == 2


def test_annotations_are_read_again_when_they_change(folder, tmp_path, monkeypatch):
    file = tmp_path / "instances.json"
    loads = []
    monkeypatch.setattr(
        index.json, "load", lambda *a, **k: loads.append(1) or json.loads(a[0].read(), **k)
    )

    def write(names):
        file.write_text(
            json.dumps(
                {
                    "info": {"year": 2026},
                    "images": [{"id": k, "file_name": name} for k, name in enumerate(names)],
                    "annotations": [{"bbox": [1, 2, 3, 4], "image_id": 0}],
                }
            )
        )
        os.utime(file, (time.time() - 60,) * 2)

    write(["b.jpg", "/in/c.png"])
    for _ in range(2):
        assert list(index_annotations(folder, file)) == [folder / "b.jpg", folder / "in/c.png"]
    assert len(loads) == 1
    write(["b.jpg"])
    assert list(index_annotations(folder, file)) == [folder / "b.jpg"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_one_clear_line(folder):
    (folder / "in").chmod(0)
    try:
        with pytest.raises(InputError, match="in/: expected a folder that can be read"):
            index_folder(folder)
    finally:
        (folder / "in").chmod(0o755)

"""Files that cannot be read, and places that cannot be written: one line each, nothing left."""

import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fst.images import MAX_PIXELS, SUFFIXES, Photo, read_photo, read_picture, save_picture
from fst.system.errors import InputError
from tests.conftest import make_picture

BIG = Photo(np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8))
DEEP = Photo(np.random.default_rng(0).integers(0, 65536, (40, 30, 3), dtype=np.uint16))


def refusal(path: Path) -> str:
    """The one line that reading this file gives."""
    with pytest.raises(InputError) as caught:
        read_picture(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: expected ")
    assert "\n" not in line
    with pytest.raises(InputError):
        read_photo(path)
    return line


def huge_png(path: Path, width: int, height: int) -> Path:
    """A header that promises too much, and hardly a pixel."""
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data
        content += struct.pack(">I", zlib.crc32(name + data))
    path.write_bytes(content)
    return path


def huge_gif(path: Path, frame: int) -> Path:
    """The canvas (0), or a later frame that makes it grow, is too large."""
    images = [make_picture(8, 8), make_picture(8, 8, seed=1)]
    images[0].save(path, save_all=True, append_images=images[1:])
    content = bytearray(path.read_bytes())
    place = content.rindex(b"," + bytes(4) + b"\x08\0\x08\0") + 5 if frame else 6
    content[place : place + 4] = struct.pack("<HH", 65535, 65535)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.99])
def test_a_cut_file_is_refused_or_whole(suffix, share, tmp_path):
    """Five cuts of every format: never half a picture."""
    if suffix in (".heic", ".heif"):
        pytest.importorskip("pillow_heif", reason='needs pip install "fst-style[heic]"')
    path = tmp_path / f"x{suffix}"
    save_picture(Photo(BIG.pixels[:40, :30]), path)
    whole, content = read_photo(path).pixels, path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    try:
        photo = read_photo(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:  # what was cut off was no pixel
        assert share == 0.99
        assert np.array_equal(photo.pixels, whole)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.99])
def test_a_cut_file_of_16_bits_is_refused(name, share, tmp_path, capfd):
    save_picture(DEEP, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    refusal(tmp_path / name)
    assert capfd.readouterr() == ("", "")  # libvips is silent


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif", "x.webp", "x.gif"])
def test_what_is_no_picture_is_named(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(b"")
    assert "found an empty file" in refusal(path)
    path.write_text("hello, this is no picture")
    assert "expected a picture, found something else in it" in refusal(path)
    path.unlink()
    assert "expected a picture, found no such file" in refusal(path)
    path.mkdir()
    assert "expected a picture that can be read (Is a directory)" in refusal(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_to_read_is_named(tmp_path):
    make_picture(8, 8).save(tmp_path / "x.png")
    (tmp_path / "x.png").chmod(0)
    assert "expected a picture that can be read (Permission denied)" in refusal(tmp_path / "x.png")


def test_a_refused_permission_is_one_line(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "expected a picture that can be read (Permission denied)" in refusal(tmp_path / "x.png")


def test_absurd_sizes_are_refused_at_the_header(tmp_path):
    assert MAX_PIXELS == 500_000_000
    line = refusal(huge_png(tmp_path / "x.png", 50_000, 10_001))
    assert "expected at most 500 megapixels, found 501; try a smaller copy" in line
    line = refusal(huge_png(tmp_path / "x.png", 2**31 - 1, 2**31 - 1))
    assert "expected at most 500 megapixels" in line
    line = refusal(huge_gif(tmp_path / "x.gif", frame=0))
    assert "expected at most 500 megapixels, found 4295" in line
    with pytest.raises(InputError, match="expected at most 500 megapixels, found 4295"):
        read_picture(huge_gif(tmp_path / "x.gif", frame=1))


@pytest.mark.parametrize("megapixels", [120, 400])
def test_the_limit_is_ours_and_not_pillows(megapixels, tmp_path):
    """Pillow warns above 89 megapixels and refuses above 179; here only the pixels are missing."""
    line = refusal(huge_png(tmp_path / "x.png", 10_000, megapixels * 100))
    assert "found it unreadable (image file is truncated" in line


def test_pillows_settings_are_as_they_were(tmp_path):
    path = tmp_path / "x.png"
    make_picture(8, 8).save(path)
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    threads = [
        threading.Thread(target=lambda: [read_photo(path) for _ in range(50)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(InputError):
        read_photo(tmp_path / "no.png")
    assert before == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters


def test_threads_read_what_one_reads(tmp_path):
    names = ["x.jpg", "x.png", "x.tif", "x.webp", "deep.png", "deep.tif"]
    for name in names:
        save_picture(DEEP if "deep" in name else BIG, tmp_path / name)
    alone = {name: read_photo(tmp_path / name).pixels for name in names}
    wrong = []

    def read() -> None:
        for name in names * 3:
            if not np.array_equal(read_photo(tmp_path / name).pixels, alone[name]):
                wrong.append(name)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_text_chunk_that_explodes_is_one_line(tmp_path):
    path = tmp_path / "x.png"
    make_picture(8, 8).save(path)
    content = path.read_bytes()
    text = b"x\0\0" + zlib.compress(bytes(200_000_000), 1)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + text))
    path.write_bytes(content[:33] + chunk + content[33:])
    assert "found it unreadable" in refusal(path)


@pytest.mark.parametrize(
    ("suffix", "limit"), [(".jpg", 65500), (".webp", 16383), (".gif", 65535), (".jpeg", 65500)]
)
def test_sides_too_long_for_a_format_are_named(suffix, limit, tmp_path):
    wide = Photo(np.zeros((1, limit + 1, 3), np.uint8))
    with pytest.raises(InputError) as caught:
        save_picture(wide, tmp_path / f"x{suffix}")
    line = str(caught.value)
    assert f"expected at most {limit} px a side in a {suffix} file, found {limit + 1}x1" in line
    assert "try .png or .tif" in line
    assert list(tmp_path.iterdir()) == []
    save_picture(wide, tmp_path / "x.png")
    save_picture(Photo(wide.pixels[:, :limit]), tmp_path / f"x{suffix}")
    assert read_photo(tmp_path / f"x{suffix}").size == (limit, 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("photo", [BIG, DEEP], ids=["8", "16"])
def test_a_full_disk_leaves_nothing(suffix, photo, small_disk):
    if suffix in (".heic", ".heif"):
        pytest.importorskip("pillow_heif", reason='needs pip install "fst-style[heic]"')
    (small_disk / "ballast").write_bytes(bytes(60_000))
    target = small_disk / f"x{suffix}"
    target.write_bytes(b"as it was")
    large = Photo(np.tile(photo.pixels, (160 // photo.size[1], 160 // photo.size[0], 1)))
    with pytest.raises(InputError, match=rf"x\{suffix}: cannot be written \(No space left"):
        save_picture(large, target)
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast", target.name]
    assert target.read_bytes() == b"as it was"


@pytest.fixture(scope="module")
def small_disk_root(tmp_path_factory):
    """A file system of 64 KiB."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(small_disk_root):
    for path in small_disk_root.iterdir():
        path.unlink()
    return small_disk_root


def test_a_limit_of_file_size_leaves_nothing(tmp_path):
    """As on a full disk, and without the right to mount one."""
    code = f"""
import resource, signal
import numpy as np
from fst.system.errors import InputError
from fst.images import Photo, save_picture
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
for photo in (Photo(noise), Photo(noise.astype(np.uint16) * 257)):
    for suffix in (".jpg", ".png", ".tif", ".webp", ".bmp", ".gif"):
        try:
            save_picture(photo, {str(tmp_path)!r} + "/x" + suffix)
        except InputError as error:
            print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 12
    assert all("cannot be written (File too large)" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_are_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder to write into"):
        save_picture(BIG, tmp_path / "file" / "x.png")
    (tmp_path / "x.png").mkdir()
    with pytest.raises(InputError, match="x.png: cannot be written"):
        save_picture(BIG, tmp_path / "x.png")
    with pytest.raises(InputError, match=r"expected a suffix among .*; found '.xyz'"):
        save_picture(BIG, tmp_path / "x.xyz")
    with pytest.raises(InputError, match="quality: expected 1 to 100, found 101"):
        save_picture(BIG, tmp_path / "x.jpg", quality=101)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "x.png"]


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    match = r'x.heic: expected pillow-heif .*; try pip install "fst-style\[heic\]"'
    with pytest.raises(InputError, match=match):
        save_picture(BIG, tmp_path / "x.heic")
    (tmp_path / "x.heic").write_bytes(bytes(4) + b"ftypheic" + bytes(100))
    with pytest.raises(InputError, match=match):
        read_picture(tmp_path / "x.heic")


def test_16_bits_without_their_package_say_what_to_install(tmp_path, monkeypatch):
    deep = Photo(np.full((20, 30, 3), 40_000, np.uint16))
    save_picture(deep, tmp_path / "x.png")  # writing needs none
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(
        InputError, match=r'x.png: expected pyvips .*; try pip install "fst-style\[deep\]"'
    ):
        read_photo(tmp_path / "x.png")

"""Pictures are found in folders and archives, each of use once."""

import io
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.conftest import error_line
from tests.research.commands import run

SIZE = 300


def picture(seed, size=SIZE):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG"):
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "game"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.png").write_bytes(encoded(picture(0)))
    (folder / "deep/a_again.jpg").write_bytes(encoded(picture(0), "JPEG"))
    (folder / "small.png").write_bytes(encoded(picture(1, 100)))
    (folder / "wall_norm.png").write_bytes(encoded(picture(2)))
    (folder / "flat.png").write_bytes(encoded(Image.new("RGB", (SIZE, SIZE), "red")))
    (folder / "broken.png").write_bytes(encoded(picture(3))[:200])
    clear = picture(4).convert("RGBA")
    clear.putalpha(90)
    (folder / "clear.png").write_bytes(encoded(clear))
    with zipfile.ZipFile(folder / "data.pk3", "w") as archive:
        archive.writestr("textures/b.tga", encoded(picture(5), "TGA"))
        archive.writestr("readme.txt", "no picture")
    blobs = [b"text", encoded(picture(6), "WEBP")]
    content = b"".join(struct.pack(">I", len(blob)) + blob for blob in blobs)
    head = b"qres" + struct.pack(">4I", 1, 20 + len(content), 20, 20 + len(content))
    (folder / "more.rcc").write_bytes(head + content + b"tree")
    return folder


def test_each_picture_of_use_is_kept_once(folder, tmp_path):
    result = run("gather_pictures", folder, "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "game: 3"
    kept = [Image.open(path) for path in sorted((tmp_path / "out").glob("*.jpg"))]
    assert [image.size for image in kept] == [(SIZE, SIZE)] * 3
    for seed in (0, 5, 6):
        wanted = np.asarray(picture(seed), float)
        assert min(np.abs(np.asarray(image) - wanted).mean() for image in kept) < 4


def test_no_more_of_a_folder_than_asked_for(folder, tmp_path):
    result = run("gather_pictures", folder, "-o", tmp_path / "out", "--most", 1)
    assert result.stdout.strip() == "game: 1"


def test_what_it_cannot_use_is_said_in_one_line(folder, tmp_path):
    out = tmp_path / "out"
    result = run("gather_pictures", tmp_path / "none", "-o", out)
    assert "none: expected a folder, found none" in error_line(result)
    assert "--most: expected a whole" in error_line(
        run("gather_pictures", folder, "-o", out, "--most", 0)
    )
    (folder / "more.rcc").write_bytes(b"something else, and long enough for a head")
    result = run("gather_pictures", folder, "-o", out)
    assert "more.rcc: expected Qt resources, found none" in error_line(result)
    (folder / "more.rcc").unlink()
    (folder / "data.pk3").write_bytes(b"no archive")
    result = run("gather_pictures", folder, "-o", out)
    assert "data.pk3: expected a zip archive" in error_line(result)

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

from fst.images import SUFFIXES, Photo, read_photo, save_picture
from fst.images.exif import cleaned
from tests.conftest import make_picture

NOTE = b"MAKER\0 offsets \x01\x02 and all"
PLACE = (47.0, 8.0, 30.5)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6" dc:title="Sea"/>' + (
    b"<xmp:Thumbnails>the photo as it was</xmp:Thumbnails></x:xmpmeta>"
)
CARRY_EXIF = [suffix for suffix in SUFFIXES if suffix not in (".bmp", ".gif", ".heif")]
DEEP = [".png", ".tif"]


def camera_exif(width: int = 60, height: int = 40) -> bytes:
    """What a camera writes that was turned: details, place, maker note, and a preview."""
    exif = Image.Exif()
    exif[Base.Orientation], exif[Base.Make], exif[Base.Copyright] = 6, "Maker", "Somebody"
    exif[IFD.Exif] = {
        Base.DateTimeOriginal: "2020:01:02 03:04:05",
        Base.ExposureBiasValue: -1.5,
        Base.MakerNote: NOTE,
        Base.ColorSpace: 65535,
        Base.ExifImageWidth: width,
        Base.ExifImageHeight: height,
    }
    exif[IFD.GPSInfo] = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: PLACE}
    packed = exif.tobytes().removeprefix(b"Exif\0\0")
    order = "<" if packed[:2] == b"II" else ">"
    preview = BytesIO()
    make_picture(16, 12, seed=5).save(preview, "jpeg")
    main = struct.unpack_from(order + "I", packed, 4)[0]
    link = main + 2 + 12 * struct.unpack_from(order + "H", packed, main)[0]
    end = len(packed)
    second = struct.pack(order + "H", 2)
    for tag, value in ((513, end + 30), (514, len(preview.getvalue()))):
        second += struct.pack(order + "HHII", tag, 4, 1, value)
    packed = packed[:link] + struct.pack(order + "I", end) + packed[link + 4 :]
    return b"Exif\0\0" + packed + second + bytes(4) + preview.getvalue()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.jpg"
    options = {"exif": camera_exif(), "xmp": XMP, "dpi": (300, 200), "comment": b"a comment"}
    make_picture(60, 40).save(path, **options)
    return path


def carries(suffix: str) -> None:
    if suffix == ".heic":
        pytest.importorskip("pillow_heif", reason='needs pip install "fst-style[heic]"')


def check_exif(path, size) -> None:
    with Image.open(path) as file:
        exif = file.getexif()
        details, place = exif.get_ifd(IFD.Exif), exif.get_ifd(IFD.GPSInfo)
        assert file.size == size
    assert exif.get(Base.Orientation, 1) == 1
    assert (exif[Base.Make], exif[Base.Copyright]) == ("Maker", "Somebody")
    assert details[Base.DateTimeOriginal] == "2020:01:02 03:04:05"
    assert details[Base.ExposureBiasValue] == -1.5
    assert details[Base.MakerNote] == NOTE
    assert (details[Base.ExifImageWidth], details[Base.ExifImageHeight]) == size
    assert (place[GPS.GPSLatitudeRef], place[GPS.GPSLatitude]) == ("N", PLACE)
    assert exif.get_ifd(IFD.IFD1) == {}  # the preview shows the photo as it was
    content = path.read_bytes()
    assert content.count(b"\xff\xd8\xff") == (path.suffix in (".jpg", ".jpeg"))
    assert b"the photo as it was" not in content


@pytest.mark.parametrize("suffix", CARRY_EXIF)
def test_exif_and_xmp_reach_every_format_that_takes_them(suffix, source, tmp_path):
    carries(suffix)
    target = tmp_path / f"x{suffix}"
    photo = read_photo(source)
    assert photo.size == (40, 60)
    save_picture(photo, target)
    check_exif(target, (40, 60))
    with Image.open(target) as file:
        xmp = file.info.get("xmp") or file.info["XML:com.adobe.xmp"].encode()
    assert xmp == b'<x:xmpmeta><rdf:Description tiff:Orientation="1" dc:title="Sea"/></x:xmpmeta>'
    save_picture(read_photo(target), tmp_path / "again.jpg")  # and back
    check_exif(tmp_path / "again.jpg", (40, 60))


@pytest.mark.parametrize("suffix", DEEP)
def test_16_bit_files_carry_metadata_too(suffix, source, tmp_path):
    photo = read_photo(source)
    deep = Photo(photo.pixels.astype(np.uint16) * 257, None, photo.metadata)
    for name in (f"x{suffix}", f"y{suffix}"):
        save_picture(deep, tmp_path / name)
        check_exif(tmp_path / name, (40, 60))
        deep = read_photo(tmp_path / name)
        assert deep.pixels.dtype == np.uint16
    assert deep.metadata.dpi == pytest.approx((300, 200), abs=0.01)


def test_a_smaller_picture_says_its_size(source, tmp_path):
    photo = read_photo(source)
    save_picture(Photo(photo.pixels[::2, ::2], None, photo.metadata), tmp_path / "x.jpg")
    check_exif(tmp_path / "x.jpg", (20, 30))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
def test_the_resolution_is_kept(suffix, source, tmp_path):
    save_picture(read_photo(source), tmp_path / f"x{suffix}")
    with Image.open(tmp_path / f"x{suffix}") as file:
        assert file.info["dpi"] == pytest.approx((300, 200), abs=0.01)


@pytest.mark.parametrize("suffix", [".jpg", ".gif"])
def test_the_comment_is_kept(suffix, source, tmp_path):
    save_picture(read_photo(source), tmp_path / f"x{suffix}")
    with Image.open(tmp_path / f"x{suffix}") as file:
        assert file.info["comment"] == b"a comment"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_left_when_metadata_is_stripped(suffix, source, tmp_path):
    carries(suffix.replace("heif", "heic"))
    target = tmp_path / f"x{suffix}"
    save_picture(read_photo(source), target, strip_metadata=True)
    content = target.read_bytes()
    for secret in (b"Maker", b"2020:01", b"dc:title", b"a comment", NOTE):
        assert secret not in content
    with Image.open(target) as file:
        assert not file.getexif().get_ifd(IFD.GPSInfo)
    assert suffix == ".bmp" or read_photo(target).metadata.dpi is None


def test_adobe_rgb_that_was_converted_no_longer_says_so():
    exif = Image.Exif()
    exif[IFD.Exif] = {Base.ColorSpace: 65535, IFD.Interop: {1: "R03"}}
    for converted, expected in ((True, (1, "R98")), (False, (65535, "R03"))):
        found = Image.Exif()
        found.load(cleaned(exif.tobytes(), converted))
        space = found.get_ifd(IFD.Exif)[Base.ColorSpace]
        assert (space, found.get_ifd(IFD.Interop)[1]) == expected


def test_what_does_not_fit_into_a_jpeg_is_left_out(tmp_path):
    make_picture(20, 20).save(tmp_path / "x.webp", xmp=b"x" * 70000, exif=camera_exif())
    save_picture(read_photo(tmp_path / "x.webp"), tmp_path / "x.jpg")
    with Image.open(tmp_path / "x.jpg") as file:
        assert "xmp" not in file.info
        assert file.getexif()[Base.Make] == "Maker"


def test_damaged_exif_costs_no_photo(tmp_path):
    """Three bytes changed anywhere in it, 200 times: the pixels are all there every time."""
    picture = make_picture(24, 16)
    packed = camera_exif()
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(200):
        damaged = bytearray(packed)
        for place in rng.integers(6, 300, 3):
            damaged[place] = rng.integers(0, 256)
        picture.save(tmp_path / "x.png", exif=bytes(damaged))
        photo = read_photo(tmp_path / "x.png")
        assert sorted(photo.size) == [16, 24]
        for name in ("y.png", "y.tif", "y.jpg"):
            save_picture(photo, tmp_path / name)
            assert read_photo(tmp_path / name).size == photo.size
        kept += photo.metadata.exif is not None
    assert kept > 50

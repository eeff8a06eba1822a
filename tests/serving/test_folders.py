from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fst.serving.folders import Job, Masks, plan, read_job, without_existing
from fst.system.errors import InputError
from tests.conftest import make_picture


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def targets(jobs: list[Job], output: Path) -> list[str]:
    return [job.target.relative_to(output).as_posix() for job in jobs]


def test_folders_keep_their_tree_and_formats(tmp_path):
    photos = touch(
        tmp_path / "photos", "b/x.PNG", "a/b/y.jpeg", "z.tif", "notes.txt", ".hidden.jpg"
    )
    lone = touch(tmp_path, "lone.webp") / "lone.webp"
    jobs = plan([photos, lone], tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["a/b/y.jpeg", "b/x.PNG", "z.tif", "lone.webp"]
    assert [job.name.as_posix() for job in jobs] == ["a/b/y.jpeg", "b/x.PNG", "z.tif", "lone.webp"]
    assert jobs[0].source == photos / "a/b/y.jpeg"


def test_a_format_that_cannot_be_written_becomes_png(tmp_path):
    (job,) = plan([touch(tmp_path, "scan.PSD") / "scan.PSD"], tmp_path / "out")
    assert job.target == tmp_path / "out" / "scan.png"


def test_one_photo_may_name_its_file(tmp_path):
    photo = touch(tmp_path, "x.jpg") / "x.jpg"
    assert plan([photo], tmp_path / "y.png")[0].target == tmp_path / "y.png"
    (tmp_path / "v1.png").mkdir()
    assert plan([photo], tmp_path / "v1.png")[0].target == tmp_path / "v1.png" / "x.jpg"
    assert plan([tmp_path], tmp_path / "v2.png")[0].target == tmp_path / "v2.png" / "x.jpg"


def test_what_is_painted_inside_the_folder_is_left_out(tmp_path):
    touch(tmp_path, "a.jpg", "painted/a.jpg", "painted/b.jpg")
    jobs = plan([tmp_path], tmp_path / "painted")
    assert targets(jobs, tmp_path / "painted") == ["a.jpg"]


def test_what_cannot_be_is_said(tmp_path):
    touch(tmp_path, "a/x.jpg", "b/x.jpg", "empty/no.txt")
    with pytest.raises(
        InputError, match="expected one photo for it, found .*a.x.jpg and .*b.x.jpg"
    ):
        plan([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(InputError, match="is one of the photos; try another output"):
        plan([tmp_path / "a"], tmp_path / "a")
    with pytest.raises(InputError, match="expected photos .* in it, found none"):
        plan([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(InputError, match="no.jpg: expected a picture, found no such file"):
        plan([tmp_path / "no.jpg"], tmp_path / "out")
    with pytest.raises(InputError, match="expected a suffix among"):
        plan([tmp_path / "a/x.jpg"], tmp_path / "out.doc")


def test_what_is_there_is_left_out(tmp_path):
    touch(tmp_path, "in/a.jpg", "in/b/c.jpg", "out/b/c.jpg")
    jobs = without_existing(plan([tmp_path / "in"], tmp_path / "out"))
    assert targets(jobs, tmp_path / "out") == ["a.jpg"]


def make_mask(path: Path, *values: float, size: tuple[int, int] = (8, 8)) -> Path:
    """A picture in columns of these grays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = np.repeat(np.uint8(np.rint(np.array(values) * 255)), size[0] // len(values))
    Image.fromarray(np.tile(row, (size[1], 1))).save(path)
    return path


def job(name: str) -> Job:
    return Job(Path("in", name), Path("out", name), Path(name))


def test_one_mask_for_all_is_gray_in_0_to_1(tmp_path):
    masks = Masks(make_mask(tmp_path / "mask.png", 0, 0.2, 0.6, 1))
    found = masks(job("x.jpg"), (800, 800))
    assert found.dtype == np.float32
    assert found.shape == (8, 8)
    np.testing.assert_allclose(found[3, ::2], [0, 0.2, 0.6, 1], atol=1e-6)
    assert masks(job("y.jpg"), (100, 99)) is found


def test_what_is_transparent_in_a_mask_is_black(tmp_path):
    mask = Image.new("RGBA", (8, 8), "white")
    mask.putalpha(Image.new("L", (8, 8), 51))
    mask.save(tmp_path / "mask.png")
    np.testing.assert_allclose(Masks(tmp_path / "mask.png")(job("x.jpg"), (8, 8)), 0.2, atol=1e-6)


def test_a_folder_of_masks_mirrors_the_photos(tmp_path):
    make_mask(tmp_path / "a/x.png", 1.0)
    make_mask(tmp_path / "x.png", 0.0)
    make_mask(tmp_path / "x.webp", 0.0)
    make_mask(tmp_path / "a/x.y.bmp", 0.2)
    masks = Masks(tmp_path)
    assert masks(job("a/x.jpg"), (8, 8)).min() == 1
    assert masks(job("x.webp"), (8, 8)).max() == 0
    assert masks(job("a/x.y.jpg"), (8, 8)).max() == pytest.approx(0.2)
    with pytest.raises(InputError, match=r"in.b.x.jpg: expected a mask for it at .*b.x.jpg \(any"):
        masks(job("b/x.jpg"), (8, 8))


def test_a_mask_of_another_aspect_is_refused(tmp_path):
    masks = Masks(make_mask(tmp_path / "mask.png", 1.0, size=(8, 6)))
    assert masks(job("x.jpg"), (4000, 3000)).shape == (6, 8)
    with pytest.raises(InputError, match=r"x.jpg: expected a mask of .* \(30x40\), found 8x6; try"):
        masks(job("x.jpg"), (30, 40))


def test_a_mask_that_is_no_picture_is_said(tmp_path):
    (tmp_path / "mask.png").write_text("hello")
    for path in tmp_path / "mask.png", tmp_path / "no.png":
        with pytest.raises(InputError, match="expected a picture"):
            Masks(path)


def test_a_job_is_read_with_its_mask(tmp_path):
    make_picture(16, 8).save(tmp_path / "x.png")
    one = Job(tmp_path / "x.png", tmp_path / "out.png", Path("x.png"))
    picture, controls = read_job(one)
    assert (picture.size, controls) == ((16, 8), {})
    masks = Masks(make_mask(tmp_path / "masks/x.png", 1.0, size=(4, 2)))
    assert read_job(one, masks)[1]["mask"].shape == (2, 4)

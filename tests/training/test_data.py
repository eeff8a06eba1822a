import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from fst.system.errors import InputError
from fst.training.data import PhotoDataModule, PhotoStream, load_painting, read_for_training
from fst.training.photos import list_photos, split_photos
from tests.conftest import make_picture


class FakeTrainer:
    max_steps, global_step, accumulate_grad_batches = 6, 0, 1
    world_size, global_rank = 1, 0


def make_module(root, start=0, **changes):
    settings = {"crop_size": 64, "batch_size": 2, "held_out": 3, "workers": 0} | changes
    module = PhotoDataModule(root, **settings)
    module.trainer = FakeTrainer()
    module.trainer.global_step = start
    module.setup()
    return module


def batches(module):
    return [module.on_before_batch_transfer(batch, 0) for batch in module.train_dataloader()]


@pytest.fixture
def odd_folder(tmp_path):
    """Every kind of file that a folder of photos may hold: 9 usable ones, 5 that are not."""
    root = tmp_path / "odd"
    root.mkdir()
    picture = make_picture(100, 80)
    for k in range(2):
        picture.save(root / f"rgb{k}.jpg")
    picture.convert("CMYK").save(root / "cmyk.jpg")
    picture.convert("L").save(root / "grey.jpg")
    picture.convert("P").save(root / "palette.png")
    picture.convert("RGBA").save(root / "rgba.png")
    Image.fromarray(np.full((80, 100), 30000, np.uint16)).save(root / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(root / "rotated.jpg", exif=exif)
    picture.resize((70, 66)).save(root / "small.webp")
    picture.resize((20, 20)).save(root / "tiny.jpg")
    (root / "text.jpg").write_text("hello")
    (root / "empty.png").touch()
    whole = (root / "rgb0.jpg").read_bytes()
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "zeros.jpg").write_bytes(bytes(1000))
    (root / "notes.txt").write_text("no picture, and nothing says so")
    return root


def test_batches_are_rgb_in_0_1(photo_folder):
    module = make_module(photo_folder)
    batch = module.on_after_batch_transfer(batches(module)[0], 0)
    assert batch.shape == (2, 3, 64, 64)
    assert batch.dtype is torch.float32
    assert 0 <= batch.min() < batch.max() <= 1


def test_the_stream_depends_on_the_seed_alone(photo_folder):
    first = torch.stack(batches(make_module(photo_folder, seed=1)))
    assert torch.equal(first, torch.stack(batches(make_module(photo_folder, seed=1))))
    assert torch.equal(first, torch.stack(batches(make_module(photo_folder, seed=1, workers=2))))
    assert not torch.equal(first, torch.stack(batches(make_module(photo_folder, seed=2))))


def test_a_resumed_stream_goes_on_where_it_was(photo_folder):
    whole, rest = batches(make_module(photo_folder)), batches(make_module(photo_folder, start=4))
    assert len(whole) == 6
    assert torch.equal(torch.stack(whole[4:]), torch.stack(rest))


def test_processes_share_the_photos_of_a_larger_batch(photo_folder):
    alone = batches(make_module(photo_folder, batch_size=4))
    shares = []
    for rank in range(2):
        module = make_module(photo_folder, batch_size=2)
        module.trainer.world_size, module.trainer.global_rank = 2, rank
        shares.append(batches(module))
    for whole, *halves in zip(alone, *shares, strict=True):
        assert torch.equal(whole, torch.cat(halves))


def test_a_run_goes_on_with_another_number_of_processes(photo_folder):
    whole = batches(make_module(photo_folder, batch_size=4))
    before = make_module(photo_folder, start=3, batch_size=2)
    before.trainer.world_size = 2
    alone = make_module(photo_folder, start=3, batch_size=4)
    alone.load_state_dict(before.state_dict())
    assert torch.equal(torch.stack(batches(alone)), torch.stack(whole[3:]))
    accumulated = make_module(photo_folder, start=3, batch_size=1)
    accumulated.trainer.accumulate_grad_batches = 4
    assert torch.equal(torch.cat(batches(accumulated)), torch.cat(whole[3:]))
    with pytest.raises(InputError, match="expected 4 photos a step .* found 2"):
        make_module(photo_folder, start=3, batch_size=2).load_state_dict(before.state_dict())


def test_drawing_photos_changes_no_other_draw(photo_folder):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    PhotoStream(list_photos(photo_folder), 64, seed=0)[0]
    assert torch.equal(torch.rand(3), expected)


def test_every_photo_comes_once_an_epoch_and_crops_differ(photo_folder):
    paths = list_photos(photo_folder)
    stream = PhotoStream(paths, 64, seed=0)
    stream.augment = lambda photo: photo
    sizes = [stream[k][0].shape for k in range(len(paths))]
    assert len(set(sizes)) == len(paths)  # the fixture's photos all differ in width
    one = PhotoStream([paths[0]] * 2, 64, seed=0)
    assert not torch.equal(one[0][0], one[1][0])


def test_the_stream_can_be_sent_to_a_spawned_worker(photo_folder):
    stream = PhotoStream(list_photos(photo_folder), 64, seed=0)
    assert torch.equal(pickle.loads(pickle.dumps(stream))[3][0], stream[3][0])


def test_the_held_out_photos_are_fixed_and_not_trained_on(photo_folder):
    def split(paths, held_out, usable=lambda _: True):
        return split_photos(paths, held_out, usable)

    paths = list_photos(photo_folder)
    train, held_out = split(paths, 2)
    assert list(train) == sorted(train)
    assert split(paths[::-1], 2)[1] == held_out
    assert len(held_out) == 2
    assert set(train) | set(held_out) == set(paths)
    assert not set(train) & set(held_out)
    assert len(split(paths, 100)[1]) == len(paths) // 5
    assert split(paths, 1, lambda path: path != held_out[0])[1] == [held_out[1]]
    module, again = make_module(photo_folder, seed=7), make_module(photo_folder, seed=8)
    assert module.val_paths == again.val_paths == split(paths, 3)[1]


def test_held_out_photos_are_the_middle_square_and_never_squashed(photo_folder):
    module = make_module(photo_folder)
    path = module.val_paths[0]
    found = module.on_before_batch_transfer(next(iter(module.val_dataloader())), 0)[0]
    with Image.open(path) as file:
        scale = 64 / min(file.size)
        resized = file.resize((round(file.width * scale), 64), Image.Resampling.LANCZOS)
    left = round((resized.width - 64) / 2)
    middle = np.array(resized.crop((left, 0, left + 64, 64)), dtype=float)
    assert np.abs(found.permute(1, 2, 0).numpy() - middle).mean() < 3


def test_odd_files_are_converted_or_skipped_counted_and_named_once(odd_folder):
    module = make_module(odd_folder)
    assert all(batch.shape == (2, 3, 64, 64) for batch in batches(module))
    stream = PhotoStream(list_photos(odd_folder), 64, seed=0)
    skipped = {message for k in range(14) for message in stream[k][1]}
    names = sorted(message.split(":")[0].rsplit("/", 1)[-1] for message in skipped)
    assert names == ["cut.jpg", "empty.png", "text.jpg", "tiny.jpg", "zeros.jpg"]
    assert len(list_photos(odd_folder)) == 14
    assert set(module.skipped) <= skipped
    assert module.summary()["skipped"] == len(module.skipped) > 0


def test_photos_are_upright_and_on_white(odd_folder):
    assert read_for_training(odd_folder / "rotated.jpg").shape == (3, 100, 80)
    Image.new("RGBA", (80, 80), (0, 0, 0, 0)).save(odd_folder / "clear.png")
    assert read_for_training(odd_folder / "clear.png").min() == 255


def test_a_coco_annotation_file_chooses_the_photos(photo_folder, tmp_path):
    names = ["a/01.jpg", "b/c/02.jpg", "a/03.jpg", "a/01.jpg"]  # one of them twice
    annotations = tmp_path / "instances.json"
    annotations.write_text(json.dumps({"images": [{"file_name": name} for name in names]}))
    found = list_photos(photo_folder, annotations)
    assert [path.relative_to(photo_folder).as_posix() for path in found] == sorted(set(names))
    for content in ("no json", "[]", '{"images": [{}]}'):
        annotations.write_text(content)
        with pytest.raises(InputError, match="expected a COCO annotation file .* data.annotations"):
            list_photos(photo_folder, annotations)


def test_folders_without_photos_are_one_clear_line(tmp_path):
    with pytest.raises(
        InputError, match="nosuch: expected a folder of pictures, found no such fol"
    ):
        list_photos(tmp_path / "nosuch")
    with pytest.raises(
        InputError, match="expected at least 2 photos to train on, found 0; set data"
    ):
        list_photos(tmp_path)
    for k in range(5):
        (tmp_path / f"{k}.jpg").write_text("no picture")
    with pytest.raises(InputError, match="expected usable photos, found .*jpg: expected a picture"):
        make_module(tmp_path)
    with pytest.raises(InputError, match="photos: expected usable ones, found 5 unusable; .*jpg"):
        PhotoStream(list_photos(tmp_path), 64, seed=0)[0]


def test_settings_out_of_range_are_refused(photo_folder):
    with pytest.raises(
        InputError, match="data.crop_size: expected a whole number from 64 up, found 8"
    ):
        make_module(photo_folder, crop_size=8)
    with pytest.raises(
        InputError, match="data.batch_size: expected a whole number from 1 up, found 0"
    ):
        make_module(photo_folder, batch_size=0)


def test_the_painting_is_scaled_and_never_squashed(painting, tmp_path):
    assert load_painting(painting, 180).shape == (3, 180, 240)
    make_picture(3, 3).save(tmp_path / "dot.png")
    with pytest.raises(InputError, match="expected a painting of at least 64 px .* found 3x3; try"):
        load_painting(tmp_path / "dot.png", 256)
    with pytest.raises(
        InputError, match="style.size: expected a whole number from 64 up, found 10"
    ):
        load_painting(painting, 10)

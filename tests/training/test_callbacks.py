"""Callbacks, in one real short run that is written to TensorBoard and read back."""

import json
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fst.styles import load_style
from fst.training.callbacks import Profile, ProgressBar, RunCard, RunLogger, SampleGrid, Throughput
from fst.training.checkpoints import AtomicCheckpointIO
from fst.training.data import PhotoDataModule
from fst.training.release import Release
from tests.training.test_lit_module import make_module

CARD = {"network": {"name": "transformer", "arguments": {"width": 2}}, "training": {"seed": 0}}


def fit(tmp_path, photo_folder, callbacks, **options):
    photos = PhotoDataModule(photo_folder, crop_size=64, batch_size=2, held_out=2, workers=0)
    settings = {"max_steps": 4, "val_check_interval": 2, "log_every_n_steps": 1}
    settings |= {"enable_checkpointing": False} | options
    trainer = pl.Trainer(
        max_epochs=-1, accelerator="cpu", callbacks=callbacks, check_val_every_n_epoch=None,
        num_sanity_val_steps=1, enable_model_summary=False,
        logger=RunLogger(tmp_path, name="", version=""), **settings,
    )  # fmt: skip
    module = make_module()
    trainer.fit(module, photos)
    return trainer, module


@pytest.fixture
def events(tmp_path, photo_folder):
    callbacks = [
        SampleGrid(every_n_steps=2, photos=2, folder=tmp_path / "samples"),
        RunCard(torch.rand(3, 20, 30), "seed: 0\n", "fst train"),
        Throughput(),
        ProgressBar(),
    ]
    fit(tmp_path, photo_folder, callbacks)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    return events


def test_tensorboard_gets_pictures_curves_and_the_config(events, tmp_path):
    grids = events.Images("samples/photo_and_stylized")
    assert [grid.step for grid in grids] == [1, 3]  # as Lightning counts: from 0
    assert (events.Images("painting")[0].height, events.Images("painting")[0].width) == (20, 30)
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "seed: 0" in text
    assert "fst train" in text
    assert [rate.step for rate in events.Scalars("speed/images_per_s")] == [0, 1, 2, 3]
    assert all(rate.value > 0 for rate in events.Scalars("speed/images_per_s"))
    assert "epoch" not in events.Tags()["scalars"]
    with Image.open(tmp_path / "samples" / "step_000004.png") as grid:
        assert grid.size == (4 * (64 + 2) + 2, 64 + 4)


def test_the_grid_shows_the_photo_beside_the_same_photo_stylized(tmp_path, photo_folder):
    grid = SampleGrid(every_n_steps=4, photos=2, folder=tmp_path / "samples")
    trainer, module = fit(tmp_path, photo_folder, [grid])
    held_out = trainer.datamodule.val_dataloader().dataset
    with torch.no_grad():
        expected = module(held_out[1][0][None].float() / 255)[0]
    found = Image.open(tmp_path / "samples" / "step_000004.png")
    tile = found.crop((3 * 66 + 2, 2, 3 * 66 + 66, 66))  # fourth in the row
    shown = torch.tensor(list(tile.tobytes())).view(64, 64, 3).permute(2, 0, 1) / 255
    assert (shown - expected).abs().max() < 2 / 255


def test_looking_at_the_run_draws_no_random_number(tmp_path, photo_folder):
    grid = SampleGrid(every_n_steps=1, photos=2, folder=tmp_path / "samples")
    _, watched = fit(tmp_path, photo_folder, [grid, Throughput(), ProgressBar()])
    state = torch.get_rng_state()
    _, alone = fit(tmp_path, photo_folder, [ProgressBar()])
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(watched.net.parameters(), alone.net.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "batches", "recorded"), [(2, 1, 1), (20, 5, 2)])
def test_a_profile_has_the_operations_of_its_batches(
    first, batches, recorded, tmp_path, photo_folder
):
    fit(tmp_path, photo_folder, [Profile(tmp_path / "profile", first, batches)])
    events = json.loads((tmp_path / "profile/trace.json").read_text())["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "cpu_op"]
    assert "aten::convolution" in names
    assert sum("Optimizer.step" in event["name"] for event in events) == recorded
    assert "aten::" in (tmp_path / "profile/operations.txt").read_text()


def test_time_left_counts_from_the_resumed_step():
    trainer = mock.Mock(global_step=500, max_steps=1000, accumulate_grad_batches=1)
    bar = ProgressBar()
    bar.setup(trainer, None, "fit")
    bar.on_train_start(trainer)
    assert (bar.train_progress_bar.initial, bar.train_progress_bar.total) == (500, 1000)
    bar.train_progress_bar.close()


def test_the_release_is_the_best_and_says_so(tmp_path, photo_folder):
    release = Release(tmp_path / "mine.safetensors", CARD)
    _, module = fit(tmp_path, photo_folder, [release])
    net, card = load_style(tmp_path / "mine.safetensors")
    assert card["training"]["seed"] == 0
    assert card["training"]["steps"] in (2, 4)
    assert card["metrics"]["total"] == pytest.approx(release.best, abs=1e-5)
    assert {"style", "content", "tv", "style_relu1_1"} <= set(card["metrics"])
    assert card["data"]["photos"] == 10
    assert {"fst", "torch", "pytorch_lightning", "python"} <= set(card["versions"])
    if card["training"]["steps"] == 4:
        for a, b in zip(net.parameters(), module.net.parameters(), strict=True):
            torch.testing.assert_close(a, b.detach(), atol=1e-3, rtol=1e-3)


def test_an_end_that_is_not_the_best_is_kept_beside_it(tmp_path, photo_folder):
    release = Release(tmp_path / "mine.safetensors", CARD)
    release.best = 0.0  # nothing will be better
    fit(tmp_path, photo_folder, [release])
    assert not (tmp_path / "mine.safetensors").exists()
    assert release.written == tmp_path / "mine-last.safetensors"
    assert load_style(release.written)[1]["training"]["steps"] == 4


def test_a_validation_after_the_last_step_belongs_to_the_run(tmp_path, photo_folder):
    release = Release(tmp_path / "mine.safetensors", CARD)
    trainer, module = fit(tmp_path, photo_folder, [release], max_steps=3)
    assert release.step == 2
    release._since -= 100  # as if the training had taken that long
    trainer.validate(module, trainer.datamodule, verbose=False)
    assert release.step == 3
    assert release.seconds() > 100


def test_checkpoints_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"global_step": 1}, path)
    with pytest.raises(AttributeError):
        AtomicCheckpointIO().save_checkpoint({"global_step": lambda: 0}, path)
    assert torch.load(path, weights_only=True) == {"global_step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_release_remembers_the_best_over_a_resume():
    release = Release("x.safetensors", CARD)
    release.setup(None, None, "fit")
    release.best = 3.0
    again = Release("x.safetensors", CARD)
    again.load_state_dict(release.state_dict())
    again.setup(None, None, "fit")
    assert again.best == 3.0
    assert again.seconds() >= 0

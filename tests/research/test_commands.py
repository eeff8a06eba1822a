"""From photos to a file, and what the file is worth: the commands, a few steps each."""

from pathlib import Path

import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from fst.losses.compact import LAYERS, CompactFeatures, load_compact
from fst.losses.distances import dense
from fst.styles import replace_card
from tests.conftest import error_line, make_painting, make_photo_folder
from tests.research.commands import run
from tests.research.conftest import SMALL


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos, paintings, pictures, and a VGG-19 of random weights."""
    place = tmp_path_factory.mktemp("research")
    torch.manual_seed(0)
    torch.save(make_layers(cfgs["E"]).state_dict(), place / "vgg.pth")
    for folder in "paintings", "pictures", "empty":
        (place / folder).mkdir()
    for name in "paintings/udnie.jpg", "paintings/great_wave.jpg", "pictures/a.png":
        make_painting(place / name)
    make_photo_folder(place / "photos")
    return place


def vgg(place, node="vgg19.extractor"):
    """Settings for the VGG-19 of random weights."""
    return [f"{node}.weights={place / 'vgg.pth'}", f"{node}.mean=[0.5,0.5,0.5]",
            f"{node}.std=[0.2,0.2,0.2]"]  # fmt: skip


@pytest.fixture(scope="module")
def arguments(place):
    """Of four steps of a small student."""
    return [
        f"data.root={place / 'photos'}", "data.crop_size=64", "data.batch_size=4", "data.workers=0",
        f"paths.paintings={place / 'paintings'}", f"pictures={place / 'pictures'}",
        "procedural=1", "stylizers_from=2", *vgg(place, "teacher"),
        *(f"network.{name}={value}".replace(" ", "") for name, value in SMALL.items()),
        "trainer.max_steps=4", "trainer.val_check_interval=2", "trainer.log_every_n_steps=2",
        "callbacks.checkpoint.every_n_steps=2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def file(place, arguments):
    result = run("distill", *arguments, f"paths.run={place / 'run'}")
    assert result.returncode == 0, result.stderr
    return Path(result.stdout.split()[-1])


@pytest.mark.slow
def test_a_training_writes_a_loss_network_that_says_what_it_is(file, place):
    card = load_compact(file)[1]
    assert card["network"]["arguments"] == SMALL
    assert card["training"]["steps"] == 4
    assert card["training"]["gathered_pictures"] == 1
    assert "great_wave" in card["training"]["held_out_paintings"]
    assert 0 < card["training"]["held_out_errors"]["grams"] < 10
    assert card["teacher"]["weights"] == "vgg.pth"
    assert str(place) not in str(card)
    assert list(CompactFeatures(["relu3_1"], file)(torch.rand(1, 3, 32, 32))) == ["relu3_1"]


def test_a_training_goes_on_from_a_checkpoint(file, place, arguments):
    checkpoint = file.parent / "checkpoints/last.ckpt"
    more = f"ckpt_path={checkpoint}", f"paths.run={place / 'resumed'}"
    result = run("distill", *arguments, *more)
    assert result.returncode == 0, result.stderr
    assert load_compact(place / "resumed/compact_vgg19.safetensors")[1]["training"]["steps"] == 4


@pytest.mark.slow
def test_the_student_of_a_file_trains_on(file, place, arguments):
    still = "optimizer.lr=1e-12", f"start={file}", f"paths.run={place / 'on'}"
    result = run("distill", *arguments, *still)
    assert result.returncode == 0, result.stderr
    (before, card), (after, later) = map(
        load_compact, (file, place / "on/compact_vgg19.safetensors")
    )
    pictures = torch.rand(1, 3, 32, 32)
    for name, features in after(pictures, LAYERS).items():
        expected = dense(before(pictures, LAYERS)[name])
        assert (dense(features) - expected).norm() < 0.05 * expected.norm(), name
    assert later["network"] == card["network"]
    assert later["training"]["before"] == card["training"]


@pytest.mark.slow
def test_its_agreement_goes_into_the_card(file, place):
    measure = [
        f"weights={file}", f"photos={place / 'photos'}", "count=2", "size=64",
        f"paths.paintings={place / 'paintings'}", "update_card=true", *vgg(place),
    ]  # fmt: skip
    said = error_line(run("agreement", *measure, "styles=[great_wave]"))
    assert "update_card: expected styles=null" in said
    card = load_compact(file)[1]
    card["training"]["held_out_paintings"] = ["great_wave"]
    replace_card(file, card)
    result = run("agreement", *measure)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("| style ")
    figures = load_compact(file)[1]["agreement"]["styles"]["great_wave"]
    assert -1 <= figures["style"] <= 1
    assert -1 <= figures["gradient_content_relu3_1"] <= 1
    assert figures["error_style_relu5_1"] > 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("paths.paintings={}/empty", "empty: expected paintings, found none; set paths.paintings"),
        ("paths.paintings={}/pictures", "expected a painting of a shipped style, found none"),
        ("pictures={}/empty", "empty: expected pictures, found none; try pictures=null"),
        ("stylizers=0", "stylizers: expected a whole number from 1 up, found 0"),
        ("start={}/vgg.pth", "vgg.pth: expected a style file (.safetensors), found a pickle"),
    ],
)
def test_bad_settings_are_said_in_one_line(setting, said, arguments, place):
    assert said in error_line(run("distill", *arguments, setting.format(place)))


def test_agreement_wants_photos(file, place):
    result = run("agreement", f"weights={file}", f"photos={place / 'empty'}", *vgg(place))
    assert "empty: expected photos, found none" in error_line(result)

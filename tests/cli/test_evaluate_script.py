"""``fst evaluate`` as a user runs it, on a small random loss network."""

import hashlib
import json

import pytest
import torch
from PIL import Image

import fst.evaluation.traces
from fst.evaluation.traces import Protocol
from fst.networks import build_network
from fst.styles import load_style, save_style
from fst.training.data import PhotoDataModule
from tests.conftest import ROOT, cells, error_line, make_painting, make_picture, run_inline

LAYERS = "relu1_1", "relu2_1"


@pytest.fixture
def style(tmp_path):
    """A style file, and the folder with its painting."""
    make_painting(tmp_path / "mine.jpg")
    card = {
        "network": {"name": "transformer", "arguments": {"width": 4}},
        "style": {"name": "mine", "file": "mine.jpg", "size": 64, "page": None},
        "loss": {
            "extractor": {"name": "VGGFeatures", "arch": "vgg19"},
            "normalization": "relative",
            "content": {"relu3_1": 1},
            "style": {layer: 0.5 for layer in LAYERS},
            "content_weight": 1,
            "style_weight": 5,
            "tv_weight": 0.1,
        },
    }
    torch.manual_seed(0)
    save_style(tmp_path / "mine.safetensors", build_network("transformer", width=4), card)
    return tmp_path / "mine.safetensors"


@pytest.fixture(autouse=True)
def short(monkeypatch):
    quick = {
        "johnson": Protocol(start="noise", line_search=False, least=1, most=8),
        "strict": Protocol(start="photo", line_search=True, least=3, most=8),
    }
    for name, protocol in quick.items():
        monkeypatch.setitem(fst.evaluation.traces.PROTOCOLS, name, protocol)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for k in range(10):
        make_picture(200, 150 + 3 * k, seed=k).save(tmp_path / "photos" / f"{k}.png")
    return tmp_path / "photos"


RANDOM = f"hydra.searchpath=[file://{ROOT}/tests/configs]"


def arguments(style, photos, *more):
    return [
        f"style={style}", f"photos={photos}", f"paths.paintings={style.parent}", RANDOM,
        "loss/extractor@gatys5.extractor=random", "loss/extractor@extractors.vgg19=random",
        f"output={style.parent}/out", f"traces={style.parent}/traces", "size=128", "held_out=2",
        "gatys5_size=160", "precision=32-true", *more,
    ]  # fmt: skip


def evaluated(style, photos, *more):
    result = run_inline("evaluate", *arguments(style, photos, *more))
    assert result.returncode == 0, result.stderr
    return result, json.loads((style.parent / "out" / "mine.json").read_text())


def test_a_table_figures_and_a_contact_sheet(style, photos):
    result, figures = evaluated(style, photos)
    head, _, row = result.stdout.strip().splitlines()
    assert cells(head)[:5] == ["style", "objective", "style", "content", "johnson (range)"]
    assert cells(row)[0] == "mine"
    assert len(cells(row)) == len(cells(head))
    names = figures["gatys5"]["names"]
    assert figures["photos"] == {"count": 2, "size": 128, "names": names}
    assert {"total", "content", "style", "tv", "style_relu2_1"} <= figures["loss"].keys()
    for name in ("johnson", "strict"):
        found = figures["equivalents"][name]
        assert (
            0 <= found["min"] <= found["q1"] <= found["median"] <= found["q3"] <= found["max"] <= 8
        )
        assert len(found["by_photo"]) == 2
    layers = {"style_relu1_1", "style_relu4_1", "content_relu4_2"}
    assert {"size", "names", "style", "content", "by_photo"} | layers <= figures["gatys5"].keys()
    assert figures["gatys5"]["size"] == 160
    assert figures["machine"]["precision"] == "32-true"
    for measure in ("border", "checkerboard", "spots"):
        assert list(figures["artefacts"][measure]) == [
            "photo", "network", "reference_johnson", "reference_strict",
        ]  # fmt: skip
    assert set(figures["stability"]) == {"shift_db", "noise_db"}
    assert set(figures["seconds"]) == {"network", "johnson", "strict"}
    with Image.open(style.parent / "out" / "mine.jpg") as sheet:
        assert sheet.size == (4 * (128 + 8) + 8, 2 * (128 + 8) + 8)


def test_the_objective_is_the_loss_of_the_card(style, photos):
    _, figures = evaluated(style, photos, "protocols=[]")
    loss = figures["loss"]
    weighted = loss["content"] + 5 * loss["style"] + 0.1 * loss["tv"]
    assert loss["total"] == pytest.approx(weighted, rel=1e-3)


def test_a_second_evaluation_gives_the_same_figures(style, photos, monkeypatch):
    _, first = evaluated(style, photos)
    monkeypatch.setattr(
        fst.evaluation.traces, "optimize", None
    )  # the reference comes from the cache
    _, second = evaluated(style, photos)
    first.pop("seconds"), second.pop("seconds")
    assert first == second


def test_figures_go_into_the_release_file_and_weights_stay(style, photos):
    before, _ = load_style(style)
    _, figures = evaluated(style, photos, "update_card=true")
    after, card = load_style(style)
    assert card["evaluation"] == figures
    assert card["style"]["name"] == "mine"
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name])


def test_photos_are_those_that_training_holds_out(style, photos):
    training = PhotoDataModule(photos, 64, batch_size=1, held_out=2)
    training.setup()
    _, figures = evaluated(style, photos, "protocols=[]")
    assert figures["photos"]["names"] == [path.name for path in training.val_paths]
    _, figures = evaluated(style, photos, "protocols=[]", "held_out=null")
    assert figures["photos"]["count"] == 10


def test_large_photos_are_files_and_folders(style, photos, tmp_path):
    (tmp_path / "large").mkdir()
    make_picture(300, 280).save(tmp_path / "large" / "a.png")
    make_picture(310, 280).save(tmp_path / "b.png")
    large = f"large_photos=[{tmp_path}/large,{tmp_path}/b.png]"
    _, figures = evaluated(style, photos, "protocols=[]", large)
    assert figures["gatys5"]["names"] == ["a.png", "b.png"]
    assert len(figures["gatys5"]["by_photo"]) == 2
    mean = sum(style for style, _ in figures["gatys5"]["by_photo"]) / 2
    assert figures["gatys5"]["style"] == pytest.approx(mean, rel=1e-3)


def test_without_being_asked_the_style_file_is_left_alone(style, photos):
    before = style.read_bytes()
    evaluated(style, photos, "protocols=[]")
    assert style.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("style=monalisa", "style: expected one of"),
        ("photos={tmp}/nosuch", "nosuch: expected a folder of pictures"),
        ("large_photos={tmp}/nosuch.jpg", "nosuch.jpg: expected a picture or a folder"),
        ("large_photos={tmp}/out_of", "out_of: expected a picture or a folder"),
        ("style=[]", "style: expected a style, a style file or a list of them, found nothing"),
        ("style=null", "style: expected one of"),
        ("style=[{tmp}/mine.safetensors,{tmp}/mine.safetensors]", "found mine twice"),
        ("checkpoint=udnie", "checkpoint: expected its new name, style; try style=udnie"),
        ("photos=5", "5: expected a folder of pictures"),
        ("protocols=johnson", "protocols: expected a list of some of johnson, strict"),
        ("protocols=null", "protocols: expected a list of some of johnson, strict"),
        ("gatys5_size=abc", "gatys5_size: expected a whole number from 128 up"),
        ("update_card=maybe", "update_card: expected true or false, found 'maybe'"),
        ("paths.paintings={tmp}/no", "style.image: expected a picture, found no file at"),
        (
            "protocols=[gatys]",
            "protocols: expected a list of some of johnson, strict, found ['gatys']",
        ),
        ("held_out=0", "held_out: expected a whole number from 1 up, found 0"),
        ("size=64", "size: expected a whole number from 128 up, found 64"),
        ("device=abacus", "device: expected auto, cpu or a GPU"),
    ],
)
def test_bad_settings(override, said, style, photos, tmp_path):
    args = arguments(style, photos, override.format(tmp=tmp_path))
    assert said in error_line(run_inline("evaluate", *args))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("held_out", ["2", "null"])
def test_a_folder_without_photos(held_out, style, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    args = arguments(style, tmp_path / "empty", f"held_out={held_out}")
    line = error_line(run_inline("evaluate", *args))
    assert f"{tmp_path / 'empty'}: expected" in line


def test_a_card_is_not_written_without_the_reference(style, photos):
    before = style.read_bytes()
    args = arguments(style, photos, "protocols=[]", "update_card=true")
    line = error_line(run_inline("evaluate", *args))
    assert "update_card: expected all protocols to be measured (johnson, strict)" in line
    assert style.read_bytes() == before


def test_small_photos_have_no_gatys5(style, photos):
    result, figures = evaluated(style, photos, "protocols=[]", "gatys5_size=640")
    assert figures["gatys5"] == {}
    assert "gatys5: not measured; expected photos of 640 px or more" in result.stderr


def with_card(file, **changes):
    net, card = load_style(file)
    save_style(file, net, {**card, **changes})


def test_photos_that_training_saw_are_refused(style, photos):
    with_card(style, data={"held_out": 1})
    line = error_line(run_inline("evaluate", *arguments(style, photos)))
    assert "held_out: expected at most 1, as many as mine.safetensors was not trained on" in line


def test_another_picture_of_the_paintings_name_is_refused(style, photos):
    _, card = load_style(style)
    digest = hashlib.sha256((style.parent / "mine.jpg").read_bytes()).hexdigest()
    with_card(style, style={**card["style"], "sha256": digest})
    evaluated(style, photos, "protocols=[]")
    make_picture(90, 80, seed=9).save(style.parent / "mine.jpg")
    line = error_line(run_inline("evaluate", *arguments(style, photos)))
    assert (
        f"expected the very file that mine.safetensors was trained with (SHA-256 {digest[:12]}"
        in line
    )


def test_a_card_that_says_too_little_is_refused(style, photos):
    net, card = load_style(style)
    save_style(style, net, {"network": card["network"]})
    line = error_line(run_inline("evaluate", *arguments(style, photos)))
    assert "expected a card with style and loss, found none of loss and style" in line

import pytest
import torch
from conftest import make_picture
from PIL import Image

from fst.checkpoint import load_checkpoint
from fst.errors import InputError
from fst.images import to_tensor
from fst.stylizer import Stylizer, choose_device


def test_it_runs_the_checkpoints_network(checkpoint):
    net, card = load_checkpoint(checkpoint)
    photo = torch.rand(3, 45, 38)
    stylize = Stylizer(checkpoint, device="cpu")
    assert stylize.card == card
    torch.testing.assert_close(stylize(photo), net(photo[None])[0], atol=1e-5, rtol=0)


def test_the_answer_has_the_kind_and_size_of_the_picture(checkpoint):
    stylize = Stylizer(checkpoint, device="cpu")
    assert stylize(torch.rand(2, 3, 20, 30)).shape == (2, 3, 20, 30)
    assert stylize(torch.rand(3, 20, 30, dtype=torch.double)).shape == (3, 20, 30)
    picture = stylize(make_picture(37, 22))
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size) == ("RGB", (37, 22))


def test_a_picture_and_its_tensor_give_the_same(checkpoint):
    stylize = Stylizer(checkpoint, device="cpu")
    picture = make_picture(37, 22)
    difference = to_tensor(stylize(picture)) - stylize(to_tensor(picture))
    assert difference.abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("found", [None, torch.device("meta")])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch, found):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: found is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: found)
    assert choose_device("auto") == (found or torch.device("cpu"))


def test_a_picture_too_large_for_the_memory_is_said(checkpoint, monkeypatch):
    stylize = Stylizer(checkpoint, device="cpu")

    def fail(_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(stylize, "_net", fail)
    with pytest.raises(
        InputError, match="1 of 30x20 px do not fit into the memory of cpu; try a sm"
    ):
        stylize(torch.rand(3, 20, 30))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(checkpoint):
    photo = torch.rand(3, 64, 48)
    difference = Stylizer(checkpoint, "cuda")(photo) - Stylizer(checkpoint, "cpu")(photo)
    assert difference.abs().max() < 2 / 255


def test_misuse_is_refused(checkpoint):
    stylize = Stylizer(checkpoint, device="cpu")
    for wrong in (torch.rand(20, 30), torch.rand(1, 20, 30), torch.zeros(3, 20, 30).byte()):
        with pytest.raises(InputError, match=r"picture: expected floats of shape \(3, H, W\) or"):
            stylize(wrong)
    with pytest.raises(InputError, match="image: expected at least 16x16 px, found 30x8"):
        stylize(make_picture(30, 8))
    for device in ("abacus", "cuda:99"):
        with pytest.raises(InputError, match=f"device: expected one .* found '{device}'.*try cpu"):
            Stylizer(checkpoint, device=device)

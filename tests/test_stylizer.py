import pytest
import torch
from conftest import make_picture
from PIL import Image

from fst.checkpoint import load_checkpoint
from fst.errors import InputError
from fst.images import to_tensor
from fst.stylizer import Stylizer


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


def test_auto_finds_a_device(checkpoint):
    expected = "cpu" if not torch.accelerator.is_available() else None
    assert expected in (None, Stylizer(checkpoint).device.type)


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

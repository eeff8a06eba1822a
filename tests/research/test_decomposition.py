import pytest
import torch
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from fst.losses.compact import LAYERS
from fst.losses.vgg import VGGFeatures
from research.compact.decomposition import decompose
from research.compact.student import Student

WIDTHS = [[16, 16, 16], [16, 16], [16, 16, 16]]


@pytest.fixture
def vgg(tmp_path):
    torch.manual_seed(0)
    torch.save(make_layers(cfgs["E"]).state_dict(), tmp_path / "vgg.pth")
    return VGGFeatures(LAYERS, "vgg19", tmp_path / "vgg.pth", (0.5,) * 3, (0.2,) * 3)


@pytest.mark.slow
def test_a_decomposition_of_full_rank_is_vgg(vgg):
    ranks = [(128, 256), (96,), *[(512, 512)] * 4]
    net = Student(WIDTHS, ranks).requires_grad_(False)
    pictures = torch.rand(2, 3, 64, 64)
    decompose(net, vgg, pictures)
    x, own = (pictures - vgg.mean) / vgg.std, {}
    for index, layer in enumerate(vgg.features):
        x = layer(x)
        own[index] = x / x.square().mean().sqrt()
    ends = {name: index for index, name in vgg.names.items()}

    def through(first, last, given):
        return net.trunk[net.ends[first] + 1 : net.ends[last] + 1](given)

    last = net.ends["relu3_1"]
    answer = net.trunk[last - 3 : last + 1](own[ends["relu2_2"] + 1])
    torch.testing.assert_close(answer, own[ends["relu3_1"]], rtol=1e-3, atol=1e-3)
    answer = through("relu4_1", "relu5_1", own[ends["relu4_1"]])
    torch.testing.assert_close(answer, own[ends["relu5_1"]], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_decomposition_of_lower_rank_is_near(vgg):
    ranks = [(64, 64), (96,), *[(256, 192)] * 4]
    net = Student(WIDTHS, ranks).requires_grad_(False)
    pictures = F.interpolate(torch.rand(4, 3, 12, 12), scale_factor=8, mode="bilinear")
    decompose(net, vgg, pictures)
    wanted = vgg(pictures, ["relu4_1", "relu4_2"])
    given, goal = (each / each.square().mean().sqrt() for each in wanted.values())
    answer = net.trunk[net.ends["relu4_1"] + 1 : net.ends["relu4_2"] + 1](given)
    assert (answer - goal).square().mean() < 0.1

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fst.losses.compact import CHANNELS, LAYERS, NAME, CompactFeatures, CompactVGG, load_compact
from fst.losses.distances import dense, gram, gram_matrix
from fst.styles import find_style, load_style, replace_card, save_style
from fst.system.errors import InputError
from tests.conftest import ROOT

SMALL = {
    "widths": [[8, 8, 8], [8, 8], [8, 8, 8]],
    "ranks": [[8, 8], [8], [8, 8], [8, 8], [8, 8], [8, 8]],
}
CARD = {"network": {"name": NAME, "arguments": SMALL}}


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = CompactVGG(**SMALL)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    return net.requires_grad_(False).eval()


@pytest.fixture
def file(net, tmp_path):
    path = tmp_path / "compact.safetensors"
    save_style(path, net, CARD)
    return path


def loss_of(preset, file):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        overrides = [f"loss={preset}", "loss/extractor=compact", "style.weight=5"]
        overrides += [f"loss.extractor.weights={file}"]
        return instantiate(compose("train", overrides).loss)


@pytest.mark.parametrize("size", [(64, 64), (65, 71), (33, 34)])
def test_activations_have_the_shapes_of_vggs(net, size):
    activations = net(torch.rand(2, 3, *size), LAYERS)
    assert tuple(activations) == LAYERS
    for name, features in activations.items():
        block = int(name[4])
        sides = (side // 2 ** (block - 1) for side in size)
        assert dense(features).shape == (2, CHANNELS[block], *sides), name


def test_the_gram_matrix_is_that_of_the_activations(net):
    for name, style in net.styles.items():
        style.copy_(net.adapters[name])
    for name, features in net(torch.rand(2, 3, 64, 96), LAYERS).items():
        expected = gram_matrix(dense(features))
        torch.testing.assert_close(gram(features), expected, rtol=1e-3, atol=1e-6, msg=name)


def test_fewer_layers_are_the_same_activations(net):
    picture = torch.rand(1, 3, 48, 48)
    for name in "relu2_1", "relu4_1":
        (one,) = net(picture, [name]).values()
        torch.testing.assert_close(dense(one), dense(net(picture, LAYERS)[name]))


@pytest.mark.parametrize("size", [(64, 64), (70, 45)])
def test_fused_passes_give_the_same_activations_and_gradients(net, size, monkeypatch):
    def answer():
        picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
        picture.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            activations = net(picture, LAYERS)
        sum(gram(each).mean() for each in activations.values()).backward()
        return [picture.grad, *(dense(each).float() for each in activations.values())]

    fused = answer()
    monkeypatch.setattr(CompactVGG, "can_fuse", lambda *_: False)
    for ours, theirs in zip(fused, answer(), strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_what_a_file_has_is_what_it_answers(net, file):
    loaded, card = load_compact(file)
    assert card == CARD
    assert not any(weight.requires_grad for weight in loaded.parameters())
    picture = torch.rand(1, 3, 48, 48)
    for name, features in loaded(picture, LAYERS).items():
        expected = dense(net(picture, LAYERS)[name])
        assert (dense(features) - expected).norm() < 2e-3 * expected.norm(), name  # float16


def test_an_unknown_layer_is_refused(file):
    with pytest.raises(InputError, match=r"expected one of relu1_1, .*; found 'relu9_9'; try"):
        CompactFeatures(["relu9_9"], file)
    with pytest.raises(InputError, match="expected at least one"):
        CompactFeatures([], file)


def test_other_files_are_refused(tmp_path, file):
    with pytest.raises(InputError, match="expected a compact loss network, found the network 'tr"):
        CompactFeatures(["relu1_1"], find_style("udnie"))
    with pytest.raises(InputError, match="found no such file"):
        CompactFeatures(["relu1_1"], tmp_path / "none.safetensors")
    others = {"widths": [[4, 4, 4], *SMALL["widths"][1:]]}
    replace_card(file, {"network": {"name": NAME, "arguments": SMALL | others}})
    with pytest.raises(InputError, match=r"compact.safetensors: expected adapters.relu1_1 of sha"):
        CompactFeatures(["relu1_1"], file)


@pytest.mark.parametrize(
    "change",
    [
        *({"widths": [first, *SMALL["widths"][1:]]}
          for first in (3, None, "488", [8, 8, 8.5], [8, 8, -8], [8, 8], [10**12] * 3)),
        {"widths": []}, {"widths": SMALL["widths"][:2]}, {"ranks": [[8, 8], *[[8]] * 4]},
        {"ranks": None}, {"depth": 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_card_of_no_possible_network_is_refused(file, change):
    replace_card(file, {"network": {"name": NAME, "arguments": SMALL | change}})
    with pytest.raises(InputError, match="compact.safetensors: expected a possible network, found"):
        CompactFeatures(["relu1_1"], file)


def test_a_loss_network_is_no_style(file):
    with pytest.raises(InputError, match=f"expected one of transformer, found '{NAME}'"):
        load_style(file)


@pytest.mark.parametrize("preset", sorted(p.stem for p in ROOT.glob("configs/loss/*.yaml")))
def test_every_loss_preset_works_with_it(preset, file):
    loss = loss_of(preset, file)
    loss.set_style(torch.rand(1, 3, 96, 80))
    picture = torch.rand(2, 3, 64, 64, requires_grad=True)
    terms = loss(picture, torch.rand(2, 3, 64, 64))
    terms["total"].backward()
    assert terms["style"] > 0
    assert terms["content"] > 0
    assert picture.grad.isfinite().all()


@pytest.mark.parametrize("preset", ["relative", "johnson2016"])
def test_fewer_channels_give_the_same_losses(preset, file):
    short, wide = loss_of(preset, file), loss_of(preset, file)
    wide.extractor.net = load_compact(file)[0]
    painting, picture, photo = torch.rand(3, 1, 3, 64, 80)
    for loss in short, wide:
        loss.set_style(painting)
    mapped = next(name for name in wide.grams if name.startswith("relu2"))
    assert len(short.grams[mapped][0]) < len(wide.grams[mapped][0])
    terms = wide(picture, photo)
    for name, term in short(picture, photo).items():
        torch.testing.assert_close(term, terms[name], rtol=1e-3, atol=1e-9, msg=name)


def test_the_shipped_file_is_small_and_says_what_it_is():
    file = ROOT / "checkpoints/loss_networks/compact_vgg19.safetensors"
    assert file.stat().st_size <= 4e6
    features = CompactFeatures(["relu1_1", "relu4_1"])
    assert features.grid == 2
    assert features.card["network"]["name"] == NAME
    assert features.card["training"]["steps"] > 1000
    for figures in features.card["agreement"]["styles"].values():
        assert {"style", "content", "gradient_style_relu1_1"} <= figures.keys()
    assert list(features(torch.rand(1, 3, 32, 32))) == ["relu1_1", "relu4_1"]

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from fst.losses.compact import (
    CHANNELS,
    LAYERS,
    NAME,
    CompactFeatures,
    CompactVGG,
    load_compact,
    save_compact,
)
from fst.losses.distances import dense, gram, gram_matrix
from fst.networks import build_network
from fst.styles import find_style, load_style, replace_card
from fst.system.errors import InputError
from research.compact.agreement import agreement, rank_correlation, style_errors
from tests.conftest import ROOT, SHARED, error_line, needs_shared, run_inline

SMALL = {
    "widths": ((8, 8, 8), (8, 8), (8, 8, 8)),
    "ranks": ((8, 8), (8,), (8, 8), (8, 8), (8, 8), (8, 8)),
}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return CompactVGG(**SMALL).requires_grad_(False).eval()


@pytest.mark.parametrize("size", [(64, 64), (65, 71), (33, 34)])
def test_activations_have_the_shapes_of_vggs(net, size):
    found = net(torch.rand(2, 3, *size), LAYERS)
    assert tuple(found) == LAYERS
    for name, features in found.items():
        block = int(name[4])
        sides = (side // 2 ** (block - 1) for side in size)
        assert dense(features).shape == (2, CHANNELS[block], *sides), name


def test_the_gram_matrix_is_that_of_the_activations(net):
    for name, found in net(torch.rand(2, 3, 64, 96), LAYERS).items():
        expected = gram_matrix(dense(found))
        torch.testing.assert_close(gram(found), expected, rtol=1e-3, atol=1e-6, msg=name)


def test_fewer_layers_are_the_same_activations(net):
    picture = torch.rand(1, 3, 48, 48)
    for name in "relu2_1", "relu4_1":
        (one,) = net(picture, [name]).values()
        torch.testing.assert_close(dense(one), dense(net(picture, LAYERS)[name]))


@pytest.mark.parametrize("size", [(64, 64), (70, 45)])
def test_prepared_weights_give_the_same_activations_and_gradients(net, size):
    def answer(training):
        net.train(training)
        picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
        picture.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            found = net(picture, LAYERS)
        sum(gram(each).mean() for each in found.values()).backward()
        return [picture.grad, *(dense(each).float() for each in found.values())]

    for ours, theirs in zip(answer(False), answer(True), strict=True):
        difference = (ours - theirs).norm() / theirs.norm()
        assert difference < 0.02


def test_weights_that_change_are_prepared_anew(net):
    def answer():
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            return net(torch.ones(1, 3, 32, 32), ["relu2_1"])["relu2_1"].features.float()

    before = answer()
    net.train()
    net.trunk[0].bias.data += 1
    net.eval()
    assert not torch.equal(before, answer())


def test_one_layer_is_rescaled_and_no_other(net):
    pictures = torch.rand(2, 3, 64, 48)
    before = {name: (dense(each), gram(each)) for name, each in net(pictures, LAYERS).items()}
    for name in LAYERS:
        net.rescale(name, 3)
        for other, found in net(pictures, LAYERS).items():
            factor = 3 if other == name else 1
            for ours, theirs in zip((dense(found), gram(found)), before[other], strict=True):
                expected = factor ** (2 if ours.dim() == 3 else 1) * theirs
                assert (ours - expected).norm() < 1e-4 * expected.norm(), (name, other)
        net.rescale(name, 1 / 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("widths", ()), ("widths", SMALL["widths"][:2]), ("ranks", ((8, 8), *[(8,)] * 5))],
)
def test_impossible_widths_are_refused(name, value):
    with pytest.raises(InputError, match="widths and ranks of the compact loss network: expected"):
        CompactVGG(**SMALL | {name: value})


@pytest.fixture
def file(net, tmp_path):
    """As scripts/distill.py writes it, but for the training."""
    card = {"network": {"name": NAME, "arguments": SMALL}}
    save_compact(tmp_path / "compact.safetensors", net, card)
    return tmp_path / "compact.safetensors"


def loss_of(preset, file):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        overrides = [f"loss={preset}", "loss/extractor=compact", "style.weight=5"]
        overrides += [f"loss.extractor.weights={file}"]
        return instantiate(compose("train", overrides).loss)


def test_an_unknown_layer_is_refused(file):
    with pytest.raises(InputError, match=r"expected one of relu1_1, .*; found 'relu9_9'; try"):
        CompactFeatures(["relu9_9"], file)
    with pytest.raises(InputError, match="expected at least one"):
        CompactFeatures([], file)


def test_other_files_are_refused(tmp_path, net):
    with pytest.raises(InputError, match="expected a compact loss network, found the network 'tr"):
        CompactFeatures(["relu1_1"], find_style("udnie"))
    others = SMALL | {"widths": [[4, 4, 4], *SMALL["widths"][1:]]}
    card = {"network": {"name": NAME, "arguments": others}}
    save_compact(tmp_path / "other.safetensors", net, card)
    with pytest.raises(InputError, match=r"other.safetensors: expected adapters.relu1_1 of shape"):
        CompactFeatures(["relu1_1"], tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="found no such file"):
        CompactFeatures(["relu1_1"], tmp_path / "none.safetensors")
    for first in 3, None, "48", [8, 8, 8.5], [10**12] * 3:
        arguments = SMALL | {"widths": [first, *SMALL["widths"][1:]]}
        impossible = {"network": {"name": NAME, "arguments": arguments}}
        replace_card(tmp_path / "other.safetensors", impossible)
        with pytest.raises(InputError, match="expected a (possible|whole)|width of the compact"):
            CompactFeatures(["relu1_1"], tmp_path / "other.safetensors")


def test_a_loss_network_is_no_style(file):
    with pytest.raises(InputError, match=f"expected one of transformer, found '{NAME}'"):
        load_style(file)


def test_the_whole_network_is_a_file_of_at_most_four_megabytes(tmp_path):
    net = CompactVGG()
    card = {"network": {"name": NAME, "arguments": net.arguments}}
    save_compact(tmp_path / "whole.safetensors", net, card)
    assert (tmp_path / "whole.safetensors").stat().st_size <= 4e6


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


def test_rank_correlation():
    falling = torch.tensor([3.0, 2.0, 1.0, -5.0])
    assert rank_correlation(torch.arange(4.0), falling) == pytest.approx(-1)
    assert rank_correlation(torch.arange(4.0), torch.tensor([0.0, 2, 1, 3])) == pytest.approx(0.8)


def test_a_loss_agrees_with_itself(file):
    loss = loss_of("relative", file)
    loss.set_style(torch.rand(1, 3, 96, 80))
    torch.manual_seed(0)
    found = agreement(loss, loss, build_network("transformer", width=2), [torch.rand(3, 64, 64)])
    assert found["style"] == found["content"] == pytest.approx(1)
    assert found["ratio_style"] == 1
    assert found["gradient_style_relu2_1"] == pytest.approx(1, abs=1e-4)


def test_errors_of_the_style_are_those_of_the_distance_to_the_painting(net):
    def teacher(images, layers):
        return {name: dense(each) for name, each in net(images, layers).items()}

    pictures, painting = torch.rand(3, 3, 64, 64), torch.rand(1, 3, 80, 96)
    for name, error in style_errors(net, teacher, pictures, painting).items():
        assert abs(error) < 1e-6, name
    net.styles["relu2_1"].data *= 2**0.5  # Gram matrices of twice the size
    found = style_errors(net, teacher, pictures, painting)
    true = [teacher(each, ["relu2_1"])["relu2_1"] for each in (pictures, painting)]
    grams, goal = (gram_matrix(each) for each in true)
    distances = (grams - goal).square().sum((1, 2)) / goal.square().sum()
    assert found["relu2_1"] == pytest.approx(distances.mean().item(), rel=1e-3)
    assert found["relu4_1"] < 1e-6


def test_figures_of_chosen_styles_are_not_for_the_card(file):
    result = run_inline(
        "agreement", f"weights={file}", "photos=.", "styles=[udnie]", "update_card=true"
    )
    assert "update_card: expected styles=null" in error_line(result)


@needs_shared
@pytest.mark.slow
def test_the_script_measures_agreement_and_writes_it_into_the_card(file, net, tmp_path):
    _, card = load_compact(file)
    card["training"] = {"held_out_paintings": ["great_wave"]}
    save_compact(file, net, card)
    result = run_inline(
        "agreement", f"weights={file}", f"photos={SHARED}/data/eval_photos", "count=2", "size=64",
        "update_card=true", f"paths.paintings={SHARED}/data/styles",
        f"vgg19.extractor.weights={SHARED}/weights/vgg19_features.safetensors",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("| style | style | ratio style | content |")
    figures = load_compact(file)[1]["agreement"]["styles"]["great_wave"]
    assert -1 <= figures["style"] <= 1
    assert -1 <= figures["gradient_content_relu3_1"] <= 1
    assert figures["error_style_relu5_1"] > 0


def test_the_shipped_file_is_small_and_says_what_it_is():
    file = ROOT / "checkpoints/loss_networks/compact_vgg19.safetensors"
    assert file.stat().st_size <= 4e6
    features = CompactFeatures(["relu1_1", "relu4_1"])
    assert features.card["network"]["name"] == NAME
    assert features.net.arguments == CompactVGG().arguments
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        assert instantiate(compose("distill").network).arguments == CompactVGG().arguments
    assert features.card["training"]["steps"] > 1000
    for figures in features.card["agreement"]["styles"].values():
        assert {"style", "content", "gradient_style_relu1_1"} <= figures.keys()
    assert list(features(torch.rand(1, 3, 32, 32))) == ["relu1_1", "relu4_1"]

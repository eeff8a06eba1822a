import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fst.networks import NETWORKS, build_network
from fst.styles import (
    find_style,
    load_style,
    replace_card,
    save_style,
    shipped_styles,
)
from fst.styles.quantized import SCALE
from fst.styles.release import write_release
from fst.system.errors import InputError

NETWORK = {"name": "transformer", "arguments": {"width": 4}}


def rewrite(source, target, weights=None, **metadata):
    """A copy of a style file with other weights or metadata."""
    with safe_open(source, framework="pt") as file:
        said = file.metadata()
    save_file(load_file(source) if weights is None else weights, target, said | metadata)
    return target


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_network_comes_back_with_its_card(tmp_path, name):
    net = build_network(name, width=4)
    card = {"network": {"name": name, "arguments": {"width": 4}}, "style": {"painter": "Frédéric"}}
    save_style(tmp_path / "x.safetensors", net, card)
    again, said = load_style(tmp_path / "x.safetensors")
    assert said == card
    assert not again.training
    for parameter, original in zip(again.parameters(), net.parameters(), strict=True):
        assert parameter.dtype is torch.float32
        torch.testing.assert_close(parameter, original.detach().half().float())
    photo = torch.rand(1, 3, 32, 40)
    assert (again(photo) - net(photo)).abs().max() < 1 / 255  # float16 loses nothing visible


def test_the_file_is_float16(checkpoint):
    assert {tensor.dtype for tensor in load_file(checkpoint).values()} == {torch.float16}


@pytest.fixture
def quantized(tmp_path, checkpoint):
    """A file with integers in the place of kernels, and its tensors."""
    weights = {}
    for name, weight in load_file(checkpoint).items():
        if weight.dim() == 4:
            scale = torch.rand(len(weight), 1, 1, 1)
            scale[0] = 0  # a channel of nothing
            weights[name], weights[name + SCALE] = (100 * weight).char(), scale
        else:
            weights[name] = weight
    write_release(tmp_path / "small.safetensors", weights, {"network": NETWORK})
    return tmp_path / "small.safetensors", weights


def test_a_file_may_hold_integers_with_scales(quantized):
    path, weights = quantized
    net, card = load_style(path)
    for name, parameter in net.named_parameters():
        expected = weights[name].float() * weights.get(name + SCALE, 1)
        assert torch.equal(parameter, expected), name
    replace_card(path, {**card, "more": 1})
    assert load_style(path)[1]["more"] == 1
    for name, weight in load_file(path).items():
        assert torch.equal(weight, weights[name]), name


def test_integers_and_scales_that_do_not_fit_are_named(quantized, tmp_path):
    path, weights = quantized
    scale = min(name for name in weights if name.endswith(SCALE))
    name = scale.removesuffix(SCALE)
    for change, said in (
        ({scale: torch.ones(3)}, "plain.safetensors: expected scales of decoder"),
        ({scale: torch.ones(1, 99, 1, 1)}, "plain.safetensors: expected scales of decoder"),
        ({scale: weights[scale].half()}, f"expected scales of {name} that fit"),
        ({name: weights[name][0, 0, 0]}, f"expected {name} as floats or as integers with a scale"),
        ({"other" + SCALE: torch.ones(1)}, "expected the integers that other.scale is for"),
        ({scale: None}, f"expected {name} as floats or as integers with a scale"),
        ({scale: torch.full_like(weights[scale], torch.nan)}, "expected finite weights, found NaN"),
    ):
        changed = {key: each for key, each in (weights | change).items() if each is not None}
        with pytest.raises(InputError, match=said):
            load_style(rewrite(path, tmp_path / "plain.safetensors", changed))


def test_the_file_can_be_read_by_others_as_any_file(checkpoint, tmp_path):
    (tmp_path / "plain").touch()
    assert checkpoint.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_pickle_is_refused_with_the_reason(tmp_path):
    for zipped in (True, False):
        path = tmp_path / "x.pth"
        torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(
            InputError, match="found a pickle, which can run any code .* is refused"
        ):
            load_style(path)


def test_a_header_of_any_length_is_no_pickle(tmp_path):
    """The file begins with that length: one in 32 begins as a pickle does, with 0x80."""
    path, net = tmp_path / "x.safetensors", build_network("transformer", width=4)
    for size in range(260):
        card = {"network": NETWORK, "style": {"title": "x" * size}}
        save_style(path, net, card)
        if path.read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no such length")
    assert load_style(path)[1] == card


def test_what_is_no_release_is_named(tmp_path, checkpoint):
    with pytest.raises(InputError, match="no.safetensors: expected a style file, found no su"):
        load_style(tmp_path / "no.safetensors")
    path = tmp_path / "x.safetensors"
    for content in (b"", b"hello", b"some longer text that is no header"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="expected a style file .* another kind of file"):
            load_style(path)
    for share in (0.02, 0.5, 0.99):
        whole = checkpoint.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match="expected a style file, found it damaged"):
            load_style(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="expected a style file written by fst, found .* None"):
        load_style(path)


def test_newer_formats_and_bad_cards_are_refused(tmp_path, checkpoint):
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="expected format version 1, found '2'; try a newer fst"):
        load_style(rewrite(checkpoint, path, format_version="2"))
    for card in ("", "[]", "{}", '{"network": 3}', '{"network": {"name": "transformer"}}',
                 '{"network": {"name": "transformer", "arguments": []}}'):  # fmt: skip
        with pytest.raises(InputError, match="expected a card that names the network, found none"):
            load_style(rewrite(checkpoint, path, card=card))
    unknown = json.dumps({"network": {"name": "unet", "arguments": {}}})
    with pytest.raises(InputError, match="network: expected one of transformer, found 'unet'"):
        load_style(rewrite(checkpoint, path, card=unknown))


def test_wrong_shapes_are_named_before_anything_is_allocated(tmp_path, checkpoint):
    huge = json.dumps({"network": {"name": "transformer", "arguments": {"width": 10**6}}})
    with pytest.raises(
        InputError, match=r"expected decoder.0.1.1.weight of shape .* found \(8, 16"
    ):
        load_style(rewrite(checkpoint, tmp_path / "x.safetensors", card=huge))
    endless = json.dumps({"network": {"name": "transformer", "arguments": {"width": 10**10}}})
    with pytest.raises(InputError, match="expected a possible network, found"):
        load_style(rewrite(checkpoint, tmp_path / "x.safetensors", card=endless))
    weights = load_file(checkpoint)
    del weights["decoder.3.bias"]
    with pytest.raises(InputError, match=r"decoder.3.bias of shape \(3,\) .* found none"):
        load_style(rewrite(checkpoint, tmp_path / "x.safetensors", weights))
    weights["extra"] = torch.zeros(2)
    weights["decoder.3.bias"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"expected extra of shape none .* found \(2,\)"):
        load_style(rewrite(checkpoint, tmp_path / "x.safetensors", weights))


def test_weights_that_are_not_finite_are_refused_both_ways(tmp_path, checkpoint):
    weights = load_file(checkpoint)
    weights["decoder.3.bias"][1] = torch.nan
    with pytest.raises(
        InputError, match="expected finite weights, found NaN or infinity in decoder"
    ):
        load_style(rewrite(checkpoint, tmp_path / "x.safetensors", weights))
    net = build_network("transformer", width=4)
    net.decoder[3].bias.data[1] = 1e6  # infinite in float16
    with pytest.raises(InputError, match="expected finite weights"):
        save_style(tmp_path / "y.safetensors", net, {"network": NETWORK})
    assert not (tmp_path / "y.safetensors").exists()


def test_styles_are_found_by_name_and_by_path(checkpoint):
    assert find_style(checkpoint) == checkpoint
    for style in shipped_styles():
        assert find_style(style).stem == style
    with pytest.raises(
        InputError, match=r"style: expected one of .*, or the path of .* 'monalisa'"
    ):
        find_style("monalisa")
    with pytest.raises(InputError, match=r"style: expected one of"):
        find_style("../checkpoints/starry_night")


@pytest.mark.parametrize("style", shipped_styles())
def test_shipped_styles_load_and_say_where_they_come_from(style):
    path = find_style(style)
    _, card = load_style(path)
    assert card["style"]["name"] == style.removesuffix("-w32")
    assert card["style"]["painter"]
    assert card["style"]["licence"] == "public domain"
    assert len(card["style"]["sha256"]) == 64
    assert card["training"]["steps"] > 0
    assert card["metrics"]["style"] <= 0.15  # an untouched photo is at 0.6 or more
    assert card["metrics"]["content"] <= 1
    if found := card.get("evaluation"):
        assert found["gatys5"]["style"] <= 0.12
        assert found["gatys5"]["content"] <= 1
    if card["network"]["arguments"]["width"] == 16:
        assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("style", shipped_styles())
def test_one_pass_is_worth_its_iterations(style):
    _, card = load_style(find_style(style))
    found = card["evaluation"]["equivalents"]
    if card["network"]["arguments"]["width"] == 32:
        assert found["johnson"]["median"] >= 80
        assert found["johnson"]["min"] >= 60
        assert found["strict"]["median"] >= 20
    else:
        assert found["johnson"]["median"] >= 65


def test_a_misspelt_style_is_guessed():
    with pytest.raises(InputError, match=r"found 'stary_night'; did you mean starry_night\?"):
        find_style("stary_night")

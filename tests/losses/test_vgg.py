import hashlib
import json
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from urllib.error import HTTPError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from fst.losses import vgg
from fst.losses.vgg import VGGFeatures, layer_names
from fst.system.devices import has_bf16_kernels
from fst.system.errors import InputError
from tests.conftest import SHARED, needs_shared

MEAN, STD = "[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"


@pytest.fixture(scope="module")
def vgg16():
    """torchvision's own network with random weights, through relu2_1: the reference."""
    torch.manual_seed(0)
    return torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])[:7].eval()


@pytest.fixture
def weights(tmp_path, vgg16):
    path = tmp_path / "vgg16.safetensors"
    state = {f"features.{name}": tensor for name, tensor in vgg16.state_dict().items()}
    save_file(state, path, {"mean": MEAN, "std": STD})
    return path


def test_layers_are_torchvisions():
    assert layer_names("vgg16")["relu1_1"] == 1
    assert layer_names("vgg16")["relu3_3"] == 15
    assert layer_names("vgg16")["relu4_3"] == 22
    assert layer_names("vgg19")["relu4_1"] == 20
    assert layer_names("vgg19")["relu5_4"] == 35
    for arch, builder in (("vgg16", torchvision.models.vgg16), ("vgg19", torchvision.models.vgg19)):
        with torch.device("meta"):
            features = builder().features
        assert all(isinstance(features[i], torch.nn.ReLU) for i in layer_names(arch).values())


def test_features_are_torchvisions_after_normalising(weights, vgg16):
    net = VGGFeatures(["relu1_2", "relu2_1"], "vgg16", weights)
    images = torch.rand(2, 3, 20, 24)
    mean, std = torch.tensor(json.loads(MEAN)), torch.tensor(json.loads(STD))
    x = (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    found = net(images)
    torch.testing.assert_close(found["relu1_2"], vgg16[:4](x))
    torch.testing.assert_close(found["relu2_1"], vgg16(x))
    assert found["relu2_1"].shape == (2, 128, 10, 12)


@pytest.mark.slow
@pytest.mark.skipif(not has_bf16_kernels(), reason="needs a CPU with bf16 kernels (AVX-512)")
@pytest.mark.parametrize("compiled", [False, True])
def test_the_fused_passes_are_those_of_autocast(weights, monkeypatch, compiled):
    net = VGGFeatures(["relu1_1", "relu1_2", "relu2_1"], "vgg16", weights)
    net.compiled = compiled
    torch.manual_seed(0)
    images = torch.rand(2, 3, 35, 50)
    found = []
    for fused in (True, False):
        if not fused:
            monkeypatch.setattr(VGGFeatures, "can_fuse", lambda *_: False)
        x = images.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            features = net(x)
            assert list(features) == ["relu1_1", "relu1_2", "relu2_1"]
            assert list(net(x, ["relu1_2"])) == ["relu1_2"]
        sum(y.float().square().mean() for y in features.values()).backward()
        found.append((*features.values(), x.grad))
    for mine, reference in zip(*found, strict=True):
        assert mine.dtype == reference.dtype
        error = (mine.float() - reference.float()).norm() / reference.float().norm()
        assert error < 0.01


def test_fused_weights_follow_the_networks(weights):
    net = VGGFeatures(["relu1_1"], "vgg16", weights)
    images = torch.rand(1, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        before = net(images)["relu1_1"]
        net.features[0].weight.data.neg_()
        net.to(torch.float32)
        assert not torch.equal(net(images)["relu1_1"], before)


def test_it_is_truncated_frozen_and_stops_early(weights):
    net = VGGFeatures(["relu1_1", "relu2_1"], "vgg16", weights)
    assert len(net.features) == layer_names("vgg16")["relu2_1"] + 1
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert list(net(torch.rand(1, 3, 16, 16), ["relu1_1"])) == ["relu1_1"]


def test_pth_needs_mean_and_std(tmp_path, vgg16):
    path = tmp_path / "mine.pth"
    torch.save({f"features.{k}": v for k, v in vgg16.state_dict().items()}, path)
    with pytest.raises(
        InputError, match=r"mine.pth: expected its mean for R, G and B .* found None"
    ):
        VGGFeatures(["relu2_1"], "vgg16", path)
    net = VGGFeatures(["relu2_1"], "vgg16", path, mean=[0.5, 0.5, 0.5], std=[1 / 255] * 3)
    assert net.std.flatten().tolist() == pytest.approx([1 / 255] * 3)


def test_torchvisions_own_file_names_are_known(tmp_path, vgg16):
    path = tmp_path / "vgg16_features-amdegroot-88682ab5.pth"
    torch.save({f"features.{k}": v for k, v in vgg16.state_dict().items()}, path)
    net = VGGFeatures(["relu2_1"], "vgg16", path)
    assert net.std.flatten().tolist() == pytest.approx([1 / 255] * 3)  # the Caffe weights


def serve(folder):
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def release(server, name):
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    return vgg._Release(url, "1 MB", *vgg._CAFFE)


def test_weights_are_downloaded_and_cached(tmp_path, vgg16, monkeypatch):
    torch.save({f"features.{k}": v for k, v in vgg16.state_dict().items()}, tmp_path / "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:8]
    (tmp_path / "w.pth").rename(tmp_path / f"vgg16-{digest}.pth")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    server = serve(tmp_path)
    chosen = {("vgg16", "IMAGENET1K_FEATURES"): release(server, f"vgg16-{digest}.pth")}
    monkeypatch.setattr(vgg, "_RELEASES", chosen)
    first = VGGFeatures(["relu1_1"], "vgg16", "IMAGENET1K_FEATURES")
    server.shutdown()
    server.server_close()
    again = VGGFeatures(["relu1_1"], "vgg16", "IMAGENET1K_FEATURES")  # now from the cache
    torch.testing.assert_close(first.features[0].weight, vgg16[0].weight)
    torch.testing.assert_close(again.features[0].weight, vgg16[0].weight)
    assert first.std.flatten().tolist() == pytest.approx([1 / 255] * 3)


@pytest.mark.parametrize("name", ["gone-00000000.pth", "altered-00000000.pth"])
def test_a_failed_download_names_the_file_its_size_and_both_ways_out(tmp_path, monkeypatch, name):
    (tmp_path / "altered-00000000.pth").write_bytes(b"not what the hash says")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    server = serve(tmp_path)
    monkeypatch.setattr(vgg, "_RELEASES", {("vgg19", "IMAGENET1K_V1"): release(server, name)})
    with pytest.raises(InputError) as error:
        VGGFeatures(["relu1_1"])
    server.shutdown()
    server.server_close()
    message = str(error.value)
    assert f"{name} (1 MB) could not be downloaded" in message
    assert "loss.extractor.weights=FILE" in message
    assert "FST_VGG_WEIGHTS=FILE" in message
    assert "\n" not in message
    assert not list((tmp_path / "cache").rglob("*.pth"))
    if isinstance(error.value.__cause__, HTTPError):  # with the answer that it is
        assert error.value.__cause__.closed


def test_wrong_weights_are_refused(tmp_path, weights):
    def write(name, *keys):
        convs = {f"features.{i}.weight": (64, 3 if i == 0 else 64, 3, 3) for i in (0, 2)}
        state = {key: torch.zeros(convs.get(key, 64)) for key in keys}
        save_file(state, tmp_path / name, {"mean": MEAN, "std": STD})
        return tmp_path / name

    keys = [f"features.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")]
    with pytest.raises(InputError, match="expected features.5.weight of shape .* found nothing"):
        VGGFeatures(["relu2_1"], "vgg16", write("short.safetensors", *keys))
    with pytest.raises(InputError, match="expected vgg16, found the layers of another network"):
        VGGFeatures(["relu2_1"], "vgg16", write("19.safetensors", "features.16.weight"))
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match="text.safetensors: expected the weights of vgg19"):
        VGGFeatures(["relu1_1"], weights=tmp_path / "text.safetensors")
    for content in ("hello", "<html>not found</html>", ""):
        (tmp_path / "text.pth").write_text(content)
        with pytest.raises(InputError, match="text.pth: expected the weights of vgg19"):
            VGGFeatures(["relu1_1"], weights=tmp_path / "text.pth")
    for content in (torch.zeros(3), {1: torch.zeros(3)}):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(InputError, match="odd.pth: expected the weights of vgg19"):
            VGGFeatures(["relu1_1"], weights=tmp_path / "odd.pth")


def test_wrong_names_are_refused(weights):
    with pytest.raises(InputError, match="loss network: expected one of vgg16, vgg19, found 'alex"):
        VGGFeatures(["relu1_1"], arch="alexnet")
    with pytest.raises(InputError, match="layer of vgg16: expected one of relu1_1, .* 'relu9_1'"):
        VGGFeatures(["relu9_1"], "vgg16", weights)
    with pytest.raises(InputError, match="weights of vgg19: expected a file, found none at nosuch"):
        VGGFeatures(["relu1_1"], weights="nosuch.pth")
    with pytest.raises(
        InputError, match="weights of vgg19: expected a file or IMAGENET1K_V1, found"
    ):
        VGGFeatures(["relu1_1"], weights="IMAGENET1K_FEATURES")


@pytest.mark.slow
@needs_shared
def test_the_real_vgg19_tells_a_painting_from_a_photo():
    from fst.losses import PerceptualLoss
    from fst.training.data import load_painting, read_for_training

    extractor = partial(VGGFeatures, weights=SHARED / "weights/vgg19_features.safetensors")
    style = dict.fromkeys(["relu1_1", "relu2_1", "relu3_1", "relu4_1"], 0.25)
    loss = PerceptualLoss(extractor, {"relu3_1": 1}, style, 1, 10, 0)
    painting = load_painting(SHARED / "data/styles/starry_night.jpg", 512)[None]
    loss.set_style(painting)
    files = [SHARED / f"data/photos/{k:06d}.jpg" for k in (5, 9, 14, 20)]
    photos = torch.stack([read_for_training(file)[:, :256, :256] / 255 for file in files])
    left = painting[..., : painting.shape[-1] // 2]
    with torch.no_grad():
        assert loss(photos, photos)["style"].item() == pytest.approx(0.99, abs=0.01)
        assert loss(left, left)["style"] < 0.1  # half of the painting has its style

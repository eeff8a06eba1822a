"""Every engine and precision of this machine against PyTorch in float32.

The engine onnxruntime, which exports first, is in test_export.py.
"""

import numpy as np
import pytest
import torch
from torch import nn

from fst.engines import DTYPES, ENGINES, Engine, available_engines, make_engine
from fst.engines import choose as engines
from fst.engines.simplify import deploy, fold_statistics
from fst.engines.torch_engine import EagerEngine
from fst.images import find_images, read_photo
from fst.networks import NETWORKS, build_network
from fst.styles import find_style, load_style, shipped_styles
from fst.system.devices import has_bf16_units
from fst.system.errors import InputError
from tests.conftest import ROOT, make_picture
from tests.engines.test_simplify import make_net, statistics_of

CPU = torch.device("cpu")
needs_bf16_units = pytest.mark.skipif(
    not has_bf16_units(), reason="openvino computes bf16 in units of the CPU; this one has none"
)
BF16 = [("eager", "bf16"), pytest.param("openvino", "bf16", marks=needs_bf16_units)]
QUICK = [("eager", "fp32"), ("openvino", "fp32"), *BF16]
DECIBELS = 45  # a difference that nobody sees: 1.4 of 255 on average


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache for all tests here, and not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    return {style: load_style(find_style(style))[0] for style in shipped_styles()}


@pytest.fixture(scope="module")
def examples() -> list[np.ndarray]:
    """Every third row and column of the bundled photos."""
    return [read_photo(path).pixels[::3, ::3] for path in find_images(ROOT / "examples")]


@pytest.fixture(scope="module")
def expected(nets, examples) -> dict[str, list[np.ndarray]]:
    plain = {style: make_engine(net, CPU, "eager", "fp32") for style, net in nets.items()}
    return {style: [plain[style].stylize(photo) for photo in examples] for style in nets}


def psnr(found, expected) -> float:
    """Peak signal-to-noise ratio in dB, of 8-bit values or of floats in [0, 1]."""
    white = 255 if expected.dtype == np.uint8 else 1
    error = np.square(np.asarray(found, float) - np.asarray(expected, float)).mean()
    return float(10 * np.log10(white**2 / max(error, 1e-12)))


@pytest.mark.slow
@pytest.mark.parametrize("style", shipped_styles())
@pytest.mark.parametrize(("name", "precision"), QUICK)
def test_bundled_photos_look_the_same(name, precision, style, nets, examples, expected):
    engine = make_engine(nets[style], CPU, name, precision)
    assert (engine.name, engine.precision) == (name, precision)
    for photo, plain in zip(examples, expected[style], strict=True):
        assert psnr(engine.stylize(photo), plain) >= DECIBELS


@torch.inference_mode()
def check_shapes(engine: Engine, net: nn.Module) -> None:
    """Odd sizes and batches keep their shape, and each picture of a batch is on its own."""
    for shape in [(1, 3, 16, 16), (1, 3, 17, 42), (3, 3, 39, 23)]:
        photos = torch.rand(shape)
        painted = engine(photos)
        assert painted.dtype == torch.float32
        assert painted.shape == shape
        assert psnr(painted, net(photos)) >= DECIBELS
        assert psnr(painted[:1], engine(photos[:1])) >= DECIBELS


def check_types(engine: Engine) -> None:
    """Arrays come back as new ones of their type."""
    eight = np.asarray(make_picture(38, 25))
    expected = engine.stylize(eight).astype(float)
    for dtype, full in (np.uint8, 1), (np.uint16, 257), (np.float32, 1 / 255):
        photo = (eight * np.float32(full)).astype(dtype)
        before = photo.copy()
        painted = engine.stylize(photo)
        assert (painted.dtype, painted.shape) == (dtype, photo.shape)
        assert np.array_equal(photo, before)
        kept = painted.copy()
        engine.stylize(photo[::-1])
        assert np.array_equal(painted, kept)
        assert np.abs(painted / full - expected).max() < 4


@pytest.mark.parametrize(("name", "precision"), QUICK)
def test_shapes_and_types(name, precision, nets):
    engine = make_engine(nets["starry_night"], CPU, name, precision)
    check_shapes(engine, nets["starry_night"])
    check_types(engine)


@pytest.mark.slow
@torch.inference_mode()
def test_compile_gives_the_same_picture():
    net = make_net(2)
    net.residual = net.residual[:1]  # compiling takes time for each layer
    engine = make_engine(net, CPU, "compile", "fp32")
    photos = torch.rand(1, 3, 18, 32)
    torch.testing.assert_close(engine(photos), net(photos), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), BF16)
@pytest.mark.parametrize("style", shipped_styles())
def test_a_dark_flat_photo_keeps_its_detail_in_bf16(style, name, precision, nets):
    """Because the picture's mean is subtracted: with white instead, the detail drowns."""
    rough = np.random.default_rng(0).normal(8, 2, (96, 128, 3)).round().clip(0, 255)
    photo = torch.from_numpy(rough).permute(2, 0, 1)[None].float() / 255
    plain = make_engine(nets[style], CPU, "eager", "fp32")(photo)
    engine = make_engine(nets[style], CPU, name, precision)
    good = psnr(engine(photo), plain)
    bad = psnr(engine._run(photo, torch.full((1, 3, 1, 1), 255.0)), plain)
    assert good >= DECIBELS
    assert bad < min(good - 6, DECIBELS)


@pytest.mark.parametrize(("name", "precision"), QUICK)
def test_loading_other_weights_paints_the_other_style(name, precision, nets, examples, expected):
    engine = make_engine(nets["great_wave"], CPU, name, precision)
    engine.stylize(examples[0])
    engine.load(nets["starry_night"])
    assert psnr(engine.stylize(examples[0]), expected["starry_night"][0]) >= DECIBELS
    assert psnr(engine.stylize(examples[0]), expected["great_wave"][0]) < 30


@pytest.mark.parametrize(("name", "precision"), QUICK)
@torch.inference_mode()
def test_a_folded_network_and_another_after_it(name, precision):
    net = make_net(8)
    first, second = torch.rand(1, 3, 24, 36), torch.rand(1, 3, 44, 20) / 4
    folded = [
        (fold_statistics(net, statistics_of(net, photo)), (255 * photo.mean((0, 2, 3))).round())
        for photo in (first, second)
    ]
    engine = make_engine(folded[0][0], CPU, name, precision, folded[0][1])
    assert psnr(engine(first), net(first)) >= DECIBELS - 10  # random weights are a hard case
    engine.load(*folded[1])
    assert psnr(engine(second), net(second)) >= DECIBELS - 10
    wrong = psnr(engine(first), net(first))
    assert wrong < DECIBELS - 15  # under the second's statistics


def install(monkeypatch, *packages: str, bf16: bool = True) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: name if name in packages else None)
    monkeypatch.setattr(engines, "has_bf16_units", lambda: bf16)


def test_openvino_refuses_bf16_that_it_would_not_compute(monkeypatch):
    monkeypatch.setattr(engines, "has_bf16_units", lambda: False)
    with pytest.raises(InputError, match=r"^precision: .* found 'bf16'; try fp32, or the engine e"):
        make_engine(make_net(2), CPU, "openvino", "bf16")
    assert make_engine(make_net(2), CPU, "openvino").precision == "fp32"
    assert make_engine(make_net(2), CPU, "eager", "bf16").precision == "bf16"


@pytest.mark.parametrize("bf16", [True, False])
def test_auto_takes_openvino_where_it_is_installed(monkeypatch, bf16):
    install(monkeypatch, "openvino", bf16=bf16)
    engine = make_engine(make_net(2), CPU)
    assert (engine.name, engine.precision) == ("openvino", "bf16" if bf16 else "fp32")
    install(monkeypatch, "onnxruntime", "onnxscript", bf16=bf16)
    engine = make_engine(make_net(2), CPU)
    assert (engine.name, engine.precision) == ("eager", "bf16" if bf16 else "fp32")


def test_auto_on_other_devices_is_eager(monkeypatch):
    install(monkeypatch, "openvino")
    engine = make_engine(make_net(2), torch.device("meta"))
    assert (engine.name, engine.precision) == ("eager", "fp32")
    for device, precision in ("cuda:1", "fp16"), ("mps", "fp32"):
        chosen = engines._choose_precision(EagerEngine, torch.device(device), "auto")
        assert chosen == precision


def test_available_engines_are_those_whose_packages_are_there(monkeypatch):
    assert available_engines() == list(ENGINES)  # this environment has all
    install(monkeypatch, "onnxruntime")
    assert available_engines() == ["eager", "compile"]
    install(monkeypatch, "onnxruntime", "onnxscript")
    assert available_engines() == ["eager", "compile", "onnxruntime"]


@pytest.mark.parametrize(
    ("name", "precision", "said"),
    [
        ("tensorrt", "auto", "engine: expected one of auto, eager, compile, onnxruntime, openvino"),
        ("eager", "int8", "precision: expected auto or one of fp32, bf16 for eager on cpu, found"),
        ("eager", "fp16", "precision: expected auto or one of fp32, bf16 for eager on cpu, found"),
        ("onnxruntime", "bf16", "expected auto or one of fp32 for onnxruntime on cpu, found 'bf16"),
    ],
)
def test_unknown_and_impossible_choices_are_refused(name, precision, said):
    with pytest.raises(InputError, match=said):
        make_engine(make_net(2), CPU, name, precision)


@pytest.mark.parametrize(
    ("name", "package"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime")]
)
def test_a_missing_engine_is_said_with_the_extra_that_brings_it(monkeypatch, name, package):
    install(monkeypatch)
    said = rf'engine {name}: {package} is not installed; try .*"fst-style\[fast\]", or the'
    with pytest.raises(InputError, match=said):
        make_engine(make_net(2), CPU, name)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_engines_of_the_cpu_are_refused_elsewhere(name):
    with pytest.raises(InputError, match=f"engine {name}: runs on cpu, found meta; try eager or"):
        make_engine(make_net(2), torch.device("meta"), name)


@pytest.mark.parametrize(("name", "precision"), QUICK)
def test_a_picture_that_is_too_small_is_refused(name, precision):
    engine = make_engine(make_net(2), CPU, name, precision)
    for call in (
        lambda: engine(torch.rand(1, 3, 15, 40)),
        lambda: engine.stylize(np.zeros((40, 15, 3), np.uint8)),
        lambda: engine.stylize(np.zeros((40, 15, 3), np.uint16)),
    ):
        with pytest.raises(InputError, match="image: expected at least 16x16 px, found"):
            call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", DTYPES)
def test_bundled_photos_look_the_same_on_a_gpu(precision, nets, examples, expected):
    for style, net in nets.items():
        engine = make_engine(net, torch.device("cuda"), "eager", precision)
        for photo, plain in zip(examples, expected[style], strict=True):
            assert psnr(engine.stylize(photo), plain) >= DECIBELS


@pytest.mark.parametrize("frames", [True, False])
@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_every_networks_modules_have_an_openvino_node(network, frames):
    from fst.engines.openvino_engine import build_graph

    model = build_graph(deploy(build_network(network, width=2)), frames)
    again = build_graph(deploy(build_network(network, width=2)), frames)
    names = [[node.get_friendly_name() for node in m.get_ordered_ops()] for m in (model, again)]
    assert names[0] == names[1]
    with pytest.raises(NotImplementedError, match="no OpenVINO graph for Tanh"):
        build_graph(nn.Sequential(nn.Tanh()), frames)

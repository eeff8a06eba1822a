"""The ONNX file, what is kept in the cache for onnxruntime, and what OpenVINO keeps there."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fst import networks
from fst.engines import make_engine
from fst.engines import onnx_export as export
from fst.engines.onnx_export import (
    CHECKED,
    TOLERANCE,
    TRACED,
    cached_onnx,
    export_onnx,
    open_session,
)
from fst.engines.simplify import fold_statistics, simplify
from fst.images import read_photo
from fst.styles import find_style, load_style, shipped_styles
from fst.system.errors import InputError
from tests.conftest import ROOT, error_line, run_inline, run_script
from tests.engines.test_engines import DECIBELS, check_shapes, check_types, psnr
from tests.engines.test_simplify import make_net, statistics_of

CPU = torch.device("cpu")
KINDS_OF_DAMAGE = {
    "garbage": lambda content: b"garbage",
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "bytes in it": lambda content: content[:-300] + bytes(200) + content[-100:],
}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache; the folder that fst makes in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fst"


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A run of the script, as its user sees it, and the file that it wrote."""
    path = tmp_path_factory.mktemp("export") / "starry_night.onnx"
    return run_script("export", "--style", "starry_night", "-o", path), path


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    return load_style(find_style("starry_night"))[0]


@pytest.fixture
def exports(script, monkeypatch) -> list[Path]:
    """The script's file for every export, which takes ten seconds; this list grows with them."""
    calls = []

    def give(_net, _card):
        calls.append(script[1])
        return script[1].read_bytes()

    monkeypatch.setattr(export, "_to_onnx", give)
    return calls


def gap(model: bytes, net: torch.nn.Module, *shapes: tuple[int, ...]) -> float:
    """The largest difference between a model and a network on random photos."""
    session, gaps = open_session(model), []
    for shape in shapes:
        photos = torch.rand(shape)
        (painted,) = session.run(None, {"photo": photos.numpy()})
        with torch.inference_mode():
            gaps.append(np.abs(painted - net(photos).numpy()).max())
    return max(gaps)


@pytest.mark.slow
def test_the_script_says_one_line_and_nothing_else(script):
    result, path = script
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{path}: {path.stat().st_size / 1e6:.1f} MB, within ")
    assert "e-0" in line
    assert line.endswith(" of PyTorch at 38x45, 121x160, 30x16 px")
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # one file


def test_the_file_is_right_at_sizes_that_nobody_traced_or_checked(script, net):
    sizes = [(1, 3, 16, 16), (2, 3, 33, 70), (1, 3, 127, 18)]
    assert not {TRACED, *CHECKED} & set(sizes)
    assert gap(script[1].read_bytes(), net, *sizes) < TOLERANCE


def test_the_file_describes_itself(script):
    import onnx

    model = onnx.load(script[1])
    onnx.checker.check_model(model, full_check=True)
    for value, name in (model.graph.input[0], "photo"), (model.graph.output[0], "stylized"):
        assert value.name == name
        size = value.type.tensor_type.shape.dim
        names = ["batch", 3, "height", "width"]
        assert [each.dim_param or each.dim_value for each in size] == names
    metadata = {each.key: each.value for each in model.metadata_props}
    assert (metadata["format"], metadata["format_version"]) == ("fst", "1")
    assert json.loads(metadata["card"]) == load_style(find_style("starry_night"))[1]
    for private in (str(ROOT), "site-packages", "networks.py"):
        assert private.encode() not in script[1].read_bytes()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("starry_night", "net.pt"), "net.pt: expected a name that ends in .onnx"),
        (("monalisa", "net.onnx"), f"style: expected one of {', '.join(shipped_styles())}"),
        (("starry_night", "taken/net.onnx"), "taken: expected a folder to write into, but"),
    ],
)
def test_bad_arguments(args, said, tmp_path):
    (tmp_path / "taken").write_text("a file")
    result = run_inline("export", "--style", args[0], "-o", tmp_path / args[1])
    assert said in error_line(result)
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_said_with_the_extra_that_brings_it(package, monkeypatch, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == package else name)
    result = run_inline("export", "--style", "starry_night", "-o", tmp_path / "net.onnx")
    assert error_line(result) == (
        f'error: export: {package} is not installed; try pip install "fst-style[fast]"'
    )


def test_a_wrong_export_is_not_written(exports, net, tmp_path):
    path = tmp_path / "net.onnx"
    with pytest.raises(InputError, match="not written: onnxruntime and PyTorch differ by .* try o"):
        export_onnx(make_net(16), path, {})
    assert not path.exists()
    assert export_onnx(net, path, {}) < TOLERANCE
    assert path.read_bytes() == exports[0].read_bytes()


def test_the_engine_paints_what_pytorch_paints(cache, exports, net):
    engine = make_engine(net, CPU, "onnxruntime")
    assert (engine.name, engine.precision) == ("onnxruntime", "fp32")
    check_shapes(engine, net)
    check_types(engine)
    photo = read_photo(ROOT / "examples" / "chelsea.jpg").pixels[::2, ::2]
    plain = make_engine(net, CPU, "eager", "fp32").stylize(photo)
    assert psnr(engine.stylize(photo), plain) >= DECIBELS


@pytest.mark.slow
@torch.inference_mode()
def test_folded_networks_share_one_export(cache, monkeypatch):
    calls, real = [], export._to_onnx
    monkeypatch.setattr(export, "_to_onnx", lambda *args: calls.append(0) or real(*args))
    net = make_net(2)
    net.residual = net.residual[:1]  # exporting takes time for each layer
    photos = [torch.rand(1, 3, 20, 28), torch.rand(1, 3, 36, 16) / 3]
    statistics = [statistics_of(net, photo) for photo in photos]
    alike = [(torch.ones_like(var), torch.zeros_like(mean)) for var, mean in statistics[0]]
    folded = [fold_statistics(net, each) for each in [*statistics, alike]]
    for parameter in folded[-1].parameters():
        parameter.fill_(0.1)  # the exporter merges equal weights
    engine = make_engine(folded[0], CPU, "onnxruntime")
    for each in [*folded[1:], *folded]:
        engine.load(each)
        for photo in photos:
            torch.testing.assert_close(engine(photo), each(photo), atol=1e-5, rtol=0)
    assert gap(cached_onnx(folded[1]), folded[1], (3, 3, 17, 22)) < TOLERANCE
    assert len(calls) == 1


@pytest.mark.parametrize("damage", KINDS_OF_DAMAGE)
def test_a_damaged_cached_export_is_made_again(damage, cache, exports, net):
    whole = cached_onnx(net)
    assert cached_onnx(net) == whole
    assert len(exports) == 1
    (kept,) = (cache / "onnx").iterdir()
    kept.write_bytes(KINDS_OF_DAMAGE[damage](kept.read_bytes()))
    assert cached_onnx(net) == cached_onnx(net) == whole
    assert len(exports) == 2


def test_other_weights_are_another_export(cache, exports):
    for count, seed in enumerate([0, 1], start=1):
        cached_onnx(make_net(2, seed))
        cached_onnx(make_net(2, seed))
        assert len(exports) == count


def test_other_code_is_another_export(monkeypatch, tmp_path):
    """Every file that a pass comes from counts: found by what runs, not by a list."""
    net = make_net(2)
    ran = {Path(inspect.getfile(type(module))) for module in simplify(net).modules()}
    ours = {path for path in ran if path.is_relative_to(ROOT / "fst")}
    assert {"layers.py", "simplify.py", "transformer.py"} <= {path.name for path in ours}
    assert ours <= set(export._sources())
    before = export._fingerprint(net)
    room = shutil.copytree(Path(networks.__file__).parent, tmp_path / "networks")
    monkeypatch.setattr(networks, "__path__", [str(room)])
    assert export._fingerprint(net) == before
    for name in ("layers.py", "padding.py", "subpixel.py", "transformer.py"):
        edited = room / name
        whole = edited.read_text()
        edited.write_text(whole + "# another ReLU\n")
        assert export._fingerprint(net) != before, name
        edited.write_text(whole)


def test_without_a_place_for_the_cache_it_is_made_each_time(exports, net, monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    for name in ("onnxruntime", "onnxruntime", "openvino"):
        engine = make_engine(net, CPU, name)
        assert engine.stylize(np.zeros((20, 24, 3), np.uint8)).shape == (20, 24, 3)
    assert len(exports) == 2


def test_openvino_keeps_one_blob_and_makes_a_damaged_one_again(cache):
    photo = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)

    def painted() -> np.ndarray:
        return make_engine(make_net(2), CPU, "openvino", "fp32").stylize(photo)

    expected = painted()
    (blob,) = (cache / "openvino").iterdir()
    whole = blob.read_bytes()
    made = blob.stat().st_mtime_ns
    assert np.array_equal(painted(), expected)
    assert blob.stat().st_mtime_ns == made
    for damage in KINDS_OF_DAMAGE.values():
        blob.unlink()  # it is read-only
        blob.write_bytes(damage(whole))
        assert np.array_equal(painted(), expected)
    assert list((cache / "openvino").iterdir()) == [blob]


@pytest.mark.slow
def test_nothing_reports_to_the_makers_of_the_engines(script, tmp_path):
    """Both packages would, on import, and leave an identifier in the user's folders."""
    code = f"""
import numpy, torch, fst.styles.release, fst.engines.onnx_export
net, _ = fst.styles.load_style(fst.styles.find_style("starry_night"))
engine = fst.engines.make_engine(net, torch.device("cpu"), "openvino")
engine.stylize(numpy.zeros((16, 16, 3), "u1"))
fst.engines.onnx_export.open_session(open({str(script[1])!r}, "rb").read())
"""
    ours = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ours = {key: value for key, value in ours.items() if key not in ("CI", "ORT_DISABLE_TELEMETRY")}
    subprocess.run([sys.executable, "-c", code], env=ours, check=True)
    made = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {("cache", "fst")}

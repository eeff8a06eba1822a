"""On a CUDA GPU: what is chosen there, half precision, and a short training."""

import pytest
import torch

from fst.engines import make_engine
from fst.images import to_tensor
from fst.networks import build_network
from fst.styles import load_style
from fst.stylizer import Stylizer
from tests.cli.test_end_to_end import arguments
from tests.conftest import make_picture, run_script

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_stylizer_chooses_the_gpu_and_half_precision(checkpoint):
    stylizer = Stylizer(checkpoint)
    engine = stylizer.engine
    assert (stylizer.device.type, engine.name, engine.precision) == ("cuda", "eager", "fp16")
    assert stylizer(make_picture(90, 70)).size == (90, 70)


@pytest.mark.parametrize(("precision", "levels"), [("fp16", 2), ("bf16", 12)])
def test_half_precision_is_close_to_float32(precision, levels):
    torch.manual_seed(0)
    net = build_network("transformer", width=16).eval()
    batch = to_tensor(make_picture(160, 120))[None]
    exact, half = (
        make_engine(net, torch.device(device), "eager", each)(batch).cpu()
        for device, each in (("cpu", "fp32"), ("cuda", precision))
    )
    assert half.shape == exact.shape
    assert (half - exact).abs().mean() < levels / 255


def test_three_steps_of_training(photo_folder, painting, tmp_path):
    short = ["trainer.max_steps=3", "trainer.val_check_interval=3", "trainer.accelerator=cuda"]
    outputs = tmp_path / "outputs"
    result = run_script("train", *arguments(photo_folder, painting, outputs, *short))
    assert result.returncode == 0, result.stderr
    (path,) = outputs.glob("mine/*/mine.safetensors")
    net, card = load_style(path)
    assert card["training"]["steps"] == 3
    assert all(parameter.isfinite().all() for parameter in net.parameters())

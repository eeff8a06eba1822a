"""Which device, which precision: what the machine is asked, and what its variables forbid."""

import subprocess
import sys

import pytest
import torch

from fst.system import devices
from fst.system.devices import (
    autocast,
    choose_device,
    has_bf16_kernels,
    has_bf16_units,
    resolve_precision,
)
from fst.system.errors import InputError
from tests.conftest import ROOT


@pytest.mark.parametrize("gpu", [None, torch.device("meta")])
def test_auto_takes_the_gpu_where_there_is_one(monkeypatch, gpu):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: gpu)
    assert choose_device("auto") == (gpu or torch.device("cpu"))


@pytest.mark.parametrize("name", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_said(name):
    said = f"^device: expected auto, cpu or a GPU of this machine, found '{name}' .*; try cpu or au"
    with pytest.raises(InputError, match=said):
        choose_device(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "kernels", "units"),
    [
        ("SSE41", False, False),
        ("AVX2", False, False),
        ("AVX512_CORE", None, False),  # None: as the machine has them
        ("AVX512_CORE_BF16", None, None),
        ("DEFAULT", None, None),
    ],
)
def test_what_onednn_may_not_use_this_cpu_has_not(monkeypatch, limit, kernels, units):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "DEFAULT")
    machine = _ask()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    expected = (kernels, units)
    for answer, known, had in zip(_ask(), expected, machine, strict=True):
        assert answer == (had if known is None else known)


def _ask() -> tuple[bool, bool]:
    """Kernels and units as a new process has them: oneDNN reads its variable once."""
    code = "from fst.system.devices import has_bf16_kernels as kernels, has_bf16_units as units\n"
    code += "print(int(kernels()), int(units()))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    kernels, units = answer.stdout.split()
    return kernels == "1", units == "1"


def test_units_have_kernels():
    assert has_bf16_kernels() >= has_bf16_units()


@pytest.mark.parametrize("pays", [True, False])
def test_precision_follows_the_units(monkeypatch, pays):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(devices, "has_bf16_units", lambda: pays)
    assert resolve_precision("auto", "cpu") == ("bf16-mixed" if pays else "32-true")
    assert resolve_precision("bf16-mixed", "cpu") == "bf16-mixed"
    with autocast(torch.device("cpu"), "auto"):
        assert torch.is_autocast_enabled("cpu") == pays
    with pytest.raises(InputError, match="precision: expected auto, 32-true or bf16-mixed, found"):
        autocast(torch.device("cpu"), "int8")

import doctest

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from safetensors.torch import load_file

import research.compact.student
from fst.losses.compact import LAYERS, NAME, CompactFeatures
from fst.losses.distances import dense, gram
from fst.system.errors import InputError
from research.compact.student import Student, load_student, save_student
from tests.conftest import ROOT
from tests.research.conftest import SMALL

CARD = {"network": {"name": NAME, "arguments": SMALL}}


def test_docstring_examples():
    assert doctest.testmod(research.compact.student).failed == 0


def test_one_layer_is_rescaled_and_no_other(student):
    pictures = torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        before = {k: (dense(each), gram(each)) for k, each in student(pictures, LAYERS).items()}
        for name in LAYERS:
            student.rescale(name, 3)
            for other, features in student(pictures, LAYERS).items():
                factor = 3 if other == name else 1
                after = dense(features), gram(features)
                for ours, theirs in zip(after, before[other], strict=True):
                    expected = factor ** (2 if ours.dim() == 3 else 1) * theirs
                    assert (ours - expected).norm() < 1e-4 * expected.norm(), (name, other)
            student.rescale(name, 1 / 3)


def test_weights_that_change_are_prepared_anew(student):
    def answer():
        student.eval().requires_grad_(False)
        with torch.autocast("cpu", torch.bfloat16):
            return student(torch.ones(1, 3, 32, 32), ["relu2_1"])["relu2_1"].features.float()

    before = answer()
    student.train()
    student.trunk[0].bias.data += 1
    assert not torch.equal(before, answer())


def test_weights_have_gradients_where_they_train(student):
    with torch.autocast("cpu", torch.bfloat16):
        features = student(torch.rand(1, 3, 32, 32), ["relu5_1"])["relu5_1"]
    features.sum().backward()
    assert student.trunk[0].weight.grad.abs().sum() > 0


def test_a_file_has_eight_bits_a_weight_and_is_written_again_the_same(student, tmp_path):
    paths = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    with torch.no_grad():
        student.trunk[0].weight[0] = 0  # a channel that no scale can be had of
    save_student(paths[0], student, CARD)
    again, card = load_student(paths[0])
    assert card == CARD
    assert again.training
    for name, weight in student.state_dict().items():
        assert (again.state_dict()[name] - weight).norm() <= 0.015 * weight.norm(), name
    save_student(paths[1], again, CARD)
    first, second = map(load_file, paths)
    assert {each.dtype for each in first.values()} == {torch.int8, torch.float32, torch.float16}
    assert all(torch.equal(first[name], second[name]) for name in first)
    with torch.no_grad():
        student.trunk[0].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="expected finite weights, found NaN or infinity in"):
        save_student(paths[0], student, CARD)


def test_the_student_of_the_config_is_the_shipped_network(tmp_path):
    with initialize_config_dir(str(ROOT / "research/compact/configs"), version_base="1.3"):
        student = instantiate(compose("distill").network)
    assert isinstance(student, Student)
    assert student.arguments == CompactFeatures(["relu1_1"]).card["network"]["arguments"]
    card = {"network": {"name": NAME, "arguments": student.arguments}}
    save_student(tmp_path / "whole.safetensors", student, card)
    assert (tmp_path / "whole.safetensors").stat().st_size <= 4e6

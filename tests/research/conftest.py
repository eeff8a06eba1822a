"""A student and a teacher small enough to train in a second."""

import pytest
import torch

from fst.losses.compact import LAYERS
from fst.losses.distances import dense
from fst.styles import find_style, load_style
from research.compact.distillation import Distillation
from research.compact.pictures import Mixer
from research.compact.student import Student
from research.compact.stylizers import AdversarialStylizers

SMALL = {
    "widths": [[4, 4, 4], [4, 4], [4, 4, 4]],
    "ranks": [[4, 4], [4], [4, 4], [4, 4], [4, 4], [4, 4]],
}


@pytest.fixture
def student():
    torch.manual_seed(0)
    return Student(**SMALL)


class Teacher(torch.nn.Module):
    """Another compact network: a teacher that a student of its kind can equal."""

    def __init__(self):
        super().__init__()
        self.net = Student(**SMALL).requires_grad_(False).eval()

    def forward(self, images, layers):
        return {name: dense(each) for name, each in self.net(images, layers).items()}


class Trainer:
    log_every_n_steps, global_step = 10**9, 0


@pytest.fixture
def module(student, monkeypatch):
    nets = [load_style(find_style("udnie"))[0]]
    mixer = Mixer(nets, [[torch.rand(3, 100, 120)], [], [torch.rand(3, 90, 90)]])
    stylizers = AdversarialStylizers(mixer, student)
    module = Distillation(student, Teacher(), mixer, stylizers, torch.optim.Adam, lambda _: None)
    module._trainer = Trainer()
    monkeypatch.setattr(module, "log", lambda *args, **kwargs: None)
    return module


@pytest.fixture
def equal(module):
    """The module, its student equal to its teacher but for the scale; and pictures."""
    pictures = torch.rand(2, 3, 64, 64)
    module._measure(pictures)
    module.net.load_state_dict(module.teacher.net.state_dict())
    for factor, name in zip(module.scales.tolist(), LAYERS, strict=True):
        module.net.rescale(name, 1 / factor)
    return module, pictures

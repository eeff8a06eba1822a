import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from fst.losses.compact import LAYERS, NAME, CompactVGG, load_compact
from fst.losses.distances import dense, gram, gram_matrix
from fst.styles import find_style, load_style
from research.compact.distillation import FLAT, Distillation, _rescale
from research.compact.pictures import Mixer, Painters
from tests.conftest import ROOT, error_line, make_painting, make_photo_folder, run_inline

SMALL = {
    "widths": [[4, 4, 4], [4, 4], [4, 4, 4]], "ranks": [[4, 4], [4], [4, 4], [4, 4], [4, 4], [4, 4]]
}  # fmt: skip
NETWORK = {"name": NAME, "arguments": SMALL}


class Teacher(torch.nn.Module):
    """Another compact network: a teacher that a student of its kind can equal."""

    def __init__(self):
        super().__init__()
        self.net = CompactVGG(**SMALL).requires_grad_(False).eval()

    def forward(self, images, layers=LAYERS):
        return {name: dense(each) for name, each in self.net(images, layers).items()}


class Trainer:
    log_every_n_steps, global_step = 10**9, 0


@pytest.fixture
def module(monkeypatch):
    torch.manual_seed(0)
    nets = [load_style(find_style("udnie"))[0]]
    mixer = Mixer(nets, [[torch.rand(3, 100, 120)], [], [torch.rand(3, 90, 90)]])
    student = CompactVGG(**SMALL)
    painters = Painters(mixer, student)
    found = Distillation(student, Teacher(), mixer, painters, torch.optim.Adam, lambda _: None)
    found._trainer = Trainer()
    monkeypatch.setattr(found, "log", lambda *args, **kwargs: None)
    return found


def test_the_pictures_of_a_step_are_pictures(module):
    for _ in range(20):
        found = module.mixer.pictures(torch.rand(2, 3, 64, 64))
        assert found.shape == (2, 3, 64, 64)
        assert 0 <= found.min() <= found.max() <= 1
        assert found.std() > 0


def test_nets_are_those_given(module):
    net, _ = load_style(find_style("udnie"))
    photos = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = module.mixer.apply(module.mixer.weights[0], photos)
        torch.testing.assert_close(found, net(photos))


def test_no_two_pictures_are_of_the_same_net_or_painting(module):
    photos = torch.rand(1, 3, 64, 64)
    names = "udnie", "starry_night", "great_wave", "the_scream"
    nets = [load_style(find_style(name))[0] for name in names]
    mixer = Mixer(nets, module.mixer.paintings)
    styled = [mixer.styled(photos) for _ in range(12)]
    paintings = [mixer.painting(48) for _ in range(12)]
    for found in styled, paintings:
        apart = [(a - b).abs().mean() > 1e-3 for a, b in pairwise(found)]
        assert sum(apart) >= 10  # a net as it is, twice in a row, is a matter of chance
        assert all(0 <= each.min() <= each.max() <= 1 for each in found)
    assert mixer.painting(48).shape == (1, 3, 48, 48)


def test_painters_learn_against_the_student_and_begin_again(module):
    module.mixer.count = 2
    photos = torch.rand(4, 3, 64, 64)
    painters, before = module.painters, module.mixer.weights[0].clone()

    def losses(painted):
        owners = [painter for painter in painters.painters for _ in range(2)]
        parts = zip(painted.split(2), photos.split(2), owners[::2], strict=True)
        return [painters._loss(*two, [owner] * 2).item() for *two, owner in parts]

    first = losses(painters.paint(photos))
    two = list(painters.painters)
    assert len(two) == 2
    for _ in range(15):
        painted = painters.paint(photos)
    last = losses(painted)
    assert all(b < 0.9 * a for a, b in zip(first, last, strict=True)), (first, last)
    assert painters.painters == two
    two[0].left = 0
    painters.paint(photos)
    assert painters.painters[0] != two[0]
    assert painters.painters[1] == two[1]
    assert torch.equal(before, module.mixer.weights[0])  # copies learnt


def test_a_painter_learns_as_it_would_alone(module):
    module.mixer.count = 2
    photos = torch.rand(4, 3, 64, 64)
    painters = module.painters
    painters.paint(photos)
    _, second = painters.painters
    before = second.weights.detach().clone()
    state = copy.deepcopy(second.optimizer.state_dict())
    left = second.left
    torch.manual_seed(5)
    together = painters.paint(photos)
    found = second.weights.detach().clone()

    with torch.no_grad():
        second.weights.copy_(before)
    second.optimizer.load_state_dict(state)
    second.left = left
    module.mixer.count, painters.painters = 1, [second]
    torch.manual_seed(5)
    alone = painters.paint(photos[2:])
    torch.testing.assert_close(together[2:], alone)
    torch.testing.assert_close(found, second.weights.detach())


def test_a_painter_that_goes_astray_gives_way(module):
    module.mixer.count = 2
    photos = torch.rand(4, 3, 64, 64)
    module.painters.paint(photos)
    first, second = module.painters.painters
    with torch.no_grad():
        first.weights.fill_(torch.nan)
    painted = module.painters.paint(photos)
    assert torch.equal(painted[:2], photos[:2])
    assert not torch.equal(painted[2:], photos[2:])
    assert painted.isfinite().all()
    module.painters.paint(photos)
    assert module.painters.painters[0] != first
    assert module.painters.painters[1] == second


def test_a_student_that_is_the_teacher_has_no_error(module):
    pictures = torch.rand(2, 3, 64, 64)
    module._measure(pictures)
    module.net.load_state_dict(module.teacher.net.state_dict())
    _rescale(module.net, 1 / module.scales)
    for errors in module.compare(pictures, module.teacher(pictures)):
        assert errors.shape == (len(LAYERS),)
        assert (errors < 1e-6).all(), errors
    released = module.release_net()
    for name, weight in module.teacher.net.state_dict().items():
        torch.testing.assert_close(released.state_dict()[name], weight, msg=name)


def test_errors_are_those_of_the_wide_activations_and_their_gram_matrices(module):
    pictures = torch.rand(2, 3, 66, 64)
    module._measure(pictures)
    for style in module.net.styles.values():
        style.data.add_(0.1)
    wanted = module.teacher(pictures)
    activations, grams = module.compare(pictures, wanted)
    found = module.net(pictures, LAYERS)
    for k, (name, scale) in enumerate(zip(LAYERS, module.scales, strict=True)):
        goal = wanted[name] / scale
        error = (dense(found[name]) - goal).square().mean()
        expected = gram_matrix(goal).double()
        distance = (gram(found[name]) - expected).square().sum((1, 2))
        distance = distance / (expected.square().sum((1, 2)) + FLAT * expected.shape[1])
        torch.testing.assert_close(activations[k], error, msg=name)
        torch.testing.assert_close(grams[k], distance.mean().float(), msg=name)


def test_training_lowers_the_errors_of_activations_and_gram_matrices(module):
    module.painters_from = 30
    optimizer = torch.optim.Adam(module.net.parameters(), lr=3e-3)
    photos = F.interpolate(torch.rand(4, 3, 8, 8), scale_factor=8)
    module._measure(photos)
    wanted = module.teacher(photos)
    errors = []
    for step in range(60):
        module._trainer.global_step = step
        total = module.training_step(photos, step)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        with torch.no_grad():
            errors.append([each.mean().item() for each in module.compare(photos, wanted)])
    first, last = torch.tensor(errors[:5]).mean(0), torch.tensor(errors[-5:]).mean(0)
    assert (last < 0.85 * first).all(), (first, last)
    assert module.painters.painters


@pytest.fixture
def arguments(tmp_path):
    torch.manual_seed(0)
    torch.save(make_layers(cfgs["E"]).state_dict(), tmp_path / "vgg.pth")
    (tmp_path / "paintings").mkdir()
    make_painting(tmp_path / "paintings/udnie.jpg")
    photos = make_photo_folder(tmp_path / "photos")
    return [
        f"data.root={photos}", f"paths.outputs={tmp_path / 'out'}", "data.crop_size=64",
        f"paths.paintings={tmp_path / 'paintings'}", f"teacher.weights={tmp_path / 'vgg.pth'}",
        "teacher.mean=[0.5,0.5,0.5]", "teacher.std=[0.2,0.2,0.2]", "data.workers=0",
        *(f"network.{name}={value}".replace(" ", "") for name, value in SMALL.items()),
        "trainer.max_steps=4",
        "painters_from=2", "imagined=1", "trainer.val_check_interval=2",
        "trainer.log_every_n_steps=2", "callbacks.checkpoint.every_n_steps=2",
    ]  # fmt: skip


def test_the_script_writes_a_file_that_says_what_it_is_and_goes_on(arguments, tmp_path):
    result = run_inline("distill", *arguments)
    assert result.returncode == 0, result.stderr
    file = result.stdout.split()[-1]
    _, card = load_compact(Path(file))
    assert card["training"]["steps"] == 4
    assert "relu5_1" in card["limits"]
    assert 0 < card["training"]["held_out_errors"]["grams"] < 10
    assert card["teacher"]["weights"] == "vgg.pth"
    assert str(tmp_path) not in str(card)
    checkpoint = next((tmp_path / "out").rglob("last.ckpt"))
    again = run_inline(
        "distill", *arguments, f"ckpt_path={checkpoint}", "paths.run=" + str(tmp_path / "b")
    )
    assert again.returncode == 0, again.stderr


def test_the_student_of_a_file_trains_on(arguments, tmp_path):
    first = run_inline("distill", *arguments, "trainer.max_steps=2")
    assert first.returncode == 0, first.stderr
    begun = Path(first.stdout.split()[-1])
    still = ["optimizer.lr=1e-12", f"start={begun}", f"paths.run={tmp_path / 'b'}"]
    second = run_inline("distill", *arguments, *still)
    assert second.returncode == 0, second.stderr
    (before, card), (after, later) = (
        load_compact(file) for file in (begun, tmp_path / "b/compact_vgg19.safetensors")
    )
    pictures = torch.rand(1, 3, 32, 32)
    for name, found in after(pictures, LAYERS).items():
        expected = dense(before(pictures, LAYERS)[name])
        assert (dense(found) - expected).norm() < 0.05 * expected.norm(), name
    assert later["network"] == card["network"]
    assert later["training"]["before"] == card["training"]


def test_pictures_beside_the_paintings_are_in_the_card(arguments, tmp_path):
    (tmp_path / "more").mkdir()
    make_painting(tmp_path / "more/a.png")
    result = run_inline("distill", *arguments, f"pictures={tmp_path / 'more'}")
    assert result.returncode == 0, result.stderr
    training = load_compact(Path(result.stdout.split()[-1]))[1]["training"]
    assert training["gathered_pictures"] == 1
    (tmp_path / "empty").mkdir()
    result = run_inline("distill", *arguments, f"pictures={tmp_path / 'empty'}")
    assert "empty: expected pictures, found none; try pictures=null" in error_line(result)


def test_no_paintings_are_said_in_one_line(arguments, tmp_path):
    result = run_inline("distill", *arguments, f"paths.paintings={tmp_path / 'photos/none'}")
    assert "none" in error_line(result)
    (tmp_path / "empty").mkdir()
    result = run_inline("distill", *arguments, f"paths.paintings={tmp_path / 'empty'}")
    assert "empty: expected paintings, found none; set paths.paintings" in error_line(result)


def test_agreement_wants_photos(tmp_path):
    (tmp_path / "empty").mkdir()
    weights = ROOT / "README.md"
    result = run_inline("agreement", f"photos={tmp_path / 'empty'}", f"weights={weights}")
    assert "README.md: expected a style file" in error_line(result)

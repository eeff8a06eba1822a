"""A loss network that only predicts another sees training's pictures in another view each step."""

from functools import partial
from itertools import product

import pytest
import torch
from torch import nn

from fst.losses.compact import CompactFeatures
from fst.training.lit_module import StyleModule
from fst.training.views import TrainingViews, training_view, views_for
from tests.losses.test_losses import make_loss

GRID = 2
RAMP = torch.arange(32.0 * 32).view(1, 1, 32, 32).expand(2, 3, 32, 32) / 1024


def test_views_of_a_picture():
    """Sixteen numbers: every place of the grid, mirrored in every way."""
    views = [training_view(number, GRID, RAMP)[0] for number in range(16)]
    seen = set()
    for view in views:
        one = view[0, 0]
        mirrored = (one[0, 0] > one[0, -1]).item(), (one[0, 0] > one[-1, 0]).item()
        seen.add((tuple(one.shape), mirrored))
        assert one.max() == RAMP.max()  # the first rows and columns are left out, not the last
    sizes = [(32, 32), (32, 31), (31, 32), (31, 31)]
    assert seen == set(product(sizes, product((False, True), repeat=2)))
    assert torch.equal(views[0], RAMP)
    assert torch.equal(training_view(16, GRID, RAMP)[0], RAMP)


def test_features_have_no_view():
    with pytest.raises(TypeError, match="expected pictures; features have no other view"):
        training_view(0, GRID, RAMP, {"relu1_1": RAMP})


def test_a_mirrored_painting_has_no_distance_to_itself():
    loss, painting = make_loss(), torch.rand(1, 3, 32, 32)
    views = TrainingViews(loss, painting, GRID)
    upright, mirrored, *others = views.grams
    assert len(others) == 2
    assert not torch.equal(mirrored["relu2_1"], upright["relu2_1"])
    for number in range(4):
        terms = loss(*views(number, painting, painting))
        assert terms["style"] < 1e-10
        assert terms["content"] < 1e-10


def test_loss_networks_ask_for_views():
    painting = torch.rand(1, 3, 64, 64)
    loss = make_loss()
    assert views_for(loss, painting) is None
    assert views_for(make_loss(extractor=CompactFeatures), painting).grid == GRID


def test_training_shows_views_and_validation_pictures_as_they_are():
    loss = make_loss()
    loss.set_style(RAMP[:1])
    views = TrainingViews(loss, RAMP[:1], GRID)
    module = StyleModule(nn.Conv2d(3, 3, 1), loss, partial(torch.optim.Adam, lr=1e-3), views=views)
    seen = []

    def see(images, layers, look=loss.extractor.forward):
        seen.append(images.detach())
        return look(images, layers)

    loss.extractor.forward = see
    stylized, terms = module._compare(RAMP, 7)
    assert torch.equal(seen[0], training_view(7, GRID, stylized)[0])
    assert torch.equal(seen[1], training_view(7, GRID, RAMP)[0])
    expected = loss(*views(7, stylized, RAMP))
    assert all(torch.equal(terms[name], expected[name]) for name in expected)
    seen.clear()
    with torch.no_grad():
        module._compare(RAMP, 7)
    assert torch.equal(seen[1], RAMP)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert set(checkpoint["state_dict"]) == {"net.weight", "net.bias"}

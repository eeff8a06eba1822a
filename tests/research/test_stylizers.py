import copy

import pytest
import torch


@pytest.mark.slow
def test_stylizers_learn_against_the_student_and_begin_again(module):
    module.mixer.count = 2
    photos = torch.rand(4, 3, 64, 64)
    stylizers, before = module.stylizers, module.mixer.weights[0].clone()

    def losses(painted):
        owners = [stylizer for stylizer in stylizers.current for _ in range(2)]
        parts = zip(painted.split(2), photos.split(2), owners[::2], strict=True)
        return [stylizers._loss(*two, [owner] * 2).item() for *two, owner in parts]

    first = losses(stylizers.paint(photos))
    two = list(stylizers.current)
    assert len(two) == 2
    for _ in range(15):
        painted = stylizers.paint(photos)
    last = losses(painted)
    assert all(b < 0.9 * a for a, b in zip(first, last, strict=True)), (first, last)
    assert stylizers.current == two
    two[0].left = 0
    stylizers.paint(photos)
    assert stylizers.current[0] != two[0]
    assert stylizers.current[1] == two[1]
    assert torch.equal(before, module.mixer.weights[0])  # copies learnt


def test_a_stylizer_learns_as_it_would_alone(module):
    module.mixer.count = 2
    photos = torch.rand(4, 3, 64, 64)
    stylizers = module.stylizers
    stylizers.paint(photos)
    _, second = stylizers.current
    before = second.weights.detach().clone()
    state = copy.deepcopy(second.optimizer.state_dict())
    left = second.left
    torch.manual_seed(5)
    together = stylizers.paint(photos)
    weights = second.weights.detach().clone()

    with torch.no_grad():
        second.weights.copy_(before)
    second.optimizer.load_state_dict(state)
    second.left = left
    module.mixer.count, stylizers.current = 1, [second]
    torch.manual_seed(5)
    alone = stylizers.paint(photos[2:])
    torch.testing.assert_close(together[2:], alone)
    torch.testing.assert_close(weights, second.weights.detach())


def test_a_stylizer_that_goes_astray_gives_way(module):
    module.mixer.count = 2
    photos = torch.rand(4, 3, 64, 64)
    module.stylizers.paint(photos)
    first, second = module.stylizers.current
    with torch.no_grad():
        first.weights.fill_(torch.nan)
    painted = module.stylizers.paint(photos)
    assert torch.equal(painted[:2], photos[:2])
    assert not torch.equal(painted[2:], photos[2:])
    assert painted.isfinite().all()
    module.stylizers.paint(photos)
    assert module.stylizers.current[0] != first
    assert module.stylizers.current[1] == second

import pytest
import torch
from torch.nn import functional as F

from fst.losses.compact import LAYERS
from fst.losses.distances import dense, gram, gram_matrix
from research.compact.distillation import FLAT


def test_a_student_that_is_the_teacher_has_no_error(equal):
    module, pictures = equal
    for errors in module.compare(pictures, module.teacher(pictures, LAYERS)):
        assert errors.shape == (len(LAYERS),)
        assert (errors < 1e-6).all(), errors
    weights = module.release_net().state_dict()
    for name, weight in module.teacher.net.state_dict().items():
        torch.testing.assert_close(weights[name], weight, msg=name)


def test_errors_are_those_of_the_wide_activations_and_their_gram_matrices(module):
    pictures = torch.rand(2, 3, 66, 64)
    module._measure(pictures)
    for style in module.net.styles.values():
        style.data.add_(0.1)
    targets = module.teacher(pictures, LAYERS)
    activations, grams = module.compare(pictures, targets)
    features = module.net(pictures, LAYERS)
    for k, (name, scale) in enumerate(zip(LAYERS, module.scales, strict=True)):
        goal = targets[name] / scale
        error = (dense(features[name]) - goal).square().mean()
        expected = gram_matrix(goal).double()
        distance = (gram(features[name]) - expected).square().sum((1, 2))
        distance = distance / (expected.square().sum((1, 2)) + FLAT * expected.shape[1])
        torch.testing.assert_close(activations[k], error, msg=name)
        torch.testing.assert_close(grams[k], distance.mean().float(), msg=name)


@pytest.mark.slow
def test_training_lowers_the_errors_of_activations_and_gram_matrices(module):
    module.stylizers_from = 30
    optimizer = torch.optim.Adam(module.net.parameters(), lr=3e-3)
    photos = F.interpolate(torch.rand(4, 3, 8, 8), scale_factor=8)
    module._measure(photos)
    targets = module.teacher(photos, LAYERS)
    errors = []
    for step in range(60):
        module._trainer.global_step = step
        total = module.training_step(photos, step)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        with torch.no_grad():
            errors.append([each.mean().item() for each in module.compare(photos, targets)])
    first, last = torch.tensor(errors[:5]).mean(0), torch.tensor(errors[-5:]).mean(0)
    assert (last < 0.85 * first).all(), (first, last)
    assert module.stylizers.current

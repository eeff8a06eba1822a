import torch

from research.compact.pictures import turned


def test_other_hues_have_the_same_grey():
    pictures = torch.rand(200, 3, 4, 4)
    found = turned(pictures)
    grey, mean = found.mean(1), pictures.mean(1)
    negative = ((grey - (1 - mean)).abs() < 1e-5).all(2).all(1)
    same = ((grey - mean).abs() < 1e-5).all(2).all(1)
    assert (same | negative).all()
    assert 10 < negative.sum() < 60
    assert (found - pictures).abs().mean() > 0.1

import numpy as np
import pytest
import torch

from fst.engines import make_engine
from fst.engines.simplify import GRAY, fold_statistics, norms
from fst.networks import TransformerNet
from fst.stylizer.statistics import choose_regions, fold_picture_statistics, measure_statistics
from fst.stylizer.tiles import MARGIN, cut_out, grid, padded_size, stylize_tiles
from tests.conftest import make_picture

MIDDLE = torch.full((3,), GRAY)
CPU = torch.device("cpu")
ALL = 1e12  # px: more than any picture has


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = TransformerNet(4).eval().requires_grad_(False)
    for norm in norms(net):
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    return net


@pytest.fixture(scope="module")
def pixels():
    """Three hundred by four hundred and ten px with structure at every scale, no multiple of 4."""
    rng = np.random.default_rng(0)
    picture = np.zeros((303, 410, 3))
    for side in (4, 16, 64, 256):
        coarse = rng.random((303 // side + 1, 410 // side + 1, 3))
        picture += np.kron(coarse, np.ones((side, side, 1)))[:303, :410]
    return (255 * picture / picture.max()).astype(np.uint8)


def whole(net, pixels):
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        return net(x)[0].permute(1, 2, 0).numpy()


def tiled(net, pixels, side):
    folded, colour = fold_picture_statistics(net, pixels, ALL, CPU, torch.float32)
    engine = make_engine(folded, CPU, "eager", "fp32", colour)
    out = np.empty(pixels.shape, np.float32)
    stylize_tiles(engine.stylize, pixels.astype(np.float32) / 255, out, side)
    return out


@pytest.mark.parametrize("size", [(16, 16), (240, 500), (1000, 244), (2000, 1236)])
@pytest.mark.parametrize("side", [180, 256])
def test_windows_have_one_size_and_their_cores_share_out_the_picture(size, side):
    tiles = [tile for row in grid(*size, side) for tile in row]
    owners = np.zeros(size, int)
    for tile in tiles:
        window = owners[tile.rows, tile.columns]
        assert window.shape == owners[tiles[0].rows, tiles[0].columns].shape
        assert max(window.shape) <= side
        window[tile.core_rows, tile.core_columns] += 1
        for place, core, length in zip(
            (tile.rows, tile.columns), (tile.core_rows, tile.core_columns), size, strict=True
        ):
            assert place.start % 4 == core.start % 4 == 0
            assert core.start >= MARGIN or place.start == 0
            assert place.stop - place.start - core.stop >= MARGIN or place.stop == length
    assert (owners == 1).all()


def test_the_margin_covers_the_receptive_field():
    """Of every phase of the strides; with weights that cannot cancel."""
    net = TransformerNet(1)
    ones = [
        (torch.ones(norm.weight.numel()), torch.zeros(norm.weight.numel())) for norm in norms(net)
    ]
    net = fold_statistics(net, ones).double()
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.fill_(1 / module.weight[0].numel())
            module.bias.zero_()
        if isinstance(module, torch.nn.ReLU):
            module.inplace = False
    reach = []
    for row in range(100, 104):
        x = torch.rand(1, 3, 204, 204, dtype=torch.double, requires_grad=True)
        net(x)[0, 0, row, row].backward()
        touched = x.grad.abs().sum((0, 1, 3)).nonzero().flatten()
        reach += [row - touched.min().item(), touched.max().item() - row]
    assert MARGIN - 4 < max(reach) <= MARGIN


def test_all_regions_give_the_untiled_picture(net, pixels):
    np.testing.assert_allclose(tiled(net, pixels, 200), whole(net, pixels), atol=2e-5)


def test_tiles_of_two_sizes_agree(net, pixels):
    np.testing.assert_allclose(tiled(net, pixels, 180), tiled(net, pixels, 260), atol=1e-6)


def test_naive_tiles_would_not_do(net, pixels):
    """What all of this is for: a norm over each tile alone is visibly something else."""
    out = np.empty(pixels.shape, np.float32)
    engine = make_engine(net, CPU, "eager", "fp32")
    stylize_tiles(engine.stylize, pixels.astype(np.float32) / 255, out, 200)
    assert np.abs(out - whole(net, pixels)).max() > 0.1


def test_a_sample_comes_close_and_is_better_than_a_thumbnail(net):
    pixels = np.asarray(make_picture(1024, 896).resize((1024, 896)))
    rng = np.random.default_rng(1)
    pixels = np.clip(pixels + rng.normal(0, 20, pixels.shape), 0, 255).astype(np.uint8)
    exact = measure_statistics(net, pixels, ALL, MIDDLE, CPU, torch.float32)
    sample = measure_statistics(net, pixels, pixels.size / 3 / 4, MIDDLE, CPU, torch.float32)
    small = np.ascontiguousarray(pixels[::4, ::4])
    thumbnail = measure_statistics(net, small, ALL, MIDDLE, CPU, torch.float32)

    def error(statistics):
        pairs = zip(statistics, exact, strict=True)
        return np.mean([((var / right).log().abs().mean()) for (var, _), (right, _) in pairs])

    assert error(sample) < 0.1
    assert error(sample) < error(thumbnail) / 2


def test_regions_are_calibrated_to_the_whole_picture():
    """A bright third of the picture counts a third, however many regions fall into it."""
    pixels = np.zeros((960, 960, 3), np.uint8)
    pixels[:320] = 240
    for sample in (20_000, 50_000, 200_000):
        tiles, weights = choose_regions(pixels, sample)
        means = [cut_out(pixels, tile)[tile.core_rows, tile.core_columns].mean() for tile in tiles]
        assert weights.sum() == pytest.approx(1)
        assert weights @ torch.tensor(means, dtype=torch.float32) == pytest.approx(80, abs=0.5)


def test_regions_lie_inside_and_have_one_core():
    pixels = np.zeros((333, 500, 3), np.uint8)
    tiles, _ = choose_regions(pixels, 40_000)
    assert len(tiles) == round(40_000 / 32**2)  # no density: evenly spread
    assert len({(tile.rows.start, tile.columns.start) for tile in tiles}) == len(tiles)
    for tile in tiles:
        assert cut_out(pixels, tile).shape == (64, 64, 3)
        assert (tile.core_rows, tile.core_columns) == (slice(16, 48), slice(16, 48))


def test_windows_beyond_the_border_are_reflected():
    pixels = np.arange(18 * 22 * 3).astype(np.uint8).reshape(18, 22, 3)
    assert padded_size(pixels) == (20, 24)
    ((tile,),) = grid(20, 24, 300)
    expected = np.pad(pixels, ((0, 2), (0, 2), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(cut_out(pixels, tile), expected)

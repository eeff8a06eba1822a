"""Views of a training's pictures, for a loss network that only predicts another one.

Such a network errs. Seen in a mirror, or a pixel aside, a picture is another one to it, and it errs
in another way. A style network trained against one view learns the errors of that view; what all
views agree on is the style. So training shows pictures, photos and painting in another view at
every step. Validation and measurements show them as they are.
"""

from typing import cast

from torch import Tensor, nn

from fst.losses import PerceptualLoss

MIRRORS = (), (3,), (2,), (2, 3)  # axes of (N, C, H, W) to flip


class TrainingViews(nn.Module):
    """The arguments of a `PerceptualLoss`, in another view at every step.

    Args:
        loss: It takes the style of the painting's views.
        painting: ``(1, 3, H, W)`` RGB in [0, 1].
        grid: px, see `training_view`.
    """

    def __init__(self, loss: PerceptualLoss, painting: Tensor, grid: int) -> None:
        super().__init__()
        self.grid = grid
        views = (training_view(number, grid, painting)[0] for number in range(len(MIRRORS)))
        self.grams = nn.ModuleList([loss.style_of(view) for view in views])

    def forward(
        self, number: int, stylized: Tensor, photos: Tensor
    ) -> tuple[Tensor, Tensor, nn.ParameterDict]:
        """View ``number`` of both ``(N, 3, H, W)``, and the style of the painting's view."""
        stylized, photos = training_view(number, self.grid, stylized, photos)
        return stylized, photos, cast(nn.ParameterDict, self.grams[number % len(MIRRORS)])


def views_for(loss: PerceptualLoss, painting: Tensor) -> TrainingViews | None:
    """The views that a loss network asks for by its attribute ``grid``; None if it has none."""
    grid = getattr(loss.extractor, "grid", None)
    return None if grid is None else TrainingViews(loss, painting, grid)


def training_view(number: int, grid: int, *pictures: Tensor) -> tuple[Tensor, ...]:
    """View ``number`` of some ``(N, C, H, W)`` pictures, the same of all.

    From one number to the next it is mirrored in another way: not at all, left to right, top to
    bottom, both. Every four numbers it loses other first rows and columns, 0 to ``grid`` - 1 each.

    Raises:
        TypeError: Features of pictures in the place of pictures.
    """
    if not all(isinstance(each, Tensor) for each in pictures):
        raise TypeError("training_view: expected pictures; features have no other view")
    down, right = divmod(number // len(MIRRORS) % grid**2, grid)
    mirror = MIRRORS[number % len(MIRRORS)]
    return tuple(each[..., down:, right:].flip(mirror) for each in pictures)

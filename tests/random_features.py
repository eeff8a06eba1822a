"""A loss network of random convolutions with VGG's layer names: what tests train against."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RandomFeatures(nn.Module):
    """One 3x3 convolution to 16 channels for each of five blocks; ``reluB_I`` is block B."""

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = list(layers)
        for block in range(1, 6):
            weight = torch.randn(16, 3 if block == 1 else 16, 3, 3, generator=generator) / 5
            self.register_buffer(f"block{block}", weight)

    def forward(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        x, found = 2 * images - 1, {}
        for block in range(1, 6):
            x = F.relu(F.conv2d(x, getattr(self, f"block{block}").to(x.dtype), padding=1))
            for name in layers or self.layers:
                if name.startswith(f"relu{block}_"):
                    found[name] = x
            x = F.avg_pool2d(x, 2) if min(x.shape[2:]) > 1 else x
        return found

"""The transformer network: a photo in, the painted photo out, in one forward pass.

Sources: Johnson et al. 2016 (arXiv:1603.08155 and its supplement, table 1), with the batch norm
replaced by instance norm (Ulyanov et al., arXiv:1607.08022).

Departures from the papers:

1. Nearest-neighbour upsampling and a convolution instead of transposed convolutions, which leave
   a checkerboard (Odena et al. 2016).
2. Reflection padding at every convolution. The paper pads the photo once by 40 px and lets the
   residual blocks shrink it again.
3. The last activation is a sigmoid, so that colours are RGB in [0, 1]; the paper scales a tanh to
   the range of its Caffe inputs.
4. The photo is centred to [-1, 1] on the way in, for the same reason.
5. Sizes that are no multiple of 4 are padded by reflection at the right and bottom, and cropped.

What makes it fast stands beside it: gradients in `fst.networks.layers`, four pixels at once in
`fst.networks.subpixel`.
"""

from typing import cast

from torch import Tensor, nn

from fst.networks.layers import InstanceNorm, ReflectionPad, RepeatPixels, compiled_for_training
from fst.networks.padding import pad_to_strides
from fst.networks.subpixel import ColourConv, convolve_doubled, interleave
from fst.system.errors import check_whole


class ConvBlock(nn.Sequential):
    """Reflection padding, convolution, instance norm and, unless told otherwise, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__(
            ReflectionPad(kernel // 2),  # departure 2
            nn.Conv2d(inputs, outputs, kernel, stride, bias=False),  # instance norm drops a bias
            InstanceNorm(outputs),
            *([nn.ReLU(inplace=True)] if relu else []),
        )

    @property
    def conv(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self[1])

    @property
    def norm(self) -> InstanceNorm:
        return cast(InstanceNorm, self[2])

    @property
    def after_conv(self) -> list[nn.Module]:
        """The norm and, where there is one, ReLU."""
        return list(self)[2:]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity; no ReLU after the sum (Gross and Wilber 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvBlock(channels, channels, 3), ConvBlock(channels, channels, 3, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, H, W), the same out
        return x + self.body(x)


class UpsampleBlock(nn.Sequential):
    """Twice the size by repeating pixels, then a 3x3 convolution (departure 1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(RepeatPixels(), ConvBlock(inputs, outputs, 3))

    @property
    def block(self) -> ConvBlock:
        return cast(ConvBlock, self[1])

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, 2 H, 2 W)
        if not compiled_for_training():
            return super().forward(x)
        x = convolve_doubled(x, self.block.conv.weight)  # the same, sooner
        for layer in self.block.after_conv:
            x = layer(x)
        return interleave(x)


class TransformerNet(nn.Module):
    """Johnson et al.'s image transformation network.

    Args:
        width: Channels of the first layer, at least 1. 32 is the paper's 32-64-128; 16 is four
            times cheaper.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        check_whole("network width", width, 1)
        self.width = width
        self.encoder = nn.Sequential(
            ConvBlock(3, width, 9),  # (N, width, H, W)
            ConvBlock(width, 2 * width, 3, stride=2),  # (N, 2 width, H/2, W/2)
            ConvBlock(2 * width, 4 * width, 3, stride=2),  # (N, 4 width, H/4, W/4)
        )
        self.residual = nn.Sequential(*(ResidualBlock(4 * width) for _ in range(5)))
        self.decoder = nn.Sequential(
            UpsampleBlock(4 * width, 2 * width),  # (N, 2 width, H/2, W/2)
            UpsampleBlock(2 * width, width),  # (N, width, H, W)
            ReflectionPad(4),
            ColourConv(width, 3, 9),  # (N, 3, H, W)
            nn.Sigmoid(),  # departure 3
        )

    def forward(self, x: Tensor) -> Tensor:
        """Stylize ``(N, 3, H, W)`` RGB in [0, 1]; H and W from 16 up; same shape and range out.

        Raises:
            InputError: A side is shorter than 16 px.
        """
        height, width = x.shape[-2:]
        x = 2 * pad_to_strides(x) - 1  # departures 5 and 4
        x = self.decoder(self.residual(self.encoder(x)))
        return x[..., :height, :width]

"""The transformer network."""

from fst.networks.build import NETWORKS, build_network
from fst.networks.layers import InstanceNorm
from fst.networks.padding import (
    MIN_SIDE,
    STRIDE,
    check_sides,
    missing_pixels,
    pad_pixels_to_strides,
    pad_to_strides,
)
from fst.networks.transformer import ConvBlock, ResidualBlock, TransformerNet, UpsampleBlock

__all__ = [
    "MIN_SIDE",
    "NETWORKS",
    "STRIDE",
    "ConvBlock",
    "InstanceNorm",
    "ResidualBlock",
    "TransformerNet",
    "UpsampleBlock",
    "build_network",
    "check_sides",
    "missing_pixels",
    "pad_pixels_to_strides",
    "pad_to_strides",
]

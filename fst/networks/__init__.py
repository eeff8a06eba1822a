"""The transformer network."""

from fst.networks.layers import InstanceNorm
from fst.networks.transformer import (
    MIN_SIDE,
    NETWORKS,
    STRIDE,
    ConvBlock,
    ResidualBlock,
    TransformerNet,
    UpsampleBlock,
    build_network,
    check_sides,
)

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
]

"""Perceptual losses; the loss networks are loaded when they are asked for."""

from fst.losses.perceptual import PerceptualLoss

__all__ = ["PerceptualLoss"]

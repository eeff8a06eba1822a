"""Smooth noise, of which everything that is drawn by rule is made."""

import numpy as np
from PIL import Image


def smooth(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Normal noise of ``cells`` values a side, between them smooth: float32, ``(size, size)``."""
    coarse = Image.fromarray(rng.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))

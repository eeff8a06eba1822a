"""fst: train a network for a painting once, then repaint any photo in one forward pass."""

__version__ = "0.1.0"

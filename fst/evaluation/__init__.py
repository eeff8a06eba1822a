"""What a style is worth."""

from fst.evaluation.measure import Evaluation, distances, measure

__all__ = ["Evaluation", "distances", "measure"]

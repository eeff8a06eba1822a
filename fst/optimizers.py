"""SOAP for the kernels of convolutions (Vyas et al., arXiv:2409.11321)."""

from collections.abc import Iterable
from typing import Any

import pytorch_optimizer
from torch import nn


class SOAP(pytorch_optimizer.SOAP):
    """Adam in the eigenbasis of Shampoo's preconditioner, a kernel's positions as one dimension.

    Args:
        params: Vectors (scales, shifts) get Adam's step, the others SOAP's.
        merged: Neighbouring dimensions of a weight become one while their product is at most this:
            of ``(64, 64, 3, 3)`` the eigenbases of 64, 64 and 9. Dimensions beyond it have none.
        settings: Of `pytorch_optimizer.SOAP`.
    """

    def __init__(self, params: Iterable[nn.Parameter], merged: int = 128, **settings: Any) -> None:
        vectors, weights = [], []
        for parameter in params:
            (vectors if parameter.ndim == 1 else weights).append(parameter)
        merging = {"merge_dims": True, "max_precondition_dim": merged}
        super().__init__([{"params": vectors}, {"params": weights, **merging}], **settings)

"""SOAP for networks of many equal layers: each operation takes all of a shape at once.

The method is that of Vyas et al. (arXiv:2409.11321): Adam in the eigenbasis of Shampoo's
preconditioner, the basis kept up to date by one step of power iteration and a QR decomposition.
Numbers and order of operations are those of ``pytorch_optimizer.SOAP``, which a test holds it to;
that one takes a parameter after the other, and the residual blocks of a transformer network are
ten convolutions of one shape: twice the time of a step.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from fst.system.errors import InputError

TINY = 1e-30  # on the diagonal of a matrix before its eigenvectors are looked for


class SOAP(torch.optim.Optimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner; vectors are left to Adam.

    The first step only looks at the gradient, as nothing is known of it before. Parameters that
    have a gradient at one step have one at all, and the others at none.

    Args:
        params: Of one dtype and device.
        lr: Learning rate.
        betas: Decay rates of the moments; the second is that of the preconditioner, too.
        precondition_frequency: Steps between two looks for the eigenbasis.
        eps: Added to the root of the second moment.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        precondition_frequency: int = 10,
        eps: float = 1e-8,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps}
        super().__init__(params, settings | {"precondition_frequency": precondition_frequency})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; gives what ``closure`` gave, as other optimisers do."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            kinds: dict[torch.Size, list[int]] = {}  # by shape; all vectors are one kind
            for index, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    shape = parameter.shape if parameter.ndim > 1 else torch.Size()
                    kinds.setdefault(shape, []).append(index)
            for shape, members in kinds.items():
                self._update(group, shape, members)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave.

        Raises:
            InputError: It is another optimiser's.
        """
        if not all("members" in state for state in state_dict["state"].values()):
            raise InputError(
                "optimizer: expected the state of SOAP, found another optimiser's; resume "
                "with the optimiser that the run began with"
            )
        super().load_state_dict(state_dict)

    def _update(self, group: dict[str, Any], shape: torch.Size, members: list[int]) -> None:
        """A step of parameters of one kind; what is known of all lies with the first."""
        parameters = [group["params"][index] for index in members]
        state = self.state[parameters[0]]
        if state.setdefault("members", members) != members:
            raise RuntimeError("SOAP: expected gradients of the same parameters at every step")
        step = state.setdefault("step", 0)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        gradients = [parameter.grad for parameter in parameters]
        gradient = (torch.stack(gradients) if shape else torch.cat(gradients)).contiguous()
        if step == 0:
            state["exp_avg"] = torch.zeros_like(gradient)
            state["exp_avg_sq"] = torch.zeros_like(gradient)
            state["GG"] = [gradient.new_zeros(len(gradient), side, side) for side in shape]
        if step > 0:
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            mean.lerp_(gradient, 1 - beta1)
            square.lerp_(_turn(gradient, state["Q"]).square(), 1 - beta2)
            scaled = _turn(mean, state["Q"]) / square.sqrt().add_(group["eps"])
            change = _turn(scaled, [basis.mT for basis in state["Q"]])
            parts = change.unbind() if shape else change.split([len(p) for p in parameters])
            size = group["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step)
            torch._foreach_add_(parameters, parts, alpha=-size)
        for axis, gram in enumerate(state["GG"], 1):
            flat = gradient.movedim(axis, 1).flatten(2)
            gram.lerp_(flat @ flat.mT, 1 - beta2)
        if step == 0:
            state["Q"] = [_eigenvectors(gram) for gram in state["GG"]]
        elif step % group["precondition_frequency"] == 0:
            _follow(state)


def _turn(x: Tensor, bases: list[Tensor]) -> Tensor:
    """``(K, a, b, c, ...)`` times a ``(K, a, a)``, ``(K, b, b)``, ... along each of its axes."""
    shape = x.shape
    if len(bases) == 4:  # a convolution's: both axes of its kernel, which are short, at once
        both = torch.einsum("kac,kbd->kabcd", *bases[2:]).flatten(3).flatten(1, 2)
        x, bases = x.flatten(3), [*bases[:2], both]
    for basis in bases:  # the axis in front goes to the end: after the last they are in order
        x = (x.flatten(2).mT @ basis).unflatten(1, x.shape[2:])
    return x.reshape(shape)


def _eigenvectors(matrices: Tensor) -> Tensor:
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    vectors = torch.linalg.eigh((matrices + TINY * identity).float())[1].flip(-1)  # greatest first
    return vectors.to(matrices.dtype)


def _follow(state: dict[str, Any]) -> None:
    """Take the bases on by one power iteration, and the second moments along as they reorder."""
    for axis, (gram, basis) in enumerate(zip(state["GG"], state["Q"], strict=True), 1):
        product = gram @ basis
        order = (basis * product).sum(1).argsort(dim=-1, descending=True)  # (K, side)
        square = state["exp_avg_sq"].movedim(axis, 1)
        rows = order + len(basis[0]) * torch.arange(len(basis), device=order.device)[:, None]
        along = square.flatten(0, 1).index_select(0, rows.flatten()).view(square.shape)
        state["exp_avg_sq"] = along.movedim(1, axis).contiguous()
        product = product.gather(2, order[:, None].expand_as(product))
        state["Q"][axis - 1] = torch.linalg.qr(product.float())[0].to(gram.dtype)

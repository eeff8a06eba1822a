"""The training step: stylize, compare, and refuse to go on when the run is lost.

Network, loss, optimiser and schedule are injected. Only the network is trained and saved; the loss
network comes from its own file again on resume.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fst.losses.temporal import FLAT, shift_error
from fst.networks import STRIDE
from fst.system.errors import InputError
from fst.training.checkpoints import log_interval
from fst.training.views import TrainingViews


class TrainingLostError(InputError):
    """The run cannot recover; the message names the first bad term, the step and what to try."""


class StyleModule(pl.LightningModule):
    """Trains one transformer network for one painting.

    Args:
        net: ``(N, 3, H, W)`` RGB in [0, 1] to the same.
        loss: ``loss(stylized, photos) -> {name: scalar}`` with ``total``, ``style`` and
            ``content`` among the names. Every term is logged by its name.
        optimizer: Called with the network's parameters.
        scheduler: Called with the optimiser, stepped after every step; None keeps the rate.
        shift_weight: Of `fst.losses.temporal.shift_error` in the total; 0 leaves it out and saves a
            pass.
        compiled: Whether the network's passes with gradients run through ``torch.compile``. Those
            without, of validation and samples, do not: each of their shapes would be compiled for
            itself.
        views: What the loss is shown where there are gradients, if not photos and pictures as they
            are.
    """

    strict_loading = False  # only `net.*` is in checkpoints; `on_load_checkpoint` checks it

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
        shift_weight: float = 0,
        compiled: bool = False,
        views: TrainingViews | None = None,
    ) -> None:
        super().__init__()
        # channels-last: what CPUs' and GPUs' fastest convolutions want
        self.net = net.to(memory_format=torch.channels_last)
        self.loss = loss.to(memory_format=torch.channels_last)
        self.views = views
        self._optimizer, self._scheduler = optimizer, scheduler
        self.shift_weight = shift_weight
        self._fast: Callable[[Tensor], Tensor] | None = None
        if compiled:  # a function: a compiled module would be a second child with the same weights
            self._fast = torch.compile(lambda photos: self.net(photos), dynamic=False)

    def forward(self, photos: Tensor) -> Tensor:
        """Stylize ``(N, 3, H, W)`` RGB in [0, 1]; the same shape and range, float32."""
        net = self._fast if self._fast and torch.is_grad_enabled() else self.net
        return net(photos).float()

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        stylized, terms = self._compare(photos, self.global_step)
        self._check(terms, stylized, photos)
        if self._has_curves():
            self.log_dict(
                {f"loss/{name}": term.detach() for name, term in terms.items()},
                sync_dist=self.trainer.world_size > 1,  # held-out photos: every process sees all
            )
            for name in ("style", "content"):
                self.log(name, terms[name].detach(), prog_bar=True, logger=False)
            self._log_output(stylized.detach())
        return terms["total"]

    def _has_curves(self) -> bool:
        """Whether Lightning logs this step. At the others, telling it costs some milliseconds."""
        return (self.global_step + 1) % log_interval(self.trainer) == 0

    def _compare(self, photos: Tensor, number: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's answer to a batch, and every term of it."""
        stylized = self(photos)
        if self.views and torch.is_grad_enabled():
            terms = self.loss(*self.views(number, stylized, photos))
        else:
            terms = self.loss(stylized, photos)
        if self.shift_weight:
            terms["shift"] = shift_error(self, photos, stylized, number, STRIDE)
            terms["total"] = terms["total"] + self.shift_weight * terms["shift"]
        return stylized, terms

    def validation_step(self, photos: Tensor, batch_idx: int) -> None:
        stylized, terms = self._compare(photos, batch_idx)
        self._check(terms, stylized, photos)
        self.log_dict(
            {f"held_out/{name}": term for name, term in terms.items()}, batch_size=len(photos)
        )

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [p.grad for p in self.net.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        scaled = getattr(self.trainer.precision_plugin, "scaler", None)  # float16 skips such steps
        if not torch.isfinite(norm) and scaled is None:
            raise TrainingLostError(
                f"training stopped at step {self.global_step}: the gradient is {norm.item()}; "
                "try a lower learning rate (optimizer.lr) or trainer.precision=32-true"
            )
        if self._has_curves():
            self.log("optimizer/gradient_norm", norm)  # before clipping
            self.log("optimizer/learning_rate", optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.net.parameters())
        if self._scheduler is None:
            return optimizer
        schedule = {"scheduler": self._scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in weights.items() if k.startswith("net.")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for schedule in checkpoint["lr_schedulers"]:
            steps = schedule.get("total_steps", self.trainer.max_steps)
            if steps != self.trainer.max_steps:
                raise InputError(
                    f"resume: expected trainer.max_steps={steps}, as the run began with, found "
                    f"{self.trainer.max_steps}; its learning rates are planned for that number"
                )
        shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
        for name, tensor in self.net.state_dict(prefix="net.").items():
            if shapes.get(name) != tuple(tensor.shape):
                raise InputError(
                    f"resume: expected {name} of shape {tuple(tensor.shape)}, the checkpoint has "
                    f"{shapes.get(name, 'none')}; resume with the settings that the run began with"
                )

    def _check(self, terms: dict[str, Tensor], stylized: Tensor, photos: Tensor) -> None:
        contrast = _contrast(stylized)  # blank photos may well come out blank
        if torch.isfinite(terms["total"]) and (contrast > FLAT or _contrast(photos) <= FLAT):
            return
        step = f"training stopped at step {self.global_step}"
        for name, term in terms.items():
            if name != "total" and not torch.isfinite(term):
                raise TrainingLostError(
                    f"{step}: the loss term {name} is {term.item()}; "
                    "try a lower learning rate (optimizer.lr) or trainer.precision=32-true"
                )
        raise TrainingLostError(
            f"{step}: the network's output is one flat colour (standard deviation "
            f"{contrast.item():.2g}); try a lower learning rate (optimizer.lr) or loss.style_weight"
        )

    def _log_output(self, stylized: Tensor) -> None:
        for name in ("mean", "std", "min", "max"):
            self.log(f"output/{name}", getattr(stylized, name)())


def _contrast(pictures: Tensor) -> Tensor:
    """Standard deviation over every fourth row and column of ``(N, 3, H, W)``, of the liveliest
    channel: enough to tell a picture from none."""
    return pictures.detach()[..., ::4, ::4].std(dim=(2, 3)).max()

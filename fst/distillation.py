"""Training of the compact loss network: what VGG-19 says of pictures.

The student learns VGG's activations and their Gram matrices. What it learns them on decides what it
is worth: a network that trains against a loss network goes where its gradients lead, to pictures
that no photo shows. So half of the pictures are those of networks that train against the student
meanwhile (`fst.mixing.Painters`); the others are photos, paintings and photos in many styles at all
strengths, in any condition.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fst.compact import LAYERS, Adapted, CompactVGG
from fst.errors import InputError
from fst.fused import LossNetwork
from fst.mixing import Mixer, Painters

SELDOM = {"relu1_2", "relu2_2", "relu3_3", "relu4_3"}  # layers of one preset only
SELDOM_WEIGHT = 0.1  # of their errors; that of the others is 1
FLAT = 1e-3  # of a layer's mean energy: what a flat picture's Gram matrix is divided by at least


class Distillation(pl.LightningModule):
    """Trains a `CompactVGG` against a teacher.

    Args:
        net: The student. Its adapters give activations of RMS 1; `release_net` undoes it.
        teacher: ``teacher(images)`` gives activations by name, as `fst.vgg.VGGFeatures`.
        mixer: Where pictures come from.
        painters: Where half of them come from, once there is a student.
        optimizer: Called with the student's parameters.
        scheduler: Called with the optimiser, stepped after every step.
        gram_weight: Of the Gram matrices' errors; that of activations is 1.
        painters_from: Step from which on painters are asked.
        compiled: Whether passes run through ``torch.compile``.
    """

    strict_loading = False  # the teacher is not in checkpoints

    def __init__(
        self,
        net: CompactVGG,
        teacher: nn.Module,
        mixer: Mixer,
        painters: Painters,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any],
        gram_weight: float = 3,
        painters_from: int = 0,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)
        self.teacher = teacher.to(memory_format=torch.channels_last)
        self.mixer, self.painters = mixer, painters
        self.gram_weight, self.painters_from = gram_weight, painters_from
        self._optimizer, self._scheduler = optimizer, scheduler
        self.register_buffer("scales", torch.zeros(len(LAYERS)))  # RMS of the teacher's activations
        self._fast = self.compare
        if compiled:
            self._fast = torch.compile(self.compare, dynamic=False)
            painters.compile()
            if isinstance(self.teacher, LossNetwork):
                self.teacher.compiled = True

    def on_fit_start(self) -> None:
        self.mixer.to(self.device)

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        if not self.scales.any():
            self._measure(torch.cat([photos, self.mixer.pictures(photos)]))
        half = len(photos) // 2
        if self.global_step < self.painters_from:
            pictures = self.mixer.pictures(photos)
        else:
            self.net.eval().requires_grad_(False)
            painted = self.painters.paint(photos[:half])
            self.net.train().requires_grad_(True)
            pictures = torch.cat([painted, self.mixer.pictures(photos[half:])])
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = self.teacher(pictures)
        activations, grams = self._fast(pictures, wanted)
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            for kind, errors in (("activations", activations), ("grams", grams)):
                terms = zip(LAYERS, errors.detach(), strict=True)
                self.log_dict({f"{kind}/{name}": term for name, term in terms})
                self.log(kind, errors.detach().mean(), prog_bar=True, logger=False)
        weights = [SELDOM_WEIGHT if name in SELDOM else 1 for name in LAYERS]
        both = activations + self.gram_weight * grams
        if not torch.isfinite(both).all():
            raise InputError(
                f"training stopped at step {self.global_step}: the student's errors are not "
                "finite; try a lower learning rate (optimizer.lr)"
            )
        return (both * both.new_tensor(weights)).mean()

    def validation_step(self, photos: Tensor, batch_idx: int) -> None:
        self.net.train()  # without prepared weights, which would be those of an earlier step
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_idx)
            pictures = self.mixer.pictures(photos)
        activations, grams = self.compare(pictures, self.teacher(pictures))
        errors = {"held_out/activations": activations.mean(), "held_out/grams": grams.mean()}
        self.log_dict(errors, batch_size=len(photos))

    def compare(self, pictures: Tensor, wanted: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The student's squared errors by layer, each 0 for equal and 1 for knowing nothing.

        Args:
            pictures: ``(N, 3, H, W)`` RGB in [0, 1].
            wanted: The teacher's activations of them.

        Returns:
            Of activations, over the mean energy of the layer; and of Gram matrices, over the energy
            of each picture's. One value for each of `fst.compact.LAYERS`.
        """
        found = self.net(pictures, LAYERS)
        activations, grams = [], []
        with torch.autocast(pictures.device.type, enabled=False):
            for name, scale in zip(LAYERS, self.scales, strict=True):
                goal = wanted[name].float() / scale
                activations.append((found[name].dense().float() - goal).square().mean())
                gram = _correlations(goal)
                error = (_gram(found[name]) - gram).square().sum((1, 2))
                energy = gram.square().sum((1, 2)) + FLAT * gram.shape[1]
                grams.append((error / energy).mean())
        return torch.stack(activations), torch.stack(grams)

    @torch.no_grad()
    def _measure(self, images: Tensor) -> None:
        found = self.teacher(images)
        rms = [found[name].float().square().mean().sqrt() for name in LAYERS]
        self.scales.copy_(torch.stack(rms))

    def release_net(self) -> CompactVGG:
        """The student with activations of the teacher's scale, float32, for a file."""
        net = CompactVGG(self.net.widths)
        net.load_state_dict(self.net.state_dict())
        for scale, name in zip(self.scales, LAYERS, strict=True):
            net.adapters[name].data.mul_(scale)
        return net

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.net.parameters())
        schedule = {"scheduler": self._scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = checkpoint["state_dict"]
        kept = {k: v for k, v in weights.items() if not k.startswith("teacher.")}
        checkpoint["state_dict"] = kept


def _correlations(features: Tensor) -> Tensor:
    """`fst.losses.gram_matrix` in float32, for the compiler: autograd's own gradient."""
    flat = features.float().flatten(2)
    return flat @ flat.mT / flat.shape[2]


def _gram(adapted: Adapted) -> Tensor:
    """`Adapted.gram`, likewise."""
    narrow = _correlations(adapted.features)[:, None]
    return (adapted.weight @ narrow @ adapted.weight.mT).mean(1)

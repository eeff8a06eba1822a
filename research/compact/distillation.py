"""The training step of the student: compare with what VGG-19 says of the same pictures.

The student learns VGG's activations and their Gram matrices. Half of the pictures of a step are
those of networks that train against it meanwhile (`research.compact.stylizers`); the others are
photos, paintings and photos in many styles (`research.compact.pictures`).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fst.losses.compact import LAYERS, ProjectedFeatures
from fst.losses.distances import gram, gram_matrix, squared_distances
from fst.losses.fused import LossNetwork
from fst.losses.vgg import VGGFeatures
from fst.system.errors import InputError
from research.compact.decomposition import decompose
from research.compact.pictures import Mixer
from research.compact.student import Student
from research.compact.stylizers import AdversarialStylizers

SELDOM = {"relu1_2", "relu2_2", "relu3_3", "relu4_3"}  # layers of one loss preset only
EVERY = 5  # steps: of so many, one looks at the seldom layers
DEEP = "relu5_1"  # its Gram matrices are the hardest to learn,
DEEP_WEIGHT = 2  # and make half of what a style trained with the student lacks
MEASURED = 8  # times the pictures of a step, to measure the teacher's scales by
TINY = 1e-6  # of a Gram matrix's error: a root has no gradient at 0
FLAT = 1e-3  # of a layer's mean energy: what a flat picture's Gram matrix is divided by at least


class Distillation(pl.LightningModule):
    """Trains a student against a teacher.

    Args:
        net: The student. Its activations have an RMS of 1; `release_net` undoes it.
        teacher: ``teacher(images, layers)`` gives activations by name, as
            `fst.losses.vgg.VGGFeatures`.
        mixer: Where pictures come from.
        stylizers: Where half of them come from, once there is a student.
        optimizer: Called with the student's parameters.
        scheduler: Called with the optimiser, stepped after every step.
        gram_weight: Of the roots of the Gram matrices' errors; that of activations is 1.
        stylizers_from: Step from which on half of the pictures are the stylizers'.
        compiled: Whether passes run through ``torch.compile``.
        begun: Whether the student comes from `release_net`, and goes on from there.
    """

    strict_loading = False  # the teacher is not in checkpoints

    def __init__(
        self,
        net: Student,
        teacher: nn.Module,
        mixer: Mixer,
        stylizers: AdversarialStylizers,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any],
        gram_weight: float = 2,
        stylizers_from: int = 0,
        compiled: bool = False,
        begun: bool = False,
    ) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)
        self.teacher = teacher.to(memory_format=torch.channels_last)
        self.mixer, self.stylizers = mixer, stylizers
        self.gram_weight, self.stylizers_from = gram_weight, stylizers_from
        self._optimizer, self._scheduler = optimizer, scheduler
        self.register_buffer("scales", torch.zeros(len(LAYERS)))  # RMS of the teacher's activations
        self._begun = begun
        if compiled:
            mixer.compile()
            if isinstance(self.teacher, LossNetwork):
                self.teacher.compiled = True

    def on_fit_start(self) -> None:
        self.mixer.to(self.device)

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        if not self.scales.any():
            more = [self.mixer.pictures(photos) for _ in range(MEASURED)]
            self._measure(torch.cat([photos, *more]))
        half = len(photos) // 2
        if self.global_step < self.stylizers_from:
            pictures = self.mixer.pictures(photos)
        else:
            self.net.eval().requires_grad_(False)
            painted = self.stylizers.paint(photos[:half])
            self.net.train().requires_grad_(True)
            pictures = torch.cat([painted, self.mixer.pictures(photos[half:])])
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        seldom = self.global_step % EVERY == 0
        layers = [name for name in LAYERS if seldom or name not in SELDOM]
        with torch.no_grad():
            targets = self.teacher(pictures, layers)
        activations, grams = self.compare(pictures, targets)
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            for kind, errors in (("activations", activations), ("grams", grams)):
                terms = zip(layers, errors.detach(), strict=True)
                self.log_dict({f"{kind}/{name}": term for name, term in terms})
                self.log(kind, errors.detach().mean(), prog_bar=True, logger=False)
        # the root: the shallow layers' errors are a tenth of the deep ones', and seen as well
        roots = (grams.clamp_min(0) + TINY).sqrt()
        weights = [self.gram_weight * (DEEP_WEIGHT if name == DEEP else 1) for name in layers]
        both = activations + roots.new_tensor(weights) * roots
        if not torch.isfinite(both).all():
            raise InputError(
                f"training stopped at step {self.global_step}: the student's errors are not "
                "finite; try a lower learning rate (optimizer.lr)"
            )
        return both.mean()

    def validation_step(self, photos: Tensor, batch_idx: int) -> None:
        self.net.train()  # without prepared weights, which would be those of an earlier step
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_idx)
            pictures = self.mixer.pictures(photos)
        activations, grams = self.compare(pictures, self.teacher(pictures, LAYERS))
        errors = {"held_out/activations": activations.mean(), "held_out/grams": grams.mean()}
        self.log_dict(errors, batch_size=len(photos))

    def compare(self, pictures: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The student's squared errors by layer, each 0 for equal and 1 for knowing nothing.

        Args:
            pictures: ``(N, 3, H, W)`` RGB in [0, 1].
            targets: The teacher's activations of them, of some of `fst.losses.compact.LAYERS`.

        Returns:
            Of activations, over the mean energy of the layer; and of Gram matrices, over the energy
            of each picture's. One value for each layer.
        """
        features = self.net(pictures, list(targets))
        with torch.autocast(pictures.device.type, enabled=False):
            pairs = [
                _errors(each, targets[name], self.scales[LAYERS.index(name)])
                for name, each in features.items()
            ]
        activations, grams = zip(*pairs, strict=True)
        return torch.stack(activations), torch.stack(grams)

    @torch.no_grad()
    def _measure(self, images: Tensor) -> None:
        activations = self.teacher(images, LAYERS)
        rms = [activations[name].float().square().mean().sqrt() for name in LAYERS]
        self.scales.copy_(torch.stack(rms))
        if self._begun:
            _rescale(self.net, 1 / self.scales)
        elif isinstance(self.teacher, VGGFeatures):
            with torch.autocast(images.device.type, enabled=False):
                decompose(self.net, self.teacher, images)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for weight in self.net.parameters():  # of the seldom layers: SOAP wants one at every step
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)

    def release_net(self) -> Student:
        """The student with activations of the teacher's scale, float32, for a file."""
        net = Student(**self.net.arguments)
        net.load_state_dict(self.net.state_dict())
        _rescale(net, self.scales)
        return net

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.net.parameters())
        schedule = {"scheduler": self._scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = checkpoint["state_dict"]
        kept = {k: v for k, v in weights.items() if not k.startswith("teacher.")}
        checkpoint["state_dict"] = kept


def _rescale(net: Student, factors: Tensor) -> None:
    for factor, name in zip(factors.tolist(), LAYERS, strict=True):
        net.rescale(name, factor)


def _errors(
    features: Tensor | ProjectedFeatures, target: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Of a layer's activations and of its Gram matrices."""
    with torch.no_grad():
        goal = gram_matrix(target) / scale.square()
        energy = torch.linalg.vector_norm(goal, dim=(1, 2)).square()
    channels = goal.shape[1]
    if isinstance(features, Tensor):
        error = squared_distances(features, target.float() / scale).sum() / features.numel()
    else:
        own = goal.diagonal(dim1=1, dim2=2).sum(1).mean()
        error = (_projected_error(features, target, scale) + own) / channels
    distance = squared_distances(gram(features), goal)
    return error, (distance / (energy + FLAT * channels)).mean()


def _projected_error(features: ProjectedFeatures, target: Tensor, scale: Tensor) -> Tensor:
    """The squared distance of activations to the teacher's, without the energy of the latter.

    It is a function of small matrices: how the fewer channels correlate with each other and with
    the teacher's activations.
    """
    (phases, _, _), (height, width) = features.weight.shape, features.features.shape[2:]
    narrow = features.features.permute(0, 2, 3, 1).flatten(0, 2)  # (N h w, c)
    goal, side = target.permute(0, 2, 3, 1), math.isqrt(phases)
    goal = goal[:, : side * height, : side * width]
    goal = goal.unflatten(2, (width, side)).unflatten(1, (height, side)).transpose(2, 3)
    goal = goal.flatten(3, 5).flatten(0, 2).to(narrow.dtype)  # (N h w, phases C)
    cross = (goal.mT @ narrow).float() / (scale * len(goal))
    weight = features.weight.flatten(0, 1)  # (phases C, c)
    own = (weight @ gram_matrix(features.features).mean(0) * weight).sum() / phases
    return own - 2 * (cross * weight).sum() / phases

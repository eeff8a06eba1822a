"""Training of the compact loss network: what VGG-19 says of pictures, and of how to change them.

A network that trains against a loss network sees its gradients with respect to the picture, and
goes where these lead: to pictures that no photo shows. So the student learns three things of every
picture: the activations, their Gram matrices, and the gradient of a style and content loss (Sobolev
training, Czarnecki et al., arXiv:1706.04859). And it learns them on what training shows it: photos,
paintings, photos in many styles at all strengths, noise, blur, and pictures that a few steps down
the student's own loss have made, which is where its blind spots would be used.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from fst.compact import LAYERS, Adapted, CompactVGG
from fst.losses import gram_matrix
from fst.mixing import Mixer, Painter, randint

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT = ("relu3_1", "relu4_2")
OFTEN = (*STYLE, "relu4_2")
RARELY = 8  # steps: the other layers, which one preset needs, are looked at in one of so many
WINDOW = 0.5  # of a side: activations of the two large blocks are compared there
CLIMB = 0.03  # RMS in [0, 1] of a step down the student's loss
MAX_CLIMBS = 3
FROM_PAINTER = 0.6  # of the steps
SMALL = 1e-12


@dataclass(frozen=True)
class LossWeights:
    """Of the loss whose gradients are compared: one for each style layer; 1 for a content layer."""

    style: dict[str, float]
    content: str


class Distillation(pl.LightningModule):
    """Trains a `CompactVGG` against a teacher.

    Args:
        net: The student. Its adapters give activations of RMS 1; `release_net` undoes it.
        teacher: ``teacher(images)`` gives activations by name, as `fst.vgg.VGGFeatures`.
        mixer: Where pictures come from.
        painter: Where half of them come from, once there is a student.
        optimizer: Called with the student's parameters.
        scheduler: Called with the optimiser, stepped after every step.
        gradient_weight: Of the gradients' error; that of activations and Gram matrices is 1.
        climbs_from: Step from which on pictures come from the painter, and go down the student's
            loss first.
        gradients_from: Step from which on gradients are compared: those of a new network lead
            nowhere, and it takes as long again.
    """

    strict_loading = False  # the teacher is not in checkpoints

    def __init__(
        self,
        net: CompactVGG,
        teacher: nn.Module,
        mixer: Mixer,
        painter: Painter,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], Any],
        gradient_weight: float = 1,
        climbs_from: int = 0,
        gradients_from: int = 0,
    ) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)
        self.teacher = teacher.to(memory_format=torch.channels_last)
        self.mixer, self.painter = mixer, painter
        self.gradient_weight = gradient_weight
        self.climbs_from, self.gradients_from = climbs_from, gradients_from
        self._optimizer, self._scheduler = optimizer, scheduler
        self.register_buffer("scales", torch.zeros(len(LAYERS)))  # RMS of the teacher's activations

    def training_step(self, photos: Tensor, batch_idx: int) -> Tensor:
        with torch.no_grad():
            painting = self.mixer.painting(photos.shape[-1])
            pictures = self.mixer.stylized(photos)
        if not self.scales.any():
            self._measure(torch.cat([photos, pictures, painting]))
        weights = _random_weights()
        self.net.eval()
        if self.global_step >= self.climbs_from and torch.rand(()).item() < FROM_PAINTER:
            pictures = self.painter.paint(photos)
        climbs = randint(MAX_CLIMBS + 1) if self.global_step >= self.climbs_from else 0
        for _ in range(climbs):
            pictures = self._climb(pictures, photos, painting, weights)
        self.net.train()
        gradients = self.global_step >= self.gradients_from
        terms = self.compare(photos, pictures, painting, weights, gradients)
        total = terms["activations"] + terms["grams"]
        if "gradients" in terms:
            total = total + self.gradient_weight * terms["gradients"]
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            self.log_dict({f"distill/{name}": term.detach() for name, term in terms.items()})
        for name in {"activations", "grams", "gradients"} & terms.keys():
            self.log(name, terms[name].detach(), prog_bar=True, logger=False)
        return total

    def validation_step(self, photos: Tensor, batch_idx: int) -> None:
        self.net.train()  # without prepared weights: adapters are compared by what they are
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch_idx)
            painting, pictures = self.mixer.painting(photos.shape[-1]), self.mixer.stylized(photos)
            terms = self.compare(photos, pictures, painting, _random_weights(), False)
        means = {name: terms[name] for name in ("activations", "grams")}
        self.log_dict({f"held_out/{k}": v for k, v in means.items()}, batch_size=len(photos))

    def compare(
        self,
        photos: Tensor,
        pictures: Tensor,
        painting: Tensor,
        weights: LossWeights,
        gradients: bool = True,
    ) -> dict[str, Tensor]:
        """The student's relative squared errors, each 0 for equal and 1 for knowing nothing.

        Args:
            photos: ``(N, 3, H, W)``, the content.
            pictures: ``(N, 3, H, W)``, what is made of them.
            painting: ``(1, 3, H, W)``, the style.
            weights: Of the layers in the loss whose gradients are compared.
            gradients: Whether they are.
        """
        layers = LAYERS if randint(RARELY) == 0 else OFTEN
        if not gradients and layers is OFTEN:  # half of them: as many steps again
            layers = tuple(OFTEN[k] for k in sorted(torch.randperm(len(OFTEN))[: len(OFTEN) // 2]))
        x = pictures.detach().requires_grad_(gradients)
        others = torch.cat([photos, painting]).contiguous(memory_format=torch.channels_last)
        wanted, scales = self.teacher(x, layers), dict(zip(LAYERS, self.scales, strict=True))
        with torch.no_grad():
            wanted_of_others = self.teacher(others, layers)
        found, found_of_others = self.net(x, layers), self.net(others, layers)
        with torch.autocast(x.device.type, enabled=False):
            goals = {k: gram_matrix(wanted[k]) / scales[k] ** 2 for k in layers}
            rest = {k: gram_matrix(wanted_of_others[k]) / scales[k] ** 2 for k in layers}
            grams = {k: _gram(found[k]) for k in layers}
            grams_of_others = {k: _gram(found_of_others[k]) for k in layers}
            terms = {}
            if gradients:
                contents = {k: wanted[k].float() / scales[k] for k in CONTENT}
                targets = {k: wanted_of_others[k][:-1].float() / scales[k] for k in CONTENT}
                (goal,) = torch.autograd.grad(_loss(goals, rest, contents, targets, weights), x)
                contents = {k: found[k].dense() for k in CONTENT}
                targets = {k: found_of_others[k].dense()[:-1] for k in CONTENT}
                own_loss = _loss(grams, grams_of_others, contents, targets, weights)
                (own,) = torch.autograd.grad(own_loss, x, create_graph=True)
                terms["gradients"] = _bounded_error(own, goal)
            for kind in "activation", "gram":
                errors = {}
                for k in layers:
                    if kind == "gram":
                        pairs = (grams[k], goals[k].detach()), (grams_of_others[k], rest[k])
                    else:
                        pairs = (found[k], wanted[k]), (found_of_others[k], wanted_of_others[k])
                        pairs = (_window(k, ours, theirs, scales[k]) for ours, theirs in pairs)
                    errors[k] = torch.stack([_error(ours, t.detach()) for ours, t in pairs]).mean()
                terms |= {f"{kind}_{k}": error for k, error in errors.items()}
                terms[f"{kind}s"] = torch.stack(list(errors.values())).mean()
        return terms

    def _climb(
        self, pictures: Tensor, photos: Tensor, painting: Tensor, weights: LossWeights
    ) -> Tensor:
        """A step of the pictures down the student's own loss."""
        x = pictures.detach().requires_grad_()
        found = self.net(x, OFTEN)
        with torch.no_grad():
            others = self.net(torch.cat([photos, painting]), OFTEN)
        with torch.autocast(x.device.type, enabled=False):
            grams, rest = ({k: of[k].gram() for k in STYLE} for of in (found, others))
            contents = {k: found[k].dense() for k in CONTENT}
            targets = {k: others[k].dense()[:-1] for k in CONTENT}
            (gradient,) = torch.autograd.grad(_loss(grams, rest, contents, targets, weights), x)
        rms = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(SMALL)
        return (x.detach() - CLIMB * torch.rand(()).item() * gradient / rms).clamp(0, 1)

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


def _random_weights() -> LossWeights:
    """Style layers of together 2 to 30, and one content layer."""
    shares = torch.rand(len(STYLE)) ** 2
    total = 2 * 15 ** torch.rand(())
    style = dict(zip(STYLE, (total * shares / shares.sum()).tolist(), strict=True))
    return LossWeights(style, CONTENT[randint(len(CONTENT))])


def _loss(
    grams: dict[str, Tensor],
    others: dict[str, Tensor],
    contents: dict[str, Tensor],
    targets: dict[str, Tensor],
    weights: LossWeights,
) -> Tensor:
    """A relative style and content loss; the last of the other Gram matrices is the painting's."""
    total: Tensor | float = 0
    for name in STYLE:
        goal = others[name][-1:].detach()
        error = (grams[name] - goal).square().sum()
        total = total + weights.style[name] * error / goal.square().sum().clamp_min(SMALL)
    features, goal = contents[weights.content].float(), targets[weights.content].detach().float()
    energy = goal.square().sum((1, 2, 3)).clamp_min(SMALL)
    return total + ((features - goal).square().sum((1, 2, 3)) / energy).sum()


def _gram(adapted: Adapted) -> Tensor:
    """`Adapted.gram`, differentiable twice."""
    flat = adapted.features.float().flatten(2)
    narrow = (flat @ flat.mT / flat.shape[2])[:, None]
    return (adapted.weight @ narrow @ adapted.weight.mT).mean(1)


def _error(found: Tensor, goal: Tensor) -> Tensor:
    """Squared distance of each of a batch over the goal's energy, their mean."""
    found, goal = found.float(), goal.float()
    over = tuple(range(1, goal.ndim))
    energy = goal.square().sum(over).clamp_min(SMALL)
    return ((found - goal).square().sum(over) / energy).mean()


def _bounded_error(found: Tensor, goal: Tensor) -> Tensor:
    """As `_error`, but by the energy of both: gradients are near nothing where a loss is flat."""
    over = tuple(range(1, goal.ndim))
    energy = (goal.square().sum(over) + found.square().sum(over)).clamp_min(SMALL**2)
    return 2 * ((found - goal).square().sum(over) / energy).mean()


def _window(name: str, found: Adapted, goal: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Both activations, those of the two large blocks in a random window only."""
    if int(name[4]) > 2:
        return found.dense(), goal / scale
    phases = 2 if len(found.weight) > 1 else 1
    height, width = found.features.shape[2:]
    rows, columns = int(height * WINDOW), int(width * WINDOW)
    top, left = randint(height - rows), randint(width - columns)
    narrow = found.features[:, :, top : top + rows, left : left + columns]
    part = Adapted(narrow, found.weight, (phases * rows, phases * columns))
    goal = goal[
        :, :, phases * top : phases * (top + rows), phases * left : phases * (left + columns)
    ]
    return part.dense(), goal / scale

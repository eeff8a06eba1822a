"""VGG-16 and VGG-19 as loss networks: activations by name, truncated, frozen, self-normalising.

Source: Simonyan and Zisserman (arXiv:1409.1556); layers and released weights are torchvision's.
``relu3_1`` is the first activation of the third block. Pooling is VGG's own maximum; Gatys et al.
(arXiv:1508.06576) suggest averages.

Every set of weights has a normalisation of its own, and a wrong one gives wrong losses without any
error. So a local file must say its mean and std (safetensors metadata), be a torchvision release by
its file name, or be given them. Weights are never initialised at random behind the user's back.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import HTTPError

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torchvision.models import VGG16_Weights, VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from fst.losses.fused import LossNetwork
from fst.system.errors import InputError

_BLOCKS = {"vgg16": cfgs["D"], "vgg19": cfgs["E"]}
_HOW_TO = (
    "set loss.extractor.weights=FILE or the environment variable FST_VGG_WEIGHTS=FILE, or train "
    "without VGG: loss/extractor=compact"
)


@dataclass(frozen=True)
class _Release:
    url: str
    size: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)
_RELEASES = {
    ("vgg16", "IMAGENET1K_V1"): _Release(VGG16_Weights.IMAGENET1K_V1.url, "528 MB", *_IMAGENET),
    ("vgg16", "IMAGENET1K_FEATURES"): _Release(
        VGG16_Weights.IMAGENET1K_FEATURES.url, "528 MB", *_CAFFE
    ),
    ("vgg19", "IMAGENET1K_V1"): _Release(VGG19_Weights.IMAGENET1K_V1.url, "548 MB", *_IMAGENET),
}


def layer_names(arch: str) -> dict[str, int]:
    """Map ``relu1_1`` ... to the index of that activation in torchvision's ``features``.

    Raises:
        InputError: ``arch`` is neither ``vgg16`` nor ``vgg19``.
    """
    if arch not in _BLOCKS:
        raise InputError(f"loss network: expected one of {', '.join(_BLOCKS)}, found {arch!r}")
    names, index, block, conv = {}, 0, 1, 1
    for entry in _BLOCKS[arch]:
        if entry == "M":
            index, block, conv = index + 1, block + 1, 1
        else:
            names[f"relu{block}_{conv}"] = index + 1  # the convolution is at index
            index, conv = index + 2, conv + 1
    return names


class VGGFeatures(LossNetwork):
    """The activations of a pretrained VGG, up to the deepest layer asked for.

    Args:
        layers: Names from `layer_names`, for example ``["relu1_1", "relu4_1"]``.
        arch: ``vgg16`` or ``vgg19``.
        weights: ``IMAGENET1K_V1``, for VGG-16 also ``IMAGENET1K_FEATURES`` (the original Caffe
            weights), or the path of a ``.safetensors`` or ``.pth`` file with torchvision's keys.
        mean: RGB mean in [0, 1] that ``weights`` expect, when the file does not say.
        std: RGB standard deviation, likewise; Caffe weights have 1/255.

    Raises:
        InputError: An unknown layer or architecture, or weights that cannot be had or used.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: Sequence[str],
        arch: str = "vgg19",
        weights: str | Path = "IMAGENET1K_V1",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        names = layer_names(arch)
        for layer in layers:
            if layer not in names:
                raise InputError(
                    f"layer of {arch}: expected one of {', '.join(names)}; found {layer!r}"
                )
        if not layers:
            raise InputError(f"layers of {arch}: expected at least one, found none")
        self.arch = arch
        self.names = {index: name for name, index in names.items() if name in layers}
        with torch.device("meta"):
            self.features = make_layers(_BLOCKS[arch], batch_norm=False)[: max(self.names) + 1]
        state, own_mean, own_std = _load(arch, str(weights), mean, std)
        _check(self.features, state, arch, str(weights))
        wanted = {name: state[name].float() for name in self.features.state_dict()}
        self.features.load_state_dict(wanted, assign=True)
        self.register_buffer("mean", torch.tensor(own_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(own_std).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Activations of ``(N, 3, H, W)`` RGB in [0, 1], by layer name, shallow to deep.

        ``layers`` narrows the answer to some of the layers given at construction and stops after
        the deepest of them. Activations of block b are ``(N, C, H / 2^(b-1), W / 2^(b-1))``, sizes
        rounded down.
        """
        wanted = set(self.names.values()) if layers is None else set(layers)
        names = {index: name for index, name in self.names.items() if name in wanted}
        x = (images - self.mean) / self.std
        if names and self.can_fuse(x):
            outputs = self.fuse(self.features)(x, list(names))
            return dict(zip(names.values(), outputs, strict=True))
        activations: dict[str, Tensor] = {}
        for index, layer in enumerate(self.features):
            if len(activations) == len(names):
                break
            x = layer(x)
            if index in names:
                activations[names[index]] = x
        return activations

    def extra_repr(self) -> str:
        return f"{self.arch}: {', '.join(self.names.values())}"


def _load(
    arch: str, weights: str, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[dict[str, Tensor], Sequence[float], Sequence[float]]:
    """State dict without the ``features.`` prefix, mean and std; explicit mean and std win."""
    names = [name for known_arch, name in _RELEASES if known_arch == arch]
    own_mean: Sequence[float] | None
    own_std: Sequence[float] | None
    if (arch, weights) in _RELEASES:
        release = _RELEASES[arch, weights]
        state, own_mean, own_std = _download(release, arch), release.mean, release.std
    elif weights == "" or weights.startswith("IMAGENET1K"):
        raise InputError(
            f"weights of {arch}: expected a file or {' or '.join(names)}, found {weights!r}"
        )
    else:
        state, own_mean, own_std = _read(Path(weights).expanduser(), arch)
    state = {key.removeprefix("features."): value for key, value in state.items()}
    own_mean = _three(mean or own_mean, "mean", weights)
    return state, own_mean, _three(std or own_std, "std", weights)


def _three(values: Sequence[float] | None, label: str, weights: str) -> Sequence[float]:
    if values is None or len(values) != 3:
        raise InputError(
            f"{weights}: expected its {label} for R, G and B in [0, 1], found {values}; "
            f"try loss.extractor.{label}=[r,g,b] (std of Caffe weights: 1/255)"
        )
    return values


def _download(release: _Release, arch: str) -> dict[str, Tensor]:
    try:
        return torch.hub.load_state_dict_from_url(
            release.url, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:  # no network; a file that is cut short or altered
        if isinstance(error, HTTPError):  # an answer, whose connection would stay open
            error.close()
        raise InputError(
            f"weights of {arch}: found no local file, and {release.file_name} ({release.size}) "
            f"could not be downloaded ({error}); {_HOW_TO}"
        ) from error


def _read(path: Path, arch: str) -> tuple[dict[str, Tensor], Sequence | None, Sequence | None]:
    if not path.is_file():
        raise InputError(f"weights of {arch}: expected a file, found none at {path}; {_HOW_TO}")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                said = file.metadata() or {}
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return state, *(json.loads(said.get(key, "null")) for key in ("mean", "std"))
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise ValueError("no dictionary of tensors")
    except (
        SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError
    ) as error:  # fmt: skip
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"{path}: expected the weights of {arch} as safetensors or .pth, found something "
            f"unreadable ({reason}); try downloading it again"
        ) from error
    for release in _RELEASES.values():
        if path.name == release.file_name:
            return state, release.mean, release.std
    return state, None, None


def _check(features: nn.Sequential, state: dict[str, Tensor], arch: str, weights: str) -> None:
    """Raise unless ``state`` holds every tensor of ``features``, and no layer of another VGG."""
    convs = {str(index - 1) for index in layer_names(arch).values()}
    foreign = [
        key for key in state if key.split(".")[0].isdigit() and key.split(".")[0] not in convs
    ]
    if foreign:
        raise InputError(
            f"{weights}: expected {arch}, found the layers of another network ({foreign[0]})"
        )
    for name, parameter in features.state_dict().items():
        shape = tuple(state[name].shape) if name in state else "nothing"
        if shape != tuple(parameter.shape):
            raise InputError(
                f"{weights}: expected features.{name} of shape {tuple(parameter.shape)} for "
                f"{arch}, found {shape}"
            )
        if not torch.isfinite(state[name]).all():
            raise InputError(
                f"{weights}: expected finite numbers in features.{name}, found NaN or inf"
            )

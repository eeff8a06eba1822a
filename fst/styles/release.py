"""The release file: one trained style, self-describing, opened without executing anything.

A release is a safetensors file: float16 weights (or integers, see `fst.styles.quantized`), and
metadata with three strings: ``format`` (``fst``), ``format_version`` and ``card``, the JSON of a
dictionary. The card's ``network`` entry, ``{"name": ..., "arguments": {...}}``, rebuilds the
network; the rest says where the file is from: ``style`` (name, painter, hash of the picture),
``loss``, ``data``, ``training`` (recipe, steps), ``metrics`` on the held-out photos, ``versions``,
``date`` and ``licence``.

Files for resuming a training are Lightning's ``.ckpt``, a different thing.
"""

import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fst.networks import TransformerNet, build_network
from fst.styles.quantized import SCALE, dequantize, quantize
from fst.system.errors import InputError
from fst.system.files import atomic_path

FORMAT, FORMAT_VERSION = "fst", 1
SUFFIX = ".safetensors"
Net = TypeVar("Net", bound=nn.Module)


def shipped_folder() -> Path:
    """``checkpoints/`` of the repository, or its copy inside an installed package."""
    package = Path(__file__).parents[1]
    inside = package / "checkpoints"
    return inside if inside.is_dir() else package.parent / "checkpoints"


def shipped_styles() -> list[str]:
    """Names of the styles that come with the package, sorted."""
    return sorted(path.stem for path in shipped_folder().glob(f"*{SUFFIX}"))


def find_style(style: str | Path) -> Path:
    """The release file of a shipped style's name, or the path itself if it is one.

    Raises:
        InputError: Neither a shipped style nor a file.
    """
    if Path(style).is_file():
        return Path(style)
    shipped = shipped_folder() / f"{style}{SUFFIX}"
    if str(style) in shipped_styles():
        return shipped
    raise InputError(
        f"style: expected one of {', '.join(shipped_styles())}, or the path of a {SUFFIX} file; "
        f"found {str(style)!r}"
    )


def save_style(
    path: str | Path, net: nn.Module, card: dict[str, Any], integers: Collection[str] = ()
) -> None:
    """Write a release file, whole or not at all.

    Args:
        path: Ends in ``.safetensors``.
        net: The network that ``card["network"]`` describes.
        card: JSON values only; ``network`` is required.
        integers: Names of weights that are stored as such, see `fst.styles.quantized`.

    Raises:
        InputError: A weight is not finite in float16, or the file cannot be written.
    """
    weights = {}
    for name, tensor in net.state_dict().items():
        weight = tensor.detach().to("cpu", torch.float32)
        if name in integers:
            weight, weights[name + SCALE] = quantize(weight)
        else:
            weight = weight.half()
        weights[name] = weight.contiguous()
    _check_finite(weights, path)
    _write(path, weights, card)


def replace_card(path: Path, card: dict[str, Any]) -> None:
    """Write another card into a release file; its weights stay as they are stored.

    Raises:
        InputError: No such file, not a release, or it cannot be written.
    """
    _, weights = _read(path)
    _write(path, weights, card)


def _write(path: str | Path, weights: dict[str, Tensor], card: dict[str, Any]) -> None:
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "card": json.dumps(card, ensure_ascii=False),
    }
    with atomic_path(path) as temporary:
        try:
            save_file(weights, temporary, metadata=metadata)
        except SafetensorError as error:  # a full disk, for example
            raise OSError(str(error)) from error


def load_style(path: str | Path) -> tuple[TransformerNet, dict[str, Any]]:
    """Rebuild the network of a release file, float32, in evaluation mode; and its card.

    Raises:
        InputError: No such file, not a release, of a newer format, of other shapes than its card
            says, or with weights that are not finite.
    """
    path = Path(path)
    card, weights = read_release(path)
    net = check_network(partial(build_network, card["network"]["name"]), card, weights, path)
    net.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, assign=True)
    return net.requires_grad_(False).eval(), card


def read_release(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card of a file that `save_style` wrote, and its weights, float16 or float32.

    Raises:
        InputError: No such file, not a release, or of a newer format.
    """
    card, weights = _read(path)
    try:
        return card, dequantize(weights)
    except ValueError as error:
        raise InputError(f"{path}: expected {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card, and tensors as they are stored."""
    _check_magic(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: expected a style checkpoint, found a damaged file ({error})"
        ) from error
    return _read_card(metadata, path), weights


def _check_magic(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: expected a style checkpoint, found no such file")
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(
            f"{path}: expected a readable style checkpoint, found it closed ({error.strerror})"
        ) from error
    if start[8:9] == b"{":  # safetensors: after the header's length, whose bytes can be any
        return
    if start[:1] == b"\x80" or start[:2] == b"PK":
        raise InputError(
            f"{path}: expected a {SUFFIX} release, found a pickle, which can run any code when "
            "it is opened and is refused; try the release file that training writes beside it"
        )
    raise InputError(f"{path}: expected a style checkpoint ({SUFFIX}), found another kind of file")


def _read_card(metadata: dict[str, str], path: Path) -> dict[str, Any]:
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: expected a style checkpoint written by fst, found a {SUFFIX} file of another "
            f"program (format {metadata.get('format')!r})"
        )
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise InputError(
            f"{path}: expected format version {FORMAT_VERSION}, found "
            f"{metadata.get('format_version')!r}; try a newer fst"
        )
    try:
        card = json.loads(metadata["card"])
        card["network"]["name"], card["network"]["arguments"].items()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: expected a card that names the network, found none ({error!r})"
        ) from error
    return card


def check_network(
    build: Callable[..., Net], card: dict[str, Any], weights: dict[str, Tensor], path: Path
) -> Net:
    """The network of a card, without memory, once its weights are known to fit and to be finite.

    Raises:
        InputError: No such network is possible, or it has other weights.
    """
    try:
        with torch.device("meta"):
            net = build(**card["network"]["arguments"])
    except (TypeError, RuntimeError, OverflowError) as error:  # also sizes beyond a tensor's
        raise InputError(f"{path}: expected a possible network, found {card['network']}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in sorted(expected | found):
        if expected.get(name) != found.get(name):
            raise InputError(
                f"{path}: expected {name} of shape {expected.get(name, 'none')} for the network "
                f"its card names, found {found.get(name, 'none')}"
            )
    _check_finite(weights, path)
    return net


def _check_finite(weights: dict[str, Tensor], path: str | Path) -> None:
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: expected finite weights, found NaN or infinity in {name}")

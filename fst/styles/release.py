"""The style file: one trained style, self-describing, opened without executing anything.

It is a safetensors file: float16 weights (or integers, see `fst.styles.quantized`), and a card in
its metadata (`fst.styles.cards`). The card's ``network`` entry, ``{"name": ..., "arguments":
{...}}``, rebuilds the network; the rest says where the file is from: ``style`` (name, painter, hash
of the picture), ``loss``, ``data``, ``training`` (recipe, steps), ``metrics`` on the held-out
photos, ``versions``, ``date`` and ``licence``.

Files for resuming a training are Lightning's ``.ckpt``, a different thing.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from fst.networks import TransformerNet, build_network
from fst.styles.cards import FORMAT, FORMAT_VERSION, open_style
from fst.styles.quantized import dequantize
from fst.system.errors import InputError
from fst.system.files import atomic_path

Net = TypeVar("Net", bound=nn.Module)


def save_style(path: str | Path, net: nn.Module, card: dict[str, Any]) -> None:
    """Write a style file, whole or not at all.

    Args:
        path: Ends in ``.safetensors``.
        net: The network that ``card["network"]`` describes.
        card: JSON values only; ``network`` is required.

    Raises:
        InputError: A weight is not finite in float16, or the file cannot be written.
    """
    weights = net.state_dict().items()
    write_release(path, {name: each.detach().cpu().half() for name, each in weights}, card)


def replace_card(path: Path, card: dict[str, Any]) -> None:
    """Write another card into a style file; its weights stay as they are stored.

    Raises:
        InputError: No such file, no style file, or it cannot be written.
    """
    _, weights = _read(path)
    write_release(path, weights, card)


def write_release(path: str | Path, weights: dict[str, Tensor], card: dict[str, Any]) -> None:
    """Write a style file of weights as it will hold them, see `fst.styles.quantized`.

    Raises:
        InputError: A weight is not finite, or the file cannot be written.
    """
    _check_finite(weights, path)
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "card": json.dumps(card, ensure_ascii=False),
    }
    with atomic_path(path) as temporary:
        try:
            save_file({k: v.contiguous() for k, v in weights.items()}, temporary, metadata)
        except SafetensorError as error:  # a full disk, for example
            raise OSError(str(error)) from error


def load_style(path: str | Path) -> tuple[TransformerNet, dict[str, Any]]:
    """Rebuild the network of a style file, float32, in evaluation mode; and its card.

    Raises:
        InputError: No such file, no style file, of a newer format, of other shapes than its card
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
        InputError: No such file, no style file, or of a newer format.
    """
    card, weights = _read(path)
    try:
        return card, dequantize(weights)
    except ValueError as error:
        raise InputError(f"{path}: expected {error}") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card, and tensors as they are stored."""
    with open_style(path, "pt") as (file, card):
        return card, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


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
    except InputError:  # a ValueError that says more
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:  # also sizes too large
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

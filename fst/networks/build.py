"""A network by its name, as configs and style files say it."""

from typing import Any

from fst.networks.transformer import TransformerNet
from fst.system.errors import InputError

NETWORKS: dict[str, type[TransformerNet]] = {"transformer": TransformerNet}


def build_network(name: str, **arguments: Any) -> TransformerNet:
    """Build a network from what a style file says of it: its name and constructor arguments.

    Raises:
        InputError: No network has this name, or it does not take these arguments.
    """
    if name not in NETWORKS:
        raise InputError(f"network: expected one of {', '.join(NETWORKS)}, found {name!r}")
    try:
        return NETWORKS[name](**arguments)
    except TypeError as error:
        raise InputError(f"network {name!r} does not take {arguments}: {error}") from error

"""A style as one ONNX file, any size of picture in it, checked before it says done.

The file takes ``photo``, ``(N, 3, H, W)`` float32 RGB in [0, 1] from 16 px a side, and gives
``stylized``, the same shape and range. The release's card travels in the metadata.

Exporting needs the extra ``fast``: onnx and onnxscript, and onnxruntime for the check.
"""

import contextlib
import hashlib
import json
import logging
import os
import warnings
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fst import networks
from fst.engines import simplify as rewrites
from fst.engines.simplify import norms, simplify
from fst.networks import TransformerNet
from fst.styles.cards import FORMAT, FORMAT_VERSION
from fst.system.errors import InputError, install_hint
from fst.system.files import atomic_path, cache_folder, check_folder

if TYPE_CHECKING:
    import onnx
    import onnxruntime

TRACED = (2, 3, 64, 80)  # batch, channels, height, width of the example
DIMENSIONS = ("batch", None, "height", "width")  # names of the dynamic ones
CHECKED = ((1, 3, 45, 38), (1, 3, 160, 121), (3, 3, 16, 30))  # one odd, one large, one small batch
TOLERANCE = 1e-4  # of values in [0, 1]; a step of 8 bits is 4e-3


def export_onnx(net: TransformerNet, path: str | Path, card: dict[str, Any]) -> float:
    """Write a network as ONNX, whole or not at all, after comparing it at three other sizes.

    Args:
        net: As `fst.styles.load_style` gives it.
        path: Ends in ``.onnx``.
        card: Goes into the metadata as JSON, with ``format`` and ``format_version`` beside it.

    Returns:
        The largest difference found, in units of [0, 1].

    Raises:
        InputError: A package is missing, another suffix, a file that cannot be written, or
            onnxruntime and PyTorch disagree.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise InputError(f"{path}: expected a name that ends in .onnx")
    check_folder(path.parent)  # now, not after the ten seconds that exporting takes
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise InputError(f"export: {package} is not installed; try {install_hint('fast')}")
    model = _to_onnx(simplify(net), card)
    difference = _largest_difference(net, model)
    if not difference <= TOLERANCE:
        raise InputError(
            f"{path}: not written: onnxruntime and PyTorch differ by {difference:.1e} (at most "
            f"{TOLERANCE:.0e} is right); try other versions of torch and onnxruntime"
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(model)
    return difference


def cached_onnx(net: TransformerNet) -> bytes:
    """The ONNX form of a network, kept in the user's cache: exporting takes about ten seconds.

    A network without norms (`fst.engines.simplify.fold_statistics`) is kept once for all its
    weights, which are then put into it: there is another one for every large picture. Without a
    place to keep files, or with a damaged one in it, the network is exported again.
    """
    net = simplify(net)
    if norms(net):
        return _kept(net)
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for number, parameter in enumerate(net.parameters(), start=2):
        parameter.fill_(number)  # all different: the exporter merges equal ones
    return _with_weights(_kept(net), weights)


def open_session(model: bytes) -> "onnxruntime.InferenceSession":
    """An ONNX model ready to run on the CPU; the one place that imports onnxruntime."""
    # from 1.29 on it reports sessions to its maker, unless this is set before it is imported
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def _kept(net: TransformerNet) -> bytes:
    """The ONNX form of a simplified network, from the cache where it is there and whole.

    A file is the model behind its SHA-256.
    """
    path = cache_folder() / "onnx" / _fingerprint(net)
    with contextlib.suppress(OSError):
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            return content[32:]
    model = _to_onnx(net, {})
    with contextlib.suppress(InputError), atomic_path(path) as temporary:
        temporary.write_bytes(hashlib.sha256(model).digest() + model)
    return model


def _fingerprint(net: TransformerNet) -> str:
    """What the export depends on: weights, the code of the network, the exporter."""
    exporter = [f"{package} {version(package)}" for package in ("torch", "onnx", "onnxscript")]
    digest = hashlib.sha256(" ".join(exporter).encode())
    for source in _sources():
        digest.update(source.read_bytes())
    for name, tensor in net.state_dict().items():
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def _sources() -> list[Path]:
    """Every file that the exported network's passes come from: all networks, rewrites, this one."""
    rooms = [Path(folder) for folder in networks.__path__]
    files = [path for room in rooms for path in sorted(room.glob("*.py"))]
    return [*files, Path(rewrites.__file__), Path(__file__)]


def _to_onnx(net: TransformerNet, card: dict[str, Any]) -> bytes:
    size = torch.export.Dim.DYNAMIC
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():  # of the exporter, on its own internals
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                net,
                (torch.rand(TRACED),),
                dynamo=True,
                dynamic_shapes=({0: size, 2: size, 3: size},),
                input_names=["photo"],
                output_names=["stylized"],
                verbose=False,
            )
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
    assert program is not None  # it is, with dynamo
    return _tidied(program.model_proto, card).SerializeToString()


def _tidied(model: "onnx.ModelProto", card: dict[str, Any]) -> "onnx.ModelProto":
    """The model with the card in it, readable sizes, and nothing of the machine it was made on."""
    graph = model.graph
    for each in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        each.ClearField("metadata_props")  # stack traces, half of them with paths
    graph.ClearField("value_info")  # sizes in between, as formulas of the exporter's symbols
    for value in (*graph.input, *graph.output):
        for size, name in zip(value.type.tensor_type.shape.dim, DIMENSIONS, strict=True):
            if name:
                size.dim_param = name
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION)}
    metadata["card"] = json.dumps(card, ensure_ascii=False)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    return model


def _largest_difference(net: TransformerNet, model: bytes) -> float:
    session = open_session(model)
    generator = torch.Generator().manual_seed(0)
    differences = []
    for shape in CHECKED:
        photo = torch.rand(shape, generator=generator)
        (stylized,) = session.run(None, {"photo": photo.numpy()})
        with torch.inference_mode():
            differences.append(np.abs(stylized - net(photo).numpy()).max())
    return float(np.max(differences))  # NaN stays NaN


def _with_weights(model: bytes, weights: dict[str, torch.Tensor]) -> bytes:
    import onnx

    proto = onnx.load_from_string(model)
    places = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name, tensor in weights.items():
        places[name].CopyFrom(onnx.numpy_helper.from_array(tensor.numpy(), name))
    return proto.SerializeToString()

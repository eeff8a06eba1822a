"""The network as an OpenVINO graph, built module by module: milliseconds, and nothing to export.

Pixels come and go as uint8 ``(N, H, W, 3)`` or float32 ``(N, 3, H, W)``: one graph for each kind,
compiled when it is first needed. Sizes are dynamic.
"""

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fst.engines.base import Engine
from fst.engines.simplify import LOOK, BlockConv, UpsampleConv, deploy, mean_colour
from fst.images import to_tensor
from fst.networks import InstanceNorm, ResidualBlock, TransformerNet, pad_pixels_to_strides
from fst.networks.layers import ReflectionPad
from fst.system.errors import InputError
from fst.system.files import cache_folder, make_folder

# openvino reports its import to its maker; without this package of its own it does not
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
from openvino import Node  # noqa: E402
from openvino import opset13 as op  # noqa: E402

# One for the process, and for as long as it lives: a core's CPU plugin gives its thread a stack for
# signals, and frees it with the core. Two cores that go in the order in which they came leave the
# thread with a stack that is freed: its next signal (Ctrl-C; the end of a loader's worker) kills
# the process, or writes into what lies there by then.
CORE = ov.Core()


class OpenVinoEngine(Engine):
    """OpenVINO's CPU plugin."""

    name, precisions, live = "openvino", ("fp32", "bf16"), 3

    def _load(self, net: TransformerNet) -> None:
        self._net = deploy(net, self._colour)
        self._requests: dict[bool, ov.InferRequest] = {}

    def _run(self, batch: Tensor, colour: Tensor) -> Tensor:
        inputs = [np.ascontiguousarray(batch.cpu()), np.asarray(colour, np.float32)]
        return torch.from_numpy(self._infer(inputs, frames=False))

    def stylize(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype != np.uint8:
            return super().stylize(pixels)
        height, width = pixels.shape[:2]
        padded = np.ascontiguousarray(pad_pixels_to_strides(pixels))[None]
        colour = self._colour
        if colour is None:
            colour = mean_colour(to_tensor(pixels[::LOOK, ::LOOK])[None])
        inputs = [padded, np.asarray(colour, np.float32).reshape(1, 3, 1, 1)]
        return self._infer(inputs, frames=True)[0, :height, :width]

    def _infer(self, inputs: list[np.ndarray], frames: bool) -> np.ndarray:
        if frames not in self._requests:
            self._requests[frames] = self._compile(frames).create_infer_request()
        out = self._requests[frames].infer(inputs, share_inputs=True, share_outputs=True)
        return out[0].copy()  # the request writes its next answer to the same place

    def _compile(self, frames: bool) -> ov.CompiledModel:
        settings = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self.precision],
            "PERFORMANCE_HINT": "LATENCY",
        }
        if self._colour is None:  # folded networks serve one picture only
            with contextlib.suppress(InputError):  # no such place: compile each time
                settings["CACHE_DIR"] = str(make_folder(cache_folder() / "openvino"))
        return CORE.compile_model(build_graph(self._net, frames), "CPU", settings)


def build_graph(net: nn.Sequential, frames: bool) -> ov.Model:
    """The graph of a deployed network; its inputs are the pictures and the colour to subtract."""
    colour = op.parameter([-1, 3, 1, 1], np.float32)
    if frames:
        photo = op.parameter([-1, -1, -1, 3], np.uint8)
        x = _transposed(op.convert(photo, "f32"), 0, 3, 1, 2)
    else:
        photo = op.parameter([-1, 3, -1, -1], np.float32)
        x = photo * _constant(255)
    x = _add(net, op.subtract(x, colour))
    if frames:
        x = op.convert(_transposed(x * _constant(255) + _constant(0.5), 0, 2, 3, 1), "u8")
    model = ov.Model([x], [photo, colour], "fst")
    for number, node in enumerate(model.get_ordered_ops()):
        node.set_friendly_name(f"node_{number}")  # the cache's key; the default counts on for ever
    for number, tensor in enumerate([*model.inputs, *model.outputs]):
        tensor.set_names({f"tensor_{number}"})  # likewise
    return model


def _add(module: nn.Module, x: Node) -> Node:
    """The nodes of one module, behind ``x``."""
    if isinstance(module, nn.Sequential):
        for child in module:
            x = _add(child, x)
        return x
    if type(module) not in _NODES:
        raise NotImplementedError(f"no OpenVINO graph for {type(module).__name__}")
    return _NODES[type(module)](module, x)


def _instance_norm(norm: InstanceNorm, x: Node) -> Node:
    x = op.mvn(x, _constant([2, 3], np.int64), True, norm.eps, "INSIDE_SQRT")
    return x * _per_channel(norm.weight) + _per_channel(norm.bias)


def _upsample_conv(module: UpsampleConv, x: Node) -> Node:
    bias = None if module.bias is None else _blocks_first(module.bias)
    phases = _convolved(_padded(x, 1, "edge"), _blocks_first(module.weight), bias)
    return op.slice(op.depth_to_space(phases, "blocks_first", 2), [1, 1], [-1, -1], [1, 1], [2, 3])


def _block_conv(module: BlockConv, x: Node) -> Node:
    weight = _blocks_first(_blocks_first(module.weight).transpose(0, 1)).transpose(0, 1)
    bias = None if module.bias is None else _blocks_first(module.bias)
    blocks = _convolved(op.space_to_depth(x, "blocks_first", 2), weight, bias)
    return op.depth_to_space(blocks, "blocks_first", 2)


_NODES: dict[type[nn.Module], Callable[[Any, Node], Node]] = {
    BlockConv: _block_conv,
    InstanceNorm: _instance_norm,
    ResidualBlock: lambda module, x: x + _add(module.body, x),
    UpsampleConv: _upsample_conv,
    nn.Conv2d: lambda module, x: _convolved(x, module.weight, module.bias, module.stride[0]),
    nn.Identity: lambda module, x: x,
    nn.ReLU: lambda module, x: op.relu(x),
    ReflectionPad: lambda module, x: _padded(x, module.padding[0], "reflect"),
    nn.Sigmoid: lambda module, x: op.sigmoid(x),
}


def _blocks_first(weight: Tensor) -> Tensor:
    """From torch's order of pixel-shuffle channels (channel, block) to (block, channel), faster."""
    return weight.unflatten(0, (-1, 4)).transpose(0, 1).flatten(0, 1)


def _convolved(x: Node, weight: Tensor, bias: Tensor | None = None, stride: int = 1) -> Node:
    x = op.convolution(x, _constant(weight), [stride] * 2, [0, 0], [0, 0], [1, 1])
    return x if bias is None else x + _per_channel(bias)


def _padded(x: Node, side: int, mode: str) -> Node:
    return op.pad(x, [0, 0, side, side], [0, 0, side, side], mode)


def _transposed(x: Node, *order: int) -> Node:
    return op.transpose(x, _constant(order, np.int64))


def _per_channel(values: Tensor) -> Node:
    return _constant(values.view(1, -1, 1, 1))


def _constant(values: object, dtype: type = np.float32) -> Node:
    return op.constant(np.ascontiguousarray(values, dtype=dtype))

"""The network by onnxruntime."""

import torch
from torch import Tensor

from fst.engines.base import Engine
from fst.networks import TransformerNet


class OnnxEngine(Engine):
    """onnxruntime on the CPU, from what `fst.engines.onnx_export` writes and caches."""

    name, precisions, live = "onnxruntime", ("fp32",), 4.5

    def _load(self, net: TransformerNet) -> None:
        from fst.engines.onnx_export import cached_onnx, open_session

        self._session = open_session(cached_onnx(net))

    def _run(self, batch: Tensor, colour: Tensor) -> Tensor:
        (out,) = self._session.run(None, {"photo": batch.cpu().numpy()})
        return torch.from_numpy(out)

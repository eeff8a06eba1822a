"""The network by PyTorch, as it is or compiled."""

import warnings

import torch
from torch import Tensor

from fst.engines.base import DTYPES, Engine
from fst.engines.simplify import DeployedNet, deploy
from fst.networks import TransformerNet


class EagerEngine(Engine):
    """PyTorch as it is, channels last."""

    name, precisions, live = "eager", ("fp32", "bf16", "fp16"), 7
    _net: DeployedNet

    def _load(self, net: TransformerNet) -> None:
        deployed = deploy(net, self._colour)
        deployed.to(self.device, DTYPES[self.precision]).to(memory_format=torch.channels_last)
        if hasattr(self, "_net"):  # in place: code that was compiled for it stays valid
            self._net.load_state_dict(deployed.state_dict())
        else:
            self._net = deployed

    def _run(self, batch: Tensor, colour: Tensor) -> Tensor:
        centred = 255 * batch.to(self.device) - colour.to(self.device)
        dtype = DTYPES[self.precision]
        return self._net(centred.to(dtype, memory_format=torch.channels_last)).float()


class CompileEngine(EagerEngine):
    """torch.compile, for any size: the first picture takes tens of seconds."""

    name, live = "compile", 7

    def _load(self, net: TransformerNet) -> None:
        fresh = not hasattr(self, "_net")
        super()._load(net)
        if fresh:
            self._net.compile(dynamic=True)  # in place

    def _run(self, batch: Tensor, colour: Tensor) -> Tensor:
        # PyTorch counts the versions of all engines of a thread together, and runs those beyond 8
        # uncompiled, without a word
        limit = torch._dynamo.config.patch(recompile_limit=64)
        with limit, warnings.catch_warnings():  # of the compiler, on its own internals
            warnings.simplefilter("ignore")
            return super()._run(batch, colour)

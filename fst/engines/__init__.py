"""What runs the network: PyTorch, torch.compile, onnxruntime or OpenVINO."""

from fst.engines.base import DTYPES, ENGINES, Engine
from fst.engines.choose import available_engines, make_engine

__all__ = ["DTYPES", "ENGINES", "Engine", "available_engines", "make_engine"]

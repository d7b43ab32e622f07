"""A network that came in as ONNX, run by onnxruntime (extra ``onnx``). Its graph is a tensor of bytes like any weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.recipe import OnnxConfig

_EXTERNAL = b"\x0a\x08location"
"""The key "location" as ONNX encodes it: a tensor that has one lies in another file."""


class OnnxNet(nn.Module):
    """(N, C, X, Y, Z) → logits (N, K, X, Y, Z), computed on the CPU; it cannot be trained."""

    def __init__(self, config: OnnxConfig) -> None:
        super().__init__()
        self.graph: torch.Tensor
        self.register_buffer("graph", torch.zeros(config.size_bytes, dtype=torch.uint8))
        self._session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images → logits. Raises CheckpointError where onnxruntime is missing or refuses the graph."""
        if self._session is None:
            self._session = session(self.graph.cpu().numpy().tobytes(), torch.get_num_threads())
        name = self._session.get_inputs()[0].name
        found = [self._session.run(None, {name: one[None].cpu().float().numpy()})[0] for one in x]
        return torch.from_numpy(np.concatenate(found)).to(x.device)


def session(graph: bytes, threads: int = 1) -> Any:
    """An onnxruntime session of that graph alone. Raises CheckpointError."""
    try:
        import onnxruntime
    except ImportError as e:
        raise CheckpointError("ONNX models need onnxruntime: pip install 'napari-brainseg[onnx]'.") from e
    if _EXTERNAL in graph:
        raise CheckpointError("The ONNX file keeps weights in other files beside it. Have it saved as one file.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime raises classes of its own, by the kind of damage
        raise CheckpointError(f"onnxruntime refuses the ONNX file: {str(e)[:300]}. Fetch or export it again.") from e

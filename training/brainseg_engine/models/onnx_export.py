"""Models → ONNX, for programs without torch: the network, with the recipe and the card among its metadata.

Preparing images, tiling and thresholds are the caller's affair there; the recipe says how.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.paths import atomic, check_writable
from brainseg_engine.core.study import Modality
from brainseg_engine.models import checkpoint
from brainseg_engine.models.importers.onnx import CARD, RECIPE
from brainseg_engine.nets.onnx import session
from brainseg_engine.nets.second_stage import SecondStage
from brainseg_engine.nets.segresnet import FoldedSegResNet

_log = logging.getLogger(__name__)
TOLERANCE = 1e-3
"""Of probabilities, between torch and onnxruntime."""


def export_onnx(model: Path, out: Path) -> Path:
    """Write the model's network as ONNX: images (1, series, x, y, z) → logits, any size that is a multiple of its divisor.

    A second stage answers over the whole image there, not in the tumour's box: more work, and slightly other answers at the
    box's border. Weights of its own for a study that lacks a series are left out. What was written is run and compared with
    torch on noise. Raises CheckpointError where the extra is missing, the network cannot be expressed or the answers differ,
    OutputError.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError as e:
        raise CheckpointError("Writing ONNX needs its extra: pip install 'napari-brainseg[onnx]'.") from e
    loaded = checkpoint.load(model)
    net, recipe = loaded.network(), loaded.recipe
    for module in net.modules():
        if isinstance(module, SecondStage):
            module.everywhere = True
        if isinstance(module, FoldedSegResNet) and module.lacking:
            module.of_all = True
            _log.warning(
                "the model '%s' has weights of its own for studies without %s, which ONNX leaves out: answers are "
                "worse there", loaded.card.name, " or ".join(Modality(m).title for m in module.lacking),
            )  # fmt: skip
    if loaded.kept is not None:
        _log.warning(
            "the model '%s' keeps its base model for studies that look unlike the corrected ones; ONNX holds the fine-tuned "
            "weights alone", loaded.card.name,
        )  # fmt: skip
    if recipe.network.dimensions != 3 or recipe.network.name == "onnx":
        raise CheckpointError(
            f"The model '{loaded.card.name}' works on slices or is ONNX already; 3D networks are written."
        )
    fixed = recipe.window.size if recipe.window.policy == "patch" else None
    sides = fixed or tuple(max(s, m) * 2 for s, m in zip(recipe.network.divisor, recipe.network.smallest, strict=True))
    image = torch.randn(1, len(recipe.modalities), *sides, generator=torch.Generator().manual_seed(0))
    check_writable(out.parent)
    with atomic(out) as part:
        _write(net, image, part, any_size=fixed is None)
        graph: Any = onnx.load(str(part))
        for key, value in ((RECIPE, recipe.model_dump_json()), (CARD, loaded.card.model_dump_json())):
            entry = graph.metadata_props.add()
            entry.key, entry.value = key, value
        onnx.save(graph, str(part))
        _require_same(net, image, part.read_bytes())
    return out


def _write(net: torch.nn.Module, image: torch.Tensor, path: Path, *, any_size: bool) -> None:
    sizes = {2 + n: torch.export.Dim.DYNAMIC for n in range(3)} if any_size else None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net, (image,), str(path), dynamo=True, external_data=False, input_names=["images"], output_names=["logits"],
                dynamic_shapes=(sizes,) if sizes else None, verbose=False,
            )  # fmt: skip
    except Exception as e:  # the exporter's own classes, of many kinds
        raise CheckpointError(f"The network cannot be written as ONNX: {type(e).__name__}: {str(e)[:300]}.") from e


def _require_same(net: torch.nn.Module, image: torch.Tensor, graph: bytes) -> None:
    running = session(graph)
    with torch.inference_mode():
        ours = torch.sigmoid(net(image)).numpy()
    theirs = 1 / (1 + np.exp(-running.run(None, {running.get_inputs()[0].name: image.numpy()})[0]))
    apart = float(np.abs(ours - theirs).max())
    if not apart < TOLERANCE:
        raise CheckpointError(
            f"The ONNX file's answers differ from the model's by up to {apart:.2g}; it was not written."
        )

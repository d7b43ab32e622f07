"""Networks in ONNX: one input (1, series, x, y, z), one answer of logits (1, regions or classes, x, y, z).

A file that this program wrote brings its recipe along; for any other the user names one that says how images are prepared and
what the answers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.models.importers.writing import Foreign, ImportOptions
from brainseg_engine.nets.onnx import session
from brainseg_engine.recipe import Recipe, parse_recipe

RECIPE = "napari_brainseg_recipe"
"""The key of the recipe among the metadata of a file that this program wrote."""
CARD = "napari_brainseg_card"


def found_in(folder: Path) -> Path | None:
    """The ONNX file in that folder, where it is the only one."""
    files = sorted(folder.glob("*.onnx"))
    return files[0] if len(files) == 1 else None


def read(file: Path, source: Path, options: ImportOptions) -> Foreign:
    """The network as a recipe and its graph. Raises CheckpointError for one that takes or gives other channels."""
    where = f"The ONNX file {source.name}"
    try:
        graph = plain.read(file, 2**29)
    except OSError as e:
        raise CheckpointError(f"{where} cannot be read: {e.strerror or e}.") from e
    running = session(graph)
    metadata = running.get_modelmeta().custom_metadata_map
    recipe, card = _recipe(metadata, options, where), _object(metadata.get(CARD, "{}"))
    inputs, outputs = running.get_inputs(), running.get_outputs()
    if len(inputs) != 1 or not outputs or len(inputs[0].shape) != 5 or inputs[0].type != "tensor(float)":
        raise CheckpointError(
            f"{where} is no network of 3D images: one float input (1, series, x, y, z) is expected, and it takes "
            f"{', '.join(f'{i.name} {i.type} {i.shape}' for i in inputs)}."
        )
    sides = [s for s in inputs[0].shape[2:] if isinstance(s, int) and s > 0]
    network: dict[str, Any] = {"name": "onnx", "size_bytes": len(graph), "fixed": sides if len(sides) == 3 else []}
    network["multiple"] = getattr(recipe.network, "multiple", None) or max(recipe.network.divisor)
    window = recipe.window.model_dump(mode="json")
    if len(sides) == 3:
        window |= {"policy": "patch", "size": sides}
    tree = {**recipe.model_dump(mode="json"), "network": network, "window": window}
    found = parse_recipe(tree, where)
    _try(running, found, where)
    return Foreign(
        found,
        {"graph": torch.from_numpy(np.frombuffer(graph, dtype=np.uint8).copy())},
        f"ONNX, {source.name}",
        licence=str(card.get("licence") or ""),
        terms=str(card.get("terms") or ""),
        citation=str(card.get("citation") or ""),
        data=str(card.get("data") or ""),
        failures=("It cannot be trained further.",),
        bytes_of=(file,),
    )


def _recipe(metadata: dict[str, str], options: ImportOptions, where: str) -> Recipe:
    if options.recipe is not None:
        return options.recipe
    if RECIPE in metadata:
        try:
            return parse_recipe(records.parse_json(metadata[RECIPE]), where).for_use()
        except ValueError as e:
            raise CheckpointError(f"{where}: its recipe cannot be read ({e}).") from e
    raise CheckpointError(
        f"{where} holds a network alone. Say how images are prepared and what its answers mean by a recipe: --recipe FILE.toml."
    )


def _object(text: str) -> dict[str, Any]:
    try:
        found = records.parse_json(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _try(running: Any, recipe: Recipe, where: str) -> None:
    """Run it once on nothing: whether it takes the recipe's series and gives its answers."""
    sides: Sequence[int] = recipe.network.divisor
    image = np.zeros((1, len(recipe.modalities), *(max(s, 16) // s * s for s in sides)), dtype=np.float32)
    try:
        answer = running.run(None, {running.get_inputs()[0].name: image})[0]
    except Exception as e:  # onnxruntime's own classes
        raise CheckpointError(
            f"{where} does not take images of {image.shape[1]} series and {image.shape[2:]} voxels: {str(e)[:300]}"
        ) from e
    wanted = (1, recipe.output.channels, *image.shape[2:])
    if answer.shape != wanted:
        raise CheckpointError(
            f"{where} answers {list(answer.shape)}, and the recipe's output means {list(wanted)}. Name the recipe that fits."
        )

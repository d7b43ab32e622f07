"""The grid of 1 mm, grids of series as they are acquired, and nested labels on any of them."""

import numpy as np
from hypothesis import strategies as st

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label
from helpers.raw_study import rigid_motion

FINE = Grid((60, 64, 66), np.array([[-1.0, 0, 0, 30], [0, 1, 0, -32], [0, 0, 1, -33], [0, 0, 0, 1]]))


def blobs(seed: int, shape, spacing=(1, 1, 1)):
    """Nested labels: a lesion of 8 to 14 mm with a core, and a thin rim of 1 to 2 mm around it."""
    rng = np.random.default_rng(seed)
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    p = np.stack(np.meshgrid(*axes, indexing="ij"))
    distance = np.sqrt((((p - rng.uniform(-6, 6, (3, 1, 1, 1))) / rng.uniform(0.8, 1.2, (3, 1, 1, 1))) ** 2).sum(0))
    outer = rng.uniform(10, 14)
    labels = np.zeros(shape, np.uint8)
    labels[distance < outer] = Label.ED
    labels[distance < outer - 3] = Label.ET
    labels[distance < outer - 3 - rng.uniform(1.5, 2.5)] = Label.NCR
    return labels


def oblique(spacing, angles, shift, shape) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    return Grid(tuple(shape), rigid_motion(angles, shift, (0, 0, 0)).matrix @ affine)


acquired = st.builds(
    lambda spacing, angles, shift: oblique(
        np.array(spacing), angles, np.array(shift), np.ceil(np.array([70, 74, 76]) / spacing).astype(int)
    ),
    st.tuples(st.floats(0.6, 1.2), st.floats(0.6, 1.2), st.floats(1, 6)),
    st.tuples(*[st.floats(-17, 17)] * 3),
    st.tuples(*[st.floats(-2, 2)] * 3),
)


def dice(a, b):
    return 2 * (a & b).sum() / max(a.sum() + b.sum(), 1)

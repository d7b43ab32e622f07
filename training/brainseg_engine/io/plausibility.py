"""Whether a mask's values can be what its coding says: one judgement, whoever reads the mask.

File names tell a data set's coding, and files are renamed, converted and mixed. What the values, their places and the
contrast-enhanced T1 contradict is a question to the reader, never a number. Thresholds were set on 40 public BraTS studies
with expert labels (2018 and 2021); the figures stand at each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import labels as codings
from brainseg_engine.core.brain import brain
from brainseg_engine.core.errors import BrainsegError, CodingError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label
from brainseg_engine.core.morphology import bounding_box

BRAIN_ML = 600.0
"""More than any glioma (at most 232 mL in the 40 studies), less than a brain from the second year of life on (1,146 mL and
more)."""
SUSPECT_ML, MOST_OF_BRAIN = 250.0, 0.6
"""From this size on the brain is looked at: of a small one a mask may be less than 600 mL. Tumours are a fifth of the brain at
most."""
BRIGHT, DARK = 0.7, 0.1
"""Rank of a class's median among the brain's T1ce intensities outside the mask: enhancing tumour had 0.73 and more in 36 of
38 studies (0.26 and 0.47 in two that enhance weakly), a cavity holds fluid, which is among the darkest."""
INSIDE_OUT = 2.0
"""Oedema lies around the core. The share of its voxels that touch healthy tissue was at least 2.8 times that of the necrosis
in the 40 studies; this many times the other way round, the two are exchanged."""
ENOUGH = 1000
"""Voxels that a class needs before its place says anything."""
FEW = 20
"""Voxels that a class needs before its brightness says anything."""

AGAINST = 0.1
"""By this much in rank, necrosis and oedema may not be brighter than enhancing tumour and bright (``BRIGHT``) themselves.
Necrosis was darker in all 38 studies that hold both, by 0.05 at least; oedema by 0.14 at least, but for one weakly enhancing
tumour, where it was brighter by 0.09 (by 0.18 with noise and a bias field) and yet not bright (0.35 to 0.41)."""
_AFTER_TREATMENT = re.compile(r"brats-gli-\d+-1\d\d(?!\d)", re.IGNORECASE)
"""Names of BraTS 2024's gliomas after treatment, which may hold a cavity: their time points count from 100."""

Evidence = Callable[[], "NDArray[Any] | None"]
"""Gives the T1ce (X, Y, Z) on the mask's grid, or None where it is not at hand."""


def require_no_brain(values: NDArray[Any], grid: Grid, path: Path, t1ce: Evidence | None = None) -> None:
    """Raise CodingError for a mask that is as large as a whole brain, or is most of the one in the T1ce; nothing where voxel
    sizes are not known."""
    ml = int(np.count_nonzero(values)) * (grid.voxel_ml or 0.0)
    if ml > BRAIN_ML or (ml > SUSPECT_ML and t1ce is not None and _share_of_brain(values, t1ce) > MOST_OF_BRAIN):
        raise CodingError(
            f"{path} marks {ml:.0f} mL, the size of a whole brain, so it is a brain mask and not one of a tumour. Move it "
            "out of the folder, or name the mask of the tumour instead."
        )


def judged(name: str, values: NDArray[Any], path: Path, t1ce: Evidence) -> tuple[str, str]:
    """The coding that a naming's ``name`` stands for with these values, and what had to be decided, in words ("" nothing).

    Raises CodingError where the values contradict it and the T1ce does not settle what they mean.
    """
    box = bounding_box(values != 0, 1)
    inner = values if box is None else values[box]  # air all around it or not, the answers are the same
    note, held = "", {0, *np.unique(inner).tolist()}
    if name == "brats2023" and held >= {4} and held <= {0, 1, 2, 3, 4}:
        name, note = _four(values, held, path, t1ce)
    table = codings.coding(name)
    if held <= set(table.values):
        _require_classes(table, inner, path)
        _require_order(table, inner, path)
        _require_bright(table, values, inner, path, t1ce)
    return name, note


def _four(values: NDArray[Any], held: set[int], path: Path, t1ce: Evidence) -> tuple[str, str]:
    """What 4 is under the names of BraTS 2023 and later: a resection cavity, or the enhancing tumour of earlier years."""
    ranks = _ranks(values, t1ce)
    four, three, one = (ranks.get(v) for v in (4, 3, 1))
    if 3 in held:
        enough = min(np.count_nonzero(values == 3), np.count_nonzero(values == 4)) >= FEW
        if not ranks and enough and not _AFTER_TREATMENT.match(path.name):
            raise CodingError(f"{path} is named as in BraTS 2023 and later, and holds 4 beside 3: 4 may be a resection cavity "
                              "(brats2024), enhancing tumour (brats2015) or oedema (brats-ped), and there is no T1ce on its "
                              f"grid to tell. {_ask()}")  # fmt: skip
        if one is not None and three is not None and one > three:
            raise CodingError(f"{path} is named as in BraTS 2023 and later, where 3 enhances and 1 is necrosis, but in the T1ce "
                              f"1 is brighter than 3. {_ask()}")  # fmt: skip
        if four is None or three is None or four <= three:
            return "brats2024", ""
        raise CodingError(f"{path} is named as in BraTS 2023 and later, where 4 is a resection cavity and 3 enhances, but in "
                          f"the T1ce 4 is brighter than 3. {_ask()}")  # fmt: skip
    if four is not None and four >= BRIGHT and (one is None or four > one):
        return "brats2021", (f"{path.name} is named as in BraTS 2023 and holds 4 and no 3. It is read as brats2021 (4 is "
                             "enhancing tumour), because 4 is bright in the T1ce")  # fmt: skip
    if four is not None and four <= DARK and (one is None or four <= one):
        return "brats2024", (f"{path.name} holds 4 and no 3. It is read as brats2024 (4 is a resection cavity), because 4 is "
                             "as dark as fluid in the T1ce")  # fmt: skip
    raise CodingError(f"{path} is named as in BraTS 2023 and later, and holds 4 and no 3: 4 may be enhancing tumour "
                      f"(brats2021) or a resection cavity (brats2024). {_ask()}")  # fmt: skip


def _require_classes(table: codings.Coding, values: NDArray[Any], path: Path) -> None:
    """Raise CodingError for a mask of necrosis and nothing else: none of 40 studies holds it without oedema, and every mask of
    the whole tumour in one value looks so."""
    held = np.unique(values[values != 0]).tolist()
    if len(held) == 1 and table.values[held[0]] is Label.NCR and np.count_nonzero(values) >= FEW:
        raise CodingError(
            f"{path} holds {held[0]} alone, which '{table.name}' calls necrotic: a tumour without oedema and enhancing tumour, "
            f"or a mask of the whole tumour in one value (1=TUMOUR). {_ask()}"
        )


def _require_order(table: codings.Coding, values: NDArray[Any], path: Path) -> None:
    """Raise CodingError where necrosis and oedema lie as if exchanged."""
    core = [v for v, label in table.values.items() if label is Label.NCR]
    around = [v for v, label in table.values.items() if label is Label.ED]
    box = bounding_box(values != 0, 1)
    if box is None or not core or not around:
        return
    inner, outer = np.isin(values[box], core), np.isin(values[box], around)
    if min(np.count_nonzero(inner), np.count_nonzero(outer)) < ENOUGH:
        return
    from scipy.ndimage import binary_dilation

    outside = binary_dilation(values[box] == 0)
    inner_share, outer_share = float(outside[inner].mean()), float(outside[outer].mean())
    if inner_share > INSIDE_OUT * outer_share:
        raise CodingError(
            f"{path} is read as '{table.name}' ({table.description}) by its name, but what would be necrosis lies around what "
            f"would be oedema. {_ask()}"
        )


def _require_bright(
    table: codings.Coding, values: NDArray[Any], inner: NDArray[Any], path: Path, t1ce: Evidence
) -> None:
    """Raise CodingError where what would be necrosis or oedema is bright, and brighter than what would be enhancing tumour.
    ``inner``: the box of ``values`` that holds all but 0."""
    core = [v for v, label in table.values.items() if label is Label.NCR]
    bright = [v for v, label in table.values.items() if label is Label.ET]
    voxels = np.bincount(inner.ravel(), minlength=256)
    around = [v for v, label in table.values.items() if label is Label.ED]
    others = {"necrosis": core, "oedema": around}
    enough = {what: held for what, held in others.items() if voxels[held].sum() >= ENOUGH}
    if voxels[bright].sum() < ENOUGH or not enough:
        return
    ranks = _ranks(values, t1ce)
    enhancing = max((ranks[v] for v in bright if v in ranks), default=1.0)
    for what, held in enough.items():
        rank = max((ranks[v] for v in held if v in ranks), default=0.0)
        if rank >= BRIGHT and rank > enhancing + AGAINST:
            raise CodingError(
                f"{path} is read as '{table.name}' ({table.description}) by its name, but in the T1ce what would be {what} is "
                f"brighter than what would be enhancing tumour. {_ask()}"
            )


def _share_of_brain(values: NDArray[Any], t1ce: Evidence) -> float:
    try:
        image = t1ce()
    except BrainsegError:
        return 0.0
    if image is None or image.shape != values.shape:
        return 0.0
    inside = brain(image)
    return int(np.count_nonzero(inside & (values != 0))) / max(1, int(np.count_nonzero(inside)))


def _ranks(values: NDArray[Any], t1ce: Evidence) -> dict[int, float]:
    """Value → rank (0…1) of its median among the T1ce intensities of the brain outside the mask; {} without a T1ce."""
    try:
        image = t1ce()
    except BrainsegError:
        return {}
    if image is None or image.shape != values.shape:
        return {}
    around = np.sort(image[(values == 0) & brain(image)][::7])
    if around.size < FEW:
        return {}
    ranks = {}
    for v in (1, 2, 3, 4):
        own = image[values == v]
        if own.size >= FEW:
            ranks[v] = float(np.searchsorted(around, np.median(own)) / around.size)
    return ranks


def _ask() -> str:
    return f"Say which coding it is ({codings.HOW_TO_SAY}); {codings.choices()}"

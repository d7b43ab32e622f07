"""What is doubtful about a study, in words, before the first inference.

An ``error`` makes the study unusable as it is; a ``warning`` may be overridden by a person who knows better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.io import nifti
from brainseg_engine.studies.series_order import likely_order, skull_on

Severity = Literal["error", "warning"]

SPACING_MM = (0.6, 1.6)
"""Voxel sides outside this range are called far from 1 mm."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found: ``code`` for programs, ``message`` (what, where, what to do) for people."""

    code: str
    severity: Severity
    message: str


def check_study(study: Study, modalities: Iterable[Modality] = tuple(Modality)) -> list[Finding]:
    """Everything found, errors first. ``modalities``: those that the model at hand needs.

    Errors: ``missing``, ``grid``, ``not-finite``, ``empty``. Warnings: ``duplicate``, ``spacing``, ``skull``, ``order``
    (series likely swapped), ``geometry`` (place or orientation guessed), ``mask-coding``.
    """
    sound = {m: v for m, v in study.volumes.items() if not _voxel_errors(v)}
    found = [*_missing(study, tuple(modalities)), *_grids(study)]
    found += [f for v in study.volumes.values() for f in _voxel_errors(v)]
    copies = _duplicates(sound)
    looks = []
    if study.reference.grid.calibrated:  # the rules of skull and order count in mm
        comparable = study.aligned and not copies
        order = likely_order(sound) if comparable else {m: m for m in sound}
        looks = [*_spacing(study), *(_skull(sound, order) or _order(order))]
    found += [*copies, *_geometry(study), *looks, *_mask(study)]
    return found


def require_usable(study: Study, modalities: Iterable[Modality] = tuple(Modality)) -> list[Finding]:
    """The warnings of :func:`check_study`. Raises InputError (GeometryError for grids) with its errors, if any."""
    found = check_study(study, modalities)
    errors = [f for f in found if f.severity == "error"]
    if errors:
        kind = GeometryError if errors[0].code == "grid" else InputError
        raise kind(" ".join(f.message for f in errors))
    return found


def _missing(study: Study, modalities: tuple[Modality, ...]) -> list[Finding]:
    present = tuple(m for m in modalities if m in study.volumes)
    if present == modalities:
        return []
    return _sentences("missing", lambda: study.require(modalities), InputError)


def _grids(study: Study) -> list[Finding]:
    return [f for m in study.volumes for f in _sentences("grid", lambda m=m: study.require((m,)), GeometryError)]  # type: ignore[misc]


def _sentences(code: str, check: Callable[[], None], kind: type[InputError]) -> list[Finding]:
    try:
        check()
    except kind as e:
        return [Finding(code, "error", str(e))]
    return []


def _voxel_errors(v: Volume) -> list[Finding]:
    low, high = v.data.min(), v.data.max()
    if v.data.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        count = int(np.count_nonzero(~np.isfinite(v.data)))
        return [Finding("not-finite", "error", f"{named(v)} holds {count} voxels that are no numbers (NaN or infinite). "
                        "Set them to 0, or export the series again.")]  # fmt: skip
    if low == high:
        what = "only zeros" if low == 0 else f"the value {low:g} everywhere"
        return [Finding("empty", "error", f"{named(v)} holds {what}, so there is no image in it. Give the right file.")]
    return []


def _duplicates(volumes: Mapping[Modality, Volume]) -> list[Finding]:
    return [
        Finding(
            "duplicate", "warning", f"{named(a)} and {named(b)} hold the same image. Give each series its own file."
        )
        for a, b in combinations(volumes.values(), 2)
        if _same_image(a, b)
    ]


def _same_image(a: Volume, b: Volume) -> bool:
    if a.data.shape != b.data.shape:
        return False
    few = (slice(None, None, 5),) * 3
    return np.array_equal(a.data[few], b.data[few]) and np.array_equal(a.data, b.data)


def _geometry(study: Study) -> list[Finding]:
    notes = ((v, nifti.affine_of(v.header)[1]) for v in study.volumes.values() if v.header is not None)
    return [
        Finding("geometry", "warning", f"Check where left and right are in {named(v)}: {note}.")
        for v, note in notes
        if note
    ]


def _spacing(study: Study) -> list[Finding]:
    low, high = SPACING_MM
    far = [v for v in study.volumes.values() if min(v.grid.spacing) < low or max(v.grid.spacing) > high]
    if not far:
        return []
    listed = "; ".join(f"{v.modality.title} {'×'.join(f'{s:.3g}' for s in v.grid.spacing)} mm" for v in far)
    return [Finding("spacing", "warning", f"The voxels are far from 1 mm cubes ({listed}), which the models were trained on. "
                    "The result will be coarse or wrong; resample to 1 mm, better from a 3D acquisition.")]  # fmt: skip


def _skull(volumes: Mapping[Modality, Volume], order: Mapping[Modality, Modality]) -> list[Finding]:
    on = [v.modality.title for m, v in volumes.items() if skull_on(v, order[m])]
    if not on:
        return []
    look = "looks" if len(on) == 1 else "look"
    return [Finding("skull", "warning", f"{', '.join(on)} {look} as if the skull were still on; the models were trained on "
                    "skull-stripped brains. Strip the skull first, for example with HD-BET or SynthStrip.")]  # fmt: skip


def _order(order: Mapping[Modality, Modality]) -> list[Finding]:
    moved = [f"the file given as {m.title} looks like {to.title}" for m, to in order.items() if m is not to]
    if not moved:
        return []
    return [Finding("order", "warning", f"Series may be swapped: {', '.join(moved)}. Assign the files anew if so.")]


def _mask(study: Study) -> list[Finding]:
    mask = study.segmentation
    if (
        mask is None
        or mask.coding != "brats2024"
        or not (mask.labels == Label.RC).any()
        or (mask.labels == Label.ET).any()
    ):
        return []
    where = mask.path.name if mask.path else "The mask"
    return [Finding("mask-coding", "warning", f"{where} holds 4 and no 3: it is read as BraTS 2024 (4 is a resection cavity). "
                    "If 4 is enhancing tumour, name the coding brats2021.")]  # fmt: skip


def named(v: Volume) -> str:
    """The series and its file, for a sentence."""
    return f"{v.modality.title} ({v.path.name})" if v.path else v.modality.title

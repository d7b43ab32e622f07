"""What is doubtful about a study, in words, before the first inference.

An ``error`` makes the study unusable as it is; a ``warning`` may be overridden by a person who knows better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from brainseg_engine.core.brain import brain
from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.labels import HOW_TO_SAY
from brainseg_engine.core.study import ALL_FOUR, Modality, SeriesNeeded, Study, Volume
from brainseg_engine.studies.series_order import likely_order
from brainseg_engine.studies.skull import with_skull

Severity = Literal["error", "warning"]

COVERED = 0.93
"""Less of the brain than this is called too little: of 128 series of 32 stripped studies, one (0.66) lies below and the others at
0.967 or more."""
SPACING_MM = (0.6, 1.6)
"""Voxel sides outside this range are called far from 1 mm."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found: ``code`` for programs, ``message`` (what, where, what to do) for people."""

    code: str
    severity: Severity
    message: str


def check_study(study: Study, needed: SeriesNeeded = ALL_FOUR) -> list[Finding]:
    """Everything found, errors first; ``needed`` is what the model at hand works on.

    Errors: ``missing``, ``grid``, ``not-finite``, ``empty``. Warnings: ``incomplete`` (series are missing that the model can
    do without), ``duplicate``, ``spacing``, ``skull``, ``coverage`` (a series that ends inside the head),
    ``order`` (series likely swapped), ``geometry`` (place or orientation guessed), ``mask-coding``.
    """
    sound = {m: v for m, v in study.volumes.items() if not _voxel_errors(v)}
    findings = [*_missing(study, needed), *_grids(study)]
    findings += [f for v in study.volumes.values() for f in _voxel_errors(v)]
    copies = _duplicates(sound)
    looks = []
    if study.reference.grid.calibrated:  # the rules of skull and order count in mm
        comparable = study.aligned and not copies
        order = {m: m for m in sound} if copies else likely_order(sound)  # of copies it would only be guessed
        on = _skull(sound, order)
        looks = [*_spacing(study), *(on or _coverage(sound, comparable)), *_order(order)]
    findings += [*copies, *_geometry(study), *looks, *_mask(study)]
    return findings


def require_usable(study: Study, needed: SeriesNeeded = ALL_FOUR) -> list[Finding]:
    """The warnings of :func:`check_study`. Raises InputError (GeometryError for grids) with its errors, if any."""
    findings = check_study(study, needed)
    errors = [f for f in findings if f.severity == "error"]
    if errors:
        kind = GeometryError if errors[0].code == "grid" else InputError
        raise kind(" ".join(f.message for f in errors))
    return findings


def _missing(study: Study, needed: SeriesNeeded) -> list[Finding]:
    if not needed.lacking(study.volumes):
        return []
    if needed.met_by(study.volumes):
        present = tuple(m for m in needed.modalities if m in study.volumes)
        return [Finding("incomplete", "warning", rests_on(present, needed.modalities))]
    return _sentences("missing", lambda: study.require(needed), InputError)


def rests_on(present: Iterable[Modality], modalities: Iterable[Modality]) -> str:
    """What is to be known of a result that was made without some of the series."""
    used, lacking = list(present), [m for m in modalities if m not in present]
    sentence = (
        f"{_listed(lacking)} {'is' if len(lacking) == 1 else 'are'} missing: the result rests on {_listed(used)} alone "
        "and is less sure."
    )
    if Modality.T1CE in lacking:
        sentence += " Without T1ce, enhancing tumour and core cannot be told apart reliably."
    return sentence


def _listed(series: Iterable[Modality]) -> str:
    *first, last = [m.title for m in series]
    return f"{', '.join(first)} and {last}" if first else last


def _grids(study: Study) -> list[Finding]:
    reference = study.reference
    off = [v for v in study.volumes.values() if not v.grid.same_as(reference.grid)]
    if not off:
        return []
    if len(off) == 1:
        return _sentences("grid", lambda: study.require(SeriesNeeded((off[0].modality,))), GeometryError)
    listed = ", ".join(v.modality.title for v in off)
    return [Finding("grid", "error", f"{listed} lie on other grids than {reference.modality.title}. Align the series first: "
                    "napari-brainseg prepare registers them and resamples them onto one grid.")]  # fmt: skip


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


def _coverage(volumes: Mapping[Modality, Volume], comparable: bool) -> list[Finding]:
    """Series that are 0 in much of what most of the others show; every other voxel will do."""
    if not comparable or len(volumes) < 3:
        return []
    there = {m: brain(v.data)[::2, ::2, ::2] for m, v in volumes.items()}
    findings = []
    for m, own in there.items():
        others = np.sum([mask for k, mask in there.items() if k is not m], axis=0)
        most = others > (len(there) - 1) // 2
        covered = int(np.count_nonzero(own & most)) / max(1, int(np.count_nonzero(most)))
        if covered < COVERED:
            sentence = f"{named(volumes[m])} covers {100 * covered:.0f} % of the brain that the other series show"
            findings.append(
                Finding("coverage", "warning", f"{sentence}; elsewhere the result rests on those. Look there twice.")
            )
    return findings


def _geometry(study: Study) -> list[Finding]:
    return [
        Finding("geometry", "warning", f"Check where left and right are in {named(v)}: {v.note}.")
        for v in study.volumes.values()
        if v.note
    ]


def _spacing(study: Study) -> list[Finding]:
    low, high = SPACING_MM
    far = [v for v in study.volumes.values() if min(v.grid.spacing) < low or max(v.grid.spacing) > high]
    if not far:
        return []
    sides = {v.modality.title: f"{'×'.join(f'{s:.3g}' for s in v.grid.spacing)} mm" for v in far}
    alike = len(set(sides.values())) == 1 and len(far) == len(study.volumes) > 1
    listed = next(iter(sides.values())) if alike else "; ".join(f"{m} {mm}" for m, mm in sides.items())
    return [Finding("spacing", "warning", f"The voxels are far from 1 mm cubes ({listed}), which the models were trained on. "
                    "The result will be coarse or wrong; a 3D acquisition is better.")]  # fmt: skip


def _skull(volumes: Mapping[Modality, Volume], order: Mapping[Modality, Modality]) -> list[Finding]:
    on = [m.title for m in with_skull(volumes, order)]
    if not on:
        return []
    look = "looks" if len(on) == 1 else "look"
    return [Finding("skull", "warning", f"{', '.join(on)} {look} as if the skull were still on; the models were trained on "
                    "skull-stripped brains. "
                    "Strip the skull first: napari-brainseg prepare does it, or HD-BET.")]  # fmt: skip


def _order(order: Mapping[Modality, Modality]) -> list[Finding]:
    moved = [f"the file given as {m.title} looks like {to.title}" for m, to in order.items() if m is not to]
    if not moved:
        return []
    return [Finding("order", "warning", f"Series may be swapped: {', '.join(moved)}. Assign the files anew if so.")]


def _mask(study: Study) -> list[Finding]:
    mask = study.segmentation
    if mask is None or not mask.note:
        return []
    return [Finding("mask-coding", "warning", f"{mask.note}. If that is wrong, name the coding ({HOW_TO_SAY}).")]


def named(v: Volume) -> str:
    """The series and its file, for a sentence."""
    return f"{v.modality.title} ({v.path.name})" if v.path else v.modality.title

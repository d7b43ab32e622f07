"""Look through a data folder before training on it: what its cases hold, and what is wrong with which of them."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine.core.errors import BrainsegError, GeometryError
from brainseg_engine.core.events import Progress, ProgressCallback, silent
from brainseg_engine.core.geometry import SLICES_AFFINE, Grid
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality, Segmentation, SeriesNeeded, Study
from brainseg_engine.io import Layout, Series, load_segmentation, read_header, read_series, series_of, slices
from brainseg_engine.io.image import require_head
from brainseg_engine.io.unused import sentence
from brainseg_engine.scores.volumes import voxel_counts
from brainseg_engine.studies import cohort
from brainseg_engine.studies.checks import check_study

_log = logging.getLogger(__name__)
_THREADS = 4


@dataclass(frozen=True)
class CaseReport:
    """What was found of one case. ``labels``: class → voxels; ``empty``: the regions that its mask tells and has none of.

    ``errors`` make the case unusable for training, ``warnings`` do not. ``hashes``: of images (where they were read) and
    of the mask, unless it is empty → what they are of.
    """

    name: str
    source: Path
    layout: str = ""
    modalities: tuple[Modality, ...] = ()
    grid: Grid | None = None
    coding: str = ""
    labels: Mapping[Label, int] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    empty: tuple[Region, ...] = ()
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)
    patient: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        grid = self.grid
        return {
            "case": self.name,
            "patient": self.patient or cohort.patient_of(self.name),
            "source": str(self.source),
            "layout": self.layout,
            "modalities": [m.value for m in self.modalities],
            "shape": list(grid.shape) if grid else None,
            "spacing_mm": [round(s, 4) for s in grid.spacing] if grid and grid.calibrated else None,
            "orientation": grid.orientation if grid else None,
            "coding": self.coding or None,
            "labels": {label.name: n for label, n in self.labels.items()},
            "empty_regions": [r.value for r in self.empty],
            "errors": list(self.errors),
            "warnings": list(self.warnings),
        }


def survey(
    data: Path, *, coding: str | None = None, full: bool = False, progress: ProgressCallback = silent
) -> list[CaseReport]:
    """Every case of the folder, by name. Headers and masks are read; with ``full`` also the images' voxels.

    Raises InputError when there is no case at all; what is wrong with one is in its report.
    """
    cases = cohort.list_cases(data)
    reports: list[CaseReport] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for report in _in_order(pool, lambda case: look(case, coding, full), cases):
            progress(Progress(f"looking at {report.name}", len(reports) / len(cases)))
            reports.append(report)
    return _with_duplicates(reports)


def look(case: cohort.CohortCase, coding: str | None = None, full: bool = False) -> CaseReport:
    """One case; see :func:`survey`. Whatever is wrong with it stands in its report: it never raises."""
    try:
        return _look(case, coding, full)
    except Exception as e:  # one case that astonishes a library is no reason to leave the others out
        _log.debug("looking at %s failed", case.source, exc_info=True)
        return CaseReport(case.name, case.source, errors=(f"It cannot be used ({type(e).__name__}: {str(e)[:200]}).",))


def _look(case: cohort.CohortCase, coding: str | None, full: bool) -> CaseReport:
    report = CaseReport(case.name, case.source, patient=case.patient)
    try:
        series = series_of(case.source)
    except BrainsegError as e:
        return replace(report, errors=(str(e),))
    report = replace(
        report,
        layout=series.layout.value,
        modalities=tuple(series.files),
        warnings=(*series.notes, *filter(None, [sentence(series)])),
    )
    errors = list(series.problems)
    grids: dict[Modality, Grid] = {}
    try:
        grids = _grids(series)
        _require_one(grids)
    except BrainsegError as e:
        errors.append(str(e))
    report = replace(report, grid=next(iter(grids.values()), None), errors=tuple(errors))
    report = _with_mask(report, series, grids, coding)
    return _with_images(report, series) if full and grids else report


def summary(reports: Sequence[CaseReport]) -> dict[str, Any]:
    """The whole in numbers: how many cases have what. Values are counted, the most frequent first."""
    grids = [r.grid for r in reports if r.grid is not None]
    masked = [r for r in reports if r.labels]
    return {
        "cases": len(reports),
        "patients": len({r.patient or cohort.patient_of(r.name) for r in reports}),
        "unusable": sum(bool(r.errors) for r in reports),
        "without_mask": sum(not r.labels for r in reports),
        "layouts": _counted(r.layout for r in reports if r.layout),
        "modalities": {m.value: sum(m in r.modalities for r in reports) for m in Modality},
        "shapes": _counted("×".join(map(str, g.shape)) for g in grids),
        "spacings_mm": _counted("×".join(f"{s:.3g}" for s in g.spacing) if g.calibrated else "unknown" for g in grids),
        "orientations": _counted(g.orientation for g in grids),
        "codings": _counted(r.coding for r in masked),
        "labels": {
            label.name: n for label in Label if label and (n := sum(r.labels.get(label, 0) > 0 for r in masked))
        },
        "regions": {
            region.value: {
                "measured": sum(region in r.regions for r in masked),
                "empty": sum(region in r.empty for r in masked),
            }
            for region in Region
        },
    }


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[cohort.CohortCase], CaseReport], cases: Sequence[cohort.CohortCase]
) -> Iterator[CaseReport]:
    """As ``pool.map``; what was not begun is dropped when the caller stops."""
    waiting = [pool.submit(work, case) for case in cases]
    try:
        for future in waiting:
            yield future.result()
    finally:
        for future in waiting:
            future.cancel()


def _grids(series: Series) -> dict[Modality, Grid]:
    """Where each series is, from the headers alone."""
    if series.layout is Layout.SLICES:
        slices_there = slices.list_slices(next(iter(series.files.values())))
        sizes = {slices.header(path) for path in slices_there.images.values()}
        if len(sizes) > 1 or len(slices_there.images) < 2:
            read_series(series)  # says what is wrong
        width, height = sizes.pop()
        grid = Grid((width, height, len(slices_there.images)), SLICES_AFFINE, calibrated=False)
        return dict.fromkeys(series.files, grid)
    grids = {m: read_header(path).grid for m, path in series.files.items()}
    for m, path in series.files.items():
        require_head(grids[m], path)
    return grids


def _require_one(grids: Mapping[Modality, Grid]) -> None:
    first = next(iter(grids), None)
    for m, grid in grids.items():
        if first is not None and not grid.same_as(grids[first]):
            raise GeometryError(
                f"{m.title} lies on another grid than {first.title} ({'×'.join(map(str, grid.shape))} and "
                f"{'×'.join(map(str, grids[first].shape))} voxels, {grid.orientation} and {grids[first].orientation}). Register "
                "the series and resample them onto one grid."
            )


def _with_mask(report: CaseReport, series: Series, grids: Mapping[Modality, Grid], coding: str | None) -> CaseReport:
    if series.segmentation is None:
        if "mask" in series.ambiguous:
            return report
        return replace(
            report, warnings=(*report.warnings, "It has no mask, so it can be neither trained on nor scored.")
        )
    try:
        mask = load_segmentation(series.segmentation, coding=coding, implied=series.coding, grid=report.grid)
    except BrainsegError as e:
        return replace(report, errors=(*report.errors, str(e)))
    voxels = voxel_counts(mask.labels, mask.regions)
    counts = np.bincount(mask.labels.ravel(), minlength=len(Label))
    return replace(
        report,
        coding=mask.coding,
        warnings=(*report.warnings, *([f"{mask.note}."] if mask.note else [])),
        labels={label: int(counts[label]) for label in Label if counts[label]},
        regions=mask.regions,
        empty=tuple(r for r, n in voxels.items() if not n),
        hashes=_mask_hash(mask),
    )


def _mask_hash(mask: Segmentation) -> dict[str, str]:
    if not mask.labels.any():
        return {}
    digest = hashlib.sha256(repr(mask.grid.shape).encode() + np.ascontiguousarray(mask.labels).tobytes())
    return {digest.hexdigest(): "mask"}


def _with_images(report: CaseReport, series: Series) -> CaseReport:
    try:
        volumes = read_series(series)
    except BrainsegError as e:
        return replace(report, errors=tuple(dict.fromkeys((*report.errors, str(e)))))
    findings = check_study(Study(series.id, volumes, folder=series.folder), SeriesNeeded(tuple(volumes)))
    messages = {kind: [f.message for f in findings if f.severity == kind] for kind in ("error", "warning")}
    grid_reported = any(f.code == "grid" for f in findings)  # the check says it with the files' names
    errors = [e for e in report.errors if not (grid_reported and "lies on another grid than" in e)]
    return replace(
        report,
        errors=(*errors, *messages["error"]),
        warnings=(*report.warnings, *messages["warning"]),
        hashes={**report.hashes, **{v.sha256: m.title for m, v in volumes.items()}},
    )


def _with_duplicates(reports: Sequence[CaseReport]) -> list[CaseReport]:
    """Each case that holds what an earlier one holds gets a warning; an error where they are of different patients."""
    owner: dict[str, CaseReport] = {}
    out = []
    for report in reports:
        twin = next((owner[h] for h in report.hashes if h in owner), None)
        for h in report.hashes:
            owner.setdefault(h, report)
        if twin is not None:
            what = " and ".join(t for h, t in report.hashes.items() if h in twin.hashes)
            which = "are those" if " and " in what else "is that"
            messages = f"Its {what} {which} of {twin.name}: it is the same case twice. Take one away."
            report = replace(report, errors=(*report.errors, messages))
        out.append(report)
    return out


def _counted(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())

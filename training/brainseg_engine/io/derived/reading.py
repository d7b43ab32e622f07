"""DICOM SEG and RTSTRUCT, whoever wrote them, as masks on the series they refer to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import plain
from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, Mask, Region, labels_from_regions
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io.derived.contours import filled
from brainseg_engine.io.derived.needed import pydicom
from brainseg_engine.io.derived.source import LPS, listed, series_uid
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.io.image import unreadable

SEG, LABELMAP, RTSTRUCT = (
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.66.7",
    "1.2.840.10008.5.1.4.1.1.481.3",
)
_NEAR = 0.25  # of a voxel: how far a frame's pixels may lie from the series'

_WORDS: tuple[tuple[str, str], ...] = (
    ("WT", r"\bwt\b|whole[ _-]?tumou?r"),
    ("TC", r"^(?!.*enhanc).*(\btc\b|tumou?r[ _-]?core)"),
    ("ED", r"surrounding|hyperintens"),  # of "surrounding non-enhancing FLAIR hyperintensity"
    ("NCR", r"\bnc?r\b|\bncr|necro|non[ _-]?enhanc|\bnetc?\b"),
    ("ED", r"\bed\b|o?edema|\bsnfh\b|flair"),
    ("ET", r"\bet\b|enhanc"),
    ("WT", r"^(gross )?(tumou?r|neoplasm|glioma|glioblastoma|gtv)\b"),
)
"""What names of segments say, looked at in this order."""

_CODES: Mapping[str, str] = {
    "C113842": "ET", "C81175": "NCR", "79654002": "ED", "6574001": "NCR", "108369006": "WT", "86049000": "TC",
    "M-54000": "NCR", "M-36300": "ED", "M-80003": "WT",
}  # fmt: skip
"""The standard's codes, where the name says nothing (other programs code the same parts differently); the last line is of
SRT, which older versions of 3D Slicer write."""


def is_derived(path: Path) -> bool:
    """True for a DICOM file that is a SEG or an RTSTRUCT. Raises InputError where pydicom is missing."""
    try:
        with plain.opened(path) as f:
            if f.read(132)[128:] != b"DICM":
                return False
    except OSError:
        return False
    dicom = pydicom()
    try:
        with quiet():
            dataset = dicom.dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
    except Exception:  # whatever pydicom raises for what is damaged
        return False
    return str(dataset.get("SOPClassUID", "")) in (SEG, LABELMAP, RTSTRUCT)


def read_derived(path: Path, grid: Grid | None = None, images: Path | None = None) -> Segmentation:
    """The mask in a SEG or RTSTRUCT, on ``grid``, else on the series it refers to, which is looked for in the folder
    ``images`` (by default the file's own) and below.

    Raises InputError when the file is neither, tells of no tumour, or its series is not there; GeometryError when it was
    drawn on other voxels.
    """
    dicom = pydicom()
    try:
        with quiet():
            d = dicom.dcmread(path)
            kind = str(d.SOPClassUID)
    except OSError as e:
        raise unreadable(path, e) from e
    except Exception as e:  # pydicom raises anything for what is damaged
        raise InputError(f"{path} cannot be read as DICOM: it is damaged, or something else. Export it again.") from e
    if kind not in (SEG, LABELMAP, RTSTRUCT):
        kind_name = dicom.uid.UID(kind).name
        raise InputError(f"{path} is neither a DICOM SEG nor an RTSTRUCT ({kind_name}). Choose the mask.")
    try:
        target = grid if grid is not None else _grid_of_source(d, path, images)
        with quiet():
            masks, other = _roi_masks(d, target) if kind == RTSTRUCT else _segment_masks(d, target)
            made_by = _author(d)
    except GeometryError as e:
        raise GeometryError(f"{path} was drawn on other voxels than those of the series ({e}).") from e
    except InputError:
        raise
    except Exception as e:
        raise InputError(f"{path} is damaged ({type(e).__name__}). Export it again.") from e
    if not masks:
        held = ", ".join("".join(c for c in name if c.isprintable())[:40] for name in other[:12]) or "none"
        raise InputError(f"{path} holds no part of a brain tumour; its segments are: {held}.")
    return segmentation_of(masks, target, made_by, path)


def _grid_of_source(d: Any, path: Path, images: Path | None) -> Grid:
    wanted = set(_series_uids(d))
    folder = images or path.parent
    try:
        sources = [s for s in listed(folder) if series_uid(s) in wanted]
    except InputError:  # a folder without any image
        sources = []
    if not sources or sources[0].grid is None:
        raise InputError(
            f"{path} refers to a series that is not in {folder} (or not an even stack of slices). Put the images beside "
            "it, or name their folder."
        )
    return sources[0].grid


def _series_uids(d: Any) -> Iterator[str]:
    for series in d.get("ReferencedSeriesSequence") or []:
        yield str(series.SeriesInstanceUID)
    for frame in d.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                yield str(series.SeriesInstanceUID)


def _segment_masks(d: Any, grid: Grid) -> tuple[dict[str, Mask], list[str]]:
    """Part → mask on the grid, and the names of the segments that are none of ours."""
    parts: dict[int, str] = {}
    other = []
    for segment in d.SegmentSequence:
        codes = [str(c.get("CodeValue", "")) for c in segment.get("SegmentedPropertyTypeCodeSequence") or []]
        part = part_of(str(segment.get("SegmentLabel", "")), codes)
        if part:
            parts[int(segment.SegmentNumber)] = part
        elif int(segment.SegmentNumber):
            other.append(str(segment.get("SegmentLabel", "")))
    masks: dict[str, Mask] = {}
    pixels = d.pixel_array.reshape(int(d.NumberOfFrames), int(d.Rows), int(d.Columns))
    threshold = float(d.get("MaximumFractionalValue", 1)) / 2 if d.get("SegmentationType") == "FRACTIONAL" else 0
    shared = d.SharedFunctionalGroupsSequence[0]
    for frame, own in zip(pixels, d.PerFrameFunctionalGroupsSequence, strict=True):
        for number, mask in _in_frame(d, own, shared, frame, threshold):
            if number in parts and mask.any():
                whole = masks.setdefault(parts[number], np.zeros(grid.shape, dtype=np.bool_))
                whole[_places(own, shared, mask, grid)] = True
    for part in parts.values():
        masks.setdefault(part, np.zeros(grid.shape, dtype=np.bool_))
    return masks, other


def _in_frame(d: Any, own: Any, shared: Any, frame: NDArray[Any], threshold: float) -> Iterator[tuple[int, Mask]]:
    """(segment number, mask) of a frame: one, or all that a label map holds."""
    if str(d.SOPClassUID) == LABELMAP or d.get("SegmentationType") == "LABELMAP":
        for number in np.unique(frame[frame > 0]).tolist():
            yield int(number), frame == number
    else:
        groups = own if "SegmentIdentificationSequence" in own else shared
        yield int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber), frame > threshold


def _places(own: Any, shared: Any, mask: Mask, grid: Grid) -> tuple[NDArray[np.intp], ...]:
    """The voxels of the grid where the set pixels of a frame lie. GeometryError when they lie between voxels, or outside."""

    def group(name: str) -> Any:
        return (own if name in own else shared)[name].value[0]

    position = np.array([float(v) for v in group("PlanePositionSequence").ImagePositionPatient])
    orientation = np.array([float(v) for v in group("PlaneOrientationSequence").ImageOrientationPatient])
    spacing = [float(v) for v in group("PixelMeasuresSequence").PixelSpacing]
    rows, columns = np.nonzero(mask)
    points = position + np.outer(columns * spacing[1], orientation[:3]) + np.outer(rows * spacing[0], orientation[3:])
    index = grid.to_index(points @ LPS[:3, :3])
    nearest = np.rint(index).astype(np.intp)
    if np.abs(index - nearest).max() > _NEAR:
        raise GeometryError("its pixels lie between the voxels")
    if (nearest < 0).any() or (nearest >= np.array(grid.shape)).any():
        raise GeometryError("it reaches outside")
    return tuple(nearest.T)


def _roi_masks(d: Any, grid: Grid) -> tuple[dict[str, Mask], list[str]]:
    names = {int(r.ROINumber): str(r.get("ROIName", "")) for r in d.StructureSetROISequence}
    masks: dict[str, Mask] = {}
    known = {number: part_of(name, ()) for number, name in names.items()}
    for roi in d.get("ROIContourSequence") or []:
        part = known.get(int(roi.ReferencedROINumber), "")
        if part:
            whole = masks.setdefault(part, np.zeros(grid.shape, dtype=np.bool_))
            whole |= _filled(roi, grid)
    return masks, [names[n] for n, part in known.items() if not part]


def _filled(roi: Any, grid: Grid) -> Mask:
    """What the contours of a ROI enclose: the voxels whose centres lie in an odd number of them.

    The axis across which they were drawn need not be the grid's last one: a study may come from another program's files.
    """
    slices: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for contour in roi.get("ContourSequence") or []:
        points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
        if len(points) < 3:
            continue  # a point or a line encloses nothing
        index = grid.to_index(points @ LPS[:3, :3])
        across = int(np.ptp(index, axis=0).argmin())
        at = round(float(index[:, across].mean()))
        if np.abs(index[:, across] - at).max() > _NEAR:
            raise GeometryError("its contours lie between the slices")
        if not 0 <= at < grid.shape[across]:
            raise GeometryError("it reaches outside")
        slices.setdefault((across, at), []).append(np.delete(index, across, axis=1))
    out: Mask = np.zeros(grid.shape, dtype=np.bool_)
    for (across, at), polygons in slices.items():
        first, second = (n for axis, n in enumerate(grid.shape) if axis != across)
        place = tuple(at if axis == across else slice(None) for axis in range(3))
        out[place] |= filled(polygons, (first, second))
    return out


def part_of(name: str, codes: Any) -> str:
    """The class or region that a segment's name says, else its codes; "" for none."""
    plain = name.replace("_", " ").strip().lower()
    for part, words in _WORDS:
        if re.search(words, plain):
            return part
    return next((_CODES[c] for c in codes if c in _CODES), "")


def segmentation_of(masks: Mapping[str, Mask], grid: Grid, made_by: str, path: Path) -> Segmentation:
    """Masks of classes and regions as one segmentation, nested; it measures the regions that they tell."""
    empty: Mask = np.zeros(grid.shape, dtype=np.bool_)
    et = masks.get("ET", empty)
    tc = masks.get("TC", empty) | masks.get("NCR", empty) | et
    wt = masks.get("WT", empty) | masks.get("ED", empty) | tc
    regions = tuple(Region)
    if set(masks) == {"WT"}:
        labels, regions = np.where(wt, np.uint8(Label.TUMOUR), np.uint8(0)), (Region.WT,)
    else:
        labels = labels_from_regions(wt, tc, et)
        region_of = {"ET": Region.ET, "TC": Region.TC, "NCR": Region.TC, "WT": Region.WT, "ED": Region.WT}
        regions = tuple(r for r in Region if r in {region_of[m] for m in masks})
    coding = "lgg" if regions == (Region.WT,) and set(masks) == {"WT"} else "brats2023"
    return Segmentation(labels, grid, coding, made_by, regions, path)


def _author(d: Any) -> str:
    for segment in d.get("SegmentSequence") or []:
        for algorithm in segment.get("SegmentationAlgorithmIdentificationSequence") or []:
            return f"{algorithm.get('AlgorithmName', '')} {algorithm.get('AlgorithmVersion', '')}".strip()
    for roi in d.get("StructureSetROISequence") or []:
        return str(roi.get("ROIGenerationDescription", ""))
    return ""

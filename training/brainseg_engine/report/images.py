"""The DICOM series of a study, de-identified: copies without names, and without a face unless that is wanted.

A copy has the slices, the places and the frame of reference of its series, under other UIDs, which the SEG, RTSTRUCT and SR
of the same export refer to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Modality
from brainseg_engine.io.derived.deidentify import Pseudonym, deidentified
from brainseg_engine.io.derived.needed import pydicom
from brainseg_engine.io.derived.source import series_uid
from brainseg_engine.io.dicom.pixels import stored_frames
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.io.found import ImageSeries, SliceSource
from brainseg_engine.io.listing import list_series, volume_of
from brainseg_engine.report.hidden import Deidentify
from brainseg_engine.studies.incoming import choose, identified

_EXPLICIT = "1.2.840.10008.1.2.1"
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def of_study(folder: Path, own: ImageSeries) -> dict[str, ImageSeries]:
    """Name → series to be copied: the four that the study is segmented from, as far as they are found, and ``own``."""
    chosen: Mapping[Modality, ImageSeries] = {}
    try:
        listing = list_series(folder)
        mine = [(p, v) for p in listing.patients for v in p.visits if any(s.facts.id == own.facts.id for s in v.series)]
        chosen = identified(*(mine[0] if mine else choose(listing, folder)), voxels=False).chosen()
    except BrainsegError:  # nothing tells which series is which: the one that was segmented is copied alone
        chosen = {}
    named = {m.title: s for m, s in chosen.items() if s.slices}
    if all(series_uid(s) != series_uid(own) for s in named.values()):
        named["segmented"] = own
    return named


def title_of(named: Mapping[str, ImageSeries], series: ImageSeries) -> str:
    """The name of one of them."""
    return next((name for name, s in named.items() if series_uid(s) == series_uid(series)), "")


def copies(series: ImageSeries, title: str, how: Deidentify, tumour: Mask | None) -> Iterator[Any]:
    """The de-identified datasets of one series, in the order of its slices.

    ``tumour`` (X, Y, Z) on its grid is kept wherever it lies. Raises InputError where a picture has writing in it, cannot be
    decoded, or no brain is found.
    """
    kept: Mask | None = None
    if how.brain is not None:
        volume = volume_of(series, Modality(title.lower()) if title.lower() in tuple(Modality) else Modality.T1)
        kept = how.brain(volume)
        kept = kept | tumour if kept is not None and tumour is not None else kept
    by_file: dict[Path, list[SliceSource]] = {}
    for s in sorted(series.slices, key=lambda s: s.k):
        by_file.setdefault(s.path, []).append(s)
    with quiet():
        stored = {path: np.stack(stored_frames(path, range(_count(path)))) for path in by_file}
    lowest = min(frames.min() for frames in stored.values())
    for path, slices in by_file.items():
        frames = stored[path] if kept is None else _only(stored[path], slices, kept, lowest)
        yield _copy(path, frames, title, how)


def _count(path: Path) -> int:
    dataset = pydicom().dcmread(path, force=True, specific_tags=["NumberOfFrames"])
    return int(dataset.get("NumberOfFrames") or 1)


def _copy(path: Path, frames: NDArray[Any], title: str, how: Deidentify) -> Any:
    dicom = pydicom()
    with quiet():
        given = dicom.dcmread(path, force=True)
        if str(given.get("BurnedInAnnotation", "")) == "YES" or str(given.get("SOPClassUID", "")) == _SECONDARY:
            raise InputError(
                f"{path} may have names written into its pixels. Leave its series out, or take it from the scanner."
            )
        pseudonym = Pseudonym.of(how.pseudonyms, given, how.face)
        inverted = given.get("PhotometricInterpretation") == "MONOCHROME1"
        del given.PixelData
        out = deidentified(given, pseudonym, title)
    _put(out, frames, inverted)
    out.BurnedInAnnotation, out.RecognizableVisualFeatures = "NO", "YES" if how.face else "NO"
    out.file_meta = dicom.dataset.FileMetaDataset()
    out.file_meta.TransferSyntaxUID = dicom.uid.UID(_EXPLICIT)
    out.file_meta.MediaStorageSOPClassUID, out.file_meta.MediaStorageSOPInstanceUID = (
        out.SOPClassUID,
        out.SOPInstanceUID,
    )
    return out


def _only(frames: NDArray[Any], slices: list[SliceSource], kept: Mask, lowest: Any) -> NDArray[Any]:
    """The frames (frames, rows, columns) with the value ``lowest`` wherever ``kept`` (X, Y, Z) is not."""
    inside = np.zeros(frames.shape, dtype=np.bool_)
    for s in slices:
        inside[s.frame - 1] = kept[:, :, s.k].T
    return np.where(inside, frames, lowest).astype(frames.dtype)


def _put(out: Any, frames: NDArray[Any], inverted: bool) -> None:
    if inverted:  # they were decoded as white on black
        out.PhotometricInterpretation = "MONOCHROME2"
        for keyword in ("WindowCenter", "WindowWidth", "PresentationLUTShape", "PixelPaddingValue"):
            out.pop(keyword, None)
    bits = 8 * frames.dtype.itemsize
    out.BitsAllocated, out.PixelRepresentation = bits, int(frames.dtype.kind == "i")
    raw = np.ascontiguousarray(frames, dtype=frames.dtype.newbyteorder("<")).tobytes()
    out.PixelData = raw + b"\0" * (len(raw) % 2)
    out["PixelData"].VR = "OB" if bits == 8 else "OW"

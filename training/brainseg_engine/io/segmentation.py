"""Masks: read from any named coding, written in the study's own with the header of the image they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core import labels as codings
from brainseg_engine.core import records
from brainseg_engine.core.errors import CodingError, GeometryError, OutputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region
from brainseg_engine.core.paths import atomic
from brainseg_engine.core.study import Modality, Segmentation, Volume
from brainseg_engine.io import decathlon, mha, nifti, plausibility, slices
from brainseg_engine.io.derived import reading as derived
from brainseg_engine.io.derived import slicer
from brainseg_engine.io.formats import read_header, read_image
from brainseg_engine.io.image import Image, in_words, require_head
from brainseg_engine.io.naming import classify, implied_coding, is_image, study_id
from brainseg_engine.io.pair import standing_for
from brainseg_engine.io.sidecars import (
    fingerprints,
    own_sidecar,
    read_sidecar,
    sidecar_path,
    sidecar_state,
    sound_object,
)

_NEAR = 0.01
"""Values this close to whole numbers are those: what a scale in a header leaves of them. Interpolation leaves more."""
_EGD = re.compile(r"(?:^|/)(?:MR_)?EGD-\d+/\d+_MASK/(?:NIFTI/)?MASK\.nii(?:\.gz)?$", re.IGNORECASE)
"""Its masks outline the whole tumour (van der Voort et al. 2021, doi:10.1016/j.dib.2021.107191)."""
_MANY = 20  # a mask has a handful of classes; more values than this are an image


@in_words
def load_segmentation(
    path: Path | str,
    *,
    coding: str | None = None,
    grid: Grid | None = None,
    implied: str | None = None,
    t1ce: Path | None = None,
) -> Segmentation:
    """The mask in that file, or in that folder of slices, as canonical labels.

    A DICOM SEG or RTSTRUCT needs the series it refers to in its folder, or ``grid``; its segments tell what they are.

    Its coding is given by ``coding``, else by our own sidecar, else by its data set's description or the file naming
    (``implied`` when the caller knows it, otherwise that of the files beside the mask); else CodingError names the
    choices. What the naming tells is judged by the values, and where these leave two readings, by the file ``t1ce`` or the
    T1ce beside the mask (:mod:`brainseg_engine.io.plausibility`). With ``grid``, a mask on another grid is refused
    (GeometryError). InputError when the file cannot be used.
    """
    path = standing_for(Path(path))
    if path.is_dir():
        return _on_grid(slices.read_mask(path, coding), grid, path)
    if derived.is_derived(path):
        return derived.read_derived(path, grid)
    if slicer.is_slicer(path) and coding is None:
        seg = slicer.read_slicer(path)
        seg = _on_grid(seg if grid is None else slicer.placed(seg, grid), grid, path)
        plausibility.require_no_brain(seg.labels, seg.grid, path)
        return seg
    return _from_image(path, coding, grid, implied, t1ce)


def _from_image(
    path: Path, coding: str | None, grid: Grid | None, implied: str | None, t1ce: Path | None
) -> Segmentation:
    """The mask in that file of voxels; see :func:`load_segmentation`."""
    image = read_image(path)
    own = image.grid
    require_head(own, path)
    if grid is not None and not own.same_as(grid):
        raise off_grid(path, own, grid, "its images")
    values = _integers(image, path)
    name, origin = coding_of(path, coding, implied)
    note = ""
    if origin != "sidecar":  # what we wrote ourselves is what it says
        plausibility.require_no_brain(values, own, path, lambda: _t1ce(path, own, t1ce))
    if origin == "file naming":
        name, note = plausibility.judged(name, values, path, lambda: _t1ce(path, own, t1ce))
    table = codings.coding(name)
    # a coding by hand needs no sound sidecar
    written = own_sidecar(path) if coding else read_sidecar(path)
    return Segmentation(
        labels=_canonical(values, table, path),
        grid=own,
        coding=table.name,
        made_by=_made_by(written),
        regions=_measured(written, table.name),
        path=path,
        note=note,
        edited=written.get("edited") is True,
    )


def _on_grid(seg: Segmentation, grid: Grid | None, path: Path) -> Segmentation:
    """The segmentation. Raises GeometryError where it does not lie on ``grid``, if one is wanted."""
    if grid is not None and not seg.grid.same_as(grid):
        raise off_grid(path, seg.grid, grid, "its images")
    return seg


def _t1ce(mask: Path, grid: Grid, path: Path | None) -> NDArray[Any] | None:
    """The T1ce of the mask's study, if it lies on its grid: the file given, else the one beside the mask with its id."""
    beside = [path] if path is not None else _t1ce_beside(mask)
    if len(beside) != 1 or not read_header(beside[0]).grid.same_as(grid):
        return None
    return read_image(beside[0]).data


def _t1ce_beside(mask: Path) -> list[Path]:
    images = sorted(p for p in mask.parent.iterdir() if is_image(p))
    own = study_id([mask.name])
    named = zip(images, classify([p.name for p in images]), strict=True)
    series = [p for p, kind in named if kind is Modality.T1CE]
    return series if len(series) == 1 else [p for p in series if own and study_id([p.name]) == own]


@in_words
def coding_of(path: Path, coding: str | None = None, implied: str | None = None) -> tuple[str, str]:
    """The mask's coding and its origin: "option", "sidecar", "dataset.json" or "file naming". CodingError when there is none."""
    if coding:
        return codings.coding(coding).name, "option"
    if path.is_dir():
        return "lgg", "file naming"
    if slicer.is_slicer(path):
        return "brats2023", "segments' names"
    written = read_sidecar(path).get("coding")
    if written is not None:
        return codings.coding(str(written)).name, "sidecar"
    described = decathlon.implied_coding(path)
    if described:
        return described, decathlon.DESCRIPTION
    if _EGD.search(path.as_posix()):
        return codings.coding("1=TUMOUR").name, "layout of the Erasmus Glioma Database"
    home = [path.parent.name] if is_image(path.parent) else []  # a folder with a whole file's name, as Kaggle unpacks
    name = implied_coding([*_names_beside(path), path.name, *home]) if implied is None else implied
    if name:
        return name, "file naming"
    other = (
        "" if sidecar_state(path) in ("whole", "none") else f" ({sidecar_path(path).name} was written for another mask)"
    )
    raise CodingError(
        f"Nothing tells the label coding of {path}{other}. Say which it is ({codings.HOW_TO_SAY}); {codings.choices()}"
    )


def save_segmentation(
    seg: Segmentation,
    path: Path | str,
    *,
    reference: Volume | None = None,
    coding: str | None = None,
    sidecar: Mapping[str, Any] | None = None,
) -> None:
    """Write the mask as ``.nii.gz``, ``.nii`` or ``.mha``: all of it or nothing, also when interrupted.

    It takes the header of ``reference`` (forms, codes, units), and the coding given, else the mask's own. With
    ``sidecar``, ``<stem>.json`` beside it holds that, the coding and the mask's hash: a pair that a kill tore is known by it
    (:func:`sidecar_state`). Missing folders are made. Raises OutputError,
    CodingError for a class that the coding lacks, GeometryError when the mask is not on the reference's grid.
    """
    path = Path(path)
    table = codings.coding(coding or seg.coding)
    if reference is not None and not seg.grid.same_as(reference.grid):
        raise off_grid(path, seg.grid, reference.grid, "its reference series")
    values = table.from_canonical(seg.labels, f"The mask for {path.name}")
    beside = sidecar_path(path)
    if sidecar is None and "coding" in sound_object(beside):
        sidecar = {}  # the one of an older mask would go on to tell a coding, now a wrong one
    with ExitStack() as files:
        part = files.enter_context(_opened(path))
        _write(values, seg.grid, part, path, reference.header if reference is not None else None)
        if sidecar is not None:
            content = {**sidecar, "coding": table.name, **fingerprints(part, path)}
            files.enter_context(atomic(beside)).write_text(records.dumps(content, indent=2) + "\n", encoding="utf-8")


def save_volume(data: NDArray[Any], grid: Grid, path: Path | str, *, header: Any = None) -> None:
    """Write an image, all or nothing: uint8 and bool as uint8, everything else as float32. May raise OutputError."""
    path = Path(path)
    if data.shape != grid.shape:
        raise ValueError(f"data {data.shape} does not fit its grid {grid.shape}")
    kind = np.uint8 if data.dtype in (np.dtype(np.uint8), np.dtype(np.bool_)) else np.float32
    with _opened(path) as part:
        _write(np.asarray(data, dtype=kind), grid, part, path, header)


def require_on_grid(mask: Segmentation, volumes: Iterable[Volume]) -> None:
    """Raise GeometryError unless the mask lies on the grid of one of its images."""
    volumes = list(volumes)
    if not any(mask.grid.same_as(v.grid) for v in volumes):
        raise off_grid(mask.path or Path("The mask"), mask.grid, volumes[0].grid, "its images")


def off_grid(path: Path, own: Grid, expected: Grid, what: str) -> GeometryError:
    """The sentence for a mask that lies on another grid than its images."""
    if own.shape == expected.shape:
        return GeometryError(
            f"{path} lies elsewhere than {what}: {own.difference(expected)}. If it was drawn on their voxels, save it "
            "again with their header; if not, resample it onto their grid."
        )
    size, other = ("×".join(str(n) for n in g.shape) for g in (own, expected))
    differ = f"{size} voxels, and {what} {other}"
    return GeometryError(f"{path} lies on another grid: it has {differ}. Resample the mask onto that of the images.")


def _opened(path: Path) -> Any:
    """The context of an atomic write, its folder made. OutputError for endings and places that cannot be."""
    if not path.name.lower().endswith((".nii", ".nii.gz", ".mha")):
        raise OutputError(f"Cannot write {path}: its name must end in .nii.gz, .nii or .mha.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        taken = path.is_dir()
    except (OSError, ValueError) as e:
        why = (e.strerror if isinstance(e, OSError) else None) or e
        raise OutputError(f"Cannot write into {path.parent}: {why}. Choose another place.") from e
    if taken:
        raise OutputError(f"Cannot write {path}: it is a folder. Choose another name.")
    return atomic(path)


def _write(data: NDArray[Any], grid: Grid, part: Path, path: Path, header: Any) -> None:
    if path.name.lower().endswith(".mha"):
        mha.write(data, grid, part)
    else:
        part.write_bytes(nifti.encode(data, grid, header, compress=path.name.lower().endswith(".gz")))


def _integers(image: Image, path: Path) -> NDArray[Any]:
    """The mask's values as integers. CodingError for what no mask holds."""
    data = image.data
    low, high = float(data.min()), float(data.max())
    if data.dtype.kind == "f":
        if not np.isfinite(low) or not np.isfinite(high):
            raise CodingError(f"{path} holds NaN or infinite values, so it is no mask. Export it again.")
        whole = np.rint(data)
        if max(abs(low), abs(high)) > 2**31 or np.abs(data - whole).max() > _NEAR:
            raise CodingError(
                f"{path} holds fractional values: it was interpolated, or it is no mask. "
                "Export it again (resample masks with nearest neighbour), or choose the right file."
            )
        data, low, high = whole, round(low), round(high)
    return data.astype(np.uint8 if low >= 0 and high <= 255 else np.int64, copy=False)


def _canonical(values: NDArray[Any], table: codings.Coding, path: Path) -> codings.LabelArray:
    try:
        return table.to_canonical(values, str(path))
    except CodingError:
        held = np.unique(values)
        if len(held) <= _MANY:
            raise
        raise CodingError(
            f"{path} holds {len(held)} different values ({held[0]} to {held[-1]}): it is an image, not a mask. "
            "Choose the mask."
        ) from None


def _names_beside(path: Path) -> list[str]:
    """The images beside a mask that share its id: their names may tell what its own does not."""
    own = study_id([path.name])
    try:
        return [p.name for p in path.parent.iterdir() if is_image(p) and own and study_id([p.name]) == own]
    except OSError:
        return []


def _made_by(written: Mapping[str, Any]) -> str:
    if "made_by" in written:
        return str(written["made_by"])
    return " ".join(str(written[k]) for k in ("model", "model_version") if written.get(k))


def _measured(written: Mapping[str, Any], coding: str) -> tuple[Region, ...]:
    """The regions a mask tells of: all of them, unless its sidecar (``regions``) or its coding says otherwise."""
    if set(codings.coding(coding).values.values()) <= {codings.Label.BACKGROUND, codings.Label.TUMOUR}:
        return (Region.WT,)
    regions = written.get("regions")
    if isinstance(regions, dict):
        regions = [name for name, value in regions.items() if value is not None]
    known = tuple(r for r in Region if isinstance(regions, list) and r.value in regions)
    return known or tuple(Region)

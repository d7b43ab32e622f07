"""A brain tumour study as a hospital exports it: four series among those that are always beside them, as DICOM.

For the demo, the tests and the benchmarks. Series are named and timed as Siemens, GE and Philips name and time them in their
public protocols; beside the four lie localisers, diffusion, perfusion, susceptibility, angiograms, reformats and maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.phantom.dicom import Person, SeriesPlan, Vendor, new_person, write_series


def grid_of(
    shape: tuple[int, int, int] = (24, 28, 8),
    spacing: tuple[float, float, float] = (0.9, 0.9, 5.5),
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    orientation: str = "LPS",
) -> Grid:
    """A grid about the origin: axes as the codes say, then turned by these angles about x, y and z."""
    from scipy.spatial.transform import Rotation

    columns = {
        c: s * np.eye(3)[i] for i, pair in enumerate(("RL", "AP", "SI")) for c, s in zip(pair, (1, -1), strict=True)
    }
    turned = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turned @ np.stack([columns[c] for c in orientation], axis=1) @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def ball(grid: Grid, seed: int = 0) -> NDArray[Any]:
    """Stored values, uint16: a textured ball in the middle of the grid, so that no two places look the same."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    world = grid.to_world(index)
    radius = 0.45 * float(np.min(np.array(grid.shape) * grid.spacing))
    inside = np.linalg.norm(world - grid.to_world((np.array(grid.shape) - 1) / 2), axis=-1) < radius
    noise = np.random.default_rng(seed).integers(0, 300, grid.shape)
    values: NDArray[Any] = inside * 800 + noise + (world[..., 2] > 0) * 40
    return values.astype(np.uint16)


# --- a clinical study -----------------------------------------------------------------------------------------------------

TIMING: Mapping[Modality, Mapping[str, Any]] = {
    Modality.T1: {"RepetitionTime": "550", "EchoTime": "9", "FlipAngle": "90", "ScanningSequence": "SE"},
    Modality.T1CE: {"RepetitionTime": "550", "EchoTime": "9", "FlipAngle": "90", "ScanningSequence": "SE",
                    "ContrastBolusAgent": "Gadovist"},
    Modality.T2: {"RepetitionTime": "4500", "EchoTime": "95", "FlipAngle": "150", "ScanningSequence": "SE"},
    Modality.FLAIR: {"RepetitionTime": "9000", "EchoTime": "110", "InversionTime": "2500", "ScanningSequence": ["SE", "IR"]},
}  # fmt: skip
NAMES: Mapping[Vendor, Mapping[Modality, str]] = {
    "SIEMENS": {Modality.T1: "t1_tse_tra", Modality.T1CE: "t1_tse_tra_km", Modality.T2: "t2_tse_tra",
                Modality.FLAIR: "t2_tirm_tra_dark-fluid"},
    "GE": {Modality.T1: "AX T1 FSE", Modality.T1CE: "AX T1 FSE +C", Modality.T2: "AX T2 FRFSE", Modality.FLAIR: "AX T2 FLAIR"},
    "Philips": {Modality.T1: "T1W_TSE", Modality.T1CE: "T1W_TSE_GD", Modality.T2: "T2W_TSE", Modality.FLAIR: "FLAIR_longTR"},
}  # fmt: skip


def write_clinical(
    folder: Path,
    study: Study,
    *,
    vendor: Vendor = "SIEMENS",
    syntax: str = "explicit",
    enhanced: bool = False,
    thickness_mm: float | None = 5.5,
    tilt: float = 6.0,
    distractors: int = 15,
    person: Person | None = None,
    nested: bool = True,
) -> Person:
    """The study's volumes as four series (each in its own slightly turned, thick stack), and ``distractors`` others.

    ``thickness_mm`` None writes each volume on its own grid, voxel for voxel. Returns the made-up patient.
    """
    person = person or new_person()
    for i, (modality, volume) in enumerate(study.volumes.items()):
        angle = tilt * (i + 1) / len(study.volumes)
        grid = volume.grid if thickness_mm is None else thick_grid(volume.grid, thickness_mm, angle)
        stored = volume.data if thickness_mm is None else resampled(volume.data, volume.grid, grid)
        plan = SeriesPlan(
            description=NAMES[vendor][modality], number=3 + i, vendor=vendor, syntax=syntax, enhanced=enhanced,
            tags={k: v for k, v in TIMING[modality].items() if v is not None},
        )  # fmt: skip
        write_series(folder / f"S{plan.number:04d}" if nested else folder, as_stored(stored), grid, person, plan)
    write_distractors(folder, person, vendor=vendor, most=distractors, nested=nested)
    return person


def thick_grid(grid: Grid, thickness_mm: float, degrees: float) -> Grid:
    """An axial stack (columns to the left, rows to the back) about the grid's centre, turned by some degrees about x."""
    extent = np.array(grid.shape) * grid.spacing
    sides = np.array([1.0, 1.0, thickness_mm])
    shape = tuple(int(np.ceil(e / s)) for e, s in zip(extent, sides, strict=True))
    turned = grid_of(shape, tuple(sides), (degrees, 0, 0))  # type: ignore[arg-type]
    affine = turned.affine.copy()
    affine[:3, 3] += grid.to_world((np.array(grid.shape) - 1) / 2)
    return Grid(turned.shape, affine)


def resampled(data: NDArray[Any], source: Grid, target: Grid) -> NDArray[Any]:
    """Linear values of ``data`` on the target grid (slices without thickness)."""
    from scipy.ndimage import affine_transform

    both = np.linalg.inv(source.affine) @ target.affine
    values: NDArray[Any] = affine_transform(
        np.asarray(data, dtype=np.float32), both[:3, :3], both[:3, 3], target.shape, order=1
    )
    return values


def as_stored(data: NDArray[Any]) -> NDArray[Any]:
    """16-bit values as scanners store them."""
    stored: NDArray[Any] = np.clip(np.rint(data), 0, 32767)
    return stored.astype(np.uint16)


# --- what lies about ------------------------------------------------------------------------------------------------------


def _tags(sequence: str = "SE", te: float | None = None, tr: float | None = None, ti: float | None = None,
          kind: str = "", **more: Any) -> Mapping[str, Any]:  # fmt: skip
    times = {"EchoTime": te, "RepetitionTime": tr, "InversionTime": ti}
    types = {"ImageType": kind.split("/")} if kind else {}
    return {"ScanningSequence": sequence, **{k: str(v) for k, v in times.items() if v is not None}, **types, **more}


_AXIAL, _CORONAL, _SAGITTAL = "LPS", "LSP", "PSL"
_DIFFUSION, _DERIVED = "ORIGINAL/PRIMARY/DIFFUSION/NONE", "DERIVED/SECONDARY"
_DISTRACTORS: tuple[tuple[str, tuple[int, int, int], str, Mapping[str, Any]], ...] = (
    ("ep2d_diff_b1000", (32, 32, 12), _AXIAL, _tags("EP", 80, 6000, kind=_DIFFUSION, DiffusionBValue=1000.0)),
    ("ep2d_diff_b0", (32, 32, 12), _AXIAL, _tags("EP", 80, 6000, kind=_DIFFUSION, DiffusionBValue=0.0)),
    ("ADC", (32, 32, 12), _AXIAL, _tags("EP", 80, 6000, kind="DERIVED/PRIMARY/DIFFUSION/ADC")),
    ("t2_swi3d_tra", (32, 32, 20), _AXIAL, _tags("GR", 20, 28)),
    ("SWI_mIP", (32, 32, 14), _AXIAL, _tags("GR", 20, 28, kind=f"{_DERIVED}/MNIP")),
    ("t2_fl2d_tra_hemo", (32, 32, 12), _AXIAL, _tags("GR", 20, 600)),
    ("MPR cor t1_mprage", (32, 30, 16), _CORONAL, _tags("GR", 3, 1900, 900, kind=f"{_DERIVED}/MPR")),
    ("MPR sag t1_mprage", (32, 30, 16), _SAGITTAL, _tags("GR", 3, 1900, 900, kind=f"{_DERIVED}/MPR")),
    ("relCBV", (32, 32, 10), _AXIAL, _tags("EP", 30, 1500, kind=f"{_DERIVED}/RELCBV")),
    ("t2_stir_sag c-spine", (32, 32, 11), _SAGITTAL, _tags("IR", 60, 4000, 160, BodyPartExamined="CSPINE")),
    ("tof_fl3d_tra", (32, 32, 24), _AXIAL, _tags("GR", 3.5, 21)),
    ("TOF MIP", (32, 32, 12), _AXIAL, _tags("GR", 3.5, 21, kind=f"{_DERIVED}/PROJECTION IMAGE")),
    ("pd_tse_cor", (32, 32, 12), _CORONAL, _tags("SE", 15, 3000)),
)
"""Description, shape, orientation and tags; with a localiser and a perfusion series these are fifteen."""


def write_distractors(
    folder: Path, person: Person, *, vendor: Vendor = "SIEMENS", most: int = 15, first: int = 20, nested: bool = True
) -> int:
    """Series that a brain tumour study also has and that none of the four is: returns how many were written (≤ 15)."""
    written = 0
    if written < most:
        write_localiser(folder / "S0001" if nested else folder, person, vendor=vendor)
        written += 1
    if written < most:
        write_perfusion(folder / "S0019" if nested else folder, person, vendor=vendor)
        written += 1
    for i, (description, shape, orientation, tags) in enumerate(_DISTRACTORS[: max(most - written, 0)]):
        grid = grid_of(shape, (6.0, 6.0, 7.0), orientation=orientation)
        plan = SeriesPlan(description, first + i, vendor, tags=tags)
        write_series(folder / f"S{first + i:04d}" if nested else folder, ball(grid, i), grid, person, plan)
        written += 1
    return written


def write_localiser(folder: Path, person: Person, *, number: int = 1, vendor: Vendor = "SIEMENS") -> None:
    """Three slices in each of three directions, as one series."""
    plan = SeriesPlan(
        "localizer", number, vendor, tags={"ScanningSequence": "GR", "EchoTime": "4", "RepetitionTime": "8.6"}
    )
    plan = replace(plan, series_uid=new_uid())
    for i, orientation in enumerate(("LPS", "LSP", "PSL")):
        grid = grid_of((40, 40, 3), (6.0, 6.0, 20.0), orientation=orientation)
        write_series(folder, ball(grid, i), grid, person, replace(plan, first_instance=1 + 3 * i))


def write_perfusion(
    folder: Path, person: Person, *, number: int = 19, points: int = 12, vendor: Vendor = "SIEMENS"
) -> None:
    """A dynamic series: some slices at many time points, as one series."""
    grid = grid_of((24, 24, 6), (7.5, 7.5, 8.0))
    uid = new_uid()
    for point in range(points):
        tags = {"ScanningSequence": "EP", "EchoTime": "30", "RepetitionTime": "1500", "TemporalPositionIdentifier": point + 1,
                "AcquisitionNumber": point + 1}  # fmt: skip
        plan = SeriesPlan("ep2d_perf", number, vendor, tags=tags, series_uid=uid, first_instance=1 + 6 * point)
        write_series(folder, ball(grid, point), grid, person, plan)


def new_uid() -> str:
    """A UID that nothing else has."""
    from pydicom.uid import generate_uid

    return str(generate_uid())

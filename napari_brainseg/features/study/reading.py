"""From files to an open study, with everything the panel shows about it. Pure; runs in the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import BrainsegError, GeometryError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Segmentation, SeriesNeeded, Study, Volume
from napari_brainseg.display.axes import laid_out
from napari_brainseg.display.planes import head_box
from napari_brainseg.session import Acquired, Answer, OpenStudy, checksum

if TYPE_CHECKING:
    from brainseg_engine.io import Series

Source = Path | Sequence[Path]
THUMBNAIL = 64
"""Pixels along the longer side of a small picture, about."""
MOST_BESIDE = 24
"""Images of a folder that are listed to choose from: a study has a few, an archive thousands."""


@dataclass(frozen=True)
class AsAcquired:
    """There is no study ready to be shown, but series as a scanner or an archive gives them: they are to be prepared first."""

    source: Source


@dataclass(frozen=True, eq=False)
class Opened:
    """A study as it was read, with the labels of its mask; ``trouble`` says why a mask was left out."""

    study: OpenStudy
    answer: Answer | None
    trouble: str = ""


def read(source: Source, coding: str | None = None) -> Opened | AsAcquired:
    """Read a study folder, or files picked by hand. DICOM, archives, files whose names do not tell, and series on grids of
    their own are left to be prepared.

    What the names leave open is not read but listed in ``problems``: it can be assigned in the panel. A mask that cannot be
    used does not keep the images away. Raises InputError and its kin when no image can be read.
    """
    from brainseg_engine.io import load_study, series_of
    from brainseg_engine.io.layouts import sort_series
    from brainseg_engine.io.unused import sentence
    from brainseg_engine.prepare import kept

    if _is_export(source):
        return AsAcquired(source)
    if not isinstance(source, Path) and len(source) > 1 and sort_series(source).unknown:
        return AsAcquired(source)
    series = series_of(source)
    if not series.files and series.unknown:
        return AsAcquired(source)
    if (series.ambiguous or series.mixed) and series.files:
        study = replace(load_study(series.files, id=series.id), coding=series.coding, folder=series.folder)
    else:
        study = load_study(source, segmentation=False)
    if not study.aligned:
        return AsAcquired(source)
    mask, trouble = None, ""
    if series.segmentation is not None:
        try:
            mask = read_mask(series.segmentation, study, coding, series.coding)
        except BrainsegError as e:
            trouble = f"The images were opened without their mask. {e}"
    if study.folder is not None and kept.is_kept(study.folder):
        study = replace(study, id=kept.label(study.folder))
    problems = (*series.problems, *series.notes, *filter(None, [sentence(series)]))
    return opened(replace(study, segmentation=mask), files_of(series, study), problems, mask, trouble)


def _is_export(source: Source) -> bool:
    from brainseg_engine.io.dicom import holds_dicom
    from brainseg_engine.io.naming import is_image
    from brainseg_engine.studies.incoming import is_export

    paths = [source] if isinstance(source, Path) else source
    if len(paths) == 1:
        return is_export(paths[0])
    return any(not is_image(p) and holds_dicom(p) for p in paths)


def opened(
    study: Study,
    files: tuple[Path, ...] = (),
    problems: tuple[str, ...] = (),
    mask: Segmentation | None = None,
    trouble: str = "",
) -> Opened:
    """Check a study and put the record together."""
    from brainseg_engine.studies.checks import check_study

    # slices come with three series: whether a model needs the fourth, the model says
    expected = tuple(Modality) if study.reference.grid.calibrated else tuple(study.volumes)
    findings = tuple(check_study(study, SeriesNeeded(expected)))
    answer = answer_of(mask) if mask is not None else None
    acquired = acquired_of(study)
    if acquired is not None:
        problems = (*problems, *acquired.prepared.warnings)
    head_box(study)  # it is remembered: the window need not look for it
    return Opened(OpenStudy(study, files, problems, findings, truth=mask, acquired=acquired), answer, trouble)


def acquired_of(study: Study) -> Acquired | None:
    """What the study in its folder was prepared from, as far as the folder tells; None for one that was not prepared."""
    from brainseg_engine.prepare import files, kept

    folder = study.folder
    if folder is None or not (folder / files.RECORD).is_file() or not study.aligned:
        return None
    try:
        prepared = files.load(folder, study)
    except BrainsegError:
        return None
    if (
        prepared.untouched
        or not study.reference.grid.same_as(prepared.grid)
        or set(prepared.grids) != set(study.volumes)
    ):
        return None
    titles = {m: f"{m.title} as acquired, {_sides(grid)}" for m, grid in prepared.grids.items()}
    volumes = kept.acquired(folder, prepared) if kept.is_kept(folder) else {}
    return Acquired(prepared, volumes, titles, None if kept.is_kept(folder) else folder)


def answer_of(mask: Segmentation) -> Answer:
    """The labels of a mask that lies in a file."""
    return Answer.of(mask, saved=checksum(mask.labels))


def read_mask(
    path: Path, study: Study, coding: str | None = None, implied: str | None = None, acquired: Acquired | None = None
) -> Segmentation:
    """The mask in that file, on the grid of the study; one that was drawn on a series as ``acquired`` is carried there. Raises
    CodingError, GeometryError, InputError."""
    from brainseg_engine.io import load_segmentation

    if acquired is not None:
        from brainseg_engine.prepare.masks import read_mask as read_onto

        mask, _ = read_onto(path, acquired.prepared, coding, implied)
        return laid_out(replace(mask, path=path))
    return laid_out(load_segmentation(path, coding=coding, grid=study.reference.grid, implied=implied))


def taken(dropped: Segmentation, current: OpenStudy) -> Segmentation:
    """A mask that was dropped onto the study, on its grid. Raises GeometryError."""
    if dropped.grid.same_as(current.study.reference.grid):
        return dropped
    if current.acquired is None:
        raise GeometryError(f"The mask lies on another grid than {current.study.id} and was not taken.")
    from brainseg_engine.prepare.masks import taken as carried

    return laid_out(carried(dropped, current.acquired.prepared))


def reassigned(current: OpenStudy, modality: Modality, path: Path | None) -> Opened:
    """The study with another file as that modality (None: with none).

    A file that another modality has changes places with it. Raises InputError when the file cannot be read or nothing
    would be left.
    """
    from brainseg_engine.io import read_volume

    volumes = dict(current.study.volumes)
    before = volumes.pop(modality, None)
    if path is not None:
        holder = next((m for m, v in volumes.items() if v.path == path), None)
        given = volumes.pop(holder) if holder is not None else read_volume(path, modality)
        volumes[modality] = _as(given, modality)
        if holder is not None and before is not None:
            volumes[holder] = _as(before, holder)
    ordered: Mapping[Modality, Volume] = {m: volumes[m] for m in Modality if m in volumes}
    study = replace(current.study, volumes=ordered)
    files = current.files if path is None or path in current.files else (*current.files, path)
    missing = [m.title for m in Modality if m not in ordered]
    problems = (f"No file is assigned to {', '.join(missing)}.",) if missing else ()
    made = opened(study, files, problems)
    return replace(made, study=replace_truth(made.study, current.truth))


def replace_truth(study: OpenStudy, truth: Segmentation | None) -> OpenStudy:
    """The same study with another mask to compare with (none, where that lies on another grid)."""
    fits = truth is not None and truth.grid.same_as(study.study.reference.grid)
    return replace(study, truth=truth if fits else None)


def files_of(series: Series, study: Study) -> tuple[Path, ...]:
    """All images that a modality could be assigned to, those in use first."""
    used = [v.path for v in study.volumes.values() if v.path is not None]
    others = [*series.unknown, *(p for paths in series.ambiguous.values() for p in paths)]
    return tuple(dict.fromkeys([*used, *others]))


def files_beside(study: Study) -> tuple[Path, ...]:
    """The files of a study that is in the viewer already, and the images beside them."""
    from brainseg_engine.io.naming import is_image

    used = [v.path for v in study.volumes.values() if v.path is not None]
    folders = dict.fromkeys(p.parent for p in used)
    beside = [p for folder in folders if folder.is_dir() for p in sorted(folder.iterdir()) if is_image(p)]
    return tuple(dict.fromkeys([*used, *beside[:MOST_BESIDE]]))


def remember_names(study: Study, files: Sequence[Path]) -> None:
    """Files of other patients that are named so are proposed as the same series. Raises OutputError."""
    from brainseg_engine.io.file_facts import file_facts
    from brainseg_engine.studies.remembered import remember

    uses: dict[str, Modality | None] = {str(v.path): m for m, v in study.volumes.items() if v.path is not None}
    facts = []
    for path in files:
        try:
            facts.append(file_facts(path))
        except BrainsegError:
            continue
    remember(facts, {f.id: uses.get(f.id) for f in facts})


def thumbnails(study: Study, files: Sequence[Path]) -> dict[Path, NDArray[np.uint8]]:
    """A small picture of each file: the middle axial slice, upright. Files that cannot be read have none."""
    from brainseg_engine.io import read_image
    from napari_brainseg.display.axes import to_display
    from napari_brainseg.display.windows import brain_window

    held = {v.path: (v.data, v.grid.affine) for v in study.volumes.values() if v.path is not None}
    made = {}
    for path in files:
        try:
            if path in held:
                data, affine = held[path]
            else:
                image = read_image(path)
                data, affine = image.data, image.affine
        except BrainsegError:
            continue
        view, placed = to_display(data, affine)
        flat = view[view.shape[0] // 2][:: int(np.sign(placed[1, 1])), :: int(np.sign(placed[2, 2]))].astype(np.float32)
        step = max(1, max(flat.shape) // THUMBNAIL)
        low, high = brain_window(data)
        made[path] = np.clip((flat[::step, ::step] - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return made


def _as(volume: Volume, modality: Modality) -> Volume:
    return replace(volume, modality=modality)


def _sides(grid: Grid) -> str:
    return "×".join(f"{s:.2g}" for s in grid.spacing) + " mm"

"""Connects the study view and its verbs; asks for files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QFileDialog

from brainseg_engine.core.study import Modality
from napari_brainseg.features.context import Context
from napari_brainseg.features.study import reading
from napari_brainseg.features.study.verbs import StudyVerbs
from napari_brainseg.features.study.view import StudyShown, StudyView
from napari_brainseg.qt.widgets import grey_icon
from napari_brainseg.session import OpenStudy

FILTER = "Images (*.nii *.nii.gz *.mha *.mhd *.nrrd *.mgz *.mgh *.hdr *.dcm *.zip);;All files (*)"
MASKS = "Masks (*.nii *.nii.gz *.mha *.mhd *.nrrd *.mgz *.mgh *.hdr *.dcm);;All files (*)"


class StudySection:
    """Between the study view and its verbs."""

    def __init__(self, view: StudyView, verbs: StudyVerbs, context: Context) -> None:
        self._view, self._verbs, self._session, self._context = view, verbs, context.session, context
        self._pictures: dict[Path, QIcon] = {}
        view.folder_requested.connect(self.ask_folder)
        view.files_requested.connect(self._ask_files)
        view.sample_requested.connect(lambda: verbs.open_sample(_sample))
        view.mask_requested.connect(self._ask_mask)
        view.reassign_requested.connect(verbs.reassign)
        view.other_file_requested.connect(self._ask_other)
        context.follow(context.session.study_changed, self._show)
        context.follow(context.session.segmentation_changed, self._show)
        self._show()

    def _show(self) -> None:
        current = self._session.study
        self._view.show_study(shown(current, self._mask()) if current is not None else None)
        files = current.files if current is not None else ()
        missing = [f for f in files if f not in self._pictures]
        if not files:
            self._pictures = {}
        elif (
            current is not None and missing and len(files) > len(current.study.volumes)
        ):  # there is something to choose
            self._context.run(partial(reading.thumbnails, current.study, missing), self._show_pictures, lambda _: None)
        self._view.show_pictures(self._pictures)

    def _show_pictures(self, made: Mapping[Path, NDArray[np.uint8]]) -> None:
        self._pictures |= {path: grey_icon(picture) for path, picture in made.items()}
        self._view.show_pictures(self._pictures)

    def _mask(self) -> str:
        segmentation = self._session.segmentation
        if segmentation is None:
            return ""
        if segmentation.path is not None:
            return segmentation.path.name
        return f"by {segmentation.made_by}" if segmentation.made_by else "of unknown origin"

    def _folder(self) -> str:
        current = self._session.study
        return str(current.place.parent) if current is not None and current.place else ""

    def ask_folder(self) -> None:
        """Ask for a study's folder, and open it."""
        name = QFileDialog.getExistingDirectory(self._view, "Open a study folder", self._folder())
        if name:
            self._verbs.open(Path(name))

    def _ask_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self._view, "Open the series of one study", self._folder(), FILTER)
        if names:
            self._verbs.open([Path(n) for n in names])

    def _ask_mask(self, coding: str | None) -> None:
        name, _ = QFileDialog.getOpenFileName(self._view, "Open a mask of this study", self._folder(), MASKS)
        if name:
            self._verbs.load_mask(Path(name), coding)

    def _ask_other(self, modality: Modality) -> None:
        title = f"Choose the file that is {modality.title}"
        name, _ = QFileDialog.getOpenFileName(self._view, title, self._folder(), FILTER)
        if name:
            self._verbs.reassign(modality, Path(name))


def shown(current: OpenStudy, mask: str) -> StudyShown:
    """What the view shows of a study."""
    study, grid = current.study, current.study.reference.grid
    size = "×".join(str(n) for n in grid.shape)
    sides = [f"{s:.3g}" for s in grid.spacing]
    spacing = (sides[0] if len(set(sides)) == 1 else "×".join(sides)) + " mm"
    if not grid.calibrated:
        spacing = "voxel size unknown"
    sides_of = f" of {spacing}" if grid.calibrated else " of unknown size"
    missing = [f for f in current.findings if f.code == "missing"]
    findings = [f.message for f in current.findings if not (f.code == "missing" and current.problems)]
    return StudyShown(
        id=study.id,
        facts=f"{size} · {spacing}",
        facts_tip=f"{size} voxels{sides_of}, axes {grid.orientation}, of {study.reference.modality.title}",
        assigned={m: v.path for m, v in study.volumes.items()},
        files=current.files,
        warnings=[*(current.problems if missing or len(current.problems) else ()), *findings],
        mask=mask,
        titles=current.acquired.titles if current.acquired is not None else {},
        without_file=f"in {study.folder.name}" if study.folder is not None else "in memory",
    )


def _sample() -> Path:
    from brainseg_engine.phantom import demo_folder

    return Path(demo_folder())

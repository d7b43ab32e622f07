"""Exporting what is open: DICOM objects, shapes, the report and a BIDS derivative, with names or without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from napari_brainseg.display import layers
from napari_brainseg.features.context import Context
from napari_brainseg.session import Acquired, Kind

if TYPE_CHECKING:
    from brainseg_engine.report.exporting import Onto
    from brainseg_engine.report.sources import Result

REPORT = "report"


@dataclass(frozen=True)
class ExportOrder:
    """What is to be written. ``formats``: those of the engine, and :data:`REPORT`; ``images``: the folder of the study's DICOM
    series (None for none); ``on``: the series that DICOM objects stand on, as acquired ("" for the mask's own)."""

    formats: tuple[str, ...]
    folder: Path
    images: Path | None = None
    on: str = ""
    deidentify: bool = False
    face: bool = False


class ExportVerbs:
    """What the export dialog asks for. ``known``: what is known of the mask that is open."""

    exported = Signal(Path, int)
    """Files were written: their folder, and how many."""

    def __init__(self, context: Context, known: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._context, self._session, self.known = context, context.session, known

    @property
    def possible(self) -> bool:
        """There is a mask."""
        return self._session.study is not None and self._context.labels is not None

    @property
    def place(self) -> Path | None:
        """Where the study's images were opened."""
        return self._session.study.place if self._session.study is not None else None

    @property
    def series(self) -> tuple[tuple[str, str], ...]:
        """(modality, title) of the series as acquired that objects can stand on, the mask's own first."""
        acquired = self._session.study.acquired if self._session.study is not None else None
        if acquired is None or acquired.prepared.untouched:
            return ()
        own = acquired.prepared.reference
        order = sorted(acquired.volumes, key=lambda m: m is not own)
        return tuple((m.value, acquired.titles.get(m, m.title)) for m in order)

    def find_images(self, done: Callable[[Path | None], None]) -> None:
        """Call ``done`` with the folder of the study's DICOM series, None where the study is no DICOM."""
        current = self._session.study
        place = current.images if current is not None else None

        def work() -> Path | None:
            from brainseg_engine.studies.incoming import is_export

            return place if place is not None and is_export(place) else None

        self._context.run(work, done)

    def export(self, order: ExportOrder) -> None:
        """Write what is ordered. Of a prepared study the mask goes back onto a series as acquired first."""
        work = self.writing(order)
        if work is None:
            self._session.say("There is nothing to export yet: segment the study, or open a mask.", Kind.WARNING)
            return

        def done(count: int) -> None:
            files = "1 file" if count == 1 else f"{count} files"
            self._session.say(f"Exported {files} into {order.folder}", Kind.GOOD)
            self.exported.emit(order.folder, count)

        self._context.read("exporting …", lambda: work(order.folder), done)

    def writing(self, order: ExportOrder) -> Callable[[Path], int] | None:
        """Work for the background: it writes what is ordered of the labels into a folder, and tells how many files. None: there
        are no labels."""
        current, layer = self._session.study, self._context.labels
        if current is None or layer is None:
            return None
        sidecar = dict(self.known())

        def work(folder: Path) -> int:
            seg = layers.segmentation_of(layer)
            seg = replace(seg, made_by=str(sidecar.get("made_by") or seg.made_by))
            result, onto = _placed(current.study, current.acquired, seg, sidecar, order)
            return _write(result, onto, replace(order, folder=folder), current.day)

        return work


def _placed(
    study: Study, acquired: Acquired | None, seg: Segmentation, sidecar: Mapping[str, Any], order: ExportOrder
) -> tuple[Result, Onto | None]:
    """The result to export, and the series that DICOM objects stand on."""
    from brainseg_engine.report.exporting import Onto
    from brainseg_engine.report.sources import Result

    if acquired is None or acquired.prepared.untouched:
        onto = None if order.images is None else Onto(order.images)
        return Result(study.id, seg, study, sidecar), onto
    modality = Modality(order.on) if order.on else acquired.prepared.reference
    back = acquired.prepared.back(seg, modality)
    shown = Study(study.id, {modality: acquired.volumes[modality], **acquired.volumes}) if acquired.volumes else None
    if shown is not None and shown.reference.modality is not modality:
        shown = replace(shown, volumes={modality: acquired.volumes[modality]})
    onto = None if order.images is None else Onto(order.images, _uid(acquired.volumes.get(modality)))
    return Result(study.id, back, shown, {**sidecar, "on": modality.value}), onto


def _uid(volume: Volume | None) -> str:
    """SeriesInstanceUID of a series that was read from DICOM, "" where that is not known."""
    if volume is None or volume.path is None or not volume.path.is_file():
        return ""
    from pydicom import dcmread

    return str(dcmread(volume.path, stop_before_pixels=True, force=True).get("SeriesInstanceUID", ""))


def _write(result: Result, onto: Onto | None, order: ExportOrder, day: date | None = None) -> int:
    """Write it; how many files."""
    from brainseg_engine.inference.leaving import deidentify
    from brainseg_engine.io.derived import pseudonyms
    from brainseg_engine.report.exporting import export
    from brainseg_engine.report.writing import write_report

    hidden = deidentify(pseudonyms.load(), face=order.face) if order.deidentify else None
    others = [f for f in order.formats if f != REPORT]
    count = len(export(result, others, order.folder, onto, hidden)) if others else 0
    if REPORT in order.formats:
        write_report(result, order.folder, deidentify=hidden, examined=day.isoformat() if day else None)
        count += 3
    return count

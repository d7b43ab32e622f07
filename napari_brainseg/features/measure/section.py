"""Connects the measure view and its verbs; asks for a folder, and opens the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog

from brainseg_engine.core.labels import Region
from brainseg_engine.scores.drawn import DrawnKind
from napari_brainseg.features.context import Context
from napari_brainseg.features.measure.drawing import more_words, words
from napari_brainseg.features.measure.verbs import MeasureVerbs, shown_lesions
from napari_brainseg.features.measure.view import DrawnShown, LesionShown, MeasureShown, MeasureView

_STALE = "The mask has changed since: measure again."
_NONE = "There is no lesion larger than 50 mm³."


class MeasureSection:
    """Between the measure view and its verbs. ``sidecar``: what is known of the mask that is open."""

    def __init__(
        self, view: MeasureView, verbs: MeasureVerbs, context: Context, sidecar: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._view, self._verbs, self._context, self._sidecar = view, verbs, context, sidecar
        drawing = verbs.drawing
        view.tool_chosen.connect(lambda name: drawing.choose(DrawnKind(name) if name else None))
        view.move_requested.connect(drawing.edit)
        view.drawn_requested.connect(drawing.go_to)
        view.remove_requested.connect(drawing.remove)
        context.follow(drawing.changed, self._show)
        view.measure_requested.connect(verbs.measure)
        view.edit_requested.connect(verbs.edit)
        view.drop_requested.connect(verbs.drop)
        view.lesion_requested.connect(lambda key: verbs.go_to(Region(key[0]), key[1]))
        view.report_requested.connect(self._ask)
        context.follow(verbs.changed, self._show)
        context.follow(verbs.reported, self._open)
        context.follow(context.labels_changed, self._show)
        self._show()

    def _show(self) -> None:
        self._view.show_state(state_of(self._verbs, possible=self._context.labels is not None))

    def _ask(self) -> None:
        current = self._context.session.study
        start = (current.place if current is not None else None) or Path.cwd()
        folder = QFileDialog.getExistingDirectory(self._view, "Folder for the report", str(start))
        if folder:
            self._verbs.report(Path(folder), self._sidecar())

    def _open(self, page: Path) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(page)))


def state_of(verbs: MeasureVerbs, *, possible: bool) -> MeasureShown:
    """What there is to show."""
    lines = []
    for region, number, lesion in shown_lesions(verbs.measured):
        note = "" if lesion.measurable else "not measurable (under 10 mm)"
        if lesion.edited:
            note = ", ".join(filter(None, ("set by hand", note)))
        name = f"{region} {number + 1}"
        lines.append(
            LesionShown(
                (region.value, number), name, lesion.longest.mm, lesion.perpendicular.mm, lesion.product_mm2, note
            )
        )
    drawing = verbs.drawing
    names = {DrawnKind.RULER: "Ruler", DrawnKind.DIAMETERS: "Diameters", DrawnKind.ROI: "ROI"}
    drawn = tuple(
        DrawnShown(f"{names[d.kind]} {i}", words(d).removeprefix("ROI "), more_words(d))
        for i, d in enumerate(drawing.drawn, 1)
    )
    return MeasureShown(
        possible, verbs.editing, tuple(lines), _words(verbs, bool(lines)), drawing.possible, str(drawing.tool or ""),
        drawing.editing, drawn,
    )  # fmt: skip


def _words(verbs: MeasureVerbs, any_lesion: bool) -> str:
    """What is to be said of the numbers as a whole."""
    if not verbs.measured:
        return ""
    if verbs.stale:
        return _STALE
    side = verbs.sides.get(Region.WT)
    where = f"Side of the tumour: {side}" if side else ""
    et = verbs.measured.get(Region.ET)
    if et is None or not et.targets():
        return where if any_lesion else _NONE
    total = f"{et.sum_of_products_mm2():,.0f}".replace(",", "\u202f")
    words = f"ET, sum of products: {total} mm² (RANO, at most two lesions)"
    return "\n".join(filter(None, (words, where)))

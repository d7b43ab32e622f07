"""Wires the regions section."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import QObject

from napari_brainseg.display.layers import layer_info
from napari_brainseg.display.region_style import MAIN_ITEMS, Scheme, item_labels, item_name
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.regions.view import ItemShown, RegionsView
from napari_brainseg.qt.threads import Timer
from napari_brainseg.session import ItemStats

SCHEMES = {
    Scheme.REGIONS.value: ("WT · TC · ET", "Nested regions: whole tumour, tumour core, enhancing tumour"),
    Scheme.CLASSES.value: ("NCR · ED · ET", "Disjoint classes: necrotic core, oedema, enhancing tumour"),
}
"""Scheme → text and tooltip of its switch."""

_FOLLOW_MS = 100
"""How often the sizes follow a stroke."""


class RegionsSection(QObject):
    """Between the regions view and the actions."""

    def __init__(self, view: RegionsView, actions: Actions) -> None:
        super().__init__()
        self._view = view
        self._actions = actions
        self._session = actions.session
        view.item_changed.connect(self._change_item)
        view.scheme_chosen.connect(lambda scheme: self._change("scheme", scheme))
        view.outline_chosen.connect(lambda on: self._change("outline", on))
        view.jump_requested.connect(actions.jump)
        actions.view_changed.connect(self._show)
        self._soon = Timer(self, _FOLLOW_MS, self._follow)
        actions.brush.counted.connect(self._counted)
        self._session.segmentation_changed.connect(self._show)
        self._session.measures_changed.connect(self._show)
        self._show()

    def _change_item(self, item: str, what: dict[str, Any]) -> None:
        self._actions.view = self._actions.view.with_item(item, **what)

    def _change(self, what: str, value: Any) -> None:
        shown = self._actions.view
        self._actions.view = shown.with_scheme(value) if what == "scheme" else shown.with_outline(bool(value))

    def _counted(self) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def _follow(self) -> None:
        """The sizes while someone paints; parts and Dice follow when the brush rests."""
        measures, brush = self._session.measures, self._actions.brush
        info = layer_info(brush.layer) if brush.layer is not None else None
        if measures is None or info is None or brush.layer is not self._actions.labels:
            return
        scheme, counts, ml = self._actions.view.scheme, brush.counts, info.grid.voxel_ml
        sizes = {}
        for item, stats in measures.items.items():
            if item in self._actions.view.items and stats.voxels is not None:
                voxels = sum(int(counts[label]) for label in item_labels(scheme, item))
                sizes[item] = replace(stats, voxels=voxels, ml=None if ml is None else voxels * ml)
        self._view.show_sizes(sizes)

    def _show(self) -> None:
        shown, session = self._actions.view, self._session
        self._view.show_switches(shown.scheme.value, shown.outline)
        if session.segmentation is None:
            self._view.show_items((), "")
            return
        stats = session.measures.items if session.measures is not None else {}
        main = MAIN_ITEMS[shown.scheme]
        items = [*main, *(i for i in shown.items if i not in main and i in stats)]
        rows = [
            ItemShown(i, item_name(shown.scheme, i), v.colour, v.visible, v.opacity, stats.get(i, ItemStats()))
            for i in items
            for v in [shown.items[i]]
        ]
        truth = session.study.truth if session.study is not None else None
        self._view.show_items(rows, "" if truth is None else truth.path.name if truth.path else "the study's own mask")

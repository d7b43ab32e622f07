"""Connects the regions view and its verbs."""

from __future__ import annotations

from napari_brainseg.display.region_style import MAIN_ITEMS, Scheme, item_name
from napari_brainseg.features.context import Context
from napari_brainseg.features.regions.verbs import RegionVerbs
from napari_brainseg.features.regions.view import ItemShown, RegionsView
from napari_brainseg.session import ItemStats

SCHEMES = {
    Scheme.REGIONS.value: ("WT · TC · ET", "Nested regions: whole tumour, tumour core, enhancing tumour"),
    Scheme.CLASSES.value: ("NCR · ED · ET", "Disjoint classes: necrotic core, oedema, enhancing tumour"),
}
"""Scheme → text and tooltip of its switch."""


class RegionsSection:
    """Between the regions view and its verbs."""

    def __init__(self, view: RegionsView, verbs: RegionVerbs, context: Context) -> None:
        self._view, self._verbs, self._session = view, verbs, context.session
        view.item_changed.connect(verbs.change_item)
        view.scheme_chosen.connect(verbs.choose_scheme)
        view.outline_chosen.connect(verbs.choose_outline)
        view.jump_requested.connect(verbs.jump)
        view.lesion_requested.connect(verbs.step_lesion)
        context.follow(verbs.view_changed, self._show)
        context.follow(verbs.sizes_changed, self._show_sizes)
        context.follow(context.session.segmentation_changed, self._show)
        context.follow(context.session.measures_changed, self._show)
        self._show()

    def _show_sizes(self) -> None:
        sizes, as_measured = self._verbs.sizes, self._as_measured()
        # while someone paints, the limits of what is as it was measured stay
        limits = {i: t for i, t in self._verbs.trust.limits.items() if i in as_measured}
        self._view.show_sizes(sizes, limits)
        self._show_expected()

    def _as_measured(self) -> set[str]:
        """The items that nobody has painted on since they were measured."""
        measures = self._session.measures
        known = measures.items if measures is not None else {}
        return {i for i, s in self._verbs.sizes.items() if s.voxels == known[i].voxels}

    def _show_expected(self) -> None:
        untouched = len(self._as_measured()) == len(self._verbs.sizes)
        expected = self._verbs.trust.expected if untouched else None
        if expected is None:
            self._view.show_expected("")
        else:
            self._view.show_expected(expected.text, expected.tip, expected.low)

    def _show(self) -> None:
        shown, session = self._verbs.view, self._session
        self._view.show_switches(shown.scheme.value, shown.outline)
        if session.segmentation is None:
            self._view.show_items((), "")
            self._show_expected()
            return
        stats = session.measures.items if session.measures is not None else {}
        limits = self._verbs.trust.limits
        main = MAIN_ITEMS[shown.scheme]
        items = [*main, *(i for i in shown.items if i not in main and i in stats)]
        rows = [
            ItemShown(
                i,
                item_name(shown.scheme, i),
                v.colour,
                v.visible,
                v.opacity,
                stats.get(i, ItemStats()),
                limits.get(i, ""),
            )
            for i in items
            for v in [shown.items[i]]
        ]
        truth = session.study.truth if session.study is not None else None
        self._view.show_items(rows, "" if truth is None else truth.path.name if truth.path else "the study's own mask")
        self._show_expected()

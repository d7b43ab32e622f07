"""The table of series on its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.views import made, press

from brainseg_engine.core.study import Modality
from napari_brainseg.features.series.view import SeriesShown, SeriesView, Table

METHODS = [("deepbet", "deepbet", ""), ("rough", "rough", "")]
ROWS = [
    SeriesShown("a", "9: localizer", "no volume", None, "cannot be used", usable=False),
    SeriesShown("b", "4: t1 km", "axial 64×64×20, 1×1×5 mm", Modality.T1CE, "Contrast by its name.", "⚠ Look twice."),
    SeriesShown("c", "3: t1", "axial 64×64×20, 1×1×5 mm", Modality.T1, "By its name."),
]


@pytest.fixture
def view(qtbot):
    return made(qtbot, SeriesView(METHODS))


def test_without_a_table_there_is_no_section(view):
    view.show_table(None)
    assert not view.isVisible()


def test_it_says_once_that_there_are_series_to_look_over(view):
    said = []
    view.arrived.connect(lambda: said.append(1))
    view.show_table(Table(["patient 1"], 0, ROWS))
    view.show_table(Table(["patient 1"], 0, ROWS[1:]))
    assert said == [1]


def test_the_series_in_use_come_first_and_the_others_unfold(qtbot, view):
    view.show_table(Table(["patient 1"], 0, ROWS))
    assert list(view.uses) == ["c", "b"] and not view.visits.isVisible() and view.prepare.isEnabled()
    press(qtbot, view, "more_series")
    assert list(view.uses) == ["c", "b", "a"] and not view.uses["a"].isEnabled()


def test_choosing_asks_and_says_which(view):
    asked, visits = [], []
    view.use_chosen.connect(lambda *what: asked.append(what))
    view.visit_chosen.connect(visits.append)
    view.show_table(Table(["patient 1", "patient 2"], None, ROWS))
    combo = view.uses["b"]
    combo.setCurrentIndex(combo.findData(Modality.T2))
    combo.activated.emit(combo.currentIndex())
    assert asked == [("b", Modality.T2)]
    assert view.visits.isVisible() and view.visits.currentText() == "Choose a study …"
    view.visits.activated.emit(2)
    assert visits == [1]


def test_prepare_cancel_and_room_for_what_comes_next(qtbot, view):
    asked = []
    view.prepare_requested.connect(asked.append)
    view.cancel_requested.connect(lambda: asked.append("cancel"))
    view.show_table(Table(["patient 1"], 0, ROWS))
    press(qtbot, view, "prepare")
    view.show_progress(("aligning", 0.25))
    assert view.bar.value() == 250 and not view.prepare.isVisible()
    press(qtbot, view, "cancel_prepare")
    assert asked == ["deepbet", "cancel"]
    view.show_progress(None)
    good = [replace(r, warning="") for r in ROWS]
    view.show_table(Table(["patient 1"], 0, good, done=True))
    view.show_progress(None)
    assert not view.area.isVisible() and not view.prepare.isVisible()
    press(qtbot, view, "more_series")
    assert view.area.isVisible() and view.prepare.text() == "Prepare again"


def test_what_is_doubtful_stays_in_sight(view):
    view.show_table(Table(["patient 1"], 0, ROWS))
    view.show_table(Table(["patient 1"], 0, ROWS, done=True))
    assert view.area.isVisible()


def test_nothing_to_prepare(view):
    view.show_table(Table(["patient 1"], 0, ROWS[:1]))
    view.show_blocker("")
    assert not view.prepare.isEnabled() and "first" in view.prepare.toolTip()

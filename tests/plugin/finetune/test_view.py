"""The view of fine-tuning: it shows what it is told, asks for what is pressed, and its curves are there to be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.run_folders import make_report
from helpers.views import made, press
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractButton

from brainseg_engine.core.palette import REGION_COLOURS
from napari_brainseg.features.finetune import table
from napari_brainseg.features.finetune.before_after import BeforeAfterTable
from napari_brainseg.features.finetune.candidates import Candidate
from napari_brainseg.features.finetune.curves import CurvesShown, CurvesView
from napari_brainseg.features.finetune.form import FormShown
from napari_brainseg.features.finetune.section import left_in_words
from napari_brainseg.features.finetune.view import FinetuneView, ModelsShown, RunShown

pytestmark = pytest.mark.window

FORM = FormShown(
    (
        Candidate("a", "A", "", "1 voxel"), Candidate("b", "B", "", "", True),
        Candidate("c", "C", "", "", barred=True, problem="changed"),
    ),
    "2 corrections", False, (("m", "m", ""), ("n", "n", "")), "n", 15.0, "minutes", "decoder", "cpu", "/x", "On phantoms.",
)  # fmt: skip
RESULT = RunShown(result="new: Better.", made="new", guard="Weights …", notes="• a note")


@pytest.fixture
def view(qtbot):
    view = made(qtbot, FinetuneView({"auto": "Automatic", "cpu": "CPU"}))
    view.unfold()
    view.form.show_form(FORM)
    return view


@pytest.mark.parametrize(
    ("name", "signal", "args", "run"),
    [
        ("finetune_start", "form.start_requested", [], RunShown()),
        ("finetune_check", "form.check_requested", [], RunShown()),
        ("finetune_anchors_folder", "form.anchors_requested", [], RunShown()),
        ("finetune_anchors_clear", "form.setting_changed", ["anchors", None], RunShown()),
        ("finetune_cancel", "cancel_requested", [], RunShown(running=True)),
        ("finetune_resume", "resume_requested", [], RunShown(ended="It died.", resumable=True)),
        ("finetune_use", "use_requested", [], RESULT),
        ("finetune_rollback", "roll_back_requested", [], RESULT),
        ("finetune_lineage", "lineage_requested", [True], RESULT),
    ],
)
def test_each_button_asks_for_its_own(qtbot, view, name, signal, args, run):
    view.form.more.setChecked(True)
    view.show_run(run)
    view.show_models(ModelsShown("new", "old"))
    owner, _, what = f"view.{signal}".rpartition(".")
    heard = getattr(view.form if owner.endswith("form") else view, what)
    with qtbot.waitSignal(heard, timeout=1000) as got:
        press(qtbot, view, name)
    assert got.args == args


def test_it_is_folded_until_it_is_wanted(qtbot):
    view = made(qtbot, FinetuneView({"auto": "Automatic"}))
    assert not view.form.isVisible()
    press(qtbot, view, "finetune_fold")
    assert view.form.isVisible()


def test_the_form_shows_what_is_chosen_and_says_nothing(qtbot, view):
    form = view.form
    assert (form.model.currentData(), form.amount.value(), form.amount.text(), form.unit.currentData()) == (
        "n",
        15,
        "15",
        "minutes",
    )
    assert (form.parts.currentData(), form.device.currentData()) == ("decoder", "cpu")
    states = [form.list.item(i).checkState() for i in range(2)]
    assert states == [Qt.CheckState.Unchecked, Qt.CheckState.Checked]
    assert not form.list.item(2).flags() & Qt.ItemFlag.ItemIsUserCheckable and form.list.item(2).toolTip() == "changed"
    with qtbot.assertNotEmitted(form.setting_changed), qtbot.assertNotEmitted(form.held_out_changed):
        form.show_form(
            FormShown(FORM.corrections[:1], models=FORM.models, model="m", unit="epochs", amount=3, blocker="No.")
        )
    assert form.amount.text() == "3" and not form.start.isEnabled() and form.why.text() == "No."


def test_a_tick_by_mouse_or_keyboard_asks_to_hold_out(qtbot, view):
    form = view.form
    form.list.setCurrentRow(0)
    with qtbot.waitSignal(form.held_out_changed) as heard:
        qtbot.keyClick(form.list, Qt.Key.Key_Space)
    assert heard.args == ["a", True]
    with qtbot.assertNotEmitted(form.held_out_changed):
        form.show_form(FORM)  # the store did not take it: the list shows what is
    assert form.list.item(0).checkState() == Qt.CheckState.Unchecked
    box = form.list.visualItemRect(form.list.item(1))
    with qtbot.waitSignal(form.held_out_changed) as heard:
        qtbot.mouseClick(
            form.list.viewport(), Qt.MouseButton.LeftButton, pos=box.topLeft() + QPoint(9, box.height() // 2)
        )
    assert heard.args == ["b", False]


def test_choices_and_numbers_tell_what_is_set(qtbot, view):
    form = view.form
    heard = []
    form.setting_changed.connect(lambda *values: heard.append(values))
    form.amount.setFocus()
    form.amount.setValue(0.1)
    for combo in (form.model, form.unit):
        combo.setFocus()
        qtbot.keyClick(combo, Qt.Key.Key_Home if combo is form.model else Qt.Key.Key_End)
    assert heard == [("amount", 0.1), ("model", "m"), ("unit", "epochs")]


def test_while_it_runs_the_form_makes_room(qtbot, view):
    view.show_run(RunShown(True, False, "step 3 of 9", 0.25, "about 2 min of training left", CurvesShown()))
    assert not view.form.isVisible() and view.curves.isVisible() and not view.result.isVisible()
    assert view.state.text() == view.bar.text() == "25 %" and "2 min" in view.left.text()
    view.show_run(RunShown(True, True, "step 3 of 9", 0.25))
    assert not view.cancel.isEnabled() and "stopping" in view.bar.text()
    view.show_run(RunShown(ended="It was stopped.", resumable=False))
    assert view.form.isVisible() and view.ended_text.text() == "It was stopped." and not view.resume.isVisible()


def test_a_result_calls_once_and_only_where_it_can_be_seen(qtbot, view):
    arrived = []
    view.arrived.connect(lambda: arrived.append(True))
    view.show_run(RESULT)  # of an earlier window: nobody waits for it
    assert arrived == []
    for run in (RunShown(running=True), RESULT, RESULT):
        view.show_run(run)
    assert arrived == [True]
    view.fold.setChecked(False)
    for run in (RunShown(running=True), RESULT):
        view.show_run(run)
    assert arrived == [True]


def test_a_model_that_is_worse_is_marked_so(qtbot, view):
    view.show_run(RunShown(result="new: Worse.", worse=True, made="new"))
    assert view.use.property("caution") == "true" and "all the same" in view.use.text()
    assert view.verdict.property("role") == "warning"
    view.show_run(RunShown(result="new: Better.", made="new", in_use=True))
    assert view.use.text() == "new is in use" and not view.use.isEnabled()
    view.show_models(ModelsShown("new", ""))
    assert not view.findChild(QAbstractButton, "finetune_rollback").isEnabled()


def test_the_table_shows_every_number(qtbot):
    tree = made(qtbot, BeforeAfterTable())
    report = make_report(verdict="worse", held_out={f"C{i}": (0.5, 0.4) for i in range(2)})
    groups = table.table(report, {})
    tree.show_groups(groups)
    assert tree.topLevelItemCount() == 2 and "worse" in tree.topLevelItem(0).text(0)
    for g, group in enumerate(groups):
        for b, block in enumerate(group.blocks):
            item = tree.topLevelItem(g).child(b)
            assert item.text(0) == block.title and item.isExpanded() == (b == 0)
            for i, line in enumerate(block.lines):
                assert [item.child(i).text(c) for c in range(7)] == [line.region, *line.cells]
            assert [item.child(3 + i).text(0) for i in range(len(block.intervals))] == list(block.intervals)
    rows = tree.height()
    tree.topLevelItem(0).child(1).setExpanded(True)
    assert tree.height() > rows


def test_the_curves_have_the_regions_colours_and_stay_in_their_frames(qtbot):
    view = made(qtbot, CurvesView())

    def picture():
        image = view.grab().toImage()
        rows = [[image.pixelColor(x, y).getRgbF()[:3] for x in range(image.width())] for y in range(image.height())]
        return np.array(rows)

    def where(colour):
        return np.argwhere(np.abs(picture()[24:] - np.array(colour)).max(axis=-1) < 0.05)

    dice = {r.value: [(s, 0.2 * (i + 1) + s / 1000) for s in (10, 50, 100)] for i, r in enumerate(REGION_COLOURS)}
    view.show_curves(CurvesShown([(s, 2 - s / 100) for s in range(1, 101)], {}, 200))
    empty = {r: len(where(c)) for r, c in REGION_COLOURS.items()}
    view.show_curves(CurvesShown([(s, 2 - s / 100) for s in range(1, 101)], dice, 200))
    heights = []
    for region, colour in REGION_COLOURS.items():
        found = where(colour)
        assert len(found) > empty[region] + 20, region
        assert found[:, 1].min() > view.width() / 2  # in the right plot
        heights.append(found[:, 0].mean())
    assert heights == sorted(heights, reverse=True)  # the higher Dice lies higher
    assert "WT" in view.accessibleDescription()


def test_nothing_to_draw_is_no_failure(qtbot):
    view = made(qtbot, CurvesView())
    for shown in (CurvesShown(), CurvesShown([(0, 0.0)]), CurvesShown([(5, -1.0), (6, 2.0)], {"WT": []}, 0, False)):
        view.show_curves(shown)
        assert not view.grab().isNull()


def test_time_left_in_words():
    assert [left_in_words(s) for s in (None, 0.4, 89, 90, 600)] == [
        "", "about 0 s of training left", "about 89 s of training left", "about 2 min of training left",
        "about 10 min of training left",
    ]  # fmt: skip


def test_it_is_honest_about_time_and_about_runs_that_were_too_short(view):
    view.form.show_form(replace(FORM, expected="About 22 min."))
    assert view.form.expected.isVisible() and view.form.expected.text() == "About 22 min."
    view.show_run(RunShown(True, stage="training", left="step 12 of 300 · about 5 min of training left"))
    assert "step 12 of 300" in view.left.text()
    view.show_run(RESULT)
    assert view.use.property("role") == "primary"
    view.show_run(replace(RESULT, unproven=True))
    assert view.use.property("role") != "primary" and view.use.isEnabled()


def test_the_time_is_that_of_reading_training_and_proof():
    words = table.expected_in_words(4, 7, 12.0, 4.0)
    assert words.startswith("About 17 min") and "training 12 min" in words and "proof" in words
    more = [int(table.expected_in_words(4, n, 12.0, 4.0).split()[1]) for n in (2, 7, 20)]
    assert more == sorted(more) and len(set(more)) == 3
    assert "on top" in table.expected_in_words(4, 7, None, None)


def test_studies_go_by_their_names():
    names = {"sub-1": "Anna", "sub-12": "Berta"}
    assert table.named("Left out: 'sub-12' and sub-1.", names) == "Left out: 'Berta' and Anna."

"""The views: they show what they are told and ask by signals; a mouse presses what is visible and enabled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.views import press
from napari.utils.theme import available_themes, get_theme
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QSlider, QWidget

from brainseg_engine.core.study import Modality
from napari_brainseg.features.corrections.view import CorrectionsView
from napari_brainseg.features.finetune.view import FinetuneView
from napari_brainseg.features.paint.view import PaintView
from napari_brainseg.features.queue.view import QueueView
from napari_brainseg.features.regions.view import ItemShown, RegionsView
from napari_brainseg.features.save.view import SaveView
from napari_brainseg.features.segment.view import SegmentView
from napari_brainseg.features.study.view import StudyShown, StudyView
from napari_brainseg.features.view.view import ViewView
from napari_brainseg.qt import style
from napari_brainseg.qt.frame import FOOTER, PanelView
from napari_brainseg.qt.widgets import SWATCHES
from napari_brainseg.session import ItemStats

FILES = [Path(f"/x/case/case_{m}.nii.gz") for m in Modality]
SHOWN = StudyShown("case", "240×240×155 · 1 mm", "…", dict(zip(Modality, FILES, strict=True)), FILES)


@pytest.fixture
def panel(qtbot) -> PanelView:
    views = {
        "study": StudyView(),
        "segment": SegmentView({"auto": "Automatic", "cpu": "CPU"}),
        "regions": RegionsView({"regions": ("WT · TC · ET", "Nested"), "classes": ("NCR · ED · ET", "Disjoint")}),
        "paint": PaintView(),
        "corrections": CorrectionsView(),
        "view": ViewView(
            (("Axial", "axial", "A"), ("3D", "3d", "T")),
            ("Standard", "Wide"),
            (("A", "axial plane"), ("Shift-N", "back")),
        ),
        "save": SaveView((("brats2021", "1, 2, 4"), ("brats2023", "1, 2, 3"))),
        "queue": QueueView(),
        "finetune": FinetuneView({"auto": "Automatic", "cpu": "CPU"}),
    }
    made = PanelView({"Read": list(views.values())})
    for name, view in views.items():
        setattr(made, name, view)
    qtbot.addWidget(made)
    made.show_theme(get_theme("dark").to_rgb_dict())
    made.resize(400, 1000)
    made.show()
    qtbot.waitExposed(made)
    return made


def show_items(qtbot, panel, shown: list[ItemShown], compared_with: str = "") -> None:
    panel.regions.show_items(shown, compared_with)
    qtbot.waitUntil(panel.regions.rows["WT"].isVisible)  # Qt shows new children in its event loop


def text(panel, name: str) -> str:
    return panel.findChild(QWidget, name).text()


def items(**stats: ItemStats) -> list[ItemShown]:
    names = {"WT": "whole tumour", "TC": "tumour core", "ET": "enhancing tumour"}
    return [ItemShown(i, n, (1.0, 0.5, 0.0), True, 0.45, stats.get(i, ItemStats())) for i, n in names.items()]


def test_a_row_tells_between_which_limits_the_volume_lies(qtbot, panel):
    shown = items(WT=ItemStats(41.2, 1), TC=ItemStats(12.0, 1))
    show_items(qtbot, panel, [replace(shown[0], limits="173–269"), *shown[1:]])
    assert (text(panel, "region_WT_ml"), text(panel, "region_TC_ml")) == ("41.20\n(173–269)", "12.00")
    cell = panel.findChild(QWidget, "region_WT_ml")
    assert cell.width() >= cell.sizeHint().width()  # nothing is cut off
    assert "nine of ten" in panel.findChild(QWidget, "head_ml").toolTip()
    panel.regions.show_sizes({"WT": ItemStats(40.0, 1)}, {})  # someone paints: nothing is claimed of what a person drew
    assert text(panel, "region_WT_ml") == "40.00"
    panel.regions.show_sizes({"WT": ItemStats(41.2, 1)}, {"WT": "173–269"})
    assert text(panel, "region_WT_ml") == "41.20\n(173–269)"


def test_buttons_of_the_study_ask(qtbot, panel):
    for name, signal in (
        ("open_folder", panel.study.folder_requested),
        ("open_files", panel.study.files_requested),
        ("open_sample", panel.study.sample_requested),
    ):
        with qtbot.waitSignal(signal, timeout=1000):
            press(qtbot, panel, name)


def test_the_series_are_shown_and_a_choice_is_asked_for_but_not_carried_out(qtbot, panel):
    panel.study.show_study(SHOWN)
    panel.study.fold.click()
    combo = panel.findChild(QComboBox, "assign_t2")
    assert combo.isVisible() and combo.currentText() == "case_t2.nii.gz"
    asked = []
    panel.study.reassign_requested.connect(lambda *a: asked.append(a))
    panel.study.other_file_requested.connect(lambda m: asked.append((m, "other")))
    for value in (FILES[0], None, "other", FILES[2]):
        combo.setCurrentIndex(combo.findData(value))
        combo.activated.emit(combo.findData(value))
    assert asked == [(Modality.T2, FILES[0]), (Modality.T2, None), (Modality.T2, "other")]
    assert combo.currentText() == "case_t2.nii.gz"


def test_files_of_one_name_are_told_apart_and_missing_series_show_as_none(panel):
    files = [Path("/x/a/scan.nii"), Path("/x/b/scan.nii")]
    panel.study.show_study(
        StudyShown("c", "", "", {Modality.T1: files[0], Modality.T2: None}, files, ["Something is off."])
    )
    combo = panel.findChild(QComboBox, "assign_t1")
    assert [combo.itemText(i) for i in range(2)] == ["a/scan.nii", "b/scan.nii"]
    assert panel.findChild(QComboBox, "assign_flair").currentText() == "none"
    assert panel.findChild(QComboBox, "assign_t2").currentText() == "in memory"
    assert "Something is off." in text(panel, "study_warnings")
    assert panel.findChild(QLabel, "warning_0").isVisible() and panel.study.combos[Modality.T1].isVisible()


def test_a_mask_is_asked_for_by_its_coding(qtbot, panel):
    panel.study.show_study(SHOWN)
    asked = []
    panel.study.mask_requested.connect(asked.append)
    actions = [a for a in panel.study.open_mask.menu().actions() if not a.isSeparator()]
    for action in actions:
        action.trigger()
    assert asked[0] is None and {"brats2021", "brats2023", "decathlon"} <= set(asked[1:])


def test_the_segment_button_is_off_with_a_reason_and_says_when_there_are_warnings(qtbot, panel):
    view = panel.segment
    assert not view.start.isEnabled() and text(panel, "segment_why")
    view.show_blocker("", 0)
    assert view.start.isEnabled() and view.start.text() == "Segment"
    view.show_blocker("", 2)
    assert view.start.isEnabled() and view.start.text() == "Segment anyway"
    with qtbot.waitSignal(view.segment_requested, timeout=1000):
        press(qtbot, panel, "segment")
    view.show_blocker("No.", 2)
    assert not view.start.isEnabled() and view.start.text() == "Segment"


def test_progress_takes_the_buttons_place_and_can_be_cancelled(qtbot, panel):
    view = panel.segment
    view.show_blocker("", 0)
    qtbot.wait(200)
    below = panel.regions.y()
    view.show_progress(("segmenting", 0.42))
    qtbot.waitUntil(lambda: view.bar.isVisible())
    assert view.bar.text() == "segmenting — 42 %" and not view.start.isVisible()
    qtbot.wait(200)
    assert panel.regions.y() == below  # nothing moves under the mouse
    with qtbot.waitSignal(view.cancel_requested, timeout=1000):
        press(qtbot, panel, "cancel")
    view.show_progress(None)
    assert view.start.isVisible() and view.start.isEnabled() and not view.cancel.isVisible()


def test_models_show_with_their_cards_and_a_choice_is_asked_for(qtbot, panel):
    view = panel.segment
    view.show_models([("a", "a", "card of a"), ("b", "b", "card of b")], "b")
    assert view.model.currentText() == "b" and view.model.toolTip() == "card of b"
    assert view.model.itemData(0, Qt.ItemDataRole.ToolTipRole) == "card of a"
    with qtbot.waitSignal(view.model_chosen) as asked:
        view.model.setFocus()
        qtbot.keyClick(view.model, Qt.Key.Key_Up)
    assert asked.args == ["a"]
    with qtbot.waitSignal(view.device_chosen) as asked:
        qtbot.keyClick(view.device, Qt.Key.Key_Down)
    assert asked.args == ["cpu"]


def test_a_row_shows_its_numbers_and_a_dash_for_what_was_not_measured(qtbot, panel):
    show_items(qtbot, panel, items(WT=ItemStats(123.456, 2, 0.87654), TC=ItemStats(0.0, 0, None)), "truth.nii.gz")
    assert [text(panel, f"region_WT_{k}") for k in ("ml", "components", "dice")] == ["123.5", "2", "0.877"]
    assert [text(panel, f"region_TC_{k}") for k in ("ml", "components", "dice")] == ["0.00", "0", "–"]
    assert [text(panel, f"region_ET_{k}") for k in ("ml", "components", "dice")] == ["–", "–", "–"]
    assert panel.findChild(QLabel, "region_WT_dice").isVisible()
    assert "truth.nii.gz" in panel.findChild(QLabel, "head_dice").toolTip()
    panel.regions.show_items(items(), "")
    assert not panel.findChild(QLabel, "region_WT_dice").isVisible()


def test_a_row_counts_voxels_where_their_size_is_not_known(qtbot, panel):
    show_items(qtbot, panel, items(WT=ItemStats(None, 2, 0.5, 1234)), "truth.nii.gz")
    assert text(panel, "region_WT_ml") == "1,234"
    assert text(panel, "region_TC_ml") == "–"
    assert text(panel, "head_ml") == "Voxels"
    show_items(qtbot, panel, items(WT=ItemStats(1.0, 2, 0.5, 1000)), "truth.nii.gz")
    assert (text(panel, "region_WT_ml"), text(panel, "head_ml")) == ("1.00", "mL")


def test_a_click_on_a_row_or_enter_asks_to_go_there_and_its_parts_ask_for_changes(qtbot, panel):
    show_items(qtbot, panel, items())
    row = panel.regions.rows["TC"]
    with qtbot.waitSignal(panel.regions.jump_requested) as asked:
        qtbot.mouseClick(row, Qt.MouseButton.LeftButton, pos=QPoint(row.width() - 20, row.height() // 2))
    assert asked.args == ["TC"]
    with qtbot.waitSignal(panel.regions.jump_requested):
        qtbot.keyClick(row, Qt.Key.Key_Return)
    changes, jumps = [], []
    panel.regions.item_changed.connect(lambda *a: changes.append(a))
    panel.regions.jump_requested.connect(jumps.append)
    press(qtbot, panel, "region_TC_visible")
    slider = panel.findChild(QSlider, "region_TC_opacity")
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert changes == [("TC", {"visible": False}), ("TC", {"opacity": 0.46})]
    assert jumps == []


def test_a_colour_is_chosen_from_a_menu(qtbot, panel):
    show_items(qtbot, panel, items())
    swatch = panel.regions.rows["ET"].colour
    qtbot.mouseClick(swatch, Qt.MouseButton.LeftButton)
    menu = swatch.findChild(object, "region_ET_colour_menu")
    with qtbot.waitSignal(panel.regions.item_changed) as asked:
        next(a for a in menu.actions() if a.text() == "white").trigger()
    assert asked.args == ["ET", {"colour": SWATCHES["white"]}]
    menu.close()


def test_showing_says_nothing(qtbot, panel):
    """A view that is brought in line must not ask for what it was told: that would go round in circles."""
    panel.regions.show_items(items(), "")
    panel.study.show_study(SHOWN)
    signals = [panel.regions.item_changed, panel.regions.scheme_chosen, panel.regions.outline_chosen,
               panel.study.reassign_requested, panel.segment.model_chosen, panel.segment.device_chosen,
               panel.view.plane_chosen, panel.view.modality_chosen, panel.view.window_chosen]  # fmt: skip
    said = []
    for signal in signals:
        signal.connect(lambda *a: said.append(a))
    hidden = [ItemShown(i.item, i.name, (0.0, 0.0, 1.0), False, 0.9, ItemStats(1.0)) for i in items()]
    panel.regions.show_items(hidden, "x")
    panel.regions.show_switches("classes", True)
    panel.study.show_study(StudyShown("d", "", "", {Modality.T1: FILES[1]}, FILES))
    panel.segment.show_models([("a", "a", "")], "a")
    panel.segment.show_devices({"auto": "Automatic", "cpu": "CPU"}, "cpu")
    panel.view.plane.show_value("3d")
    panel.view.show_modalities([Modality.T1], Modality.T1)
    panel.view.window_preset.show_value("Wide")
    assert said == []
    assert not panel.regions.rows["WT"].visible.isChecked() and panel.regions.rows["WT"].opacity.value() == 90


def test_switches_ask(qtbot, panel):
    for name, signal, value in (
        ("scheme_classes", panel.regions.scheme_chosen, "classes"),
        ("outline", panel.regions.outline_chosen, True),
        ("plane_3d", panel.view.plane_chosen, "3d"),
        ("window_wide", panel.view.window_chosen, "Wide"),
    ):
        with qtbot.waitSignal(signal, timeout=1000) as asked:
            press(qtbot, panel, name)
        assert asked.args == [value]


def test_series_that_are_not_there_cannot_be_shown_and_values_are_dashes(qtbot, panel):
    panel.view.show_modalities([Modality.T1, Modality.FLAIR], Modality.FLAIR)
    b = panel.view.modality.buttons
    assert [b[m].isEnabled() for m in Modality] == [True, False, False, True]
    assert [b[m].isChecked() for m in Modality] == [False, False, False, True]
    panel.view.show_values({Modality.T1: 1234.0, Modality.FLAIR: 0.12345})
    assert [text(panel, f"value_{m}") for m in Modality] == ["1234", "–", "–", "0.123"]


def test_keys_are_listed_when_asked_for(qtbot, panel):
    assert not panel.view.keys.isVisible()
    press(qtbot, panel, "keys_toggle")
    assert panel.view.keys.isVisible()
    words = [x.text() for x in panel.view.keys.findChildren(QLabel)]
    assert words[:4] == ["A", "axial plane", "Shift+N", "back"] or words[1:5] == ["A", "axial plane", "Shift+N", "back"]
    press(qtbot, panel, "keys_toggle")
    assert not panel.view.keys.isVisible()


def test_saving_is_asked_for_with_the_coding(qtbot, panel):
    assert not panel.save.save.isEnabled()
    panel.save.show_state(possible=True, dirty=True)
    panel.save.show_coding("brats2021")
    assert text(panel, "save_state") == "not saved yet"
    panel.scroll.ensureWidgetVisible(panel.save.save)
    with qtbot.waitSignal(panel.save.save_requested) as asked:
        press(qtbot, panel, "save")
    assert asked.args == ["brats2021"]


def test_messages_stay_until_they_are_taken_away(qtbot, panel):
    panel.message.show_message("It is broken. Mend it.", "error")
    assert panel.message.isVisible() and text(panel, "message") == "It is broken. Mend it."
    with qtbot.waitSignal(panel.message.dismissed):
        press(qtbot, panel, "message_close")
    panel.message.show_message("", "info")
    assert not panel.message.isVisible()


def test_the_footer_says_what_this_is_not(panel):
    assert text(panel, "footer") == FOOTER == "For research use only. Not a medical device."


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_everything_fits_the_width_of_a_narrow_dock(qtbot, panel, theme):
    panel.show_theme(get_theme(theme).to_rgb_dict())
    name = "MRHR_FLAIR_AX_TCGA-FG-6692_Si_TCGA-FG-6692_MRHR_FLAIR_AX_SE_IR_5_tir2d1_21_fla.nii.gz"
    files = [Path("/x") / f"{m}_{name}" for m in Modality]
    facts = "256×224×26 · 0.898×0.898×5.5 mm"
    panel.study.show_study(
        StudyShown(name, facts, "", dict(zip(Modality, files, strict=True)), files, [f"{name} is off."])
    )
    panel.segment.show_blocker(f"{name} is off.", 1)
    panel.message.show_message(f"{name} is off.", "error")
    panel.regions.show_items(items(WT=ItemStats(None, 99, 0.876, 1234567)), "truth.nii.gz")
    panel.resize(panel.minimumWidth(), 500)
    qtbot.wait(50)
    assert panel.scroll.widget().minimumSizeHint().width() <= panel.scroll.viewport().width()
    panel.regions.show_items(items(WT=ItemStats(1234.5, 99, 0.876)), "truth.nii.gz")
    qtbot.wait(50)
    brief = panel.findChild(QLabel, "warning_0")
    assert brief.isVisible() and brief.height() < 2 * brief.fontMetrics().lineSpacing()
    panel.study.whole.click()
    qtbot.wait(50)
    words = panel.study.warnings
    assert words.isVisible() and words.height() >= 3 * words.fontMetrics().lineSpacing()  # broken within the name
    body = panel.scroll.widget()
    assert body.minimumSizeHint().width() <= panel.scroll.viewport().width()


def test_every_control_has_a_name_a_tooltip_and_can_be_reached_by_the_keyboard(panel):
    panel.study.show_study(SHOWN)
    panel.regions.show_items(items(), "")
    for widget in [*panel.findChildren(QAbstractButton), *panel.findChildren(QComboBox), *panel.findChildren(QSlider)]:
        if widget.objectName().startswith("qt_") or not widget.isVisibleTo(panel):
            continue  # Qt's own parts
        assert widget.objectName(), widget
        assert widget.toolTip(), widget.objectName()
        assert widget.focusPolicy() & Qt.FocusPolicy.TabFocus, widget.objectName()


def test_the_style_is_complete_for_every_theme():
    for name in available_themes():
        made = style.sheet(get_theme(name).to_rgb_dict()) if name != "system" else ""
        assert "{" not in made.replace("{", "", made.count("}"))

"""The fourth section: what to paint, with which tool, where it may be; tools that work in 3D; undo."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QHBoxLayout, QSizePolicy, QSlider, QWidget
from superqt import QDoubleRangeSlider

from brainseg_engine.core.labels import LABEL_NAMES, REGION_NAMES, Label, Region
from brainseg_engine.core.palette import LABEL_COLOURS, REGION_COLOURS
from napari_brainseg.display.tools import Tool
from napari_brainseg.features.paint.shown import CLASSES, LARGEST_BRUSH, REGION_TIPS, TOOLS, PaintShown
from napari_brainseg.features.paint.works import TEXTS, WORKS
from napari_brainseg.qt.widgets import Combo, FeatureRow, Number, Section, Segmented, button, colour_icon, label, plain


class PaintView(Section):
    """Shows how one paints, and asks for another way, for a 3D tool, for undo."""

    target_chosen = Signal(object)
    tool_chosen = Signal(object)
    size_chosen = Signal(int)
    changed = Signal(dict)
    threshold_switched = Signal(bool)
    series_chosen = Signal(object)
    limits_chosen = Signal(tuple)
    work_requested = Signal(str, object)
    take_requested = Signal(int)
    box_switched = Signal(bool)
    undo_requested = Signal()
    redo_requested = Signal()
    new_requested = Signal()

    def __init__(self) -> None:
        super().__init__("Paint", "paint")
        self._make_head()
        self.begin = button(
            "New empty mask", "new_mask", "Begin a segmentation of this study from nothing", self.new_requested.emit
        )
        self.why = label("", role="dim", wrap=True)
        row = QHBoxLayout()
        self._begin_row = plain(row)
        row.addWidget(self.why, 1)
        row.addWidget(self.begin)
        self.body.addWidget(self._begin_row)
        self.tools = QWidget()
        self.tools.setProperty("role", "plain")
        self._column = QGridLayout(self.tools)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setVerticalSpacing(6)
        self._column.setColumnStretch(1, 1)
        self._make_targets()
        self._make_tools()
        self._make_bounds()
        self._make_threshold()
        self._make_works()
        self.body.addWidget(self.tools)
        self.more: FeatureRow | None = None
        for group in (self.regions, self.classes, self.tool):
            for b in group.buttons.values():
                _narrow(b)
        self.tool.share_by_text()
        self.fold.toggled.connect(self._folded)
        self._shown = PaintShown()
        self.show_state(self._shown)

    # --- making it

    def _make_head(self) -> None:
        self.undo = button("↶ Undo", "undo", "Take the last step back (Ctrl+Z)", self.undo_requested.emit)
        self.redo = button("↷ Redo", "redo", "Take it again (Ctrl+Shift+Z)", self.redo_requested.emit)
        self.fold = button("Tools ▸", "paint_fold", "Show or hide the tools for correcting the segmentation")
        self.fold.setCheckable(True)
        for b in (self.undo, self.redo, self.fold):
            b.setProperty("role", "link")
            self.head.addWidget(b)

    def _add(self, text: str, what: QWidget, tip: str = "") -> None:
        row = self._column.rowCount()
        head = label(text)
        head.setToolTip(tip)
        self._column.addWidget(head, row, 0)
        self._column.addWidget(what, row, 1)

    def _make_targets(self) -> None:
        self.regions = Segmented(
            [(r.value, r, f"paint_{r.value}", f"Paint the {REGION_NAMES[r]} (key Q: the next). {REGION_TIPS[r]}.")
             for r in (Region.WT, Region.TC, Region.ET)]
        )  # fmt: skip
        self.classes = Segmented(
            [(c.name, c, f"paint_class_{c.name}", f"Paint the class {LABEL_NAMES[c]} over anything; erasing leaves nothing")
             for c in CLASSES]
        )  # fmt: skip
        for r, b in self.regions.buttons.items():
            b.setIcon(colour_icon(REGION_COLOURS[r]))
        for c, b in self.classes.buttons.items():
            b.setIcon(colour_icon(LABEL_COLOURS[c]))
        self.regions.chosen.connect(self.target_chosen)
        self.classes.chosen.connect(self.target_chosen)
        self._add("Region", self.regions, "Nested: what lies inside is left alone, what lies around follows")
        self._add("or class", self.classes, "Disjoint: what is painted replaces what was there")

    def _make_tools(self) -> None:
        self.tool = Segmented([(text, value, f"tool_{value.value}", tip) for text, value, tip in TOOLS])
        self.tool.chosen.connect(self.tool_chosen)
        self._column.addWidget(self.tool, self._column.rowCount(), 0, 1, 2)
        line = QHBoxLayout()
        self.click_words = label(
            "Click: it belongs to the region. Shift + click: it does not. Drag: scribble.", role="dim", wrap=True
        )
        self.box = _check(
            "box",
            "click_box",
            "Drag a box round what belongs to the region, instead of clicks and scribbles (key 9)",
        )
        self.box.toggled.connect(self.box_switched)
        line.addWidget(self.click_words, 1)
        line.addWidget(self.box)
        self._click_row = plain(line)
        self._column.addWidget(self._click_row, self._column.rowCount(), 0, 1, 2)
        row = QHBoxLayout()
        self.size = QSlider(Qt.Orientation.Horizontal)
        self.size.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.size.setObjectName("brush_size")
        self.size.setRange(1, LARGEST_BRUSH)
        self.size.setToolTip("Diameter of brush and eraser in voxels (keys [ and ], or Alt and move the mouse)")
        self.size.setAccessibleName("Brush size")
        self.size.valueChanged.connect(self.size_chosen)
        self.size_number = label("10", role="number", name="brush_size_number")
        self.size_number.setFixedWidth(24)
        self.through = _check("3D", "through", "Paint a ball through the slices instead of a disc in one")
        self.through.toggled.connect(lambda on: self.changed.emit({"through": on}))
        row.addWidget(self.size, 1)
        row.addWidget(self.size_number)
        row.addWidget(self.through)
        self.inside = _check("brain only", "inside", "Change nothing outside the brain")
        self.inside.toggled.connect(lambda on: self.changed.emit({"inside": on}))
        row.addWidget(self.inside)
        self._add("Size", plain(row))

    def _make_bounds(self) -> None:
        row = QHBoxLayout()
        self.protect: dict[Label, QCheckBox] = {}
        for c in (*CLASSES, Label.RC):
            check = _check(
                c.name, f"protect_{c.name}", f"Leave voxels of the {LABEL_NAMES[c]} as they are, whatever the tool"
            )
            check.toggled.connect(self._protect_changed)
            self.protect[c] = check
            row.addWidget(check)
        row.addStretch(1)
        self._add("Protect", plain(row), "Classes that no tool may change")

    def _make_threshold(self) -> None:
        row = QHBoxLayout()
        self.threshold = _check("Paint only where", "threshold", "Threshold brush: paint only within a range of one series' "
                                "intensities, T1ce for ET, FLAIR for WT (key R)")  # fmt: skip
        self.threshold.toggled.connect(self.threshold_switched)
        self.series = Combo("threshold_series", "The series whose intensities bound the brush")
        self.series.activated.connect(lambda i: self.series_chosen.emit(self.series.itemData(i)))
        self.preview = _check("preview", "threshold_preview", "Show in magenta where the brush may paint")
        self.preview.toggled.connect(lambda on: self.changed.emit({"preview": on}))
        row.addWidget(self.threshold)
        row.addWidget(self.series, 1)
        row.addWidget(self.preview)
        self._column.addWidget(plain(row), self._column.rowCount(), 0, 1, 2)
        line = QHBoxLayout()
        self._range_row = plain(line)
        self.low, self.high = (label("", role="number", name=f"threshold_{n}") for n in ("low", "high"))
        self.range = QDoubleRangeSlider(Qt.Orientation.Horizontal)
        self.range.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.range.setObjectName("threshold_range")
        self.range.setToolTip("From which to which intensity is painted")
        self.range.setAccessibleName("Range of intensities")
        self.range.valueChanged.connect(self._limits_moved)
        for w, stretch in ((self.low, 0), (self.range, 1), (self.high, 0)):
            line.addWidget(w, stretch)
        self._column.addWidget(self._range_row, self._column.rowCount(), 0, 1, 2)

    def _make_works(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.setColumnStretch(0, 3)
        grid.setColumnStretch(2, 3)
        self.works: dict[str, Any] = {}
        self.numbers: dict[str, Number] = {}
        for i, (name, text, tip, number) in enumerate(WORKS):
            at = (i // 2, 2 * (i % 2))
            made = _narrow(button(text, f"work_{name}", tip))
            made.clicked.connect(lambda _=False, name=name: self._work(name))
            self.works[name] = made
            if number is None:
                grid.addWidget(made, *at, 1, 2)
                continue
            self.numbers[name] = Number(f"number_{name}", *number)
            grid.addWidget(made, *at)
            grid.addWidget(self.numbers[name], at[0], at[1] + 1)
        self.sources = Combo("take_from", "The segmentation to take the region or class from")
        self.take = button("Take from", "take", "The region or class chosen above becomes what it is there",
                           lambda: self.take_requested.emit(self.sources.currentIndex()))  # fmt: skip
        row = QHBoxLayout()
        row.addWidget(self.take)
        row.addWidget(self.sources, 1)
        grid.addWidget(plain(row), (len(WORKS) + 1) // 2, 0, 1, 4)
        self._column.addWidget(plain(grid), self._column.rowCount(), 0, 1, 2)

    # --- asking

    def _work(self, name: str) -> None:
        number = self.numbers.get(name)
        self.work_requested.emit(name, number.value() if number is not None else None)

    def _protect_changed(self) -> None:
        self.changed.emit({"protect": frozenset(c for c, check in self.protect.items() if check.isChecked())})

    def _limits_moved(self, limits: Any) -> None:
        low, high = (float(v) for v in limits)
        self._show_limits(low, high)
        self.limits_chosen.emit((low, high))

    # --- showing

    def _folded(self, open_: bool) -> None:
        self.fold.setText("Tools ▾" if open_ else "Tools ▸")
        self.tools.setVisible(open_)
        self.show_more()
        self._show_begin()

    def add_row(self, row: FeatureRow) -> None:
        """A row of another feature below the tools; it folds away with them, unless it is wanted."""
        self.more = row
        self.body.addWidget(row)
        self.show_more()

    def show_more(self) -> None:
        """The row may be wanted though the tools are folded away."""
        if self.more is not None:
            self.more.setVisible(self.fold.isChecked() or self.more.wanted)

    def show_open(self, open_: bool) -> None:
        """Show the tools, or hide them."""
        self.fold.setChecked(open_)

    def _show_begin(self) -> None:
        s = self._shown
        self.begin.setVisible(s.begin)
        self.why.setText("Segment the study, open a mask, or begin from nothing." if s.begin else "Open a study first.")
        self._begin_row.setVisible(not s.possible)

    def show_state(self, s: PaintShown) -> None:
        """Bring the section in line. Says nothing."""
        self._shown = s
        self.tools.setEnabled(s.possible)
        self.tools.setVisible(self.fold.isChecked())
        self.show_more()
        self._show_begin()
        for b, what, key in ((self.undo, s.undo, "Ctrl+Z"), (self.redo, s.redo, "Ctrl+Shift+Z")):
            b.setEnabled(s.possible and bool(what))
            verb = "Undo" if b is self.undo else "Redo"
            b.setToolTip(f"{verb}: {what} ({key})" if what else f"Nothing to {verb.lower()} ({key})")
        self.regions.show_value(s.target if isinstance(s.target, Region) else None)
        self.classes.show_value(s.target if isinstance(s.target, Label) else None)
        self.tool.show_value(s.tool)
        self.size_number.setText(str(s.size))
        self._click_row.setVisible(s.tool is Tool.CLICK)
        _set(self.box, s.box)
        self.protect[Label.RC].setVisible(s.cavity)
        _set(self.size, s.size)
        _set(self.through, s.through)
        _set(self.inside, s.inside)
        _set(self.threshold, s.threshold)
        _set(self.preview, s.preview)
        for c, check in self.protect.items():
            _set(check, c in s.protect)
        self._show_threshold(s)
        for name, made in self.works.items():
            made.setText(TEXTS[name] if name != s.waiting else "Click on the image…")
        if [self.sources.itemText(i) for i in range(self.sources.count())] != list(s.sources):
            self.sources.show_choices([(n, n, n) for n in s.sources], s.sources[0] if s.sources else None)
        self.take.setEnabled(bool(s.sources))

    def _show_threshold(self, s: PaintShown) -> None:
        self.series.show_choices([(m.title, m, "") for m in s.series] or [("–", None, "")], s.modality)
        self.series.setEnabled(s.threshold)
        self.preview.setEnabled(s.threshold)
        self._range_row.setVisible(s.threshold)
        if s.limits is not None and not self.range.isSliderDown():
            blocker = QSignalBlocker(self.range)
            self.range.setRange(*s.bounds)
            self.range.setValue(s.limits)
            blocker.unblock()
            self._show_limits(*s.limits)

    def _show_limits(self, low: float, high: float) -> None:
        self.low.setText(_short(low))
        self.high.setText(_short(high))


def _narrow(made: Any) -> Any:
    """The button takes the room there is, not the room it would like."""
    made.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return made


def _check(text: str, name: str, tip: str) -> QCheckBox:
    made = QCheckBox(text)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.setObjectName(name)
    made.setToolTip(tip)
    made.setAccessibleName(tip)
    return made


def _set(widget: Any, value: Any) -> None:
    """Show a value without saying that it changed."""
    blocker = QSignalBlocker(widget)
    if isinstance(widget, QCheckBox):
        widget.setChecked(bool(value))
    elif not widget.isSliderDown():
        widget.setValue(value)
    blocker.unblock()


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3g}"

"""The first section: which study is open, which file is which series, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QMenu, QVBoxLayout

from brainseg_engine.core.labels import CODINGS
from brainseg_engine.core.study import Modality
from napari_brainseg.qt.widgets import Combo, Elided, Section, Words, button, label, plain

OTHER = "other"
"""Value of the choice "Other file …"."""

BRIEF = 3
"""Lines of warnings at first sight."""

_MEMORY = "memory"


@dataclass(frozen=True)
class StudyShown:
    """What there is to show: ``assigned`` series → file (None: it has none of its own, and ``without_file`` says where it is),
    ``files`` to choose from, and words. ``titles``: of a study that was prepared, modality → the series it is from."""

    id: str
    facts: str
    facts_tip: str
    assigned: Mapping[Modality, Path | None]
    files: Sequence[Path]
    warnings: Sequence[str] = ()
    mask: str = ""
    without_file: str = "in memory"
    titles: Mapping[Modality, str] = field(default_factory=dict)


class StudyView(Section):
    """Shows the study and asks to open another, or to take another file as a series."""

    folder_requested = Signal()
    files_requested = Signal()
    sample_requested = Signal()
    mask_requested = Signal(object)
    """The name of a label coding, or None: as the file's name tells."""
    reassign_requested = Signal(object, object)
    other_file_requested = Signal(object)

    def __init__(self) -> None:
        super().__init__("Study", "study")
        row = QHBoxLayout()
        row.setSpacing(6)
        for text, name, tip, signal in (
            (
                "Open folder…",
                "open_folder",
                "Open a study: a folder with its four series, or with DICOM",
                self.folder_requested,
            ),
            ("Open files…", "open_files", "Open four files picked by hand, or a .zip with DICOM", self.files_requested),
            ("Sample", "open_sample", "Open the synthetic study that comes with the program", self.sample_requested),
        ):
            row.addWidget(button(text, name, tip, signal.emit), 1)
        self.body.addLayout(row)
        self.empty = label(
            "No study is open. A study folder, a DICOM folder or a .zip can also be dropped onto the canvas.",
            role="dim",
            wrap=True,
        )
        self.body.addWidget(self.empty)
        column = QVBoxLayout()
        column.setSpacing(3)
        self._details = plain(column)
        self.title = Elided("study_title", "strong")
        self.facts = label(role="head", name="study_facts")
        self.warnings = Words("study_warnings", "warning")
        heading = QHBoxLayout()
        heading.setSpacing(8)
        heading.addWidget(self.title, 1)
        heading.addWidget(self.facts)
        self.fold = button("Files ▸", "files_fold", "Which file is which series")
        self.fold.setProperty("role", "link")
        self.fold.setCheckable(True)
        heading.addWidget(self.fold)
        column.addLayout(heading)
        self._files = plain(self._series())
        self._files.hide()
        self.fold.toggled.connect(self._unfold)
        column.addWidget(self._files)
        column.addLayout(self._mask_row())
        self._add_warnings(column)
        self.body.addWidget(self._details)
        self._shown: StudyShown | None = None
        self._pictures: Mapping[Path, QIcon] = {}
        self.show_study(None)

    def _series(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        self.combos: dict[Modality, Combo] = {}
        for i, m in enumerate(Modality):
            combo = Combo(f"assign_{m.value}", f"The file that is taken as {m.title}")
            combo.activated.connect(lambda index, m=m: self._picked(m, index))
            grid.addWidget(label(m.title), i, 0)
            grid.addWidget(combo, i, 1, 1, 2)
            self.combos[m] = combo
        return grid

    def _mask_row(self) -> QHBoxLayout:
        self.mask = Elided("mask_name", "dim")
        self.open_mask = button("Open…", "open_mask", "Open a mask of this study as its labels")
        menu = QMenu(self.open_mask)
        menu.setToolTipsVisible(True)
        by_name = menu.addAction("Labels as the file's name says")
        by_name.triggered.connect(lambda _=False: self.mask_requested.emit(None))
        menu.addSeparator()
        for coding in CODINGS.values():
            action = menu.addAction(f"Labels as in {coding.name}: {coding.description}")
            action.triggered.connect(lambda _=False, name=coding.name: self.mask_requested.emit(name))
        self.open_mask.setMenu(menu)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(label("Mask"))
        row.addWidget(self.mask, 1)
        row.addWidget(self.open_mask)
        return row

    def _add_warnings(self, column: QVBoxLayout) -> None:
        """A line each, three at most; the whole of them on demand."""
        lines = QVBoxLayout()
        lines.setSpacing(0)
        self.brief = plain(lines)
        self._lines = [Elided(f"warning_{i}", "warning", Qt.TextElideMode.ElideRight) for i in range(BRIEF)]
        for line in self._lines:
            lines.addWidget(line)
        self.whole = button("All of it ▸", "warnings_whole", "The warnings in full, with the names of the files")
        self.whole.setProperty("role", "link")
        self.whole.setCheckable(True)
        self.whole.toggled.connect(lambda _=False: self._show_warnings())
        column.addWidget(self.brief)
        column.addWidget(self.warnings)
        column.addWidget(self.whole, 0, Qt.AlignmentFlag.AlignLeft)

    def _show_warnings(self) -> None:
        warnings = list(self._shown.warnings) if self._shown is not None else []
        whole = self.whole.isChecked()
        brief = (
            warnings[:BRIEF]
            if len(warnings) <= BRIEF
            else [*warnings[: BRIEF - 1], f"{len(warnings) - BRIEF + 1} more"]
        )
        for i, line in enumerate(self._lines):
            line.show_text(f"⚠ {brief[i]}" if i < len(brief) else "")
            line.setVisible(i < len(brief))
        self.whole.setText("Less ▾" if whole else "All of it ▸")
        self.whole.setVisible(bool(warnings))
        self.brief.setVisible(bool(warnings) and not whole)
        self.warnings.setVisible(bool(warnings) and whole)

    def _unfold(self, on: bool) -> None:
        self._files.setVisible(on)
        self.fold.setText("Files ▾" if on else "Files ▸")

    def show_study(self, shown: StudyShown | None) -> None:
        """Show that study, or that none is open."""
        before = self._shown.id if self._shown is not None else ""
        self._shown = shown
        self.empty.setVisible(shown is None)
        self._details.setVisible(shown is not None)
        if shown is None:
            return
        self.title.show_text(shown.id)
        self.facts.setText(shown.facts)
        self.facts.setToolTip(shown.facts_tip)
        names = _short(shown.files)
        for m, combo in self.combos.items():
            current = shown.assigned.get(m)
            in_memory = m in shown.assigned and current is None
            choices: list[tuple[str, object, str]] = [(names[p], p, str(p)) for p in shown.files]
            if shown.titles:
                choices = [(shown.titles.get(m, "none"), current if m not in shown.assigned else _MEMORY, "")]
                tip = f"{m.title}: {shown.titles.get(m, 'none')}. Chosen in the table of series, and prepared."
                combo.show_choices(choices, choices[0][1])
                combo.setToolTip(tip)
                continue
            if in_memory:
                choices.insert(0, (shown.without_file, _MEMORY, "This series has no file of its own"))
            choices.append(("none", None, "Take no file as this series"))
            choices.append(("Other file…", OTHER, "Choose a file that is not listed"))
            combo.show_choices(choices, _MEMORY if in_memory else current)
            combo.setToolTip(f"{m.title}: {current}" if current else f"The file that is taken as {m.title}")
        self.show_pictures(self._pictures)
        self.mask.show_text(shown.mask or "none")
        self.warnings.show_text("\n".join(f"⚠ {w}" for w in shown.warnings))
        self._show_warnings()
        if shown.id != before or len(shown.assigned) < len(Modality):
            self.fold.setChecked(len(shown.assigned) < len(Modality))

    def show_pictures(self, pictures: Mapping[Path, QIcon]) -> None:
        """A small picture beside each file in the lists."""
        self._pictures = pictures
        for combo in self.combos.values():
            combo.setIconSize(QSize(44, 44))
            for i in range(combo.count()):
                if combo.itemData(i) in pictures:
                    combo.setItemIcon(i, pictures[combo.itemData(i)])

    def _picked(self, modality: Modality, index: int) -> None:
        value = self.combos[modality].itemData(index)
        shown = self._shown
        self.show_study(shown)  # what is shown is what is so: the choice shows when it has been carried out
        if shown is None or value == _MEMORY or (value is None and modality not in shown.assigned):
            return
        if value == OTHER:
            self.other_file_requested.emit(modality)
        elif value is None or value != shown.assigned.get(modality):
            self.reassign_requested.emit(modality, value)


def _short(files: Sequence[Path]) -> dict[Path, str]:
    """File names; with the folder where two are the same."""
    names = [p.name for p in files]
    return {p: p.name if names.count(p.name) == 1 else f"{p.parent.name}/{p.name}" for p in files}

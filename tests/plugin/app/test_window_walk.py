"""The whole walk in one napari window, by mouse and keys: segment, correct with every tool, take all of it back and do it
again, accept, fine-tune in another process, look at the proof, use the new model, and roll back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.walk import Walk
from helpers.window import Window
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QMessageBox

from brainseg_engine import models
from brainseg_engine.corrections import BaseModel, Store
from brainseg_engine.finetune.verdict import MARKED
from brainseg_engine.io import load_study
from brainseg_engine.phantom import phantom_study, write_study
from napari_brainseg.display import layers

pytestmark = [pytest.mark.window, pytest.mark.slow, pytest.mark.timeout(2400)]

REAL = "Brats18_TCIA01_201_1"
SHAPE, SMALL = (112, 128, 96), (80, 88, 72)


@pytest.fixture(params=[("phantom", 3, "epochs"), ("real", 1.0, "minutes")], ids=["phantom", "real"])
def study(request, tmp_path) -> tuple[Path, float, str]:
    """(the folder of a study without its mask, how long to train, the unit of that)."""
    kind, amount, unit = request.param
    if kind == "phantom":
        folder = Path(write_study(phantom_study(11, SHAPE), tmp_path / "studies"))
        for mask in folder.glob("*seg*"):
            mask.unlink()
        return folder, amount, unit
    source = request.getfixturevalue("real_data") / "brats" / REAL
    folder = tmp_path / "studies" / REAL
    folder.mkdir(parents=True)
    for file in source.glob("*.nii.gz"):
        if "seg" not in file.name:
            (folder / file.name).symlink_to(file)
    return folder, amount, unit


def accept_others(store: Store, folder: Path, base: str) -> list[str]:
    """Two corrected phantoms: the truth accepted against an answer that lacks a slice. Their ids."""
    made = []
    for seed in (21, 22):
        study = load_study(write_study(phantom_study(seed, SMALL), folder))
        answer = study.segmentation.labels.copy()
        answer[:, :, int(np.argmax((answer > 0).sum(axis=(0, 1))))] = 0
        wrong = replace(study.segmentation, labels=answer)
        made.append(store.add(study, study.segmentation, base=wrong, model=BaseModel(base, "1")).id)
    return made


class Tuning:
    """The hand in the fine-tune section."""

    def __init__(self, window: Window) -> None:
        self.window, self.finetuning = window, window.app.features.finetune
        window.press("finetune_fold")

    def hold_out(self, id: str) -> None:
        """Tick its box."""
        listed = self.window.widget("finetune_corrections")
        self.window.wait(
            lambda: any(listed.item(i).data(Qt.ItemDataRole.UserRole) == id for i in range(listed.count()))
        )
        item = next(x for i in range(listed.count()) if (x := listed.item(i)).data(Qt.ItemDataRole.UserRole) == id)
        self.window.panel.scroll.ensureWidgetVisible(listed)
        box = listed.visualItemRect(item)
        at = QPoint(box.left() + 10, box.center().y())
        self.window.qtbot.mouseClick(listed.viewport(), Qt.MouseButton.LeftButton, pos=at)
        self.window.wait(lambda: self.window.app.session.store.get(id).held_out, 20)

    def keep_to(self, anchors: Path, monkeypatch) -> None:
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(anchors))
        self.window.press("finetune_more")
        self.window.press("finetune_anchors_folder")
        self.window.wait(lambda: self.finetuning.settings.anchors == anchors)

    def train(self, amount: float, unit: str) -> dict:
        """Until its end, the window in use meanwhile. The report."""
        units = self.window.widget("finetune_unit")
        units.setCurrentIndex(units.findData(unit))
        units.activated.emit(units.currentIndex())
        self.window.widget("finetune_amount").setValue(amount)
        self.window.press("finetune_start")
        self.window.wait(lambda: self.finetuning.run is not None, 60)
        run, pid = self.finetuning.run, self.finetuning.run.status.pid
        assert pid not in (os.getpid(), self.window.app.runner._clients[""].pid) and psutil.pid_exists(pid)
        self.window.panel.bring(self.window.widget("finetune_progress"))
        assert run.running and self.window.widget("finetune_progress").isVisible()
        self.window.wait(lambda: bool(run.loss) or not run.running, 900)
        assert run.running, run.why_it_ended()
        self.window.panel.bring(self.window.widget("finetune_curves"))
        assert self.window.widget("finetune_curves").isVisible()
        for plane in ("coronal", "axial"):  # the window is as usable as ever
            self.window.press(f"plane_{plane}")
        self.window.wait(lambda: not run.running, 1500)
        assert run.status.state == "done", run.why_it_ended()
        assert run.loss and run.dice and all(np.isfinite([p[1] for p in run.loss]))
        return dict(run.report)

    def table(self) -> list[str]:
        """The sets' headings; each set has a mean and a case, each with numbers."""
        table = self.window.widget("finetune_table")
        self.window.panel.bring(table)
        assert table.isVisible()
        tops = [table.topLevelItem(i) for i in range(table.topLevelItemCount())]
        for top in tops:
            assert top.childCount() >= 1
            rows = [top.child(0).child(i) for i in range(top.child(0).childCount())]
            numbers = [row.text(c) for row in rows for c in (1, 2) if row.text(c)]
            assert len(numbers) >= 6 and all(0 <= float(n) <= 1 for n in numbers if n != "–")
        return [top.text(0) for top in tops]


def accepted(window: Window, before: str = "") -> object:
    """Press Accept: the version that comes of it."""
    window.press("accept")
    window.wait(
        lambda: (
            window.app.features.corrections.accepted is not None
            and window.app.features.corrections.accepted.id != before
        ),
        60,
    )
    return window.app.features.corrections.accepted


def test_the_whole_walk(window, study, tmp_path, monkeypatch):
    folder, amount, unit = study
    asked: list[str] = []

    def answer(parent, title, text, *_):
        asked.append(text)
        return QMessageBox.StandardButton.Yes if title == "Use this model?" else QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", answer)
    # --- segment, correct, undo, redo, accept
    walk = Walk(window, folder, monkeypatch)
    base = window.session.model.name
    base_hash = models.sha256(models.find(base))
    walk.paint_with_each_tool()
    walk.work_in_3d()
    walk.work_at_a_point()
    walk.propagate()
    walk.undo_all_and_redo_all()
    store = window.app.session.store
    first = accepted(window)
    assert (first.base.name, first.base.sha256) == (base, base_hash) and not asked
    np.testing.assert_array_equal(store.read(first).labels, layers.labels_of(walk.layer))
    # --- fine-tune
    others = accept_others(store, tmp_path / "others", base)
    for seed in (31, 32, 33):
        write_study(phantom_study(seed, SMALL), tmp_path / "anchors")
    tuning = Tuning(window)
    tuning.hold_out(others[0])
    tuning.keep_to(tmp_path / "anchors", monkeypatch)
    report = tuning.train(amount, unit)
    name = report["model"]["name"]
    new_hash = models.sha256(models.find(name))
    assert new_hash == report["model"]["sha256"] != base_hash == models.sha256(models.find(base))
    assert {c["mask_sha256"] for c in report["corrections"]["held_out"]} == {store.get(others[0]).mask_sha256}
    assert first.mask_sha256 in {c["mask_sha256"] for c in report["corrections"]["training"]}
    held_out, anchors = tuning.table()
    assert held_out.startswith("Held-out corrections") and anchors.startswith("Anchors")
    # --- use the new model
    window.press("finetune_use")
    window.wait(lambda: window.session.model.name == name and models.default() == name, 30)
    assert len(asked) == (report["verdict"] in MARKED)
    assert all("mean Dice changes by" in text for text in asked)  # what it costs
    walk.segment()
    assert name in window.session.message.text
    walk.go(walk.z, walk.y, walk.x)
    walk.choose("WT", "brush", 9)
    walk.drag((walk.z, walk.y, walk.x - 2), (walk.z, walk.y, walk.x + 2))
    second = accepted(window, first.id)
    assert (second.base.name, second.base.sha256) == (name, new_hash)
    # --- and back
    window.press("finetune_rollback")
    window.wait(lambda: window.session.model.name == base and models.default() == base, 30)
    assert models.sha256(models.find(base)) == base_hash and models.find(name).exists()

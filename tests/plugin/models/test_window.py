"""In a real window: a model is brought in, two answer, they are put side by side, and a region is taken over."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import peers
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QFileDialog, QWidget

from brainseg_engine.phantom import phantom_study, write_study

pytestmark = [pytest.mark.window, pytest.mark.slow]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(study folder, bundle folder): a phantom, and a small network that has learnt it a little."""
    from monai.networks.nets import SegResNet
    from monai.transforms import NormalizeIntensity

    folder = tmp_path_factory.mktemp("made")
    study = phantom_study(1_000_003, (64, 72, 44))
    write_study(study, folder / "studies")
    bundle = peers.bundle(folder / "brats_mri_segmentation")
    torch.manual_seed(0)
    net = SegResNet(blocks_down=[1, 2], blocks_up=[1], init_filters=8, in_channels=4, out_channels=3, dropout_prob=0.2)
    image = torch.as_tensor(
        NormalizeIntensity(nonzero=True, channel_wise=True)(peers.stacked(study, peers.BUNDLE_ORDER))
    )
    peers.fitted(net, image, peers.targets(study), steps=20)
    torch.save(net.state_dict(), bundle / "models" / "model.pt")
    return next((folder / "studies").iterdir()), bundle


def dialog_of(window) -> QWidget:
    return next(w for w in QApplication.topLevelWidgets() if w.objectName() == "models_dialog" and w.isVisible())


def picture(window, widget: QWidget, name: str) -> None:
    """Keep a picture of it where somebody asks for pictures."""
    if "BRAINSEG_PICTURES" in os.environ:
        QApplication.processEvents()
        widget.grab().save(str(Path(os.environ["BRAINSEG_PICTURES"]) / f"{name}.png"))


def test_two_models_side_by_side(window, made, monkeypatch):
    study, bundle = made
    window.open(monkeypatch, study)
    window.wait(lambda: window.session.study is not None and window.session.reading == "")
    own = window.session.model.name

    window.press("models")
    window.wait(lambda: any(w.objectName() == "models_dialog" for w in QApplication.topLevelWidgets()))
    dialog = dialog_of(window)
    dialog.name.setText("monai")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(bundle))
    window.qtbot.mouseClick(dialog.folder, Qt.MouseButton.LeftButton)
    window.wait(lambda: any(m.name == "monai" for m in window.session.models), 120)
    window.wait(lambda: "imported" in dialog.words.text())
    assert "Apache-2.0" in dialog.words.text()
    window.wait(lambda: dialog.table.columnCount() == len(window.session.models))

    for n, m in enumerate(window.session.models):
        if m.name in (own, "monai"):
            dialog.table.item(0, n).setCheckState(Qt.CheckState.Checked)
    assert dialog.ticked == [m.name for m in window.session.models if m.name in (own, "monai")]
    picture(window, dialog, "models_dialog")
    window.qtbot.mouseClick(dialog.segment, Qt.MouseButton.LeftButton)
    window.wait(lambda: set(window.session.answers) == {own, "monai", "mean"}, 240)
    window.wait(lambda: "Dice of mean" in window.text("agreement"))
    window.wait(lambda: window.session.job is None)
    picture(window, window.viewer.window._qt_window, "two_models")

    window.wait(lambda: window.widget("answer_mean") is not None)
    window.press("answer_monai")
    window.wait(lambda: window.session.answer is window.session.answers["monai"])
    theirs = window.session.answers["monai"].segmentation.labels
    np.testing.assert_array_equal(window.session.segmentation.labels, theirs)
    window.wait(lambda: window.text("agreement").startswith("Dice of monai") and own in window.text("agreement"))

    paint = window.app.features.paint
    names = [source.name for source in paint.sources]
    assert f"the answer of {own}" in names and "the answer of mean" in names
    paint.take(paint.sources[names.index(f"the answer of {own}")])
    window.wait(lambda: any(step["tool"] == "take" for step in window.session.steps))

    window.app.features.doubt.compute()
    window.wait(lambda: window.app.features.doubt.known)
    assert "2 models together" in window.session.message.text

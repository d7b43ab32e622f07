"""Two time points side by side, in a real window."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from qtpy.QtWidgets import QFileDialog

from napari_brainseg.display.side_by_side import PRIOR

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]


@pytest.mark.slow
def test_an_earlier_study_stands_beside_and_tells_what_changed(window, monkeypatch, tmp_path):
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    now, before = (write(make_study(id=i, shape=(60, 64, 48), affine=affine), tmp_path) for i in ("now", "before"))
    window.open(monkeypatch, now)
    window.wait(lambda: window.session.measures is not None)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(before))
    window.press("follow_up_open")
    follow_up, viewer = window.app.features.follow_up, window.viewer
    window.wait(lambda: follow_up.prior == "before", 120)
    names = [layer.name for layer in viewer.layers]
    assert names[-2:] == [f"{PRIOR} T1ce", f"{PRIOR} segmentation"]
    grid = viewer.canvas.grid
    assert grid.enabled
    cells = {layer.name: grid.position(i, list(viewer.layers)) for i, layer in enumerate(viewer.layers)}
    assert cells[f"{PRIOR} T1ce"] == cells[f"{PRIOR} segmentation"] != cells["T1ce"] == cells["Segmentation"]
    text = window.widget("follow_up_words").toPlainText()
    assert "WT" in text and "mL" in text and "stable disease" in text and "research use" in text
    prior, labels = np.array(viewer.layers[-1].data), np.array(window.app.context.labels.data)
    assert 2 * ((prior > 0) & (labels > 0)).sum() / ((prior > 0).sum() + (labels > 0).sum()) > 0.9
    if os.environ.get("BRAINSEG_SCREENSHOTS"):
        window.qtbot.wait(500)
        window.viewer.window._qt_window.grab().save(str(Path(os.environ["BRAINSEG_SCREENSHOTS"]) / "prior.png"))
    window.press("plane_3d")
    window.wait(lambda: viewer.dims.ndisplay == 3 and not grid.enabled)
    window.press("plane_axial")
    window.wait(lambda: grid.enabled)
    window.press("follow_up_close")
    window.wait(lambda: not grid.enabled and not any(n.name.startswith(PRIOR) for n in viewer.layers))

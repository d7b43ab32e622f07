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


def day_of(series) -> str:
    """These phantoms tell no day of their own."""
    return "2025-01-10" if "before" in str(series.path) else "2025-03-10"


@pytest.mark.slow
def test_an_earlier_study_stands_beside_and_tells_what_changed(window, monkeypatch, tmp_path):
    affine = np.diag([-2.0, -2.0, 2.0, 1.0])
    now, before = (write(make_study(id=i, shape=(60, 64, 48), affine=affine), tmp_path) for i in ("now", "before"))
    window.open(monkeypatch, now)
    window.wait(lambda: window.session.measures is not None)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(before))
    for module in ("identity", "writing"):
        monkeypatch.setattr(f"brainseg_engine.report.{module}.examined_on", day_of)
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
    growth = window.widget("follow_up_growth")
    assert growth.isVisible() and [c.title for c in growth.charts] == ["Volume, mL", "ET: sum of products, mm²"]
    assert "2025-01-10 to 2025-03-10" in growth.accessibleDescription() and growth.height() > 150
    native = (
        viewer.window._qt_viewer.canvas.native
    )  # both scroll, zoom and change planes together: one camera, one slice
    assert native.isVisible() and len(viewer.window._qt_viewer.canvas.grid.children) >= 2
    prior, labels = np.array(viewer.layers[-1].data), np.array(window.app.context.labels.data)
    assert 2 * ((prior > 0) & (labels > 0)).sum() / ((prior > 0).sum() + (labels > 0).sum()) > 0.9
    if os.environ.get("BRAINSEG_SCREENSHOTS"):
        window.panel.scroll.ensureWidgetVisible(growth)
        window.qtbot.wait(500)
        window.viewer.window._qt_window.grab().save(str(Path(os.environ["BRAINSEG_SCREENSHOTS"]) / "prior.png"))
    window.press("plane_3d")
    window.wait(lambda: viewer.dims.ndisplay == 3 and not grid.enabled)
    window.press("plane_axial")
    window.wait(lambda: grid.enabled)
    window.press("follow_up_close")
    window.wait(lambda: not grid.enabled and not any(n.name.startswith(PRIOR) for n in viewer.layers))

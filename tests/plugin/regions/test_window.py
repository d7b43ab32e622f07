"""The regions in a real napari window."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from helpers.window import Hand

from napari_brainseg.display import planes

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]


def test_the_expected_overlap_is_seen_until_someone_paints_and_after_that_is_undone(window, tmp_path, monkeypatch):
    hand = Hand(window, write(make_study(id="A"), tmp_path), monkeypatch)
    shown = window.widget("expected_overlap")
    assert not shown.isVisible()  # the mask in the file tells nothing
    window.press("segment")
    window.wait(shown.isVisible)
    assert "Dice 0.62: look closely" in shown.text() and shown.property("role") == "warning"
    assert "rank correlation" in shown.toolTip()
    z, y, x = (round(c) for c in np.argwhere(hand.data > 0).mean(axis=0))
    planes.go_to_world(hand.viewer, hand.layer.data_to_world((z, y, x)))
    window.press("tool_eraser")
    hand.drag((z, y - 3, x), (z, y, x), (z, y + 3, x))
    window.wait(lambda: not shown.isVisible())
    window.press("undo")
    window.wait(shown.isVisible)

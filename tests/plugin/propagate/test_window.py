"""Propagate in a real napari window: pressed, outlined, accepted, undone. What the model would say is made up."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study
from helpers.window import Window

from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import BaseModel
from napari_brainseg.display import layers, outlines
from napari_brainseg.jobs import ProposedLabels
from napari_brainseg.session import Answer

pytestmark = [pytest.mark.window, pytest.mark.usefixtures("fake_worker")]


@pytest.mark.slow
def test_a_proposal_is_pressed_outlined_accepted_and_undone(window: Window, monkeypatch, tmp_path):
    study = make_study(id="A", shape=(40, 44, 36))
    window.open(monkeypatch, write(study, tmp_path, mask=False))
    app, grid = window.app, study.reference.grid
    answer = np.where(study.segmentation.labels == Label.ET, np.uint8(Label.ED), study.segmentation.labels)
    model = window.session.model
    given = Segmentation(answer, grid, "brats2023", "the model")
    window.session.deliver(Answer(given, BaseModel(model.name), model.path))
    window.wait(lambda: app.context.labels is not None and app.context.brush.layer is app.context.labels)
    layer = app.context.labels
    monkeypatch.setattr(
        app.runner, "submit", lambda _, listener: listener.finished(ProposedLabels(study.segmentation.labels, {}))
    )
    window.press("paint_fold")
    window.press("propagate")
    assert "Nothing was corrected" in window.session.message.text
    with layer.block_history():
        layer.paint(tuple(n // 2 for n in layer.data.shape), int(Label.ET))
    before = layers.snapshot(layer).labels.copy()
    window.press("propagate")
    window.wait(lambda: app.features.propagate.proposal is not None)
    assert window.widget("propagate_accept").isVisible() and not window.widget("propagate").isVisible()
    assert "ET +" in window.text("propagate_state")
    outline = outlines.beside(window.viewer, outlines.PROPOSAL)
    assert outline is not None and outline.visible and outline.contour == 1
    assert np.array_equal(layers.snapshot(layer).labels, before)
    window.press("propagate_accept")
    assert np.array_equal(layers.snapshot(layer).labels, study.segmentation.labels)
    assert outlines.beside(window.viewer, outlines.PROPOSAL) is None and window.widget("propagate").isVisible()
    window.wait(lambda: window.widget("undo").isEnabled())
    window.press("undo")
    assert np.array_equal(layers.snapshot(layer).labels, before)
    window.press("propagate")
    window.wait(lambda: app.features.propagate.proposal is not None)
    app.close()  # the panel alone: outlines without buttons would stay for ever
    assert outlines.beside(window.viewer, outlines.PROPOSAL) is None

"""The main job without a window: the real features over a runner that answers when told to. No connection is made here."""

from __future__ import annotations

import numpy as np
from helpers.cases import write
from helpers.rig import Card, House, Model, prediction, shown
from helpers.small_study import make_study

from brainseg_engine.core.labels import Region
from brainseg_engine.corrections import Store
from napari_brainseg.display import layers
from napari_brainseg.display.tools import Tool


def test_open_segment_paint_undo_redo_accept_and_the_fine_tunings_list_shows_it(viewer, tmp_path):
    house = House(viewer)
    house.features.start()
    house.session.set_models((Model(card=Card()),))
    house.corrections.choose(store=tmp_path / "corrections")
    house.finetune.candidates.refresh()
    assert house.finetune.rows == ()

    house.session.open_requested.emit(write(make_study(id="A"), tmp_path, mask=False))
    assert house.session.study.study.id == "A" and house.labels is None
    house.segment.segment()
    request, listener = house.runner.jobs[-1]
    listener.finished(prediction(request))
    answer = shown(house)
    np.testing.assert_array_equal(answer, prediction(request).segmentation.labels)
    house.timers.pass_time()
    assert house.session.measures.items["WT"].voxels == np.count_nonzero(answer) and house.session.dirty

    house.paint.choose_tool(Tool.BRUSH)
    house.paint.change_brush(target=Region.ET, inside=False)
    assert house.paint.brush.layer is house.labels  # the brush is held to the labels that came
    with house.labels.block_history():
        house.labels.paint((3, 4, 5), house.labels.selected_label)
    painted = shown(house)
    assert (painted != answer).any() and house.corrections.edited
    house.paint.undo()
    np.testing.assert_array_equal(shown(house), answer)
    house.paint.redo()
    np.testing.assert_array_equal(shown(house), painted)
    house.timers.pass_time()
    assert house.session.measures.items["ET"].voxels == np.count_nonzero(painted == 3)
    assert [s["tool"] for s in house.session.steps] == ["brush", "undo", "redo"]

    house.corrections.accept()
    made = house.corrections.accepted
    assert made.base.name == "model" and not house.session.dirty and not house.corrections.autosave.at_risk
    np.testing.assert_array_equal(Store(tmp_path / "corrections").read(made).labels, painted)
    assert [(row.id, row.name) for row in house.finetune.rows] == [(made.id, "A")]

    house.close()
    assert house.runner.closed and house.session.study is not None and layers.labels_of(house.labels).any()

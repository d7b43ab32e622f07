"""From a hospital's export to a model that has learnt from it: prepared, corrected on two grids, accepted, and fine-tuned on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from dicom_studies import write_clinical
from helpers.raw_study import raw_study
from helpers.rig import paint, segment, shown
from helpers.small_study import make_study

from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality
from brainseg_engine.finetune import FinetuneOptions
from brainseg_engine.finetune.collecting import collect
from brainseg_engine.finetune.job import run
from brainseg_engine.io import load_study
from brainseg_engine.models import checkpoint
from brainseg_engine.phantom import write_study
from brainseg_engine.prepare import PrepareOptions, files, prepare
from napari_brainseg.display.tools import Tool
from napari_brainseg.jobs import PrepareRequest


def prepared_by_click(house, folder, raw):
    """Open the export, press Prepare, and answer as the worker does."""
    house.study.open(folder)
    house.series.prepare("rough")
    request, listener = house.runner.of(PrepareRequest)[-1]
    made = prepare(raw.study, PrepareOptions(brain="rough", transforms=raw.rigids, threads=1))
    listener.finished(files.save(replace(made, study=replace(made.study, id=request.study.id)), request.folder))
    return made


def painted_on_flair(house):
    house.features.alignment.show(Modality.FLAIR)
    layer = house.context.easel.layer
    house.paint.choose_tool(Tool.BRUSH)
    house.paint.change_brush(inside=False, target=Region.WT)
    layer.brush_size = 11
    with layer.block_history():
        layer.paint(tuple(n // 2 for n in layer.data.shape), 2)
    house.features.alignment.show(None)


@pytest.mark.slow
def test_corrections_of_a_raw_study_train_the_model_on_the_grid_of_1_mm(house, tmp_path, tiny_model, own_home):
    raw = raw_study(1)
    write_clinical(tmp_path / "export", raw.study, thickness_mm=None, distractors=4)
    made = prepared_by_click(house, tmp_path / "export", raw)
    answer = segment(house)
    paint(house, at=(40, 40, 40))
    painted_on_flair(house)
    house.corrections.accept()
    correction = next(iter(house.session.store.latest().values()))
    assert set(correction.edited) == {Region.WT, Region.TC, Region.ET}
    corrected = shown(house)
    assert 200 < (corrected != answer).sum() < 900  # a dab of 1 voxel, and a disc of 11 mm in a slice of 4 mm

    recipe = checkpoint.load(tiny_model).recipe
    taken = collect(house.session.store, recipe, tmp_path / "data", lambda _: None, lambda: None)
    assert not taken.refused and [c.name for c in taken.cases] == [correction.id]
    case = load_study(tmp_path / "data" / correction.id)
    assert case.segmentation.grid.same_as(made.grid) and case.segmentation.grid.spacing == pytest.approx((1, 1, 1))
    np.testing.assert_array_equal(case.segmentation.labels, corrected)
    for modality, volume in made.study.volumes.items():
        assert case.volumes[modality].grid.same_as(made.grid)
        np.testing.assert_allclose(case.volumes[modality].data, volume.data, rtol=1e-3, atol=0.5)

    write_study(make_study(100, id="Anchor"), tmp_path / "anchors")
    run(
        FinetuneOptions(
            tmp_path / "run", str(tiny_model), house.session.store.path, tmp_path / "anchors", epochs=1, device="cpu"
        )
    )
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert not report["refused"]
    assert (tmp_path / "run" / "model.safetensors").is_file()

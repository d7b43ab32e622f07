"""Images that leave the house: nothing but the brain, and what is bare already stays as it is."""

from dataclasses import replace

import numpy as np

from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.prepare.faceless import faceless, may_show_face


def test_a_raw_study_loses_what_is_not_brain_and_keeps_its_tumour(raw):
    study = raw.study
    assert may_show_face(study.volumes)
    grid = study.reference.grid
    corner = np.zeros(grid.shape, np.uint8)
    corner[1:3, 1:3, 1:3] = 3  # a tumour is kept wherever it lies
    bare = faceless(replace(study, segmentation=Segmentation(corner, grid)), "rough")
    assert not may_show_face({m: v for m, v in bare.volumes.items() if m is not Modality.T1CE})
    for m, v in study.volumes.items():
        data = bare.volumes[m].data
        assert data.shape == v.data.shape and v.grid.same_as(bare.volumes[m].grid)
        kept = data != v.data.min()
        assert 0.02 < kept.mean() < 0.6
        assert np.array_equal(data[kept], v.data[kept])
    assert np.array_equal(bare.reference.data[corner > 0], study.reference.data[corner > 0])


def test_a_stripped_study_is_returned_as_it_is(prepared):
    assert not may_show_face(prepared.study.volumes)
    assert faceless(prepared.study) is prepared.study

"""The one raw study with reference brain masks: raw files → brain on each series' own grid. Real data, minutes."""

import numpy as np
import pytest

from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.io import load_study, read_image
from brainseg_engine.prepare import prepare

REFERENCE = {Modality.T1: "t1", Modality.T1CE: "t1c", Modality.T2: "t2", Modality.FLAIR: "fla"}


@pytest.mark.slow
def test_the_brain_of_a_raw_study_on_each_of_its_grids(real_data):
    pytest.importorskip("deepbet", reason="the extra [prepare] is not installed")
    folder = real_data / "formats" / "raw_nifti" / "TCGA-FG-6692"
    masks = real_data / "formats" / "raw_nifti_brain_masks" / "TCGA-FG-6692"
    if not folder.is_dir():
        pytest.skip(f"no raw study in {folder}")
    prepared = prepare(load_study(folder, segmentation=False))
    assert prepared.warnings == ()
    assert all(q.good for q in prepared.quality.values())
    brain = Segmentation((prepared.brain * 2).astype(np.uint8), prepared.grid)
    for modality, name in REFERENCE.items():
        expected = read_image(masks / f"{name}.nii.gz").data > 0
        found = prepared.back(brain, modality).labels > 0
        dice = 2 * (found & expected).sum() / (found.sum() + expected.sum())
        assert dice >= 0.96, (modality, dice)

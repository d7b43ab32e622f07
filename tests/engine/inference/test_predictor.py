"""The Predictor: on the study's own grid, repeatable, cancellable, the same for every file order."""

import numpy as np
import pytest
import torch

from brainseg_engine import models
from brainseg_engine.core.errors import Cancelled, CheckpointError, DeviceError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import REGION_LABELS, Region, region_mask
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.inference.postprocess import decided, of_regions, remove_small, to_labels
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.models import checkpoint
from brainseg_engine.recipe import Output, Postprocess


@pytest.fixture(scope="module")
def predictor(tiny_model):
    made = Predictor(tiny_model, "cpu")
    # the random network's answer is full of specks: what is removed is another test's matter
    made.recipe = made.recipe.model_copy(update={"postprocess": Postprocess()})
    return made


def test_the_answer_lies_on_the_reference_grid_and_repeats(predictor, study):
    first = predictor.predict(study, probabilities=True)
    again = predictor.predict(study)
    assert first.segmentation.grid is study.reference.grid
    assert first.segmentation.labels.dtype == np.uint8
    assert first.segmentation.coding == "brats2023"
    np.testing.assert_array_equal(first.segmentation.labels, again.segmentation.labels)
    assert set(first.probabilities) == set(Region)
    for region, p in first.probabilities.items():
        inside = np.isin(first.segmentation.labels, [int(v) for v in REGION_LABELS[region]])
        assert inside[p.astype(np.float32) > 0.502].all()
    assert set(first.seconds) == {"alignment", "preprocess", "network", "restore", "postprocess"}


def test_another_file_order_gives_the_same_answer(predictor, study):
    expected = predictor.predict(study).segmentation
    turned = {}
    for m, v in study.volumes.items():
        affine = v.grid.affine.copy()
        affine[:3, :3] = v.grid.affine[:3, :3][:, [2, 0, 1]]
        data = np.transpose(v.data, (2, 0, 1))
        affine[:3, 3] = v.grid.affine[:3, 3]
        turned[m] = Volume(data, Grid(data.shape, affine), m)
    found = predictor.predict(Study("turned", turned)).segmentation
    np.testing.assert_array_equal(found.labels, np.transpose(expected.labels, (2, 0, 1)))


def test_progress_rises_and_cancel_stops(predictor, study):
    seen = []
    predictor.predict(study, progress=seen.append)
    fractions = [p.fraction for p in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    with pytest.raises(Cancelled):
        predictor.predict(study, cancelled=lambda: True)


def test_tta_is_the_mean_over_mirrors(tiny_model, study):
    """Mirroring the study mirrors the averaged answer."""
    predictor = Predictor(tiny_model, "cpu", tta=True)
    plain = predictor.predict(study, probabilities=True).probabilities
    mirrored = Study("m", {m: Volume(v.data[::-1], v.grid, m) for m, v in study.volumes.items()})
    other = predictor.predict(mirrored, probabilities=True).probabilities
    for region in Region:
        # the box's padding is even on both sides or one voxel off, so compare where the brain is
        difference = np.abs(plain[region].astype(np.float32) - other[region][::-1].astype(np.float32))
        assert np.median(difference[study.reference.data != 0]) < 0.02


def test_errors_are_sentences(tiny_model, study, tmp_path):
    with pytest.raises(DeviceError, match=r"cuda|CUDA"):
        Predictor(tiny_model, "cuda:7")
    with pytest.raises(DeviceError, match="choices"):
        Predictor(tiny_model, "toaster")
    with pytest.raises(CheckpointError):
        Predictor(tmp_path / "none.safetensors", "cpu")
    partial = Study("s", {m: v for m, v in study.volumes.items() if m != Modality.T1CE})
    with pytest.raises(InputError, match="T1ce"):
        Predictor(tiny_model, "cpu").predict(partial)


def test_running_out_of_memory_is_a_sentence(tiny_model, study, monkeypatch):
    predictor = Predictor(tiny_model, "cpu")
    monkeypatch.setattr(predictor, "_net", lambda x: torch.empty(1 << 46))
    with pytest.raises(DeviceError, match=r"cpu .*out of memory for .Case_1"):
        predictor.predict(study)


def test_postprocess_enforces_nesting_and_drops_specks():
    p = torch.zeros(3, 6, 6, 6)
    p[2, 2:4, 2:4, 2:4] = 0.9  # enhancing without its core and its whole
    p[2, 5, 5, 5] = 0.9  # a speck
    grid = Grid((6, 6, 6), np.eye(4))  # voxels of 0.001 mL
    labels, dropped = decided(p, Output(), Postprocess(min_component_ml={Region.ET: 0.004}), grid)
    assert int((labels == 3).sum()) == 8
    assert dropped == {Region.ET: pytest.approx(0.001)}
    assert decided(p, Output(), Postprocess(), grid)[1] == {}
    assert set(np.unique(labels)) == {0, 3}
    assert np.unique(to_labels(p[2:], Output(regions=(Region.WT,)), Postprocess(), grid)).tolist() == [0, 5]
    assert not remove_small(np.zeros((3, 3, 3), bool), 5).any()


def test_a_tumour_of_small_nodules_keeps_them_by_the_bundled_models_rule():
    rule = checkpoint.read_metadata(models.find("brats-baseline"))[1].postprocess
    p = torch.zeros(3, 48, 48, 48)
    p[0, 4:-4, 4:-4, 4:-4] = 0.9
    for at, side in ((8, 9), (20, 7), (32, 6)):  # 0.73, 0.34 and 0.22 mL, each with a rim and a centre
        p[1:, at : at + side, at : at + side, at : at + side] = 0.9
        p[2, at + 2 : at + side - 2, at + 2 : at + side - 2, at + 2 : at + side - 2] = 0.1
    p[1:, 40:44, 40:44, 8:12] = 0.9  # 0.06 mL: a speck
    labels, dropped = decided(p, Output(), rule, Grid((48, 48, 48), np.eye(4)))
    core = region_mask(labels, Region.TC)
    assert int(core.sum()) == 9**3 + 7**3 + 6**3
    assert int((labels == 3).sum()) == 9**3 - 5**3 + 7**3 - 3**3 + 6**3 - 2**3
    assert dropped == {Region.TC: pytest.approx(0.064), Region.ET: pytest.approx(0.064)}


def test_classes_become_labels_and_regions():
    p = torch.zeros(4, 4, 4, 4)
    p[0] = 0.4
    p[1, 0], p[2, 1], p[3, 2] = 0.6, 0.6, 0.6
    grid, classes = Grid((4, 4, 4), np.eye(4)), Output(kind="classes")
    labels = to_labels(p, classes, Postprocess(), grid)
    assert [np.unique(labels[i]).tolist() for i in range(4)] == [[1], [2], [3], [0]]
    wt, tc, et = of_regions(p, classes)
    assert (wt >= tc).all()
    assert (tc >= et).all()
    assert float(wt[1].min()) == pytest.approx(0.6)
    assert float(tc[1].max()) == 0


def test_rules_of_volume():
    p = torch.zeros(3, 6, 6, 6)
    p[:, 2:4, 2:4, 2:4] = 0.9
    p[2, 2:4, 2:4, 2:4] = 0.6
    grid = Grid((6, 6, 6), np.eye(4))
    assert set(np.unique(to_labels(p, Output(), Postprocess(thresholds={Region.ET: 0.7}), grid))) == {0, 1}
    assert set(np.unique(to_labels(p, Output(), Postprocess(min_et_ml=0.008), grid))) == {0, 3}
    assert set(np.unique(to_labels(p, Output(), Postprocess(min_et_ml=0.009), grid))) == {0, 1}
    unknown = Grid((6, 6, 6), np.eye(4), calibrated=False)
    assert set(np.unique(to_labels(p, Output(), Postprocess(min_et_ml=0.009), unknown))) == {0, 3}


def test_the_series_it_rests_on(predictor, study, monkeypatch):
    assert predictor.predict(study).rests_on == tuple(Modality)
    without = Study("s", {m: v for m, v in study.volumes.items() if m != Modality.T1CE})
    monkeypatch.setattr(predictor, "recipe", predictor.recipe.model_copy(update={"may_lack": (Modality.T1CE,)}))
    found = predictor.predict(without)
    assert found.rests_on == (Modality.T1, Modality.T2, Modality.FLAIR)
    assert found.segmentation.grid is without.reference.grid


def test_the_mirror_average_is_the_same_for_the_mirrored_study(predictor, study, monkeypatch):
    window = predictor.recipe.window.model_copy(update={"mirror": True})
    monkeypatch.setattr(predictor, "recipe", predictor.recipe.model_copy(update={"window": window}))
    once = predictor.predict(study, probabilities=True).probabilities
    turned = {m: Volume(np.ascontiguousarray(v.data[::-1]), v.grid, m) for m, v in study.volumes.items()}
    again = predictor.predict(Study("m", turned), probabilities=True).probabilities
    for region in Region:
        difference = np.abs(once[region].astype(np.float32) - again[region][::-1].astype(np.float32))
        assert np.median(difference[study.reference.data != 0]) < 0.02


def test_a_lesion_below_the_rule_for_specks_is_reported(predictor, study, monkeypatch):
    rule = Postprocess(min_component_ml=dict.fromkeys(Region, 1e6))
    monkeypatch.setattr(predictor, "recipe", predictor.recipe.model_copy(update={"postprocess": rule}))
    found = predictor.predict(study)
    assert not found.segmentation.labels.any()
    assert found.dropped_ml[Region.WT] > 0.1
    assert found.specks.startswith(f"Left out as specks: WT {found.dropped_ml[Region.WT]:.1f} mL")

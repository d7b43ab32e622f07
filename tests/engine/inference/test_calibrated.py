"""A calibrated model: its labels stay, and more is told of its answers."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality
from brainseg_engine.core.study_wire import prediction_from_wire, prediction_to_wire
from brainseg_engine.inference import uncertainty
from brainseg_engine.inference.appearance import OF_A_SERIES
from brainseg_engine.inference.batch import report
from brainseg_engine.inference.calibrated import Softness, calibrated
from brainseg_engine.inference.ensemble import Ensemble
from brainseg_engine.inference.finished import volumes_in
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.inference.rows import PredictOutcome, write_summary
from brainseg_engine.models import checkpoint
from brainseg_engine.models.calibration import Appearance, Calibration, RegionCalibration
from brainseg_engine.recipe import Postprocess
from brainseg_engine.scores.volumes import volumes_ml


@pytest.fixture(scope="module")
def calibrated_model(tiny_model, tmp_path_factory):
    region = RegionCalibration(
        temperature=2.0, offset=-1.0, error_before=0.01, error_after=0.002, quantile=0.5, coverage=0.9, width=0.7
    )
    n = 4 * OF_A_SERIES
    far = Appearance(mean=(9.0,) * n, spread=(0.01,) * n, threshold=3.0, series=4, false_alarms=0.0)
    known = Calibration(regions=dict.fromkeys(Region, region), cases=32, appearance=far)
    path = tmp_path_factory.mktemp("calibrated") / "calibrated.safetensors"
    checkpoint.with_card(tiny_model, path, lambda card: card.model_copy(update={"calibration": known}))
    return path


def _without_specks(predictor):
    predictor.recipe = predictor.recipe.model_copy(update={"postprocess": Postprocess()})
    return predictor


@pytest.fixture(scope="module")
def predictor(calibrated_model):
    return _without_specks(Predictor(calibrated_model, "cpu"))


def test_labels_stay_and_intervals_hold_the_volumes(predictor, tiny_model, study):
    plain = _without_specks(Predictor(tiny_model, "cpu")).predict(study, probabilities=True)
    found = predictor.predict(study, probabilities=True)
    np.testing.assert_array_equal(found.segmentation.labels, plain.segmentation.labels)
    assert not plain.intervals_ml and plain.confidence is None and not plain.unlike and not plain.scaling
    for region, ml in volumes_ml(found.segmentation.labels, found.segmentation.grid).items():
        low, high = found.intervals_ml[region]
        assert low < ml < high
    assert 0 < found.confidence < 1
    assert "look unlike" in found.unlike


def test_what_is_shown_of_probabilities_is_calibrated(predictor, study):
    found = predictor.predict(study, probabilities=True)
    shown = calibrated(found.probabilities, found.scaling)
    for region, p in found.probabilities.items():
        inside = (p > 0.01) & (p < 0.99)
        given = p[inside].astype(np.float64)
        expected = 1 / (1 + np.exp(-(np.log(given / (1 - given)) / 2 - 1)))
        np.testing.assert_allclose(shown[region][inside].astype(np.float64), expected, atol=2e-3)
    np.testing.assert_array_equal(
        uncertainty.doubt_of(found).map, uncertainty.entropy(calibrated(found.probabilities, found.scaling))
    )
    assert uncertainty.doubt_of(found).score != uncertainty.doubt_of(replace(found, scaling={})).score


def test_nothing_is_claimed_of_answers_that_were_not_measured(predictor, calibrated_model, study):
    more_passes = _without_specks(Predictor(calibrated_model, "cpu", tta=True)).predict(study)
    several = Ensemble([calibrated_model, calibrated_model], "cpu").predict(study)
    for answer in (more_passes, several):
        assert not answer.intervals_ml and answer.confidence is None
    lenient = Predictor(calibrated_model, "cpu")
    lenient.recipe = lenient.recipe.model_copy(update={"may_lack": (Modality.T1CE,)})
    volumes = {m: v for m, v in study.volumes.items() if m is not Modality.T1CE}
    assert not lenient.predict(replace(study, volumes=volumes)).intervals_ml


def test_a_table_of_before_takes_a_confidence_and_one_without_has_no_column(tmp_path):
    table = tmp_path / "summary.csv"
    write_summary([PredictOutcome("a", "done")], table)
    assert "confidence" not in table.read_text()
    write_summary([PredictOutcome("b", "done", confidence=0.8)], table)
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(r["id"], r["confidence"]) for r in rows] == [("a", ""), ("b", "0.8")]


def test_it_stands_beside_the_mask_in_the_table_and_comes_over_the_wire(predictor, study, tmp_path):
    found = predictor.predict(study)
    beside = report(found, study, {})
    assert set(beside["volume_intervals_ml"]) == {"WT", "TC", "ET"} and beside["unlike"]
    assert beside["confidence"] == round(found.confidence, 3)
    table = tmp_path / "summary.csv"
    write_summary([PredictOutcome(study.id, "done", **volumes_in(beside)), PredictOutcome("other", "failed")], table)
    head, row, _ = (line.split(",") for line in table.read_text().splitlines())
    told = dict(zip(head, row, strict=True))
    assert [float(told["WT_low_ml"]), float(told["WT_high_ml"])] == beside["volume_intervals_ml"]["WT"]
    assert float(told["confidence"]) == beside["confidence"]
    seg = found.segmentation
    there = prediction_from_wire(prediction_to_wire(found), seg.grid, seg.labels)
    assert (there.intervals_ml, there.confidence, there.unlike, there.scaling) == (
        found.intervals_ml, found.confidence, found.unlike, found.scaling,
    )  # fmt: skip


def test_a_sure_answer_expects_more_of_itself_than_a_soft_one():
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[2:6, 2:6, 2:6] = True
    sure, soft = np.where(mask, 0.99, 0.001), np.where(mask, 0.6, 0.3)
    answers = [Softness.of(p, mask, 0.1) for p in (sure, soft)]
    assert answers[0].spread < answers[1].spread
    assert answers[0].confidence((1.0, 0.0)) > 0.95 > 0.6 > answers[1].confidence((1.0, 0.0))
    nothing = Softness.of(np.zeros(mask.shape), np.zeros_like(mask), 0.1)
    assert (nothing.spread, nothing.confidence((1.0, 0.0))) == (0.0, 1.0)

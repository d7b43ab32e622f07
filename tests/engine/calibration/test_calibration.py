"""Calibration from models that have not learnt from the cases."""

import json

import numpy as np
import pytest
import torch
from helpers.commands import call
from helpers.small_study import write_cohort

from brainseg_engine import calibration
from brainseg_engine.calibration.fitting import EDGES, Observed, appearance, leave_one_out, reliability, scaling
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import Region
from brainseg_engine.dataset import hashes_of, with_truth
from brainseg_engine.inference.calibrated import Softness
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.models import checkpoint
from brainseg_engine.models.calibration import AS_IS
from brainseg_engine.studies.cohort import split_text


def _observed(rng, temperature, offset):
    """A case whose truth is drawn by probabilities that are known, and whose model says others."""
    logits = rng.normal(-1, 3, 20000)
    truth = rng.random(logits.size) < 1 / (1 + np.exp(-(logits / temperature + offset)))
    true, other = (np.histogram(logits[where], EDGES)[0] for where in (truth, ~truth))
    return Observed(true, other, 1, 1, 0, 1, Softness(np.zeros(0, np.float32), np.zeros(0, np.float32), 1, 0.001))


@pytest.mark.parametrize(("temperature", "offset"), [(2.0, -1.0), (0.7, 0.5), (1.0, 0.0)])
def test_the_scaling_that_was_lost_is_found_and_mends_the_error(temperature, offset):
    rng = np.random.default_rng(3)
    cases = [_observed(rng, temperature, offset) for _ in range(10)]
    found = scaling(cases)
    assert found == pytest.approx((temperature, offset), abs=0.06)
    before, _ = reliability(cases, [AS_IS] * len(cases))
    after, bins = reliability(cases, leave_one_out(cases, scaling))
    assert after < 0.006 and (before > 5 * after or temperature == 1.0)
    assert sum(part for _, _, part in bins) == pytest.approx(1, abs=0.01)


def test_few_of_alike_cases_are_unlike_and_another_kind_is():
    rng = np.random.default_rng(1)
    alike = list(rng.normal(size=(32, 8)))
    look = appearance(alike, list(rng.normal(size=(8, 8))), series=2)
    assert look.false_alarms <= 0.15
    assert look.distance(np.full(8, 6.0)) > look.threshold > look.distance(np.zeros(8))
    assert appearance(alike[:5], [], series=2) is None


@pytest.fixture
def world(tmp_path, tiny_model):
    """Twelve cases, and two models that have learnt from a half each."""
    data, split = write_cohort(tmp_path / "data", 12) if (tmp_path / "data").mkdir() is None else None
    loaded = checkpoint.load(tiny_model)
    names = [f"Case_{i}" for i in range(11)]
    folds = []
    for half, seed in ((names[:6], 1), (names[6:], 2)):
        torch.manual_seed(seed)
        state = {k: v + 0.01 * torch.randn_like(v) if v.is_floating_point() else v for k, v in loaded.state.items()}
        hashes = [h for n in half for h in hashes_of(with_truth(data / n, loaded.recipe)[0], loaded.recipe)]
        card = loaded.card.model_copy(
            update={"name": f"fold{seed}", "training_hashes": tuple(hashes), "training_cases": len(half)}
        )
        folds.append(tmp_path / f"fold{seed}.safetensors")
        checkpoint.save(folds[-1], state, card, loaded.recipe)
    return data, split, folds


def test_the_command_calibrates_and_leaves_the_labels(world, tiny_model, tmp_path, study):
    data, split, folds = world
    out = tmp_path / "ours.safetensors"
    given = [w for f in folds for w in ("--fold", f)]
    done = call("models", "calibrate", tiny_model, *given, "--data", data, "--split", split, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)["calibration"]
    assert (told["cases"], told["checked_cases"]) == (11, 1)
    assert set(told["regions"]) == {"WT", "TC", "ET"}
    before, after = (Predictor(p, "cpu").predict(study) for p in (tiny_model, out))
    np.testing.assert_array_equal(before.segmentation.labels, after.segmentation.labels)
    assert set(after.intervals_ml) == set(Region) and not before.intervals_ml
    shown = call("models", "show", out)
    assert "WT: temperature" in shown.output and "rank correlation" in shown.output.replace("\n", " ")


def test_of_a_table_of_folds_each_case_is_answered_by_the_model_that_has_not_seen_it(
    world, tiny_model, tmp_path, monkeypatch
):
    data, _, folds = world
    fold_of = {f"Case_{i}": "0" if i >= 6 else "1" for i in range(11)} | {"Case_11": "test"}
    table = tmp_path / "folds.csv"
    table.write_text(split_text("fold", fold_of))
    by = {}

    def answered(predictor, study, truth, inner=calibration.answered):
        by[study.id] = predictor.card.name
        return inner(predictor, study, truth)

    monkeypatch.setattr(calibration, "answered", answered)
    given = [w for f in folds for w in ("--fold", f)]
    out, png = tmp_path / "ours.safetensors", tmp_path / "ours.png"
    done = call(
        "models", "calibrate", tiny_model, *given, "--data", data, "--split", table, "--out", out, "--figure", png
    )
    assert done.exit_code == 0, done.output
    # a model of a fold has learnt from the cases of the others
    assert by == {f"Case_{i}": "fold1" if i >= 6 else "fold2" for i in range(11)}
    assert png.read_bytes().startswith(b"\x89PNG")
    table.write_text("case,group\nCase_0,1\n")
    done = call("models", "calibrate", tiny_model, *given, "--data", data, "--split", table, "--out", out)
    assert done.exit_code != 0 and "needs the columns 'case' and 'split' (or 'fold')" in " ".join(done.output.split())


def test_a_case_that_all_have_learnt_from_is_refused(world, tiny_model):
    data, _, folds = world
    one = Predictor(folds[0], "cpu")
    with pytest.raises(InputError, match=r"Case_0 was learnt from by all of the models fold1"):
        list(calibration.out_of_fold([one], [data / "Case_0"]))
    assert len(list(calibration.out_of_fold([one], [data / "Case_7"]))) == 1


def test_models_that_cannot_stand_for_it_and_too_few_cases_are_refused(world, tiny_model):
    data, _, folds = world
    model, fold = Predictor(tiny_model, "cpu"), Predictor(folds[0], "cpu")
    with pytest.raises(InputError, match="does not tell which cases"):
        calibration.require_folds(model, [model])
    with pytest.raises(InputError, match="too few"):
        calibration.calibrate(model, [fold], [data / "Case_7"])
    fold.recipe = fold.recipe.model_copy(update={"modalities": fold.recipe.modalities[:3]})
    with pytest.raises(InputError, match="otherwise"):
        calibration.require_folds(model, [fold])


def test_the_diagram_of_a_calibrated_model_needs_no_fold_models(tiny_model, tmp_path):
    png = tmp_path / "reliability.png"
    done = call("models", "show", "brats-baseline", "--reliability", png)
    assert done.exit_code == 0, done.output
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 20_000
    done = call("models", "show", tiny_model, "--reliability", tmp_path / "none.png")
    assert done.exit_code != 0 and "is not calibrated" in done.output and not (tmp_path / "none.png").exists()
    done = call("models", "show", "brats-baseline", "--reliability", tmp_path / "a.pdf")
    assert done.exit_code != 0 and ".png" in done.output

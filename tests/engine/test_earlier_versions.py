"""What earlier versions wrote (``tests/golden``) is read by this one."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.small_study import write_cohort

from brainseg_engine import load_segmentation, load_study
from brainseg_engine.core.labels import Label
from brainseg_engine.corrections import CorrectionState, Store, working
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.runs import load_state

GOLDEN = Path(__file__).parents[1] / "golden" / "v0.1"
KEY = "0123456789abcdef" * 2


@pytest.fixture
def golden(tmp_path) -> Path:
    """A copy, since reading may leave locks."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def corrected(golden: Path) -> np.ndarray:
    """The phantom's mask with the block that was painted then."""
    labels = load_study(golden / "study" / "Case_0").segmentation.labels.copy()
    labels[5:8, 6:9, 4:6] = Label.ET
    return labels


def test_a_store_of_corrections(golden):
    store = Store(golden / "corrections")
    first, second = store.corrections()
    assert (first.id, second.id) == ("29fb6cf38f_01", "29fb6cf38f_02")
    assert first.by == "Ann" and first.minutes == 2.5 and first.base.name == "brats-baseline"
    assert first.held_out and second.held_out and second.state is CorrectionState.ACCEPTED
    assert np.array_equal(load_segmentation(first.mask).labels, corrected(golden))
    assert not [f for f in store.check(images=False) if f.severity == "error"]


def test_a_working_copy(golden, own_home):
    shutil.copytree(golden / "home", own_home, dirs_exist_ok=True)
    (found,) = working.pending(KEY)
    work = working.load(found.path)
    assert np.array_equal(work.segmentation.labels, corrected(golden))
    assert (work.study_id, work.model.name, work.steps, work.minutes) == ("case", "m", ({"tool": "brush"},), 1.5)
    assert work.base is not None
    assert np.array_equal(work.base.labels, load_study(golden / "study" / "Case_0").segmentation.labels)


def test_a_model_predicts(golden):
    predictor = Predictor(golden / "run" / "model.safetensors", device="cpu")
    study = load_study(golden / "study" / "Case_0")
    assert predictor.predict(study).segmentation.labels.shape == study.reference.grid.shape


@pytest.mark.slow
def test_a_training_is_resumed(golden, tmp_path):
    _, facts, recipe = load_state(golden / "run" / "last.safetensors")
    assert facts["step"] == 6 and recipe.name == "baseline"
    data, split = write_cohort(tmp_path)
    out = golden / "run"
    done = subprocess.run([
        sys.executable, "-m", "brainseg_engine", "train", "baseline", "--data", str(data), "--split", str(split),
        "--out", str(out), "--steps", "6", "--device", "cpu", "--workers", "0", "--resume",
        *(x for s in (
            "network.init_filters=8", "network.blocks_down=[1]", "network.blocks_up=[]", "schedule.warmup_steps=2",
            "training.validate_every_steps=3",
        ) for x in ("--set", s)),
    ], capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (out / "metrics.csv").open() as f:
        assert max(int(r["step"]) for r in csv.DictReader(f)) == 6

"""TensorBoard and MLflow hear what everybody hears; a training does not depend on them."""

from __future__ import annotations

import logging

import pytest

from brainseg_engine.core.errors import TrainingError
from brainseg_engine.core.events import EpochDone, Progress
from brainseg_engine.train import TrainOptions
from brainseg_engine.train.sinks import with_sinks

EVENTS = [Progress("training", 0.1), EpochDone(1, 5, 0.7, 1e-3), EpochDone(2, 10, 0.5, 1e-4, {"WT": 0.8, "ET": 0.25})]


@pytest.fixture
def options(tmp_path):
    from brainseg_engine.core import outputs

    out = tmp_path / "run1"
    outputs.claim(out, outputs.Use.TRAINING)
    return TrainOptions(tmp_path, tmp_path / "split.csv", out, seed=3)


def tell(options, recipe, events=EVENTS):
    heard = []
    with with_sinks(heard.append, options, recipe) as report:
        for event in events:
            report(event)
    assert heard == events


def test_what_is_not_installed_is_named_with_its_remedy(options, tiny_recipe, monkeypatch):
    import sys

    for module, name, flag in (
        ("mlflow", "MLflow", "mlflow"),
        ("torch.utils.tensorboard", "TensorBoard", "tensorboard"),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        setattr(options, flag, True)
        with pytest.raises(TrainingError, match=rf"{name} is not installed.*\[track\]"):
            tell(options, tiny_recipe)
        setattr(options, flag, False)
    tell(options, tiny_recipe)


@pytest.mark.slow
def test_tensorboard_shows_what_the_events_say(options, tiny_recipe):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="it is NOT tested")
    options.tensorboard = True
    tell(options, tiny_recipe)
    log = reading.EventAccumulator(str(options.out / "tensorboard"))
    log.Reload()
    assert [(e.step, round(e.value, 4)) for e in log.Scalars("loss")] == [(5, 0.7), (10, 0.5)]
    assert [(e.step, e.value) for e in log.Scalars("validation Dice/ET")] == [(10, 0.25)]


@pytest.mark.slow
def test_mlflow_has_the_run_its_numbers_and_its_recipe_also_after_a_resume(options, tiny_recipe, monkeypatch, caplog):
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed: it is NOT tested")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    options.mlflow = True
    tell(options, tiny_recipe, EVENTS[:2])
    options.resume = True
    tell(options, tiny_recipe, EVENTS[2:])
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{options.out}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("napari-brainseg").experiment_id])
    assert run.info.run_name == "run1" and run.info.status == "FINISHED"
    assert run.data.params["seed"] == "3" and run.data.params["network.init_filters"] == "8"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(5, 0.7), (10, 0.5)]
    assert run.data.metrics["validation_Dice/WT"] == 0.8

    def gone(*_, **__):
        raise mlflow.exceptions.MlflowException("connection refused")

    monkeypatch.setattr(mlflow.MlflowClient, "log_metric", gone)
    with caplog.at_level(logging.WARNING):
        tell(options, tiny_recipe)  # the training goes on
    assert caplog.text.count("does not answer any more") == 1
    options.resume = False
    monkeypatch.setattr(mlflow.MlflowClient, "create_run", gone)
    with pytest.raises(TrainingError, match="cannot be written to"):
        tell(options, tiny_recipe)

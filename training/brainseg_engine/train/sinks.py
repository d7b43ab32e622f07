"""Programs that follow trainings, for those who use one: TensorBoard and MLflow hear the same events as everybody.

A training does not depend on them: one that cannot be reached any more is named once in the log, and hears nothing further.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainseg_engine.core import outputs, records
from brainseg_engine.core.errors import TrainingError
from brainseg_engine.core.events import EpochDone, Event
from brainseg_engine.train.options import Report, TrainOptions

if TYPE_CHECKING:
    from brainseg_engine.recipe import Recipe

_log = logging.getLogger(__name__)
EXPERIMENT = "napari-brainseg"
_REMEMBERED = "mlflow.json"
"""Which of MLflow's runs the folder's is, for a resume."""
_LONGEST = 250


@contextmanager
def with_sinks(report: Report, options: TrainOptions, recipe: Recipe) -> Iterator[Report]:
    """``report``, and what else the options ask for. Raises TrainingError when that is not installed or not there."""
    with ExitStack() as stack:
        reports = [report]
        if options.tensorboard:
            reports.append(stack.enter_context(_tensorboard(options.out)))
        if options.mlflow:
            reports.append(stack.enter_context(_mlflow(options, recipe)))

        def every(event: Event) -> None:
            for one in reports:
                one(event)

        yield every


def _numbers(event: EpochDone) -> Mapping[str, float]:
    dice = {f"validation Dice/{region}": value for region, value in event.dice.items()}
    return {"loss": event.loss, "learning rate": event.learning_rate, **dice}


@contextmanager
def _tensorboard(out: Path) -> Iterator[Report]:
    """Into the run folder's ``tensorboard``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as e:
        raise _missing("TensorBoard", "--tensorboard") from e
    writer = SummaryWriter(str(outputs.subfolder(out, "tensorboard")))

    def tell(event: Event) -> None:
        if isinstance(event, EpochDone):
            for name, value in _numbers(event).items():
                writer.add_scalar(name, value, event.step)
            writer.flush()

    try:
        yield tell
    finally:
        writer.close()


@contextmanager
def _mlflow(options: TrainOptions, recipe: Recipe) -> Iterator[Report]:
    """To the server or file that ``MLFLOW_TRACKING_URI`` names, else into the run folder's ``mlflow.db``. No case is named."""
    for name, value in (
        ("DISABLE_TELEMETRY", "true"),
        ("HTTP_REQUEST_MAX_RETRIES", "2"),
        ("HTTP_REQUEST_TIMEOUT", "20"),
    ):
        os.environ.setdefault(f"MLFLOW_{name}", value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as e:
        raise _missing("MLflow", "--mlflow") from e
    where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{options.out.absolute().as_posix()}/mlflow.db"
    client = MlflowClient(tracking_uri=where)
    try:
        run = _run_of(client, options, recipe, where)
    except (MlflowException, OSError) as e:
        raise TrainingError(
            f"MLflow at {where} cannot be written to ({str(e)[:300]}). Is it running? Without --mlflow, metrics.csv and "
            "curves.png hold the same numbers."
        ) from e
    gone = False

    def ask(name: str, *arguments: Any, **more: Any) -> None:
        nonlocal gone
        try:
            if not gone:
                getattr(client, name)(run, *arguments, **more)
        except (MlflowException, OSError) as e:
            gone = True
            _log.warning(
                "MLflow at %s does not answer any more; the training goes on without it: %s", where, str(e)[:300]
            )

    def tell(event: Event) -> None:
        if isinstance(event, EpochDone):
            for name, value in _numbers(event).items():
                ask("log_metric", name.replace(" ", "_"), float(value), step=event.step)

    try:
        yield tell
    except BaseException:
        ask("set_terminated", status="KILLED")
        raise
    ask("set_terminated", status="FINISHED")


def _run_of(client: Any, options: TrainOptions, recipe: Recipe, where: str) -> str:
    """MLflow's id of the run: a new one, or that of the run which is resumed."""
    file = options.out / _REMEMBERED
    try:
        known = records.read_object(file) if options.resume else {}
    except (OSError, ValueError):
        known = {}
    if known.get("where") == where:
        run = str(known.get("run"))
        client.update_run(run, status="RUNNING")
        return run
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found is not None else client.create_experiment(name)
    run = str(client.create_run(experiment, run_name=options.out.name).info.run_id)
    for key, value in {"seed": options.seed, **_flat(recipe.model_dump(mode="json"))}.items():
        client.log_param(run, key, str(value)[:_LONGEST])
    records.write_json(file, {"where": where, "run": run}, private=True)
    return run


def _flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """``{"network": {"name": …}}`` as ``network.name``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return flat


def _missing(program: str, flag: str) -> TrainingError:
    return TrainingError(
        f"{program} is not installed. Install it (pip install 'napari-brainseg[track]'), or leave {flag} out: metrics.csv and "
        "curves.png hold the same numbers."
    )

"""A fine-tuning from beginning to end; each part can be resumed after a kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from brainseg_engine.core import outputs
from brainseg_engine.core.errors import OutputError, TrainingError
from brainseg_engine.core.events import CancelCheck, Event, Finished, never
from brainseg_engine.core.names import is_model_name
from brainseg_engine.finetune import excluded, plan, planning, recipes, status
from brainseg_engine.finetune.options import FinetuneOptions
from brainseg_engine.finetune.proving import Proving
from brainseg_engine.finetune.training import FinetuneTraining
from brainseg_engine.finetune.under_way import UnderWay
from brainseg_engine.models import checkpoint
from brainseg_engine.runs import RunFolder

REPORT = Callable[[Event], None]


def run(options: FinetuneOptions, report: REPORT = lambda _: None, cancelled: CancelCheck = never) -> dict[str, Any]:
    """Fine-tune, and return the report (as in ``report.json``): the new model is installed under ``report["model"]["name"]``.

    Raises InputError, CheckpointError, TrainingError, DeviceError, OutputError; and Cancelled once ``cancelled()`` says so
    or the file ``stop`` is there, after which ``options.resume`` goes on.
    """
    if options.name is not None and not is_model_name(options.name):
        raise OutputError(
            f"'{options.name}' cannot be a model's name: use letters, digits, '-', '_' and '.' alone (--name)."
        )
    folder = RunFolder(options.out, outputs.Use.FINETUNING)
    with folder.lock(), folder.log(), status.recording(options.out, report) as recorder:
        result = _run(options, UnderWay(options.out, recorder, lambda: cancelled() or recorder.asked_to_stop()))
        summary = {k: result[k] for k in ("verdict", "words", "model")}
        recorder.end("done", Finished("finetune", summary))
    return result


def _run(options: FinetuneOptions, job: UnderWay) -> dict[str, Any]:
    known = plan.load(job.out)
    if known is not None and not options.resume:
        raise TrainingError(
            f"{job.out} already holds a fine-tuning. Add --resume to continue it, or name another --out."
        )
    if known is not None:
        plan.require_same(known, options.settings(), job.out)
    path = planning.base_file(options, known)
    base = checkpoint.load(path)
    made = known or planning.make(options, path, base, job)
    if not made.trained:
        excluded.require_none(made, job.out)
        FinetuneTraining(options, made, path, recipes.recipe_of(base.recipe, made), job).run()
    return Proving(made, base, options.device, job).run()

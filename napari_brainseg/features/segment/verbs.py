"""Segmenting: models, the button, and what the jobs report (``jobs.Listener``)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.core.study import Prediction
from napari_brainseg.features.replacing import Change, prepare
from napari_brainseg.features.study.verbs import Opening
from napari_brainseg.jobs import SegmentJob
from napari_brainseg.session import JobState, Kept, Kind


class Segmenting(Opening):
    """The verbs of the segment section."""

    def find_models(self) -> None:
        """Look up what is installed, and which one is used where none is named."""

        def work() -> tuple[tuple[object, ...], str]:
            from brainseg_engine import models

            found = models.installed()
            return tuple(found), models.default() if any(m.card is not None for m in found) else ""

        self._background(work, lambda told: self._found_models(*told), self._failed)

    def _found_models(self, models: tuple[object, ...], default: str) -> None:
        self.session.set_models(models, default)  # type: ignore[arg-type]
        self.warm()

    def choose_model(self, name: str) -> None:
        """Use that model from now on."""
        self.session.choose(model=name)
        self.warm()

    def choose_device(self, device: str) -> None:
        """Use that device from now on."""
        self.session.choose(device=device)
        self.warm()

    @property
    def blocker(self) -> str:
        """Why the open study cannot be segmented, in words; "" when it can. Warnings do not block: see ``warnings``."""
        model, current = self.session.model, self.session.study
        if current is None:
            return "Open a study first."
        if model is None or model.card is None:
            return (
                model.problem
                if model is not None
                else "No model is installed; the command 'models' tells where to put one."
            )
        try:
            current.study.require(model.card.modalities)
        except BrainsegError as e:
            return str(e)
        return " ".join(f.message for f in current.findings if f.severity == "error" and f.code != "missing")

    @property
    def warnings(self) -> list[str]:
        """What the check found that a person may override."""
        current = self.session.study
        return [f.message for f in current.findings if f.severity == "warning"] if current is not None else []

    def segment(self) -> None:
        """Segment the open study; who presses has seen the warnings."""
        model, current = self.session.model, self.session.study
        if self.blocker or current is None or model is None:
            self.session.say(self.blocker, Kind.ERROR)
            return
        if self.session.job is not None:
            return
        job = SegmentJob(current.study, current.token, model.path, self.session.device)
        self.session.say("")
        self.session.job = JobState(job.id, job.token, current.study.id)
        self._runner.segment(job, self)

    def cancel(self) -> None:
        """Stop the job that runs."""
        if self.session.job is not None:
            self._runner.cancel(self.session.job.id)

    def progress(self, job: SegmentJob, event: Progress) -> None:
        """See ``jobs.Listener``."""
        state = self.session.job
        if state is not None and state.id == job.id:
            self.session.job = replace(state, stage=event.stage, fraction=event.fraction)

    def finished(self, job: SegmentJob, prediction: Prediction) -> None:
        """See ``jobs.Listener``. The result goes to the study it was made from, whatever is open by now."""
        current = self.session.study
        layer = self.labels if current is not None and current.token == job.token else None
        work = partial(prepare, layer, prediction.segmentation)
        self._background(work, partial(self._deliver, job, prediction), partial(self._lost, job))

    def _deliver(self, job: SegmentJob, prediction: Prediction, change: Change) -> None:
        self._end(job)
        segmentation = change.segmentation
        notes = {
            "model": prediction.model,
            "model_version": prediction.model_version,
            "device": prediction.device,
            "seconds": dict(prediction.seconds),
        }
        current = self.session.study
        if current is None or current.token != job.token:
            self.session.keep(job.token, Kept(segmentation, None, notes, job.model))
            self.session.say(
                f"{job.study.id} has been segmented meanwhile. Open it again to see the result.", Kind.GOOD
            )
            return
        self._notes, self._model_file = notes, job.model
        self._ready = change
        with self._changing_layers():
            self.session.deliver(segmentation)
        took = f"{sum(prediction.seconds.values()):.1f}\N{NO-BREAK SPACE}s"
        self.session.say(f"{job.study.id} was segmented by {segmentation.made_by} in {took}.", Kind.GOOD)

    def _lost(self, job: SegmentJob, error: Exception) -> None:
        self._end(job)
        self._failed(error)

    def failed(self, job: SegmentJob, event: Failed) -> None:
        """See ``jobs.Listener``."""
        self._end(job)
        self.session.say(event.message, Kind.INFO if event.cancelled else Kind.ERROR)

    def _end(self, job: SegmentJob) -> None:
        if self.session.job is not None and self.session.job.id == job.id:
            self.session.job = None

    def close(self) -> None:
        """Stop the jobs."""
        self._runner.close()

"""Segmenting: models, device, the button."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from brainseg_engine.core.study import Prediction
from brainseg_engine.corrections import BaseModel
from napari_brainseg.display.replacement import Replacement, replacement
from napari_brainseg.features.context import Context
from napari_brainseg.jobs import SegmentRequest
from napari_brainseg.session import Answer, Kind

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo


class SegmentVerbs:
    """What the buttons of the segment section mean."""

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self.objection: Callable[[], str] = lambda: ""
        """Why one might not want another answer in place of the labels, as a question; "" when nothing speaks against it."""
        context.follow(context.session.models_stale, self.find_models)
        context.follow(context.session.study_changed, self._warm)
        context.follow(context.session.models_changed, self._warm)

    def find_models(self) -> None:
        """Look up what is installed, and which one is used where none is named."""

        def work() -> tuple[tuple[ModelInfo, ...], str]:
            from brainseg_engine import models

            installed = models.installed()
            return tuple(installed), models.default() if any(m.card is not None for m in installed) else ""

        self._context.run(work, lambda found: self._session.set_models(*found))

    def choose_model(self, name: str) -> None:
        """Use that model from now on."""
        self._session.choose(model=name)

    def choose_device(self, device: str) -> None:
        """Use that device from now on."""
        self._session.choose(device=device)

    def _warm(self) -> None:
        """Have the worker load the model before it is needed."""
        model = self._session.model
        if model is not None and model.card is not None and self._session.study and self._session.job is None:
            self._context.runner.warm(model.path, self._session.device, False)

    def segment(self) -> None:
        """Segment the open study; who presses has seen the warnings."""
        session = self._session
        model, current = session.model, session.study
        if session.blocker or current is None or model is None:
            session.say(session.blocker, Kind.ERROR)
            return
        if session.job is not None:
            return
        session.say("")
        # the probabilities place borders on the series' own voxels, and are what clicks change
        request = SegmentRequest(current.study, current.token, model.path, session.device, probabilities=True)
        self._context.submit(request, partial(self._deliver, request), prepare=partial(self._prepare, request))

    def cancel(self) -> None:
        """Stop the job that runs."""
        self._context.cancel()

    def _prepare(self, request: SegmentRequest, prediction: Prediction) -> Callable[[], tuple[Prediction, Replacement]]:
        current = self._session.study
        layer = self._context.labels if current is not None and current.token == request.token else None
        return lambda: (prediction, replacement(layer, prediction.segmentation))

    def _deliver(self, request: SegmentRequest, made: tuple[Prediction, Replacement]) -> None:
        """The result goes to the study it was made from, whatever is open by now."""
        prediction, change = made
        model = BaseModel(prediction.model, prediction.model_version)
        notes = {
            "model": prediction.model,
            "model_version": prediction.model_version,
            "device": prediction.device,
            "rests_on": [m.value for m in prediction.rests_on],
            "dropped_ml": {r.value: round(ml, 3) for r, ml in prediction.dropped_ml.items()},
            "seconds": dict(prediction.seconds),
        }
        answer = Answer(change.segmentation, model, request.model, notes, probabilities=prediction.probabilities)
        current = self._session.study
        if current is None or current.token != request.token:
            self._session.keep(request.token, answer)
            self._session.say(
                f"{request.study.id} has been segmented meanwhile. Open it again to see the result.", Kind.GOOD
            )
            return
        with self._context.showing(change):
            self._session.deliver(answer)
        took = f"{sum(prediction.seconds.values()):.1f}\N{NO-BREAK SPACE}s"
        said = f"{request.study.id} was segmented by {change.segmentation.made_by} in {took}. {prediction.specks}"
        self._session.say(said.rstrip(), Kind.GOOD)

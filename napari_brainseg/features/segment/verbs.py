"""Segmenting: models, device, the button."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from brainseg_engine.core.errors import DeviceError
from brainseg_engine.core.events import Failed
from brainseg_engine.core.study import Prediction
from brainseg_engine.corrections import BaseModel
from brainseg_engine.remote import Host, Place, is_remote, known, machine
from napari_brainseg.display.replacement import Replacement, replacement
from napari_brainseg.features.context import Context, Newest
from napari_brainseg.features.segment import several
from napari_brainseg.jobs import SegmentRequest
from napari_brainseg.session import Answer, Kind

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo


class SegmentVerbs:
    """What the buttons of the segment section mean. ``compared``: what is said of how far the answers agree has changed."""

    compared = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self.objection: Callable[[], str] = lambda: ""
        """Why one might not want another answer in place of the labels, as a question; "" when nothing speaks against it."""
        self.shown = ""
        """Whose answer was put into the labels last; "" for none of those that are compared."""
        self.lines: list[str] = []
        """How far each of the other answers agrees with that one, a line each."""
        self._waiting: list[str] = []
        self._with: list[str] = []
        self._comparing = Newest()
        context.follow(context.session.answers_changed, self._compare)
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
        """Use that device from now on; of one elsewhere, find out what is there."""
        if not is_remote(device):
            self._session.choose(device=device)
            return
        try:
            place = Place.of(device)
        except DeviceError as e:
            self._session.say(str(e), Kind.ERROR)
            self._session.models_changed.emit()  # the panel shows what was chosen before
            return

        def work() -> list[str]:
            host = Host(place)
            try:
                lines = machine.in_words(place.host, host.machine())
            finally:
                host.close()
            known.remember(place.device)
            return lines

        before = self._session.device
        self._session.choose(device=place.device)
        done, failed = self._say_what_is_there, partial(self._say_not_there, place.device, before)
        self._session.say(f"Connecting to {place.host} …")
        self._context.run(work, done, failed, current=lambda: self._session.device == place.device)

    def _say_what_is_there(self, lines: list[str]) -> None:
        self._session.say("\n".join(lines), Kind.GOOD)

    def _say_not_there(self, device: str, before: str, error: Exception) -> None:
        def back() -> None:
            self._session.choose(device="auto" if is_remote(before) else before)

        again = ("Compute here", back)
        self._session.say(self._context.sentence(error), Kind.ERROR, again)

    def _warm(self) -> None:
        """Have the worker load the model before it is needed."""
        model = self._session.model
        if model is not None and model.card is not None and self._session.study and self._session.job is None:
            self._context.runner.warm(model.path, self._session.device, False)

    def segment(self) -> None:
        """Segment the open study; who presses has seen the warnings."""
        if self._session.job is None:
            self._waiting, self._with = [], []
        self._segment(self._session.model)

    def segment_with(self, names: Sequence[str]) -> None:
        """Segment the open study with each of those models; then, of several, their mean. The last answer is shown."""
        session = self._session
        if session.job is not None:
            session.say("Another job is running. Wait for it, or cancel it.", Kind.WARNING)
            return
        by_name = {m.name: m for m in session.models}
        for name in names:
            blocker = session.blocker_of(by_name.get(name))
            if blocker:
                session.say(f"{name}: {blocker}", Kind.ERROR)
                return
        self._waiting, self._with = list(names), list(names)
        self._next()

    def _next(self) -> None:
        """The next of several models, or what comes after the last one."""
        if self._waiting:
            name = self._waiting.pop(0)
            self._segment(next((m for m in self._session.models if m.name == name), None))
        elif len(self._with) > 1:
            answers = {n: a for n, a in self._session.answers.items() if n in self._with}
            self._with = []
            if len(answers) > 1:
                self._context.run(partial(several.mean_of, answers), self._show_mean)

    def _show_mean(self, mean: Answer) -> None:
        if self._session.study is not None and self._session.answers:
            self._session.add_answer("mean", mean)
            self.show_answer("mean")

    def show_answer(self, name: str) -> None:
        """Put that model's answer for the open study into the labels."""
        current, answer = self._session.study, self._session.answers.get(name)
        if current is None or answer is None:
            return
        layer = self._context.labels

        def work() -> Replacement:
            return replacement(layer, answer.segmentation)

        def done(change: Replacement) -> None:
            if self._session.study is current:
                self.shown = name
                with self._context.showing(change):
                    self._session.deliver(answer)
                self._compare()

        self._context.run(work, done)

    def _compare(self) -> None:
        """Find out how far the other answers agree with the one shown."""
        answers = dict(self._session.answers)
        base = answers.pop(self.shown, None)
        if base is None or not answers:
            self._comparing.next()
            self.lines = []
            self.compared.emit()
            return

        def work() -> list[str]:
            return [
                several.in_words(n, several.agreement(base.segmentation, a.segmentation)) for n, a in answers.items()
            ]

        def done(lines: list[str]) -> None:
            self.lines = lines
            self.compared.emit()

        self._context.run(work, done, current=self._comparing.next())

    def _segment(self, model: ModelInfo | None) -> None:
        session, current = self._session, self._session.study
        blocker = session.blocker_of(model)
        if blocker or current is None or model is None:
            session.say(blocker, Kind.ERROR)
            return
        if session.job is not None:
            return
        session.say("")
        # the probabilities place borders on the series' own voxels, are what clicks change, and of several models make the mean
        request = SegmentRequest(current.study, current.token, model.path, session.device, probabilities=True)
        done = partial(self._deliver, request, model.name)
        self._context.submit(request, done, prepare=partial(self._prepare, request), failed=self._failed)

    def _failed(self, event: Failed) -> None:
        self._waiting, self._with = [], []
        elsewhere = is_remote(self._session.device) and not event.cancelled
        offer = ("Try again", self.segment) if elsewhere else None
        self._session.say(event.message, Kind.INFO if event.cancelled else Kind.ERROR, offer)

    def cancel(self) -> None:
        """Stop the job that runs, and what waits behind it."""
        self._waiting, self._with = [], []
        self._context.cancel()

    def _prepare(self, request: SegmentRequest, prediction: Prediction) -> Callable[[], tuple[Prediction, Replacement]]:
        current = self._session.study
        layer = self._context.labels if current is not None and current.token == request.token else None
        return lambda: (prediction, replacement(layer, prediction.segmentation))

    def _deliver(self, request: SegmentRequest, name: str, made: tuple[Prediction, Replacement]) -> None:
        """The result goes to the study it was made from, whatever is open by now."""
        from brainseg_engine.inference.calibrated import trust_fields

        prediction, change = made
        model = BaseModel(prediction.model, prediction.model_version)
        notes = {
            "model": prediction.model,
            "model_version": prediction.model_version,
            "device": prediction.device,
            "rests_on": [m.value for m in prediction.rests_on],
            "dropped_ml": {r.value: round(ml, 3) for r, ml in prediction.dropped_ml.items()},
            **trust_fields(prediction),
            "seconds": dict(prediction.seconds),
        }
        answer = Answer(change.segmentation, model, request.model, notes, probabilities=prediction.probabilities,
                        scaling=prediction.scaling)  # fmt: skip
        current = self._session.study
        if current is None or current.token != request.token:
            self._waiting, self._with = [], []
            self._session.kept.keep(request.token, answer)
            self._session.say(
                f"{request.study.id} has been segmented meanwhile. Open it again to see the result.", Kind.GOOD
            )
            return
        self.shown = name
        with self._context.showing(change):
            self._session.deliver(answer)
        self._session.add_answer(name, answer)
        took = f"{sum(prediction.seconds.values()):.1f}\N{NO-BREAK SPACE}s"
        said = f"{request.study.id} was segmented by {change.segmentation.made_by} in {took}. {prediction.specks}"
        doubts = " ".join(t for t in (prediction.displaced, prediction.uncovered, prediction.unlike) if t)
        self._session.say(f"{said.rstrip()} {doubts}".rstrip(), Kind.WARNING if doubts else Kind.GOOD)
        self._next()

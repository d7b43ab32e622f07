"""The verbs of the panel. No Qt: what has to be asked (a file name) was asked before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from psygnal import Signal

from brainseg_engine.errors import BrainsegError
from brainseg_engine.events import Failed, Progress
from brainseg_engine.study import Modality, Prediction, Segmentation, Study
from napari_brainseg.actions import reading
from napari_brainseg.actions.measuring import measure, report
from napari_brainseg.display import canvas, layers
from napari_brainseg.display.regions import RegionView, item_labels, item_name
from napari_brainseg.jobs import Runner, SegmentJob
from napari_brainseg.session import JobState, Kept, Kind, OpenStudy, Session

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Background(Protocol):
    """Runs ``work`` elsewhere, then ``done(result)`` or ``failed(error)`` on the GUI thread."""

    def __call__(
        self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None], /
    ) -> None: ...


class Actions:
    """What each button means. One object a viewer; it listens to the jobs it starts (``jobs.Listener``)."""

    view_changed = Signal()
    """How regions are shown has changed."""

    def __init__(self, session: Session, viewer: ViewerModel, runner: Runner, background: Background) -> None:
        self.session = session
        self.viewer = viewer
        self._runner = runner
        self._background = background
        self._view = RegionView()
        self._ticket = 0
        self._notes: Mapping[str, Any] = {}

    # --- models

    def find_models(self) -> None:
        """Look up what is installed."""
        from brainseg_engine.models import installed

        self._background(lambda: tuple(installed()), self.session.set_models, self._failed)

    def choose_model(self, name: str) -> None:
        """Use that model from now on."""
        self.session.choose(model=name)
        self._warm()

    def choose_device(self, device: str) -> None:
        """Use that device from now on."""
        self.session.choose(device=device)
        self._warm()

    def _warm(self) -> None:
        model = self.session.model
        if model is not None and model.card is not None and self.session.study is not None and self.session.job is None:
            self._runner.warm(model.path, self.session.device, False)

    # --- opening

    def open(self, source: reading.Source, coding: str | None = None) -> None:
        """Open a study folder, or files picked by hand. The one that is open stays until the new one is read."""
        name = source.name if isinstance(source, Path) else source[0].name if source else "nothing"
        self._read(name, partial(reading.read, source, coding), self._open)

    def open_study(self, study: Study, name: str = "") -> None:
        """Open a study that is in memory already (the sample, a dropped folder)."""
        self._read(name or study.id, partial(reading.opened, study, mask=study.segmentation), self._open)

    def open_sample(self, make: Callable[[], Study]) -> None:
        """Open the study that ``make`` makes."""
        self._read("the sample", lambda: reading.opened(s := make(), mask=s.segmentation), self._open)

    def reassign(self, modality: Modality, path: Path | None) -> None:
        """Take another file as that modality."""
        current = self.session.study
        if current is not None:
            work = partial(reading.reassigned, current, modality, path)
            self._read(modality.title, work, partial(self._reassign, current))

    def load_mask(self, path: Path, coding: str | None = None) -> None:
        """Show the mask in that file as the study's labels."""
        current = self.session.study
        if current is None:
            self.session.say("Open the study first, then its mask.", Kind.WARNING)
            return

        def work() -> tuple[Segmentation, int]:
            mask = reading.read_mask(path, current.study, coding)
            return mask, reading.checksum(mask.labels)

        self._read(path.name, work, partial(self._show_mask, current))

    def _read(self, name: str, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """Do ``work`` in the background; of several only the last one asked for counts."""
        self._ticket += 1
        ticket = self._ticket
        self.session.reading = f"Reading {name} …"

        def finish(result: T) -> None:
            if ticket == self._ticket:
                self.session.reading = ""
                done(result)

        def fail(error: Exception) -> None:
            if ticket == self._ticket:
                self.session.reading = ""
                self._failed(error)

        self._background(work, finish, fail)

    def _open(self, made: reading.Opened) -> None:
        token, study = made.study.token, made.study.study
        self._put_away(token)
        self._remove_layers()
        self._notes = {}
        kept = self.session.take_kept(token)
        segmentation, saved = (kept.segmentation, kept.saved) if kept else (made.segmentation, made.saved)
        self._remove_layers(study.id)  # those that a reader put in: ours take their place
        layers.add_study(self.viewer, study)
        self.session.open(made.study, segmentation, saved=saved)
        if made.trouble:
            self.session.say(made.trouble, Kind.ERROR)
        elif kept is not None:
            self.session.say(f"The segmentation of {study.id} that was not saved yet is back.", Kind.GOOD)
        elif made.study.problems:
            self.session.say(" ".join(made.study.problems), Kind.WARNING)
        else:
            self.session.say(f"{study.id} is open{', with its mask' if segmentation else ''}.")
        self._warm()

    def _reassign(self, current: OpenStudy, made: reading.Opened) -> None:
        if self.session.study is not current:
            return
        labels, segmentation = self.labels, None
        if labels is not None and made.study.study.reference.grid.same_as(current.study.reference.grid):
            segmentation = layers.segmentation_of(labels)
            for layer in layers.image_layers(self.viewer, current.study.id).values():
                self.viewer.layers.remove(layer)
            layers.add_study(self.viewer, made.study.study)
            self.viewer.layers.move(self.viewer.layers.index(labels), len(self.viewer.layers))
            self.session.reassign(made.study, segmentation)
        else:
            self._put_away("")
            self._remove_layers()
            layers.add_study(self.viewer, made.study.study)
            self.session.open(made.study, None)
        self.session.say(" ".join(made.study.problems), Kind.WARNING)
        self._warm()

    def _show_mask(self, current: OpenStudy, mask: tuple[Segmentation, int]) -> None:
        if self.session.study is not current:
            return
        if current.truth is None:
            updated = reading.replace_truth(current, mask[0])
            self.session.reassign(updated, self.session.segmentation)
        self._notes = {}
        self.session.deliver(mask[0], saved=mask[1])
        name = mask[0].path.name if mask[0].path else "The mask"
        self.session.say(f"{name} is open as the labels of {current.study.id}.")

    def _put_away(self, next_token: str) -> None:
        """Keep what is not in a file yet before another study takes the place."""
        current, labels = self.session.study, self.labels
        if current is not None and labels is not None and self.session.dirty and current.token != next_token:
            self.session.keep(current.token, layers.segmentation_of(labels), saved=self.session.saved_digest)

    def _remove_layers(self, study_id: str | None = None) -> None:
        current = self.session.study
        study_id = study_id or (current.study.id if current else None)
        for layer in [x for x in self.viewer.layers if study_id and layers.layer_study_id(x) == study_id]:
            self.viewer.layers.remove(layer)

    # --- segmenting

    @property
    def blocker(self) -> str:
        """Why the open study cannot be segmented, in words; "" when it can."""
        model, current = self.session.model, self.session.study
        if current is None:
            return "Open a study first."
        if model is None or model.card is None:
            return model.problem if model is not None else "No model is installed."
        try:
            current.study.require(model.card.modalities)
        except BrainsegError as e:
            return str(e)
        return ""

    def segment(self) -> None:
        """Segment the open study; findings of the check have been seen by who presses."""
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
        self.session.job = None
        current, segmentation = self.session.study, prediction.segmentation
        seconds = sum(prediction.seconds.values())
        if current is None or current.token != job.token:
            self.session.keep(job.token, segmentation)
            self.session.say(f"{job.study.id} has been segmented meanwhile. Open it again to see the result.", Kind.GOOD)
            return
        self._notes = {
            "model": prediction.model,
            "model_version": prediction.model_version,
            "device": prediction.device,
            "seconds": dict(prediction.seconds),
        }
        self.session.deliver(segmentation)
        where = prediction.device.split(" ")[0]
        self.session.say(f"{job.study.id} was segmented in {seconds:.1f} s by {segmentation.made_by} ({where}).", Kind.GOOD)

    def failed(self, job: SegmentJob, event: Failed) -> None:
        """See ``jobs.Listener``."""
        self.session.job = None
        self.session.say(event.message, Kind.INFO if event.cancelled else Kind.ERROR)

    # --- the labels

    @property
    def labels(self) -> Labels | None:
        """The labels layer of the open study."""
        current = self.session.study
        found = layers.labels_layers(self.viewer, current.study.id) if current is not None else []
        return found[0] if found else None

    def show_segmentation(self) -> None:
        """Bring the labels layer in line with the session's segmentation, as one step that can be undone."""
        current, segmentation, layer = self.session.study, self.session.segmentation, self.labels
        if current is None or segmentation is None:
            return
        if layer is None:
            layer = layers.add_segmentation(
                self.viewer, segmentation, study_id=current.study.id, reference=current.study.reference
            )
            layers.apply_region_view(layer, self._view)
        else:
            layers.set_segmentation(layer, segmentation)

    def measure(self) -> None:
        """Measure the labels as they are now."""
        current, layer = self.session.study, self.labels
        if current is None or layer is None:
            self.session.measures = None
            return

        def work() -> Any:
            segmentation = layers.segmentation_of(layer)
            return measure(segmentation.labels, segmentation.grid, segmentation.regions, current.truth)

        def done(measures: Any) -> None:
            if self.session.study is current and self.labels is layer:
                self.session.measures = measures

        self._background(work, done, self._failed)

    @property
    def view(self) -> RegionView:
        """How regions are shown."""
        return self._view

    @view.setter
    def view(self, value: RegionView) -> None:
        if value == self._view:
            return
        self._view = value
        if self.labels is not None:
            layers.apply_region_view(self.labels, value)
        self.view_changed.emit()

    def jump(self, item: str) -> None:
        """Show the axial slice in which that region or class is largest."""
        from brainseg_engine.measure import largest_axial_slice

        layer, scheme = self.labels, self._view.scheme
        if layer is None:
            return

        def work() -> Any:
            segmentation = layers.segmentation_of(layer)
            mask = _mask(segmentation.labels, item_labels(scheme, item))
            found = largest_axial_slice(mask, segmentation.grid)
            if found is None:
                return None
            return layers.voxel_to_world(segmentation.grid, _inside(mask, *found))

        def done(world: Any) -> None:
            if world is None:
                self.session.say(f"There is no {item_name(scheme, item)} in this segmentation.")
            elif layer in self.viewer.layers:
                canvas.set_plane(self.viewer, canvas.Plane.AXIAL, at=world)
                canvas.go_to_world(self.viewer, world)

        self._background(work, done, self._failed)

    # --- saving

    def save(self, path: Path, coding: str | None = None) -> None:
        """Write the labels as they are now, with the header of the reference series."""
        from brainseg_engine.io import save_segmentation

        current, layer = self.session.study, self.labels
        if current is None or layer is None:
            self.session.say("There is nothing to save yet: segment the study, or open a mask.", Kind.WARNING)
            return
        self.session.reading = f"Writing {path.name} …"
        delivered, notes = self.session.segmentation, self._notes

        def work() -> int:
            segmentation = layers.segmentation_of(layer)
            digest = reading.checksum(segmentation.labels)
            edited = delivered is None or digest != reading.checksum(delivered.labels)
            beside = report(current.study, segmentation, edited, notes)
            save_segmentation(segmentation, path, reference=current.study.reference, coding=coding, sidecar=beside)
            return digest

        def done(digest: int) -> None:
            self.session.reading = ""
            if self.session.study is current:
                self.session.saved(digest)
            self.session.say(f"Saved {path}", Kind.GOOD)

        def fail(error: Exception) -> None:
            self.session.reading = ""
            self._failed(error)

        self._background(work, done, fail)

    def close(self) -> None:
        """Stop the jobs."""
        self._runner.close()

    def _failed(self, error: Exception) -> None:
        """Say what went wrong; everything stays as it was."""
        if isinstance(error, BrainsegError):
            self.session.say(str(error), Kind.ERROR)
        else:
            _log.error("unexpected", exc_info=error)
            self.session.say(
                f"This did not work ({type(error).__name__}: {error}). Nothing was changed; the log has the details.", Kind.ERROR
            )


def _mask(labels: Any, members: frozenset[Any]) -> Any:
    import numpy as np

    lookup = np.zeros(256, dtype=np.bool_)
    lookup[[int(m) for m in members]] = True
    return lookup[labels]


def _inside(mask: Any, axis: int, index: int) -> Any:
    """The voxel of the mask's slice that is closest to the slice's centre of mass."""
    import numpy as np

    flat = np.argwhere(np.take(mask, index, axis=axis))
    nearest = flat[np.argmin(((flat - flat.mean(axis=0)) ** 2).sum(axis=1))]
    return np.insert(nearest, axis, index)


__all__ = ["Actions", "Background", "Kept"]

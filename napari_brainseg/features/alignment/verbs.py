"""Do the series lie on each other, and how does the answer look on the series as they were acquired?"""

from __future__ import annotations

from psygnal import Signal

from brainseg_engine.core.study import Modality
from napari_brainseg.display.compare import Mix
from napari_brainseg.features.alignment.comparing import Comparing
from napari_brainseg.features.alignment.reading import ReadingAsAcquired
from napari_brainseg.features.context import Context
from napari_brainseg.session import Acquired, Placing


class AlignmentVerbs:
    """What the alignment section asks for: either two series are compared, or one is read as acquired."""

    changed = Signal()
    """There is something else to show."""

    def __init__(self, context: Context) -> None:
        self._session, self._viewer = context.session, context.viewer
        self.comparing, self.reading = Comparing(context), ReadingAsAcquired(context)
        self._token = ""
        context.follow(self.comparing.changed, self.changed.emit)
        context.follow(self.reading.changed, self.changed.emit)
        context.follow(context.session.study_changed, self._follow)
        context.follow(context.viewer.dims.events.ndisplay, self._on_dimensions, position="first")

    @property
    def acquired(self) -> Acquired | None:
        """What the open study was prepared from, where its series are at hand."""
        return self._session.aligned_from

    @property
    def others(self) -> tuple[Modality, ...]:
        """The series that can be compared with the reference."""
        return self.acquired.others if self.acquired is not None else ()

    def check(self, mix: Mix | None) -> None:
        """Show the series and the reference together in that way; None ends it."""
        if mix is None or not self.others:
            self.comparing.end()
            self.changed.emit()
        else:
            self.reading.show(None)
            self.comparing.compare(mix)

    def choose(self, series: Modality) -> None:
        """Compare that series."""
        if series in self.others and series is not self.comparing.series:
            self.reading.show(None)
            self.comparing.compare(self.comparing.mix or Mix.SWIPE, series)

    def show(self, series: Modality | None) -> None:
        """Show that series on its own voxels, with the answer carried over; None: all on the grid of 1 mm again."""
        if series is not None and self.acquired is not None and series in self.acquired.volumes:
            self.comparing.end()
        self.reading.show(series)

    # --- using what was moved

    def use(self) -> None:
        """Prepare the study with the series where they were moved to."""
        self._ask(registered=None)

    def register(self) -> None:
        """Register the series that is compared anew, beginning where it lies now."""
        self._ask(registered=self.comparing.series)

    def _ask(self, registered: Modality | None) -> None:
        acquired = self.acquired
        if acquired is None or self._session.job is not None:
            return
        rigids = {m: self.comparing.rigid(acquired, m).matrix for m in self.others}
        placed = {m: matrix for m, matrix in rigids.items() if m is not registered}
        starts = {registered: rigids[registered]} if registered is not None else {}
        self.check(None)
        self._session.placing_requested.emit(Placing(placed, starts))

    # --- what happens elsewhere

    def _follow(self) -> None:
        """Another study is open, or none."""
        current = self._session.study
        token = current.token if current is not None else ""
        if token != self._token:
            self._token = token
            self.comparing.forget()
            self.reading.forget()
        self.changed.emit()

    def _on_dimensions(self, event: object = None) -> None:
        if self._viewer.dims.ndisplay == 3 and (self.comparing.mix is not None or self.reading.shown is not None):
            self.comparing.end()
            self.reading.end()
            self.changed.emit()

    def close(self) -> None:
        """Take what was added off the canvas."""
        self.comparing.end()
        self.reading.end()
        self.reading.forget()

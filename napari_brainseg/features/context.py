"""What all verbs share: the state, the viewer, who does the work, and how a failure is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from psygnal import Signal

from brainseg_engine.core.errors import BrainsegError
from napari_brainseg.display import layers
from napari_brainseg.display.region_style import RegionView
from napari_brainseg.features.replacing import Change
from napari_brainseg.jobs import Runner
from napari_brainseg.session import Kind, Session

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Background(Protocol):
    """Runs ``work`` elsewhere, then ``done(result)`` or ``failed(error)`` on the GUI thread."""

    def __call__(  # noqa: D102
        self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None], /
    ) -> None: ...


class Base:
    """The state, the viewer, and who does the work."""

    view_changed = Signal()
    """How regions are shown has changed."""

    def __init__(
        self,
        session: Session,
        viewer: ViewerModel,
        runner: Runner,
        background: Background,
        saving: Background | None = None,
    ) -> None:
        self.session = session
        self.viewer = viewer
        self._runner = runner
        self._background = background
        self._saving = saving or background  # of its own, where nothing else may hold it up
        self._view = RegionView()
        self._ticket = 0
        self._own_change = 0
        self._ready: Change | None = None  # how to show what is delivered next
        # what the model told about the segmentation that is open; "edited" where that was shown with edits in it
        self._notes: Mapping[str, Any] = {}
        self._model_file: Path | None = None  # of the model that told it

    @property
    def labels(self) -> Labels | None:
        """The labels layer of the open study."""
        current = self.session.study
        found = layers.labels_layers(self.viewer, current.study.id) if current is not None else []
        return found[0] if found else None

    @property
    def changing_layers(self) -> bool:
        """True while layers come and go by our own doing."""
        return self._own_change > 0

    @contextmanager
    def _changing_layers(self) -> Iterator[None]:
        """Layers that come and go in here are our own doing, not a person's."""
        self._own_change += 1
        try:
            yield
        finally:
            self._own_change -= 1

    def _read(self, words: str, work: Callable[[], T], done: Callable[[T], None]) -> None:
        """Do ``work`` in the background; of several only the last one asked for counts."""
        self._ticket += 1
        ticket = self._ticket
        self.session.reading = words

        def finish(result: T) -> None:
            if ticket == self._ticket:
                self.session.reading = ""
                done(result)

        def fail(error: Exception) -> None:
            if ticket == self._ticket:
                self.session.reading = ""
                self._failed(error)

        self._background(work, finish, fail)

    def _failed(self, error: Exception) -> None:
        """Say what went wrong; everything stays as it was."""
        if isinstance(error, BrainsegError):
            self.session.say(str(error), Kind.ERROR)
            return
        _log.error("unexpected", exc_info=error)
        what = f"{type(error).__name__}: {error}"
        self.session.say(f"This did not work ({what}). Nothing was changed; the log has the details.", Kind.ERROR)

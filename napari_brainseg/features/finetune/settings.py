"""What a fine-tuning is to learn from and how: the corrections, which of them are held out, the settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_brainseg.features.corrections.verbs import Keeping
from napari_brainseg.features.finetune import candidates
from napari_brainseg.features.finetune.candidates import Row
from napari_brainseg.features.segment.verbs import Segmenting

if TYPE_CHECKING:
    from brainseg_engine.corrections import Correction, Finding
    from brainseg_engine.models.checkpoint import Card


@dataclass(frozen=True)
class Settings:
    """What a run is to do. ``model`` "": the default one; ``unit``: "minutes" or "epochs"; ``parts``: of finetune.PARTS."""

    model: str = ""
    amount: float = 15.0
    unit: str = "minutes"
    parts: str = "everything"
    anchors: Path | None = None
    device: str = "auto"


class Gathering:
    """Lists the corrections of the store that corrections are kept in. ``checking``: the studies are being read.

    Of listings only the last one asked for goes on, and so it is with checks: an older one stops at its next correction.

    ``default`` is the model that is used where none is named, ``previous`` what a roll back would return to; "" for none.
    """

    changed = Signal()

    def __init__(self, actions: Segmenting, keeping: Keeping) -> None:
        self._actions, self._keeping, self._session = actions, keeping, actions.session
        self._store: Path | None = None  # whose corrections are listed
        self._records: dict[str, Correction] = {}
        self._listed: tuple[Row, ...] = ()
        self._masks: tuple[Finding, ...] = ()  # what looking at the masks found, at each listing
        self._studies: tuple[Finding, ...] = ()  # what reading the studies found, when that was asked for last
        self._listing = self._check = 0  # the newest of each
        self.settings = Settings()
        self.checking = False
        self.default = self.previous = ""

    def close(self) -> None:
        """Follow nothing more. A run goes on: the next start finds it."""
        self._listing += 1
        self._check += 1

    @property
    def rows(self) -> tuple[Row, ...]:
        """The corrections, as the chosen model could learn from them."""
        known = candidates.judged(self._listed, (*self._masks, *self._studies))
        return candidates.fitted(known, self._records, self._card())

    @property
    def base(self) -> str:
        """The name of the model to start from."""
        return self.settings.model or self.default

    @property
    def blocker(self) -> str:
        """Why no run can be started, in words; "" when one can."""
        if self._store is None:
            return "The corrections are being listed …"
        if self._card() is None:
            return f"The model {self.base} cannot be used; choose another." if self.base else "No model is installed."
        return candidates.blocker(self.rows, self._store)

    def follow_store(self) -> None:
        """List anew when another folder of corrections was chosen."""
        if self._store is not None and self._store != self._keeping.store.path:
            self._studies = ()
            self._check += 1
            self.checking = False
            self.refresh()

    def accepted(self, made: Correction) -> None:
        """A correction was accepted: it is listed, where they are."""
        if self._store is not None:
            self.refresh()

    def refresh(self, made: object = None) -> None:
        """List the corrections, then look at the masks; ``made``: what was changed in the store just now."""
        store = self._keeping.store
        self._listing += 1
        ticket = self._listing

        def show(told: tuple[tuple[Row, ...], dict[str, Correction]]) -> None:
            if ticket == self._listing:
                self._listed, self._records = told
                self._store = store.path
                self._actions._background(look, judge, fail)
                self.changed.emit()

        def look() -> list[Finding]:
            return store.check(images=False, cancelled=lambda: ticket != self._listing)

        def judge(found: list[Finding]) -> None:
            if ticket == self._listing:
                self._masks = tuple(found)
                self.changed.emit()

        def fail(error: Exception) -> None:
            if ticket == self._listing:
                self._store = store.path
                self._actions._failed(error)
                self.changed.emit()

        self._actions._background(lambda: (candidates.listed(store), candidates.records(store)), show, fail)

    def check(self) -> None:
        """Read the studies too, and compare them with what was corrected; seconds for each. One check at a time."""
        if self.checking:
            return
        store = self._keeping.store
        self.checking = True
        self._check += 1
        ticket = self._check

        def read() -> list[Finding]:
            return store.check(cancelled=lambda: ticket != self._check)

        def judge(found: list[Finding]) -> None:
            if ticket == self._check:
                self.checking = False
                self._studies = tuple(f for f in found if _of_images(f))
                self.changed.emit()

        def fail(error: Exception) -> None:
            if ticket == self._check:
                self.checking = False
                self._actions._failed(error)
                self.changed.emit()

        self.refresh()
        self._actions._background(read, judge, fail)
        self.changed.emit()

    def hold_out(self, id: str, value: bool) -> None:
        """Keep all corrections of that one's patient for testing, or let them be learnt from."""
        store = self._keeping.store

        def failed(error: Exception) -> None:
            self._actions._failed(error)
            self.changed.emit()

        self._actions._background(lambda: store.set_held_out(id, value), self.refresh, failed)

    def choose(self, **what: Any) -> None:
        """Change settings by name."""
        self.settings = replace(self.settings, **what)
        self.changed.emit()

    def _card(self) -> Card | None:
        found = [m for m in self._session.models if m.name == self.base]
        return found[-1].card if found else None


def _of_images(f: Finding) -> bool:
    """Whether only reading the study can tell it."""
    return f.code == "study_changed" or (f.code == "study_absent" and f.severity == "error")

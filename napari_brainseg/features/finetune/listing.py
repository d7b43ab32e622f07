"""The corrections that can be learnt from: listed, checked, held out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_brainseg.features.context import Context, Newest
from napari_brainseg.features.finetune import candidates
from napari_brainseg.features.finetune.candidates import Candidate

if TYPE_CHECKING:
    from brainseg_engine.corrections import Correction, StoreFinding
    from brainseg_engine.models.checkpoint import Card


class CandidateList:
    """Lists the corrections of the session's store. ``checking``: the studies are being read.

    Of listings only the last one asked for goes on, and so it is with checks: an older one stops at its next correction.
    """

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self._records: dict[str, Correction] = {}
        self._listed: tuple[Candidate, ...] = ()
        self._masks: tuple[StoreFinding, ...] = ()  # what looking at the masks found, at each listing
        self._studies: tuple[StoreFinding, ...] = ()  # what reading the studies found, when that was asked for last
        self._listing, self._check = Newest(), Newest()
        self.store: Path | None = None
        """Whose corrections are listed; None: they are not listed yet."""
        self.checking = False
        context.follow(context.session.store_changed, self._other_store)
        context.follow(context.session.accepted, self._accepted)

    def close(self) -> None:
        """Read nothing more."""
        self._listing.next()
        self._check.next()

    def rows(self, card: Card | None) -> tuple[Candidate, ...]:
        """The corrections, as a model with that card could learn from them."""
        known = candidates.judged(self._listed, (*self._masks, *self._studies))
        return candidates.fitted(known, self._records, card)

    def _other_store(self) -> None:
        if self.store is not None and self.store != self._session.store.path:
            self._studies = ()
            self._check.next()
            self.checking = False
            self.refresh()

    def _accepted(self, accepted: object) -> None:
        """A correction was accepted: it is listed, where they are."""
        if self.store is not None:
            self.refresh()

    def refresh(self, made: object = None) -> None:
        """List the corrections, then look at the masks; ``made``: what was changed in the store just now."""
        store, current = self._session.store, self._listing.next()

        def show(read: tuple[tuple[Candidate, ...], dict[str, Correction]]) -> None:
            self._listed, self._records = read
            self.store = store.path
            look = partial(store.check, images=False, cancelled=lambda: not current())
            self._context.run(look, judge, fail, current=current)
            self.changed.emit()

        def judge(findings: list[StoreFinding]) -> None:
            self._masks = tuple(findings)
            self.changed.emit()

        def fail(error: Exception) -> None:
            self.store = store.path
            self._context.fail(error)
            self.changed.emit()

        self._context.run(lambda: (candidates.listed(store), candidates.records(store)), show, fail, current=current)

    def check(self) -> None:
        """Read the studies too, and compare them with what was corrected; seconds for each. One check at a time."""
        if self.checking:
            return
        store, current = self._session.store, self._check.next()
        self.checking = True

        def judge(findings: list[StoreFinding]) -> None:
            self.checking = False
            self._studies = tuple(f for f in findings if _of_images(f))
            self.changed.emit()

        def fail(error: Exception) -> None:
            self.checking = False
            self._context.fail(error)
            self.changed.emit()

        self.refresh()
        self._context.run(partial(store.check, cancelled=lambda: not current()), judge, fail, current=current)
        self.changed.emit()

    def hold_out(self, id: str, value: bool) -> None:
        """Keep all corrections of that one's patient for testing, or let them be learnt from."""
        store = self._session.store

        def fail(error: Exception) -> None:
            self._context.fail(error)
            self.changed.emit()

        self._context.run(lambda: store.set_held_out(id, value), self.refresh, fail)


def _of_images(f: StoreFinding) -> bool:
    """Whether only reading the study can tell it."""
    return f.code == "study_changed" or (f.code == "study_absent" and f.severity == "error")

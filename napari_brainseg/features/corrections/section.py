"""Wires the corrections section."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QMessageBox

from brainseg_engine.corrections import Correction
from napari_brainseg.display import history
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.corrections.verbs import EMPTY, Keeping, said
from napari_brainseg.features.corrections.view import CorrectionsShown, CorrectionsView
from napari_brainseg.features.doubt.verbs import Looking
from napari_brainseg.qt.threads import Timer

TICK_MS = 1000
_QUIET_MS = 300
REPLACES = "The edits on the canvas were not accepted. Put the draft in their place? Ctrl+Z brings them back."


class CorrectionsSection(QObject):
    """Between the corrections view and the actions; ``accepted`` hears of every version that was accepted."""

    def __init__(
        self,
        view: CorrectionsView,
        actions: Actions,
        keeping: Keeping,
        looking: Looking,
        accepted: Callable[[Correction], None],
    ) -> None:
        super().__init__()
        self._view, self._actions, self._keeping, self._looking = view, actions, keeping, looking
        self._accepted = accepted
        self._brush = history.Follower(self._on_edit)
        self._shown: CorrectionsShown | None = None
        self._clock = Timer(self, TICK_MS, self._tick, again=True)
        self._quiet = Timer(self, _QUIET_MS, looking.compare)
        view.accept_requested.connect(self.accept)
        view.restore_requested.connect(keeping.restore)
        view.discard_requested.connect(self._ask_discard)
        view.other_requested.connect(self._open_other)
        view.show_draft_requested.connect(self._show_draft)
        view.accept_draft_requested.connect(self._accept_draft)
        view.doubt_requested.connect(looking.toggle_doubt)
        view.changes_requested.connect(looking.toggle_changes)
        view.slice_requested.connect(looking.next_slice)
        view.folder_requested.connect(self._ask_folder)
        view.by_changed.connect(lambda text: keeping.choose(by=text))
        view.named_changed.connect(lambda on: keeping.choose(named=on))
        keeping.changed.connect(self._show)
        looking.changed.connect(self._show)
        actions.session.job_changed.connect(self._show)
        actions.session.edited.connect(keeping.note)
        self._signs = (actions.viewer.cursor.events.position, actions.viewer.dims.events.point)
        for event in self._signs:
            event.connect(keeping.sign_of_life)
        self._clock.start()
        self._show()

    def close(self) -> None:
        """Follow nothing more."""
        self._clock.stop()
        self._quiet.stop()
        for event in self._signs:
            event.disconnect(self._keeping.sign_of_life)
        self._actions.session.job_changed.disconnect(self._show)
        self._actions.session.edited.disconnect(self._keeping.note)
        self._brush.follow(None)
        self._keeping.changed.disconnect(self._show)
        self._looking.changed.disconnect(self._show)
        self._keeping.close()
        self._looking.close()

    def accept(self) -> None:
        """Accept what is on the canvas, after a question where something speaks against it."""
        if not self._keeping.possible:
            return
        doubts = self._keeping.doubts
        if doubts and not self._sure("Accept correction", doubts):
            return
        self._keeping.accept(self._accepted)

    def _show_draft(self) -> None:
        """In place of edits that were not accepted only after a question."""
        if not self._keeping.at_risk or self._sure("Show draft", REPLACES):
            self._keeping.show_draft()

    def _accept_draft(self) -> None:
        """An empty one only after a question."""
        draft = self._keeping.draft
        if draft is not None and (not draft.empty or self._sure("Accept draft", EMPTY)):
            self._keeping.accept_draft(self._accepted)

    def _tick(self) -> None:
        self._brush.follow(self._actions.labels)
        self._keeping.tick()
        if self._keeping.edited and self._state() != self._shown:  # restyling costs 15 ms, every second
            self._show()

    def _on_edit(self, event: Any = None) -> None:
        if self._looking.changes_shown:
            self._quiet.start()

    def _show(self) -> None:
        self._shown = self._state()
        self._view.show_state(self._shown)

    def _state(self) -> CorrectionsShown:
        keeping, looking = self._keeping, self._looking
        offer, accepted = keeping.offer, keeping.accepted
        return CorrectionsShown(
            possible=keeping.possible,
            state=state_in_words(keeping),
            danger=bool(keeping.trouble),
            offer=f"Work of {said(offer)} on this study was not accepted." if offer is not None else "",
            other=others_in_words(keeping),
            draft=draft_in_words(keeping.draft) if keeping.draft is not None else "",
            accepted=accepted_in_words(accepted) if accepted is not None else "",
            doubt_shown=looking.doubt_shown,
            changes_shown=looking.changes_shown,
            store=str(keeping.store.path),
            by=keeping.by,
            named=keeping.named,
        )

    def _ask_discard(self) -> None:
        offer = self._keeping.offer
        if offer is not None and self._sure("Discard work", f"Give up the work of {said(offer)} for good?"):
            self._keeping.discard()

    def _open_other(self) -> None:
        for found in self._keeping.others:
            if found.folder is not None:
                self._actions.open(found.folder)
                return
        self._actions.session.say("Open that study by its files; its work is offered then.")

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self._view, "Keep corrections in", str(self._keeping.store.path))
        if name:
            self._keeping.choose(store=Path(name))

    def _sure(self, title: str, question: str) -> bool:
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        return bool(QMessageBox.question(self._view, title, question, yes | no, no) == yes)


def state_in_words(keeping: Keeping) -> str:
    """Like "autosaved 14:03:22 · 3.5 minutes of editing"; bad news first."""
    if keeping.trouble:
        return f"NOT SAVED: {keeping.trouble} Trying again …"
    if not keeping.edited:
        return ""
    saved = keeping.autosaved
    told = f"autosaved {saved:%H:%M:%S}" if saved is not None else "not autosaved yet"
    return f"{told} · {keeping.minutes:.1f} min of editing"


def others_in_words(keeping: Keeping) -> str:
    """Work on other studies that was not accepted."""
    if not keeping.others:
        return ""
    first, more = keeping.others[0], len(keeping.others) - 1
    return f"Work of {said(first)} on {first.study_id} was not accepted{f' (and {more} more)' if more else ''}."


def draft_in_words(c: Correction) -> str:
    """A draft of the open study."""
    labelled = sum(t.voxels for t in c.changed.values())
    who = f" by {c.by}" if c.by else ""
    return f"Draft {c.id}{who}: {f'{labelled:,} voxels' if labelled else 'an empty mask'}, not accepted yet."


def accepted_in_words(c: Correction) -> str:
    """The newest version of the open study."""
    added, removed = (sum(getattr(t, what) for t in c.changed.values()) for what in ("added", "removed"))
    who = f" by {c.by}" if c.by else ""
    held_out = ", held out for testing" if c.held_out else ""
    return f"Version {c.id} accepted{who}: {added:,} voxels added, {removed:,} removed{held_out}."

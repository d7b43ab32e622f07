"""Connects the corrections view and its verbs; asks where something could be lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox

from brainseg_engine.corrections import Correction, LeftCopy, sizes_in_words
from napari_brainseg.features.context import Context
from napari_brainseg.features.corrections.verbs import EMPTY, CorrectionVerbs
from napari_brainseg.features.corrections.view import CorrectionsShown, CorrectionsView
from napari_brainseg.features.corrections.workspace import when_in_words
from napari_brainseg.session import Session

SECOND_S = 1.0
REPLACES = "The edits on the canvas were not accepted. Put the draft in their place? Ctrl+Z brings them back."


class CorrectionsSection:
    """Between the corrections view and its verbs."""

    def __init__(self, view: CorrectionsView, verbs: CorrectionVerbs, context: Context) -> None:
        self._view, self._verbs, self._session = view, verbs, context.session
        self._autosave = verbs.autosave
        self._shown: CorrectionsShown | None = None
        self._clock = context.later(SECOND_S, self._show_time, again=True)
        view.accept_requested.connect(self.accept)
        view.restore_requested.connect(self._autosave.restore)
        view.discard_requested.connect(self._ask_discard)
        view.other_requested.connect(self._open_other)
        view.show_draft_requested.connect(self._show_draft)
        view.accept_draft_requested.connect(self._accept_draft)
        view.folder_requested.connect(self._ask_folder)
        view.by_changed.connect(lambda text: verbs.choose(by=text))
        view.named_changed.connect(lambda on: verbs.choose(named=on))
        context.follow(verbs.changed, self._show)
        context.follow(context.labels_changed, self._show)
        context.follow(context.session.job_changed, self._show)
        self._clock.start()
        self._show()

    def accept(self) -> None:
        """Accept what is on the canvas, after a question where something speaks against it."""
        if not self._verbs.possible:
            return
        objection = self._verbs.objection
        if objection and not self._sure("Accept correction", objection):
            return
        self._verbs.accept()

    def _show_draft(self) -> None:
        """In place of edits that were not accepted only after a question."""
        if not self._autosave.at_risk or self._sure("Show draft", REPLACES):
            self._verbs.show_draft()

    def _accept_draft(self) -> None:
        """An empty one only after a question."""
        draft = self._verbs.draft
        if draft is not None and (not draft.empty or self._sure("Accept draft", EMPTY)):
            self._verbs.accept_draft()

    def _show_time(self) -> None:
        if self._verbs.edited and state_of(self._verbs, self._session) != self._shown:  # restyling costs 15 ms
            self._show()

    def _show(self) -> None:
        self._shown = state_of(self._verbs, self._session)
        self._view.show_state(self._shown)

    def _ask_discard(self) -> None:
        offer = self._autosave.offer
        if offer is not None and self._sure("Discard work", f"Give up the work of {when_in_words(offer)} for good?"):
            self._autosave.discard()

    def _open_other(self) -> None:
        for found in self._autosave.others:
            if found.folder is not None:
                self._session.open_requested.emit(found.folder)
                return
        self._session.say("Open that study by its files; its work is offered then.")

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self._view, "Keep corrections in", str(self._session.store.path))
        if name:
            self._verbs.choose(store=Path(name))

    def _sure(self, title: str, question: str) -> bool:
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        return bool(QMessageBox.question(self._view, title, question, yes | no, no) == yes)


def state_of(verbs: CorrectionVerbs, session: Session) -> CorrectionsShown:
    """What there is to show."""
    offer, accepted, draft = verbs.autosave.offer, verbs.accepted, verbs.draft
    voxel_ml = session.study.study.reference.grid.voxel_ml if session.study is not None else None
    return CorrectionsShown(
        possible=verbs.possible,
        state=state_in_words(verbs),
        danger=bool(verbs.autosave.trouble),
        offer=f"Work of {when_in_words(offer)} on this study was not accepted." if offer is not None else "",
        other=others_in_words(verbs.autosave.others),
        draft=draft_in_words(draft) if draft is not None else "",
        accepted=accepted_in_words(accepted, voxel_ml) if accepted is not None else "",
        store=str(session.store.path),
        by=verbs.by,
        named=verbs.named,
    )


def state_in_words(verbs: CorrectionVerbs) -> str:
    """Like "autosaved 14:03:22 · 3.5 minutes of editing"; bad news first."""
    if verbs.autosave.trouble:
        return f"NOT SAVED: {verbs.autosave.trouble} Trying again …"
    if not verbs.edited:
        return ""
    saved = verbs.autosaved
    when = f"autosaved {saved:%H:%M:%S}" if saved is not None else "not autosaved yet"
    return f"{when} · {verbs.minutes:.1f} min of editing"


def others_in_words(others: Sequence[LeftCopy]) -> str:
    """Work on other studies that was not accepted."""
    if not others:
        return ""
    first, more = others[0], len(others) - 1
    return (
        f"Work of {when_in_words(first)} on {first.study_id} was not accepted{f' (and {more} more)' if more else ''}."
    )


def draft_in_words(c: Correction) -> str:
    """A draft of the open study."""
    labelled = sum(t.voxels for t in c.changed.values())
    who = f" by {c.people}" if c.people else ""
    return f"Draft {c.id}{who}: {f'{labelled:,} voxels' if labelled else 'an empty mask'}, not accepted yet."


def accepted_in_words(c: Correction, voxel_ml: float | None) -> str:
    """The newest version of the open study."""
    who = f" by {c.people}" if c.people else ""
    held_out = ", held out for testing" if c.held_out else ""
    return f"Version {c.id} accepted{who}: {sizes_in_words(c, voxel_ml)}{held_out}."

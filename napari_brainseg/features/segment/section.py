"""Connects the segment view and its verbs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QInputDialog, QMessageBox

from brainseg_engine.core.device import REMOTE
from brainseg_engine.remote import Place, is_remote, known
from napari_brainseg.features.context import Context
from napari_brainseg.features.segment.verbs import SegmentVerbs
from napari_brainseg.features.segment.view import SegmentView
from napari_brainseg.qt.cards import card_in_words
from napari_brainseg.session import DEVICES

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo


ANOTHER = REMOTE
"""The choice that asks for a machine."""
QUESTION = (
    "A machine that your ssh reaches with a key, with napari-brainseg on it:\n"
    "a name, user@name, an entry of ~/.ssh/config, or host:/path/to/bin/napari-brainseg"
)


class SegmentSection:
    """Between the segment view and its verbs."""

    def __init__(self, view: SegmentView, verbs: SegmentVerbs, context: Context) -> None:
        self._view, self._session = view, context.session
        self._verbs, self._answered = verbs, ("", 0)
        view.segment_requested.connect(self.segment)
        view.cancel_requested.connect(verbs.cancel)
        view.model_chosen.connect(verbs.choose_model)
        view.device_chosen.connect(self._choose_device)
        view.answer_chosen.connect(self._choose_answer)
        context.follow(verbs.compared, self._show_answers)
        context.follow(context.session.models_changed, self._show_models)
        context.follow(context.session.study_changed, self._show_blocker)
        context.follow(context.session.job_changed, self._show_job)
        self._show_models()

    def segment(self) -> None:
        """Segment; over edits that were not accepted only after a question, which is asked once."""
        if self._session.blocker or self._may_replace("Segment"):
            self._verbs.segment()

    def segment_with(self, names: Sequence[str]) -> None:
        """Segment with each of those models, after the same question."""
        if self._may_replace("Segment with several models"):
            self._verbs.segment_with(names)

    def _choose_answer(self, name: str) -> None:
        if name != self._verbs.shown and not self._may_replace("Another answer"):
            self._show_answers()
            return
        self._verbs.show_answer(name)

    def _may_replace(self, title: str) -> bool:
        """Whether other labels may take the place of those that are shown; asks where edits would go."""
        session, question = self._session, self._verbs.objection()
        now = (session.study.token if session.study is not None else "", len(session.steps))
        if question and now != self._answered:
            yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
            if QMessageBox.question(self._view, title, question, yes | no, no) != yes:
                return False
            self._answered = now
        return True

    def _show_answers(self) -> None:
        self._view.show_answers(list(self._session.answers), self._verbs.shown, self._verbs.lines)

    def _show_models(self) -> None:
        model = self._session.model
        choices = [(_title(m), m.name, card_in_words(m)) for m in self._session.models]
        self._view.show_models(choices, model.name if model is not None else "")
        card = model.card if model is not None else None
        self._view.show_terms(f"{card.name}: {card.terms}" if card is not None and card.terms else "")
        self._show_devices()
        self._show_blocker()

    def _show_devices(self) -> None:
        device = self._session.device
        self._view.show_devices({**DEVICES, **elsewhere(device), ANOTHER: "Another machine (ssh) …"}, device)

    def _choose_device(self, device: str) -> None:
        if device != ANOTHER:
            self._verbs.choose_device(device)
            return
        self._show_devices()
        hosts = list(dict.fromkeys([*(Place.of(d).host for d in known.used()), *known.configured()]))
        host, taken = QInputDialog.getItem(self._view, "Another machine", QUESTION, hosts, 0, True)
        if taken and host.strip():
            self._verbs.choose_device(f"{REMOTE}{host.strip().removeprefix(REMOTE)}")

    def _show_blocker(self) -> None:
        job = self._session.job
        elsewhere = "Wait until the series are prepared." if job is not None and job.where != "segment" else ""
        self._view.show_blocker(elsewhere or self._session.blocker, len(self._session.warnings))

    def _show_job(self) -> None:
        job, current = self._session.job, self._session.study
        if job is None or job.where != "segment":
            self._view.show_progress(None)
            self._show_blocker()
            return
        elsewhere = current is None or current.token != job.token
        self._view.show_progress((f"{job.study_id}: {job.stage}" if elsewhere else job.stage, job.fraction))


def elsewhere(*chosen: str) -> dict[str, str]:
    """Machines that were used before, and those of the ``chosen`` devices: device → how the panel calls it."""
    return {d: f"{Place.of(d).host} (ssh)" for d in dict.fromkeys([*known.used(), *chosen]) if is_remote(d)}


def _title(model: ModelInfo) -> str:
    return f"{model.name} (unusable)" if model.card is None else model.name

"""Connects the segment view and its verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QMessageBox

from napari_brainseg.features.context import Context
from napari_brainseg.features.segment.verbs import SegmentVerbs
from napari_brainseg.features.segment.view import SegmentView
from napari_brainseg.qt.cards import card_in_words

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo


class SegmentSection:
    """Between the segment view and its verbs."""

    def __init__(self, view: SegmentView, verbs: SegmentVerbs, context: Context) -> None:
        self._view, self._session = view, context.session
        self._verbs, self._answered = verbs, ("", 0)
        view.segment_requested.connect(self.segment)
        view.cancel_requested.connect(verbs.cancel)
        view.model_chosen.connect(verbs.choose_model)
        view.device_chosen.connect(verbs.choose_device)
        context.follow(context.session.models_changed, self._show_models)
        context.follow(context.session.study_changed, self._show_blocker)
        context.follow(context.session.job_changed, self._show_job)
        self._show_models()

    def segment(self) -> None:
        """Segment; over edits that were not accepted only after a question, which is asked once."""
        session, question = self._session, self._verbs.objection()
        now = (session.study.token if session.study is not None else "", len(session.steps))
        if question and now != self._answered and not session.blocker:
            yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
            if QMessageBox.question(self._view, "Segment", question, yes | no, no) != yes:
                return
            self._answered = now
        self._verbs.segment()

    def _show_models(self) -> None:
        model = self._session.model
        choices = [(_title(m), m.name, card_in_words(m)) for m in self._session.models]
        self._view.show_models(choices, model.name if model is not None else "")
        self._view.show_device(self._session.device)
        self._show_blocker()

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


def _title(model: ModelInfo) -> str:
    return f"{model.name} (unusable)" if model.card is None else model.name

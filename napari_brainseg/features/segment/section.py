"""Wires the segment section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_brainseg.features.actions import Actions
from napari_brainseg.features.segment.view import SegmentView

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo


class SegmentSection(QObject):
    """Between the segment view and the actions."""

    def __init__(self, view: SegmentView, actions: Actions) -> None:
        super().__init__()
        self._view = view
        self._actions = actions
        self._session = actions.session
        view.segment_requested.connect(actions.segment)
        view.cancel_requested.connect(actions.cancel)
        view.model_chosen.connect(actions.choose_model)
        view.device_chosen.connect(actions.choose_device)
        self._session.models_changed.connect(self._show_models)
        self._session.study_changed.connect(self._show_blocker)
        self._session.job_changed.connect(self._show_job)
        self._show_models()

    def _show_models(self) -> None:
        model = self._session.model
        choices = [(_title(m), m.name, card_in_words(m)) for m in self._session.models]
        self._view.show_models(choices, model.name if model is not None else "")
        self._view.show_device(self._session.device)
        self._show_blocker()

    def _show_blocker(self) -> None:
        self._view.show_blocker(self._actions.blocker, len(self._actions.warnings))

    def _show_job(self) -> None:
        job, current = self._session.job, self._session.study
        if job is None:
            self._view.show_progress(None)
            return
        elsewhere = current is None or current.token != job.token
        self._view.show_progress((f"{job.study_id}: {job.stage}" if elsewhere else job.stage, job.fraction))


def _title(model: ModelInfo) -> str:
    return f"{model.name} (unusable)" if model.card is None else model.name


def card_in_words(model: ModelInfo) -> str:
    """A model's card as a tooltip (rich text, so that Qt wraps it)."""
    card = model.card
    if card is None:
        return model.problem
    lines = [f"<b>{card.name}</b>, version {card.version}" + (f": {card.summary}" if card.summary else "")]
    lines.append(f"{card.parameters / 1e6:.1f} million weights; needs {', '.join(m.title for m in card.modalities)}")
    dice = [f"{region} {s['dice']:.2f}" for region, s in card.scores.items() if s.get("dice") is not None]
    if dice:
        lines.append(f"Mean Dice{f' on {card.scores_on}' if card.scores_on else ''}: {', '.join(dice)}")
    if card.data:
        lines.append(f"Trained on: {card.data}")
    if card.licence:
        lines.append(f"Licence: {card.licence}")
    lines += [f"Known failure: {f}" for f in card.known_failures]
    return "<br>".join(lines)

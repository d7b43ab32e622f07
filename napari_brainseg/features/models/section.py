"""Connects the dialog of models and its verbs; asks for files, and before anything is fetched or removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QMessageBox

from brainseg_engine.core.names import as_model_name
from napari_brainseg.features.context import Context
from napari_brainseg.features.models.verbs import ModelsVerbs
from napari_brainseg.features.models.view import ModelsDialog, ModelShown, ModelsRow

if TYPE_CHECKING:
    from brainseg_engine.models import ModelInfo

_PACKED = "Models (*.zip *.onnx *.pt *.pth)"


class ModelsSection:
    """Between the dialog and its verbs. ``segment_with``: has several models answer."""

    def __init__(
        self, row: ModelsRow, verbs: ModelsVerbs, context: Context, segment_with: Callable[[Sequence[str]], None]
    ) -> None:
        self._row, self._verbs, self._session = row, verbs, context.session
        self._segment_with = segment_with
        self._dialog: ModelsDialog | None = None
        row.asked.connect(self._open)
        context.follow(context.session.models_changed, self._show)
        context.follow(context.session.message_changed, self._show_words)
        context.follow(context.session.reading_changed, self._show_words)
        context.follow(verbs.fetch_changed, self._show_fetch)

    def _open(self) -> None:
        dialog = self._dialog = ModelsDialog(self._row)
        dialog.segment_requested.connect(self._segment_with)
        dialog.folder_requested.connect(self._folder)
        dialog.file_requested.connect(self._file)
        dialog.install_requested.connect(self._install)
        dialog.cancel_requested.connect(self._verbs.cancel_fetch)
        dialog.remove_requested.connect(self._remove)
        dialog.default_requested.connect(self._verbs.make_default)
        dialog.finished.connect(self._closed)
        known = self._verbs.known
        dialog.show_known([(f"{k.title}", k.name, k.licence) for k in known])
        self._show()
        self._show_fetch()
        dialog.open()

    def _closed(self, _result: int) -> None:
        if self._dialog is not None:
            self._dialog.deleteLater()
        self._dialog = None

    def _show(self) -> None:
        if self._dialog is not None:
            first = self._session.model.name if self._session.model is not None else ""
            self._dialog.show_models([_shown(m, first) for m in self._session.models])

    def _show_words(self) -> None:
        if self._dialog is not None:
            message = self._session.message
            self._dialog.show_words(self._session.reading or (message.text if message is not None else ""))

    def _show_fetch(self) -> None:
        fetch = self._verbs.fetch
        if self._dialog is None:
            return
        if fetch is None:
            self._dialog.show_fetch("", None)
        elif fetch.installing:
            self._dialog.show_fetch(f"bringing {fetch.name} in …", None, stoppable=False)
        else:
            words = f"stopping {fetch.name} …" if fetch.stopped else f"fetching {fetch.name}"
            self._dialog.show_fetch(words, fetch.fraction or None, stoppable=not fetch.stopped)

    def _folder(self, name: str, series: str) -> None:
        folder = QFileDialog.getExistingDirectory(self._row, "Folder of a MONAI bundle or of nnU-Net v2")
        if folder:
            self._verbs.bring_in(Path(folder), name or as_model_name(Path(folder).name), series)

    def _file(self, name: str, series: str) -> None:
        file, _ = QFileDialog.getOpenFileName(self._row, "A model's file", "", _PACKED)
        if file:
            self._verbs.bring_in(Path(file), name or as_model_name(Path(file).stem), series)

    def _install(self, name: str) -> None:
        known = next((k for k in self._verbs.known if k.name == name), None)
        if known is None:
            return
        size = f"{known.size / 1e6:.0f} MB" if known.size else "of unknown size"
        limits = f"Limits: {known.terms}.\n" if known.terms else ""
        hashed = f"Its hash is {known.hash_from}." if known.hash_from else "Its hash is published."
        question = (
            f"{known.title}\n{size}, from {known.url}\n\nLicence: {known.licence}.\n{limits}To cite: {known.citation}."
            f"\n{hashed}\n\nFetch it and install it on these terms?"
        )
        if self._yes("Install", question):
            self._verbs.install(known)

    def _remove(self, name: str) -> None:
        if self._yes("Remove", f"Remove the model '{name}' for good? Masks that it made stay."):
            self._verbs.remove(name)

    def _yes(self, title: str, question: str) -> bool:
        yes, no = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
        return bool(QMessageBox.question(self._dialog or self._row, title, question, yes | no, no) == yes)


def _shown(model: ModelInfo, default: str) -> ModelShown:
    """A model's card as the dialog shows it."""
    card = model.card
    if card is None:
        return ModelShown(model.name, own=not model.bundled, problem=model.problem)
    dice = [f"{r} {s['dice']:.2f}" for r, s in card.scores.items() if s.get("dice") is not None]
    scores = (
        f"Dice {', '.join(dice)}{f' on {card.scores_on}' if card.scores_on else ''}" if dice else "not measured here"
    )
    rows = (
        f"{card.summary.rstrip('.')}. Version {card.version}.".removeprefix(". "),
        ", ".join(m.title for m in card.modalities),
        ", ".join(card.regions),
        f"{card.recipe}, {card.parameters:,} weights",
        scores, card.licence, card.terms or "–", card.data or "–", card.source or ("this program" if model.bundled else "–"),
        card.citation or "–", "\n".join(card.known_failures) or "–",
    )  # fmt: skip
    return ModelShown(model.name, rows, model.name == default, not model.bundled)

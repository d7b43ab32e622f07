"""Connects the worklist, the connections and the buttons for sending with their verbs; asks before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog, QMessageBox

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.text import printable
from napari_brainseg.features.context import Context
from napari_brainseg.features.pacs.form import ConnectionsDialog
from napari_brainseg.features.pacs.sending import Question
from napari_brainseg.features.pacs.verbs import PacsVerbs
from napari_brainseg.features.pacs.view import SendRow, SeriesLine, StudyLine, Worklist, WorklistDialog, WorklistRow


class PacsSection:
    """Between the views of the PACS and its verbs."""

    def __init__(self, worklist: WorklistRow, send: SendRow, verbs: PacsVerbs, context: Context) -> None:
        self._row, self._send, self._verbs, self._context = worklist, send, verbs, context
        self._dialog: WorklistDialog | None = None
        self._connections: ConnectionsDialog | None = None
        worklist.asked.connect(self._open)
        send.asked.connect(self._ask_where)
        send.again.connect(verbs.sending.send_waiting)
        send.give_up.connect(self._give_up)
        context.follow(verbs.work.changed, self._show)
        context.follow(verbs.worklist.opened, self._put_away)
        context.follow(verbs.sending.asked, self._ask)
        context.follow(context.labels_changed, self._show_send)
        context.follow(context.session.study_changed, self._show_send)
        self._show_send()

    # --- the worklist

    def _open(self) -> None:
        if self._dialog is None:
            self._dialog = dialog = WorklistDialog(self._row)
            dialog.search_requested.connect(self._search)
            dialog.study_chosen.connect(self._choose_study)
            dialog.series_chosen.connect(self._verbs.worklist.choose_series)
            dialog.open_requested.connect(self._verbs.worklist.open)
            dialog.cancel_requested.connect(self._verbs.work.cancel)
            dialog.connections_requested.connect(self._open_connections)
            dialog.delete_requested.connect(self._delete)
        self._dialog.show()
        self._dialog.raise_()
        self._verbs.look_again()
        if not self._verbs.connections.known():
            self._open_connections()

    def _put_away(self) -> None:
        if self._dialog is not None:
            self._dialog.hide()

    def _delete(self) -> None:
        text = "Delete the images that were fetched to this computer? Those of the open study stay, and the PACS keeps all."
        if QMessageBox.question(self._send, "Delete fetched images", text) == QMessageBox.StandardButton.Yes:
            self._verbs.worklist.delete_fetched()

    def _search(self, name: str, texts: Mapping[str, str]) -> None:
        from brainseg_engine.pacs.records import Query, day_of

        try:
            query = Query(
                texts["patient_id"], texts["name"], texts["accession"], day_of(texts["since"]), day_of(texts["until"]),
                texts["modality"],
            )  # fmt: skip
        except BrainsegError as e:
            self._verbs.work.say(str(e), wrong=True)
            return
        self._verbs.worklist.search(name, query)

    def _choose_study(self, uid: str) -> None:
        row = next((s for s in self._verbs.worklist.studies if s.uid == uid), None)
        if row is not None:
            self._verbs.worklist.choose_study(row)

    def _show(self) -> None:
        if self._dialog is not None:
            self._dialog.show_state(worklist_of(self._verbs))
        if self._connections is not None:
            self._show_connections(self._connections)
        self._show_send()

    # --- the connections

    def _open_connections(self) -> None:
        if self._connections is None:
            parent = self._dialog if self._dialog is not None else self._row
            self._connections = dialog = ConnectionsDialog(parent)
            dialog.keep_requested.connect(self._verbs.connections.keep)
            dialog.forget_requested.connect(self._verbs.connections.forget)
            dialog.test_requested.connect(self._test)
        self._connections.show()
        self._connections.raise_()
        self._show_connections(self._connections)

    def _test(self, name: str) -> None:
        if name in self._verbs.connections.known() and not self._verbs.work.wrong:
            self._verbs.connections.test(name)

    def _show_connections(self, dialog: ConnectionsDialog) -> None:
        dialog.show_connections({n: c.model_dump() for n, c in self._verbs.connections.known().items()})
        busy = self._verbs.work.busy
        dialog.show_words(busy[0] if busy else self._verbs.work.words, self._verbs.work.wrong, busy is not None)

    # --- sending

    def _show_send(self) -> None:
        waiting = sum(len(j.waiting) for j in self._verbs.sending.waiting())
        known, possible = bool(self._verbs.connections.known()), self._context.labels is not None
        self._send.show_state(known=known, possible=possible, waiting=waiting, busy=self._verbs.work.busy is not None)

    def _ask_where(self) -> None:
        names, origin = list(self._verbs.connections.known()), self._verbs.sending.origin
        if origin in names or len(names) == 1:
            self._verbs.sending.send(origin if origin in names else names[0])
            return
        name, taken = QInputDialog.getItem(self._send, "Send to PACS", "To which PACS?", names, 0, False)
        if taken:
            self._verbs.sending.send(name)

    def _ask(self, question: Question) -> None:
        box = QMessageBox(self._send)
        box.setObjectName("send_question")
        box.setWindowTitle("Send to PACS")
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(words_of(question))
        send = box.addButton("Send", QMessageBox.ButtonRole.AcceptRole)
        box.addButton("Do not send", QMessageBox.ButtonRole.RejectRole)
        box.exec()
        self._verbs.sending.answer(question, box.clickedButton() is send)

    def _give_up(self) -> None:
        answer = QMessageBox.question(self._send, "Give up", "Delete the objects that could not be sent?")
        if answer == QMessageBox.StandardButton.Yes:
            self._verbs.sending.give_up()


def words_of(question: Question) -> str:
    """What goes where, before it is sent."""
    lines = []
    for job, study in question.sendings:
        whose = f"{study.person}, id {study.patient_id}" if study is not None else job.patient_name
        lines.append(f"To {question.pacs}, into the study of {study.day if study is not None else '?'}:")
        lines.append(f"    {whose}\n    {study.description if study is not None else ''}".rstrip())
        lines.append("")
        lines += [f"  • {item.modality}: {item.description}" for item in job.waiting]
        lines.append("")
    return printable("\n".join([*lines, "For research use only. Send it?"]))


def worklist_of(verbs: PacsVerbs) -> Worklist:
    """What the worklist shows."""
    listed, work = verbs.worklist, verbs.work
    studies = tuple(
        StudyLine(
            s.uid,
            _texts(
                s.day, s.patient_id, s.person, s.description, s.accession, ", ".join(s.modalities), s.series, s.images
            ),
        )
        for s in listed.studies
    )
    series = tuple(
        SeriesLine(s.uid, _texts(s.number, s.description, s.modality, s.images), s.uid in listed.chosen)
        for s in listed.series
    )
    known = tuple((n, n, f"{n}: {c.where}") for n, c in verbs.connections.known().items())
    return Worklist(
        known, listed.pacs, studies, listed.study.uid if listed.study is not None else "", series, printable(work.words),
        work.wrong, work.busy,
    )  # fmt: skip


def _texts(*values: object) -> tuple[str, ...]:
    """Values as the cells of a table: on one line, and nothing that commands."""
    return tuple("" if v is None else printable(" ".join(str(v).split())) for v in values)

"""The connections: how each PACS is reached, kept, tested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QCheckBox, QDialog, QGridLayout, QHBoxLayout, QLineEdit, QListWidget, QVBoxLayout, QWidget

from napari_brainseg.qt.widgets import Combo, Words, button, label, restyle

WEB, DIMSE = "dicomweb", "dimse"
_KINDS = (
    ("DICOMweb", WEB, "Over HTTP(S): QIDO, WADO and STOW"),
    ("DICOM (AE titles)", DIMSE, "DICOM's own services: C-FIND, C-GET or C-MOVE, C-STORE"),
)
_TEXTS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    ("url", "Address (url)", "https://pacs.example/dicom-web", "The root of the DICOMweb service", (WEB,)),
    ("user", "User", "", "For a login with user and password", (WEB,)),
    ("login_secret", "Password or token", "kept in the system's keyring", "Empty: as it is", (WEB,)),
    ("host", "Host", "pacs.example", "Name or address of the PACS", (DIMSE,)),
    ("port", "Port", "104", "Its DICOM port", (DIMSE,)),
    ("title", "AE title of the PACS", "ARCHIVE", "Capitals count", (DIMSE,)),
    ("own_title", "AE title of ours", "BRAINSEG", "As the PACS knows this computer", (DIMSE,)),
    ("listen", "C-MOVE: listen at", "127.0.0.1", "While a retrieve by C-MOVE runs, and at no other time", (DIMSE,)),
    ("listen_port", "C-MOVE: port", "11112", "As the PACS knows it", (DIMSE,)),
    (
        "ca",
        "Authority (file)",
        "",
        "The authority that signed the PACS's certificate, if not a public one",
        (WEB, DIMSE),
    ),
    ("certificate", "Own certificate (file)", "", "Where the PACS asks for one", (WEB, DIMSE)),
    ("key", "Its key (file)", "", "Where it is not in the same file", (WEB, DIMSE)),
    ("key_secret", "Passphrase of the key", "kept in the system's keyring", "Empty: as it is", (WEB, DIMSE)),
)
"""(setting, words, hint, tooltip, kinds that have it) of the fields."""
_LOGINS = (
    ("no login", "none", ""),
    ("user and password", "basic", "Sent with every request: use https"),
    ("token", "bearer", "A bearer token"),
)
_RETRIEVES = (
    ("C-GET", "get", "Over the connection that asked: nothing listens here"),
    ("C-MOVE", "move", "The PACS connects back to this computer while a retrieve runs"),
)


class ConnectionsDialog(QDialog):
    """Shows the connections, and asks to keep, to delete and to test them. Secrets go out once, and are never shown."""

    keep_requested = Signal(str, dict, dict)
    forget_requested = Signal(str)
    test_requested = Signal(str)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("connections_dialog")
        self.setWindowTitle("Connections")
        self.setMinimumSize(640, 520)
        row = QHBoxLayout(self)
        left = QVBoxLayout()
        self.names = QListWidget()
        self.names.setObjectName("connection_names")
        self.names.setMaximumWidth(170)
        self.names.currentTextChanged.connect(self._picked)
        left.addWidget(self.names, 1)
        left.addWidget(button("New", "connection_new", "An empty form", self._new))
        row.addLayout(left)
        right = QVBoxLayout()
        right.setSpacing(8)
        right.addLayout(self._form())
        right.addStretch(1)
        self.words = Words("connection_words", "dim")
        right.addWidget(self.words)
        right.addLayout(self._buttons())
        row.addLayout(right, 1)
        self._connections: Mapping[str, Mapping[str, Any]] = {}
        self._show(None)

    def _form(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        self.name = QLineEdit()
        self.name.setObjectName("connection_name")
        self.name.setPlaceholderText("archive")
        self.kind = Combo("connection_kind", "How it is spoken to")
        self.kind.show_choices(_KINDS, WEB)
        self.kind.currentIndexChanged.connect(self._show_kind)
        self.login = Combo("connection_login", "How the PACS knows who asks")
        self.login.show_choices(_LOGINS, "none")
        self.retrieve = Combo("connection_retrieve", "How images come")
        self.retrieve.show_choices(_RETRIEVES, "get")
        self.tls = QCheckBox("Encrypted (TLS)")
        self.tls.setObjectName("connection_tls")
        self._rows: list[tuple[tuple[str, ...], list[QWidget]]] = []
        self.fields: dict[str, QLineEdit] = {}

        def add(words: str, widget: QWidget, kinds: tuple[str, ...]) -> None:
            named = label(words)
            grid.addWidget(named, grid.rowCount(), 0)
            grid.addWidget(widget, grid.rowCount() - 1, 1)
            self._rows.append((kinds, [named, widget]))

        add("Name", self.name, (WEB, DIMSE))
        add("Kind", self.kind, (WEB, DIMSE))
        for setting, words, hint, tip, kinds in _TEXTS:
            edit = QLineEdit()
            edit.setObjectName(f"connection_{setting}")
            edit.setPlaceholderText(hint)
            edit.setToolTip(tip)
            if setting.endswith("_secret"):
                edit.setEchoMode(QLineEdit.EchoMode.Password)
            self.fields[setting] = edit
            if setting == "user":
                add("Login", self.login, (WEB,))
            if setting == "listen":
                add("Retrieve by", self.retrieve, (DIMSE,))
                add("", self.tls, (DIMSE,))
            add(words, edit, kinds)
        return grid

    def _buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(6)
        self.test = button("Test connection", "connection_test", "Keep it, and try it", self._test)
        self.delete = button("Delete", "connection_delete", "Delete this connection and its secrets",
                             lambda: self.forget_requested.emit(self.name.text().strip()))  # fmt: skip
        keep = button("Save", "connection_save", "Keep it", self._keep)
        close = button("Close", "connection_close", "", self.close)
        for b in (self.test, self.delete, keep, close):
            b.setAutoDefault(False)
            row.addWidget(b, 1)
        return row

    def show_connections(self, connections: Mapping[str, Mapping[str, Any]]) -> None:
        """Show these: name → settings."""
        self._connections = connections
        current = self.name.text().strip()
        with QSignalBlocker(self.names):
            self.names.clear()
            self.names.addItems(list(connections))
            if current in connections:
                self.names.setCurrentRow(list(connections).index(current))
        self.delete.setEnabled(current in connections)
        if current not in connections:
            self._show(next(iter(connections), None))

    def show_words(self, words: str, wrong: bool, busy: bool) -> None:
        """Say what came of it."""
        self.words.show_text(words)
        restyle(self.words, role="warning" if wrong else "dim")
        self.test.setEnabled(not busy)

    def settings(self) -> dict[str, Any]:
        """The settings as they are filled in; what is empty is left out."""
        kind = self.kind.currentData()
        texts = {
            s: self.fields[s].text().strip() for s, *_, kinds in _TEXTS if kind in kinds and not s.endswith("_secret")
        }
        filled_in: dict[str, Any] = {"kind": kind, **{k: v for k, v in texts.items() if v}}
        for port in ("port", "listen_port"):
            if filled_in.get(port, "").isdigit():
                filled_in[port] = int(filled_in[port])
        if kind == WEB:
            return {**filled_in, "login": self.login.currentData()}
        return {**filled_in, "tls": self.tls.isChecked(), "retrieve": self.retrieve.currentData()}

    def _picked(self, name: str) -> None:
        if name:
            self._show(name)

    def _new(self) -> None:
        with QSignalBlocker(self.names):
            self.names.setCurrentRow(-1)
        self._show(None)
        self.name.setFocus()

    def _show(self, name: str | None) -> None:
        settings = self._connections.get(name, {}) if name is not None else {}
        self.name.setText(name or "")
        for setting, edit in self.fields.items():
            edit.setText(str(settings.get(setting, "") or ""))
        self.kind.show_choices(_KINDS, settings.get("kind", WEB))
        self.login.show_choices(_LOGINS, settings.get("login", "none"))
        self.retrieve.show_choices(_RETRIEVES, settings.get("retrieve", "get"))
        self.tls.setChecked(bool(settings.get("tls", False)))
        self.delete.setEnabled(name is not None)
        self.words.show_text("")
        self._show_kind()

    def _show_kind(self) -> None:
        kind = self.kind.currentData()
        for kinds, widgets in self._rows:
            for widget in widgets:
                widget.setVisible(kind in kinds)

    def _keep(self) -> None:
        secrets = {what: self.fields[f"{what}_secret"].text() for what in ("login", "key")}
        for what in secrets:
            self.fields[f"{what}_secret"].clear()
        self.keep_requested.emit(self.name.text().strip(), self.settings(), secrets)

    def _test(self) -> None:
        self._keep()
        self.test_requested.emit(self.name.text().strip())

"""The connections to PACS that are kept: looked at, kept, tested, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from brainseg_engine.core import paths
from brainseg_engine.core.errors import BrainsegError
from napari_brainseg.features.pacs.work import OneAtATime, PacsTask

if TYPE_CHECKING:
    from brainseg_engine.pacs import Connection


class ConnectionVerbs:
    """What the dialog of the connections asks for."""

    def __init__(self, work: OneAtATime) -> None:
        self._work = work
        self._known: Mapping[str, Connection] | None = None

    def known(self) -> Mapping[str, Connection]:
        """Name → connection, as last read."""
        if self._known is None:
            self._known = {}
            if (paths.home() / "pacs.toml").exists():
                from brainseg_engine.pacs import connections

                try:
                    self._known = connections.read()
                except BrainsegError as e:
                    self._work.words, self._work.wrong = str(e), True  # for what is just being shown
        return self._known

    def read_again(self) -> None:
        """Somebody may have changed the file of the connections."""
        self._known = None
        self._work.changed.emit()

    def keep(self, name: str, settings: Mapping[str, Any], secrets: Mapping[str, str]) -> bool:
        """Keep a connection, and its secrets in the system's keyring: "login" and "key", "" for as it is. False, and what is
        wrong is said, where that does not go."""
        from brainseg_engine.pacs import connections
        from brainseg_engine.pacs import secrets as keyring

        try:
            connections.check_name(name)
            made = connections.check(name, settings, "Connection")
            connections.save({**connections.read(), name: made})
            self._known = None
            for what, secret in secrets.items():
                if secret:
                    keyring.keep(name, secret, "key" if what == "key" else "login")
        except BrainsegError as e:
            self._work.say(str(e), wrong=True)
            return False
        self._work.say(f"'{name}' is kept.")
        return True

    def forget(self, name: str) -> None:
        """Delete a connection, and its secrets."""
        from brainseg_engine.pacs import connections
        from brainseg_engine.pacs import secrets as keyring

        try:
            known = dict(connections.read())
            if known.pop(name, None) is not None:
                connections.save(known)
                self._known = None
                for what in ("login", "key"):
                    if keyring.find(name, "key" if what == "key" else "login"):
                        keyring.keep(name, "", "key" if what == "key" else "login")
        except BrainsegError as e:
            self._work.say(str(e), wrong=True)
        else:
            self._work.say(f"'{name}' is deleted.")

    def test(self, name: str) -> None:
        """Say whether a connection works, or what is wrong with it."""

        def work(_: PacsTask) -> str:
            from brainseg_engine.pacs import connected

            with connected(name) as pacs:
                return pacs.test()

        self._work.do(f"testing '{name}'", work, self._work.say)
